"""Padding changes nothing: a text's logits alone are those in a padded batch, on either side, by any token.

The oracle is the text alone, without any padding: there transformers' conventions and ours agree.
"""

from __future__ import annotations

import json
from functools import cache
from itertools import product
from pathlib import Path

import pytest
import torch

from lab.models import load_plm
from lab.models.tiny import CONFIGURATIONS, tiny_plm

TEXTS = ("it was a good film", "bad", "the story was terrible and the film was good")
HEADS = {
    "classification": {},
    "regression": {"head": "regression"},
    "lm": {"head": "lm"},
    "verbalizer": {"head": "lm", "verbalizer": ("bad", "good")},
}


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    @cache
    def made(family: str) -> Path:
        plm = tiny_plm(family, head="lm")
        folder = tmp_path_factory.mktemp(family)
        plm.model.save_pretrained(folder)
        plm.tokenizer.save_pretrained(folder)
        return folder

    return made


PADDING_IDS = {
    "the tokenizer's": lambda tokenizer: tokenizer.pad_token_id,
    "another": lambda tokenizer: tokenizer.eos_token_id or tokenizer.sep_token_id,
    "none": lambda tokenizer: None,
    "zero": lambda tokenizer: 0,
    "minus one": lambda tokenizer: -1,
    "a token of the text": lambda tokenizer: tokenizer("bad", add_special_tokens=False)["input_ids"][0],
}
"""What `config.pad_token_id` may say, right or wrong."""


def cases():
    """All of them under `slow`; at once: every family with a classifier, and every head and id where they matter."""
    for family, head, named in product(CONFIGURATIONS, HEADS, PADDING_IDS):
        every = head == "classification" and named == "a token of the text"
        some = family == "roberta" or (family == "llama" and named == "another") or (family == "t5" and head == "lm")
        marks = () if every or (some and named != "the tokenizer's") else pytest.mark.slow
        yield pytest.param(family, head, named, marks=marks)


def with_padding_id(folder: Path, value: int | None) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"pad_token_id": value}))


def padded(rows: list[list[int]], side: str, filler: int) -> dict[str, torch.Tensor]:
    width = max(map(len, rows)) + 1
    ids, mask = torch.full((len(rows), width), filler), torch.zeros(len(rows), width, dtype=torch.int64)
    for i, row in enumerate(rows):
        start = 0 if side == "right" else width - len(row)
        ids[i, start : start + len(row)], mask[i, start : start + len(row)] = torch.tensor(row), 1
    return {"input_ids": ids, "attention_mask": mask}


def rows_of(plm, logits, batch):
    """The logits of each text: all of them, or those of its tokens for a language model over the text."""
    if logits.ndim == 2 or plm.architecture.kind == "encoder-decoder":
        return list(logits)
    return [row[mask.bool()] for row, mask in zip(logits, batch["attention_mask"], strict=True)]


@pytest.mark.parametrize(("family", "head", "named"), cases())
def test_a_text_alone_is_the_text_in_a_padded_batch(folder_of, family, head, named):
    folder, tokenizer = folder_of(family), tiny_plm(family).tokenizer
    with_padding_id(folder, PADDING_IDS[named](tokenizer))
    plm = load_plm(folder, dtype=torch.float64, seed=1, **HEADS[head])
    mask = f" {tokenizer.mask_token}" if tokenizer.mask_token and head == "verbalizer" else ""
    rows = [tokenizer(text + mask)["input_ids"] for text in TEXTS]
    alone = [plm.logits({}, {"input_ids": torch.tensor([row])})[0] for row in rows]
    single = ("modernbert", "qwen3_moe", "gptj", "gpt_neo")  # those go through float32 in transformers (5.23)
    atol = 1e-5 if family in single else 1e-12
    for side, filler in product(("right", "left"), (tokenizer.pad_token_id, rows[0][1])):
        batch = padded(rows, side, filler)
        for one, other in zip(alone, rows_of(plm, plm.logits({}, batch), batch), strict=True):
            torch.testing.assert_close(other, one, rtol=0, atol=atol, msg=lambda m, s=side: f"{s}: {m}")
