"""Right padding by the mask, and the numbers of tokens that follow from it."""

from __future__ import annotations

import pytest
import torch

from lab.models.numbering import last_unnumbered, learned_positions, numbered
from lab.models.padding import in_place, right_padded
from lab.models.tiny import POSITIONS, tiny_plm


def test_texts_move_to_the_left_edge_and_holes_stay():
    batch = {
        "input_ids": torch.tensor([[9, 9, 1, 2], [3, 9, 4, 9], [5, 6, 7, 8]]),
        "attention_mask": torch.tensor([[0, 0, 1, 1], [1, 0, 1, 0], [1, 1, 1, 1]]),
        "position_ids": torch.arange(4)[None],
        "labels": torch.tensor([1, 0, 1]),
    }
    moved = right_padded(batch)
    assert moved["input_ids"].tolist() == [[1, 2, 9, 9], [3, 9, 4, 9], [5, 6, 7, 8]]
    assert moved["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 1, 1]]
    assert moved["position_ids"].tolist() == [[2, 3, 0, 1], [0, 1, 2, 3], [0, 1, 2, 3]]
    assert moved["labels"] is batch["labels"]
    back = in_place(moved["input_ids"][:, :, None], batch["attention_mask"])
    assert torch.equal(back[:, :, 0], batch["input_ids"])


def test_without_a_mask_every_token_is_text():
    ids = torch.tensor([[0, 0, 1]])
    assert right_padded({"input_ids": ids}) == {"input_ids": ids}
    assert in_place(ids[:, :, None], None)[0, :, 0].tolist() == [0, 0, 1]


def test_numbers_follow_the_mask():
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    assert numbered(mask, 1).tolist() == [[2, 3, 4], [2, 1, 1]]
    assert numbered(mask, -1).tolist() == [[0, 1, 2], [0, 0, 0]]


@pytest.mark.parametrize(
    ("family", "before", "positions"),
    [("bert", None, POSITIONS), ("roberta", 1, POSITIONS), ("gpt2", None, POSITIONS), ("llama", None, None)],
)
def test_how_a_model_numbers_its_tokens(family, before, positions):
    model = tiny_plm(family).model
    assert last_unnumbered(model) == before
    assert learned_positions(model) == positions


def test_a_left_padded_decoder_input_reads_as_a_right_padded_one():
    plm = tiny_plm("t5", head="lm")
    text = torch.tensor([[9, 10, 11], [12, 13, 14]])
    short = torch.tensor([[0, 20, 21], [0, 22, 23]])
    left = {
        "input_ids": text,
        "decoder_input_ids": torch.tensor([[5, 0, 20, 21], [0, 22, 23, 24]]),
        "decoder_attention_mask": torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]]),
    }
    expected = plm.logits({}, {"input_ids": text, "decoder_input_ids": short})
    got = plm.logits({}, left)
    torch.testing.assert_close(got[0, 1:], expected[0])
    torch.testing.assert_close(got[1, :3], expected[1])
