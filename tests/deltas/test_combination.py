"""Several methods as one: their sum, one head, a step size for each part."""

from __future__ import annotations

import pytest
import torch

from lab.deltas import Adapter, BitFit, Combination, LinearProbe, LoRA, Prefix, Prompt, method_from_json

PARTS = (Prompt(tokens=2), BitFit(), Adapter(bottleneck=2))


def test_logits_are_those_of_the_sum(plm_of, batch_of, noise):
    plm = plm_of()
    both = Combination(PARTS, head="frozen").on(plm, seed=4)
    prompt, bitfit, adapter = (part.body(plm, 4) for part in PARTS)
    total = prompt + bitfit + adapter
    phi = total.phi0 + 0.1 * noise(total.size)
    assert torch.equal(both.logits(phi, batch_of(plm)), total.logits(phi, batch_of(plm)))
    assert both.counts == total.counts


def test_one_head_belongs_to_the_whole(plm_of):
    plm = plm_of()
    head = LinearProbe().on(plm).size
    parts = sum(part.body(plm, 0).size for part in PARTS)
    assert (Combination(PARTS).on(plm).size, Combination(PARTS).on(plm).head_size) == (parts + head, head)
    assert Combination(PARTS, head="frozen").on(plm).size == parts


def test_no_part_is_the_linear_probe_or_the_untouched_plm(plm_of, batch_of, noise):
    plm = plm_of()
    empty, probe = Combination().on(plm), LinearProbe().on(plm)
    phi = noise(probe.size)
    assert torch.equal(empty.logits(phi, batch_of(plm)), probe.logits(phi, batch_of(plm)))
    lm = plm_of("llama", head="lm", verbalizer=("bad", "good"))
    untouched = Combination().on(lm)
    assert untouched.size == 0
    assert torch.equal(untouched.logits(untouched.phi0, batch_of(lm)), lm.logits({}, batch_of(lm)))


def test_a_step_scale_is_a_step_size_of_its_own(plm_of, batch_of, noise):
    """φ_i = c_i·z_i: the gradient in z is c times that in φ, so AdamW's step η in z moves φ by c·η."""
    plm, scales = plm_of(), (10.0, 1.0, 0.5)
    plain = Combination(PARTS, head="frozen").on(plm, seed=4)
    steered = Combination(PARTS, scales, head="frozen").on(plm, seed=4)
    assert steered.layout == plain.layout
    assert steered.counts == plain.counts
    c = torch.cat([torch.full((part.body(plm, 0).size,), s).double() for part, s in zip(PARTS, scales, strict=True)])
    phi = plain.phi0 + 0.1 * noise(plain.size)
    torch.testing.assert_close(steered.logits(phi / c, batch_of(plm)), plain.logits(phi, batch_of(plm)))
    lora, ten = LoRA(rank=1, head="frozen"), Combination((LoRA(rank=1),), (10.0,), head="frozen")
    torch.testing.assert_close(10 * ten.on(plm, seed=2).phi0, lora.on(plm, seed=2).phi0)  # A is not 0 at the start


def test_stored_numbers_survive_a_step_scale(plm_of):
    plm, part = plm_of(), Prefix(tokens=3, mlp=5, embedding=4)
    alone = part.body(plm, 0).counts
    assert alone.stored < alone.trained
    assert Combination((part,), (3.0,), head="frozen").on(plm).counts == alone


@pytest.mark.parametrize("method", [Combination(), Combination(PARTS), Combination(PARTS, (3.0, 1.0, 0.1))])
def test_json_round_trip(method):
    again = method_from_json(method.to_json())
    assert again == method
    assert hash(again) == hash(method)


def test_scales_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"as many step_scales as parts.*got 2 for 3 parts"):
        Combination(PARTS, (1.0, 2.0))
    with pytest.raises(ValueError, match="step_scales must be positive"):
        Combination(PARTS, (1.0, 0.0, 1.0))
