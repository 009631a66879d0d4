"""Added biases: where a family has its own, they are those; where it has none, the same map."""

from __future__ import annotations

import torch

from lab.deltas import AddedBias, BitFit


def test_beside_a_bias_it_moves_the_same_output(plm_of, batch_of, noise):
    """On BERT W·h + (b + φ) by BitFit equals (W·h + b) + φ by added biases."""
    plm = plm_of()
    bitfit, added = BitFit(head="frozen").on(plm), AddedBias(head="frozen").on(plm)
    values = added.layout.unflatten(0.1 * noise(added.size))
    at = {name.replace(".added_bias.bias", ".bias"): value for name, value in values.items()}
    assert at.keys() <= set(bitfit.layout.names)
    zeros = {part.name: torch.zeros(part.shape).double() for part in bitfit.layout}
    torch.testing.assert_close(
        added.logits(added.layout.flatten(values), batch_of(plm)),
        bitfit.logits(bitfit.layout.flatten(zeros | at), batch_of(plm)),
    )


def test_norms_can_be_left_out(plm_of):
    plm = plm_of("llama")
    names = AddedBias(norms=False, head="frozen").on(plm).layout.names
    assert names
    assert not any("norm" in name for name in names)
    assert AddedBias(head="frozen").on(plm).size - AddedBias(norms=False, head="frozen").on(plm).size == 5 * 16
