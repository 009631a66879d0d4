from __future__ import annotations

import pytest
import torch

from lab.deltas import Adapter, Additive, BitFit, FullFineTuning, LoRA, Prompt
from lab.deltas.delta import Counts
from lab.linalg import LowRank
from lab.projections import Gaussian


def test_phi_of_another_length_is_refused(plm_of, batch_of):
    delta = BitFit().on(plm_of())
    with pytest.raises(ValueError, match=rf"shape \({delta.size},\); got \({delta.size + 1},\)"):
        delta.logits(torch.zeros(delta.size + 1).double(), batch_of(plm_of()))


def test_restrict_needs_an_operator_into_phi(plm_of):
    delta = BitFit().on(plm_of())
    with pytest.raises(ValueError, match=rf"P must map into R\^{delta.size}"):
        delta.restrict(Gaussian(delta.size + 1, 2, seed=0))
    with pytest.raises(ValueError, match=rf"origin must have shape \({delta.size},\)"):
        delta.restrict(Gaussian(delta.size, 2, seed=0), origin=torch.zeros(2))


def test_reparameterize_needs_a_map_into_phi(plm_of):
    delta = BitFit().on(plm_of())
    with pytest.raises(ValueError, match=rf"g must map into R\^{delta.size}"):
        delta.reparameterize(lambda z: z, torch.zeros(3).double())


def test_a_restriction_elsewhere_is_no_identity(plm_of):
    delta = BitFit().on(plm_of())
    P = Gaussian(delta.size, 2, seed=0)
    assert delta.restrict(P, origin=delta.phi0.clone()).at_identity
    assert not delta.restrict(P, origin=delta.phi0 + 1).at_identity
    assert not delta.reparameterize(lambda z: z + 1, delta.phi0).at_identity


def test_deltas_of_different_plms_do_not_add(plm_of):
    with pytest.raises(ValueError, match="both deltas must be built on the same PLM"):
        BitFit().on(plm_of()) + LoRA(rank=1).on(plm_of(seed=5))


def test_adding_something_else_is_a_type_error(plm_of):
    with pytest.raises(TypeError):
        BitFit().on(plm_of()) + 1


def test_two_changes_of_one_parameter_add(plm_of, noise):
    """θ + φ₁ from full fine-tuning and s·BA from LoRA on the same query matrices."""
    plm = plm_of()
    full, lora = FullFineTuning(head="frozen").on(plm), LoRA(rank=2, head="frozen").on(plm, seed=1)
    both = full + lora
    phi1, phi2 = 0.1 * noise(full.size, seed=1), 0.1 * noise(lora.size, seed=2)
    overrides = both.overrides(torch.cat([phi1, phi2]))
    changes = full.layout.unflatten(phi1)
    for label, low_rank in lora.weight_difference(phi2).items():
        expected = plm.parameters[label] + changes[label] + low_rank.to_dense()
        torch.testing.assert_close(overrides[label], expected, rtol=0, atol=1e-14)
        difference = both.weight_difference(torch.cat([phi1, phi2]))[label]
        torch.testing.assert_close(difference, changes[label] + low_rank.to_dense(), rtol=0, atol=1e-14)


def test_repeated_part_names_are_numbered(plm_of):
    plm = plm_of()
    twice = BitFit(head="frozen").on(plm) + BitFit(head="frozen").on(plm) + BitFit(head="frozen").on(plm)
    first = BitFit(head="frozen").on(plm).layout.names[0]
    assert [n for n in twice.layout.names if n.startswith(first)] == [first, f"{first}.2", f"{first}.3"]


def test_factors_stay_factors_where_nothing_else_changes_the_matrix(plm_of):
    plm = plm_of()
    both = BitFit(head="frozen").on(plm) + LoRA(rank=1, head="frozen").on(plm)
    assert all(isinstance(x, LowRank) for x in both.weight_difference(both.phi0).values())


def test_grafts_of_both_stand_on_the_host_once(plm_of, batch_of):
    plm = plm_of()
    adapter, prompt = Adapter(bottleneck=2, head="frozen").on(plm), Prompt(tokens=2, head="frozen").on(plm)
    both = adapter + prompt
    assert [g.name for g in both.plm.grafts] == ["adapter", "prompt"]
    assert (both + adapter).plm.grafts == both.plm.grafts  # the adapter's graft is there already
    on_host = BitFit(head="frozen").on(prompt.plm)  # a delta of a host
    torch.testing.assert_close(
        (prompt + on_host).logits(torch.cat([prompt.phi0, on_host.phi0]), batch_of(plm)),
        prompt.logits(prompt.phi0, batch_of(plm)),
        rtol=0,
        atol=0,
    )


def test_two_grafts_of_one_name_are_refused(plm_of):
    plm = plm_of()
    with pytest.raises(ValueError, match="named 'prompt' is already on this PLM"):
        Prompt(tokens=2).on(plm) + Prompt(tokens=3).on(plm)
    two = Prompt(tokens=2, head="frozen").on(plm) + Prompt(tokens=3, head="frozen", label="second").on(plm)
    assert two.size == 5 * 16


def test_counts_give_the_percentage_with_and_without_head():
    counts = Counts(trained=30, stored=25, head=10, added=20, native=80)
    assert counts.percent == 30.0
    assert counts.percent_without_head == 20.0


def test_additive_starts_at_zero_without_storing_it(plm_of):
    delta = FullFineTuning().on(plm_of())
    assert delta.phi0.untyped_storage().nbytes() <= 16
    assert not delta.phi0.any()


def test_deterministic_deltas_take_no_noise_add_no_penalty_and_are_stored_as_they_are(plm_of, noise):
    delta = (BitFit().on(plm_of()) + LoRA(rank=1, head="frozen").on(plm_of())).restrict(
        Gaussian(BitFit().on(plm_of()).size + LoRA(rank=1, head="frozen").on(plm_of()).size, 4, seed=0)
    )
    x = noise(4)
    form = delta.training()
    assert (form.n_noise, len(form.noise(0)), float(form.penalty(x)), form.finish) == (0, 0, 0.0, None)
    sampled, plain = form.sampled(x, form.noise(0)), delta.overrides(x)
    assert all(torch.equal(sampled[name], plain[name]) for name in plain)


def test_repr_names_size_and_plm(plm_of):
    delta = Additive(plm_of(), ())
    assert repr(delta) == "Additive(size=0, plm='tiny-bert')"
