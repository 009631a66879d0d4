"""Gramian, minimum energy and reach: by hand on the double integrator, against dense products elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.func import jacrev

from lab.control import (
    ControlProblem,
    control_jacobian,
    double_integrator,
    gramian,
    layer_jacobians,
    minimum_energy,
    reach,
    residual_toy,
    rollout,
    trace_share,
)
from lab.control.problem import advance


def still(problem):
    return rollout(problem, problem.zero_controls())


@pytest.fixture(scope="module")
def toy():
    problem, controls = residual_toy(n_layers=4, width=3, n_samples=5)
    return problem, rollout(problem, [100 * u for u in controls])  # far from the linear regime


def test_double_integrator_by_hand():
    """AB = (1, 1), B = (0, 1): W = [[1, 1], [1, 2]]; W⁻¹ = [[2, −1], [−1, 1]], so (1, 0) costs 2 with u = (1, −1)."""
    problem = double_integrator().problem()
    W = gramian(problem, still(problem))
    assert W.to_dense().tolist() == [[1.0, 1.0], [1.0, 2.0]]
    first, second = gramian(problem, still(problem), per_layer=True)
    assert first.to_dense().tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert second.to_dense().tolist() == [[0.0, 0.0], [0.0, 1.0]]
    least = minimum_energy(problem, still(problem), torch.tensor([1.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(least.control, torch.tensor([1.0, -1.0], dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(least.energy, torch.tensor(2.0, dtype=torch.float64), rtol=1e-12, atol=0)
    torch.testing.assert_close(least.achieved, torch.tensor([1.0, 0.0], dtype=torch.float64), rtol=0, atol=1e-12)
    assert least.converged


def test_gramian_is_the_sum_of_propagated_input_matrices(make_system):
    system = make_system(T=4)
    problem = system.problem()
    expected, transition = torch.zeros(3, 3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    for t in reversed(range(4)):
        moved = transition @ system.B[t]  # Φ_t B_t with Φ_t = A_{T−1} ⋯ A_{t+1}
        expected += moved @ moved.T
        transition = transition @ system.A[t]
    torch.testing.assert_close(gramian(problem, still(problem)).to_dense(), expected, rtol=1e-12, atol=1e-12)


def test_nonlinear_gramian_equals_the_dense_jacobian_product(toy):
    problem, trajectory = toy
    phi = problem.join(trajectory.controls)
    J = jacrev(lambda x: advance(problem, 0, problem.h0, problem.split(x)).reshape(-1))(phi)
    W = gramian(problem, trajectory)
    torch.testing.assert_close(W.to_dense(), J @ J.T, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(control_jacobian(problem, trajectory).to_dense(), J, rtol=1e-10, atol=1e-12)


def test_layers_add_up(toy):
    problem, trajectory = toy
    parts = gramian(problem, trajectory, per_layer=True)
    total = sum(part.to_dense() for part in parts)
    torch.testing.assert_close(total, gramian(problem, trajectory).to_dense(), rtol=1e-10, atol=1e-12)
    blocks = torch.cat([J.to_dense() for J in layer_jacobians(problem, trajectory)], 1)
    torch.testing.assert_close(blocks, control_jacobian(problem, trajectory).to_dense(), rtol=1e-10, atol=1e-12)


def test_an_inner_state_is_moved_by_the_stages_before_it_only(toy):
    problem, trajectory = toy
    J = control_jacobian(problem, trajectory, at=2).to_dense()
    assert J[:, : 2 * 12].any()
    assert not J[:, 2 * 12 :].any()
    assert len(gramian(problem, trajectory, at=2, per_layer=True)) == 2


def test_a_function_of_the_last_state_can_be_observed(toy):
    problem, trajectory = toy
    W = gramian(problem, trajectory, at=lambda h: h.sum(-1)[:2])
    assert W.shape == (2, 2)
    J = control_jacobian(problem, trajectory).to_dense().reshape(5, 3, -1).sum(1)[:2]
    torch.testing.assert_close(W.to_dense(), J @ J.T, rtol=1e-10, atol=1e-12)


def test_minimum_energy_is_the_pseudo_inverse(toy):
    problem, trajectory = toy
    W = gramian(problem, trajectory).to_dense()
    z = torch.randn(15, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    least = minimum_energy(problem, trajectory, z.reshape(5, 3), tolerance=1e-13, iterations=200)
    J = control_jacobian(problem, trajectory).to_dense()
    torch.testing.assert_close(least.energy, z @ torch.linalg.pinv(W) @ z, rtol=1e-6, atol=0)  # cond(W) ≈ 1e5
    torch.testing.assert_close(least.control, J.T @ torch.linalg.pinv(W) @ z, rtol=1e-5, atol=1e-6)
    assert float(least.unreachable) < 1e-6


def test_what_cannot_be_reached_is_reported():
    """One step of the double integrator moves the velocity alone: of (3, 4) it reaches (0, 4), and misses 3/5."""
    problem = double_integrator(T=1).problem()
    least = minimum_energy(problem, still(problem), torch.tensor([3.0, 4.0], dtype=torch.float64))
    torch.testing.assert_close(least.predicted, torch.tensor([0.0, 4.0], dtype=torch.float64))
    assert float(least.unreachable) == pytest.approx(0.6)
    assert float(least.energy) == pytest.approx(16.0)


def test_applied_energy_agrees_to_second_order(toy):
    """y(φ + εδφ) − y(φ) = εz + O(ε²)."""
    problem, trajectory = toy
    z = torch.randn(15, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    errors = []
    for epsilon in (1e-3, 1e-4):
        least = minimum_energy(problem, trajectory, epsilon * z, tolerance=1e-13, iterations=200)
        errors.append(float((least.achieved - least.predicted).norm()) / epsilon)
    assert errors[1] < 0.2 * errors[0]


def test_reach_dense_and_lanczos_agree(toy, monkeypatch):
    problem, trajectory = toy
    dense = reach(problem, trajectory)
    assert dense.complete
    assert dense.spectrum.rank == 15
    monkeypatch.setattr("lab.control.reachability._DENSE", 0)
    leading = reach(problem, trajectory, k=4)
    assert leading.converged
    assert not leading.complete
    torch.testing.assert_close(leading.eigenvalues, dense.eigenvalues[:4], rtol=1e-8, atol=0)


def test_reach_of_a_wide_jacobian_comes_from_its_small_gram_matrix(toy, monkeypatch):
    problem, trajectory = toy
    dense = reach(problem, trajectory)
    monkeypatch.setattr("lab.control.reachability._ENTRIES", 0)
    wide = reach(problem, trajectory)
    assert wide.complete
    torch.testing.assert_close(wide.eigenvalues, dense.eigenvalues, rtol=1e-9, atol=1e-12 * float(dense.eigenvalues[0]))


@pytest.mark.parametrize("entries", [0, 10**8], ids=["product by product", "from all of J"])
def test_the_whole_spectrum_counts_no_rounding(toy, monkeypatch, entries):
    """y and 2y together: 30 numbers of which 15 are free. The Gram matrix has the others at 1e-8 of the largest."""
    problem, trajectory = toy
    twice = lambda h: torch.cat([h, 2 * h]).reshape(-1)  # noqa: E731
    exact = reach(problem, trajectory, at=twice).spectrum
    monkeypatch.setattr("lab.control.reachability._DENSE", 4)
    monkeypatch.setattr("lab.control.reachability._ENTRIES", entries)
    whole = reach(problem, trajectory, at=twice, k=None)
    assert whole.complete
    assert whole.spectrum.rank == exact.rank == 15
    torch.testing.assert_close(whole.spectrum.values[:15], exact.values[:15], rtol=1e-7, atol=0)
    assert not whole.spectrum.values[15:].any()
    monkeypatch.setattr("lab.control.reachability._LARGEST", 20)
    with pytest.raises(ValueError, match="computed up to 20 rows or columns; J is 30 × 48"):
        reach(problem, trajectory, at=twice, k=None)


def test_a_function_of_an_inner_state_can_be_observed(toy):
    problem, trajectory = toy
    pair = control_jacobian(problem, trajectory, at=(2, lambda h: h[:2, 0])).to_dense()
    inner = control_jacobian(problem, trajectory, at=2).to_dense().reshape(5, 3, -1)
    torch.testing.assert_close(pair, inner[:2, 0], rtol=1e-12, atol=1e-14)


def test_reach_of_one_step_has_rank_one():
    problem = double_integrator(T=1).problem()
    found = reach(problem, still(problem))
    assert found.spectrum.rank == 1
    assert found.eigenvalues[0] == 1.0


def test_trace_shares_exact_and_estimated(toy):
    problem, trajectory = toy
    exact = trace_share(problem, trajectory, n_samples=None)
    expected = torch.stack([W.to_dense().trace() for W in gramian(problem, trajectory, per_layer=True)])
    torch.testing.assert_close(exact.traces, expected, rtol=1e-10, atol=0)
    assert float(exact.shares.sum()) == pytest.approx(1.0)
    estimated = trace_share(problem, trajectory, n_samples=400)
    assert bool(((estimated.traces - expected).abs() < 4 * estimated.standard_errors).all())
    assert bool((estimated.standard_errors < 0.2 * expected).all())


def test_misuse():
    problem = double_integrator().problem()
    with pytest.raises(ValueError, match='at must be "end", "logits"'):
        gramian(problem, still(problem), at="logits")
    with pytest.raises(ValueError, match="state index 1 … 2"):
        gramian(problem, still(problem), at=3)
    with pytest.raises(ValueError, match="as many entries as y, 2; got shape"):
        minimum_energy(problem, still(problem), torch.zeros(3))
    named = replace(problem, end=1)
    assert gramian(named, still(named), at="logits").shape == (2, 2)


def test_a_target_of_zero_is_reached_by_doing_nothing_in_float32_too():
    problem = ControlProblem(torch.zeros(2), (lambda h, u: h.roll(1) + u,) * 2, lambda h: h.sum(), (1, 1))
    found = minimum_energy(problem, still(problem), torch.zeros(2))
    assert float(found.unreachable) == float(found.energy) == 0
