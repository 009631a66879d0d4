from __future__ import annotations

from math import ceil, exp, log

import pytest
import torch
from torch.func import grad, vmap

from lab.deltas import BitFit, DiffPruning, FullFineTuning
from lab.deltas.diff_pruning import hard_concrete
from lab.projections import Gaussian


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_gates_at_known_points():
    """z = min(1, max(0, 3·σ(α) − 1.5)): α = 0 is closed, σ = 5/6 opens fully, σ = 2/3 half."""
    assert hard_concrete(tensor(0.0, -9.0)).tolist() == [0.0, 0.0]
    assert hard_concrete(tensor(log(5) + 1e-9, 9.0)).tolist() == [1.0, 1.0]
    torch.testing.assert_close(hard_concrete(tensor(log(2.0))), tensor(0.5))


def test_noise_of_one_half_is_the_deterministic_gate():
    alpha = torch.linspace(-3, 3, 7, dtype=torch.float64)
    torch.testing.assert_close(hard_concrete(alpha, torch.full_like(alpha, 0.5)), hard_concrete(alpha))


def test_probability_that_a_gate_is_open_is_the_penalty(plm_of):
    """P(z > 0) = σ(α − ln(−l/r)) = σ(α): the empirical share over many u's, and `expected_l0`."""
    u = torch.rand(200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for alpha in (-1.0, 0.0, 2.0):
        share = (hard_concrete(tensor(alpha), u) > 0).double().mean()
        assert share == pytest.approx(1 / (1 + exp(-alpha)), abs=0.005)  # 4 standard errors
    delta = DiffPruning(log_alpha=2.0, head="frozen").on(plm_of())
    n = delta.differences.size
    assert float(delta.expected_l0(delta.phi0)) == pytest.approx(n / (1 + exp(-2.0)))
    grouped = DiffPruning(log_alpha=2.0, structured=True, head="frozen").on(plm_of())
    assert float(grouped.expected_l0(grouped.phi0)) == pytest.approx(n / (1 + exp(-2.0)) ** 2)


def test_penalty_is_lambda_times_expected_l0_also_beside_other_deltas(plm_of):
    delta = DiffPruning(l0_penalty=0.5, head="frozen").on(plm_of())
    expected = 0.5 * float(delta.expected_l0(delta.phi0))
    both = BitFit(head="frozen").on(plm_of()) + delta
    assert float(both.training().penalty(both.phi0)) == pytest.approx(expected)
    restricted = delta.restrict(Gaussian(delta.size, 2, seed=0))
    assert float(restricted.training().penalty(restricted.phi0)) == pytest.approx(expected)


def test_the_map_is_theta_plus_gate_times_w(plm_of, noise):
    plm = plm_of()
    delta = DiffPruning(structured=True, head="frozen").on(plm)
    phi = noise(delta.size)
    parts = delta.layout.unflatten(phi)
    for name, value in delta.overrides(phi).items():
        z = hard_concrete(100 * parts[f"{name}.gate"]) * hard_concrete(100 * parts[f"{name}.group_gate"])
        torch.testing.assert_close(value, plm.parameters[name] + z * parts[name], rtol=0, atol=1e-14)


def test_noise_is_a_function_of_the_seed_and_samples_differ(plm_of, noise):
    delta = DiffPruning(log_alpha=0.0, head="frozen").on(plm_of())
    form = delta.training()
    u = form.noise(3)
    assert len(u) == form.n_noise == delta.differences.size
    assert torch.equal(u, form.noise(3))
    assert not torch.equal(u, form.noise(4))
    assert bool(((u > 0) & (u < 1)).all())
    phi = delta.phi0 + noise(delta.size)
    one, other = form.sampled(phi, u), form.sampled(phi, form.noise(4))
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_sampled_steps_reach_the_gates_and_run_under_vmap(plm_of, batch_of, noise):
    """At α = 5 the deterministic gate is saturated; noise is what moves it."""
    delta, batch = DiffPruning(head="frozen").on(plm_of()), batch_of(plm_of())
    phi = delta.phi0.clone()
    phi[: delta.differences.size] = noise(delta.differences.size)
    both = BitFit(head="frozen").on(plm_of()) + delta
    phis = torch.stack([torch.cat([both.first.phi0, phi])] * 2)
    form = both.training()
    noises = torch.stack([form.noise(0), form.noise(1)])

    def loss(p, u):
        return form.plm.logits(form.sampled(p, u), batch).square().sum()

    gradients = vmap(grad(loss))(phis, noises)
    torch.testing.assert_close(gradients[1], grad(loss)(phis[1], noises[1]), rtol=0, atol=1e-10)
    gates = gradients[0][both.first.size + delta.differences.size :]
    assert bool(gates.any())
    deterministic = grad(lambda p: both.logits(p, batch).square().sum())(phis[0])
    assert not bool(deterministic[both.first.size + delta.differences.size :].any())


def test_projection_keeps_the_largest_differences(plm_of, noise, batch_of):
    plm = plm_of()
    delta = DiffPruning(sparsity=0.01, head="frozen").on(plm)
    phi = delta.phi0.clone()
    w = noise(delta.differences.size)
    phi[: delta.differences.size] = w
    sparse, psi = delta.projected(phi)
    k = ceil(0.01 * len(w))
    assert (sparse.size, delta.stored_size) == (k, k)
    kept = w.abs().topk(k).indices
    expected = torch.zeros_like(w)
    expected[kept] = w[kept]
    full = FullFineTuning(head="frozen").on(plm)
    torch.testing.assert_close(
        sparse.logits(psi, batch_of(plm)), full.logits(expected, batch_of(plm)), rtol=0, atol=1e-13
    )
    everything, psi = delta.projected(phi, sparsity=1.0)
    torch.testing.assert_close(everything.logits(psi, batch_of(plm)), delta.logits(phi, batch_of(plm)))


def test_what_is_kept_is_the_projection_beside_the_head_and_in_a_subspace(plm_of, noise, batch_of):
    plm = plm_of()
    delta = DiffPruning(sparsity=0.01).on(plm)
    finish = delta.training().finish
    phi = delta.phi0 + 0.01 * noise(delta.size)
    kept, psi = finish(phi)
    assert kept.training().finish is None
    assert kept.size == delta.stored_size
    changed = sum(int((value != plm.parameters[name]).sum()) for name, value in kept.overrides(psi).items())
    assert changed == delta.stored_size
    small = delta.restrict(Gaussian(delta.size, 3, seed=0))
    x = noise(3)
    again, psi = small.training().finish(x)
    whole, chi = finish(small.g(x))
    torch.testing.assert_close(again.logits(psi, batch_of(plm)), whole.logits(chi, batch_of(plm)))


def test_misuse_is_refused(plm_of):
    for sparsity in (0.0, 1.1):
        with pytest.raises(ValueError, match=f"0 < sparsity <= 1; got {sparsity}"):
            DiffPruning(sparsity=sparsity)
    with pytest.raises(ValueError, match="l0_penalty >= 0; got -1"):
        DiffPruning(l0_penalty=-1)
    delta = DiffPruning(head="frozen").on(plm_of())
    with pytest.raises(ValueError, match=r"sparsity must lie in \(0, 1\]; got 0"):
        delta.projected(delta.phi0, sparsity=0)
