"""A settled PLM computes what the overrides computed, and nothing else about it changes."""

from __future__ import annotations

import pytest
import torch

from lab.deltas import Adapter, BitFit, FullFineTuning, LoRA, Prompt
from lab.models import settled
from lab.models.tiny import tiny_plm


def near(delta, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return delta.phi0 + 0.05 * torch.randn(delta.size, generator=generator, dtype=torch.float64)


@pytest.fixture(scope="module")
def batch():
    ids = torch.randint(8, 60, (3, 6), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


@pytest.mark.parametrize("family", ["bert", "llama", "gpt2", "t5"])
@pytest.mark.parametrize(
    "method", [FullFineTuning(), LoRA(rank=2), Adapter(bottleneck=2), Prompt(tokens=2)], ids=lambda m: m.name
)
def test_settled_logits_are_those_of_the_overrides(family, method, batch):
    plm = tiny_plm(family)
    before = {name: value.clone() for name, value in plm.parameters.items()}
    delta = method.on(plm, seed=1)
    phi = near(delta)
    after = settled(delta.plm, delta.overrides(phi))
    assert torch.equal(after.logits({}, batch), delta.logits(phi, batch))
    assert (after.new_names, after.grafted_names, after.size) == (plm.new_names, delta.plm.grafted_names, plm.size)
    assert all(torch.equal(plm.parameters[name], value) for name, value in before.items())
    untouched = after.parameters.keys() - delta.overrides(phi).keys()
    assert all(after.parameters[name] is delta.plm.parameters[name] for name in untouched)


def test_a_tied_parameter_is_replaced_everywhere(batch):
    plm = tiny_plm("llama", head="lm")  # input and output embeddings are one tensor
    (name,) = [n for n in plm.parameters if "embed_tokens" in n]
    value = plm.parameters[name] + 0.1
    assert torch.equal(settled(plm, {name: value}).logits({}, batch), plm.logits({name: value}, batch))


def test_the_next_stage_trains_itself_alone(batch):
    """Stage 2 overrides no parameter of stage 1, so these stay bit for bit what they were, whatever its φ."""
    plm = tiny_plm("bert")
    stage1 = Prompt(tokens=2, head="frozen").on(plm) + Adapter(bottleneck=2, head="frozen").on(plm, seed=1)
    phi1 = near(stage1)
    frozen = stage1.overrides(phi1)
    host = settled(stage1.plm, frozen)
    stage2 = BitFit().on(host)
    assert stage2.at_identity
    assert torch.equal(stage2.logits(stage2.phi0, batch), stage1.logits(phi1, batch))
    moved = stage2.overrides(near(stage2))
    assert moved.keys().isdisjoint(frozen)
    again = settled(stage2.plm, moved)
    assert all(torch.equal(again.parameters[name], value) for name, value in frozen.items())


def test_what_does_not_fit_is_refused():
    plm = tiny_plm("bert")
    with pytest.raises(ValueError, match=r"has no parameter \['nothing'\]"):
        settled(plm, {"nothing": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"'classifier.bias' has shape \(2,\); got \(3,\)"):
        settled(plm, {"classifier.bias": torch.zeros(3).double()})
