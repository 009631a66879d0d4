"""The hidden states are the ones transformers itself reports, and leave the PLM as it was."""

from __future__ import annotations

import pytest
import torch

from lab.deltas import Adapter
from lab.models import head_position, hidden_states, pooled, read_by_head
from lab.models.tiny import tiny_plm

BATCH = {
    "input_ids": torch.tensor([[1, 5, 6, 7], [1, 8, 9, 0]]),
    "attention_mask": torch.tensor([[1] * 4, [1, 1, 1, 0]]),
}


@pytest.mark.parametrize("family", ["bert", "llama", "gpt2"])
def test_they_are_those_of_transformers(family):
    plm = tiny_plm(family)
    states = hidden_states(plm, {}, BATCH)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in plm.model.modules())
    theirs = plm.model(**BATCH, output_hidden_states=True).hidden_states
    assert len(states) == plm.n_blocks + 1 == len(theirs)
    for ours, other in zip(states[:-1], theirs[:-1], strict=True):  # after the last, theirs has the final norm
        torch.testing.assert_close(ours, other)


def test_both_stacks_of_t5_and_a_delta_s_overrides():
    plm = tiny_plm("t5")
    assert len(hidden_states(plm, {}, BATCH)) == plm.n_blocks + 1
    delta = Adapter(bottleneck=2).on(tiny_plm("bert"))
    start = hidden_states(delta.plm, delta.overrides(delta.phi0), BATCH)
    moved = hidden_states(delta.plm, delta.overrides(delta.phi0 + 0.1), BATCH)
    assert torch.equal(start[0], moved[0])
    assert not torch.equal(start[1], moved[1])


def test_pooling_is_the_mean_over_tokens():
    states = torch.arange(24.0, dtype=torch.float64).reshape(2, 4, 3)
    mask = BATCH["attention_mask"]
    found = pooled(states, mask)
    torch.testing.assert_close(found, torch.stack([states[0].mean(0), states[1, :3].mean(0)]))
    torch.testing.assert_close(pooled(torch.cat([9 * states[:, :2], states], dim=1), mask), found)


def test_refusals():
    states = torch.ones(2, 4, 3)
    for given, mask in ((states[:, :3], torch.ones(2, 4)), (states, torch.zeros(2, 4))):
        with pytest.raises(ValueError, match="pooling needs states at least as long as the mask"):
            pooled(given, mask)


@pytest.mark.parametrize(("family", "positions"), [("bert", [0, 0]), ("llama", [3, 2]), ("t5", [3, 2])])
def test_the_position_the_head_reads(family, positions):
    plm = tiny_plm(family)
    states = torch.arange(2 * 2 * 4 * 3.0).view(2, 2, 4, 3)  # two layers at once
    truth = torch.stack([states[:, row, position] for row, position in enumerate(positions)], dim=1)
    assert torch.equal(read_by_head(plm, states, BATCH), truth)
    assert (head_position(plm, BATCH) % 4).tolist() == positions
    longer = torch.cat([torch.zeros(2, 2, 2, 3), states], dim=2)  # soft tokens in front
    if family != "bert":
        assert torch.equal(read_by_head(plm, longer, BATCH), truth)
