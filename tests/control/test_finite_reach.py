"""Reach beyond first order and Hankel values: products, linear systems, and the identities of balancing."""

from __future__ import annotations

import pytest
import torch

from lab.control import ControlProblem, gramian, layer_jacobians, rollout
from lab.control.finite_reach import balanced, empirical_gramian, observability_jacobian


def product() -> ControlProblem:
    """y = u_1 u_2 in one stage."""
    zero = torch.zeros(1, dtype=torch.float64)
    return ControlProblem(zero, (lambda h, u: h + u[0] * u[1],), lambda h: h.sum(), (2,))


def chain(T: int = 6) -> ControlProblem:
    """h ← 0.8 h + u, read as 0.5 h."""
    return ControlProblem(
        torch.ones(1, dtype=torch.float64), (lambda h, u: 0.8 * h + u,) * T, lambda h: h.sum(), (1,) * T
    )


def network(T: int = 4, n: int = 5, m: int = 3) -> ControlProblem:
    """A nonlinear chain with different matrices at every stage."""
    g = torch.Generator().manual_seed(0)
    A = torch.randn(T, n, n, generator=g, dtype=torch.float64) / n**0.5
    B = torch.randn(T, n, m, generator=g, dtype=torch.float64)
    stages = tuple(lambda h, u, t=t: torch.tanh(A[t] @ h + B[t] @ u) for t in range(T))
    return ControlProblem(torch.randn(n, generator=g, dtype=torch.float64), stages, lambda h: h.sum(), (m,) * T)


def at_zero(problem: ControlProblem):
    return rollout(problem, problem.zero_controls())


@pytest.mark.parametrize("radius", [0.1, 1.0, 3.0])
def test_a_product_is_reached_at_second_order_alone(radius):
    """y = ab at 0: W = 0, and W_ε = (2/ε²)·E(ε² sin 2θ/2)² = ε²/4."""
    problem = product()
    assert gramian(problem, at_zero(problem)).to_dense().abs().max() == 0
    found = empirical_gramian(problem, at_zero(problem), radius, n_samples=4000)
    assert float(found) == pytest.approx(radius**2 / 4, rel=0.05)


def test_of_a_linear_system_it_is_the_gramian_at_every_radius():
    problem = chain()
    exact = gramian(problem, at_zero(problem)).to_dense()
    for radius in (1e-3, 10.0):
        found = empirical_gramian(problem, at_zero(problem), radius, n_samples=4000)
        assert float(found) == pytest.approx(float(exact), rel=0.06)


def test_as_the_radius_falls_it_becomes_the_gramian():
    problem = network()
    exact = gramian(problem, at_zero(problem)).to_dense()
    small, large = (empirical_gramian(problem, at_zero(problem), r, n_samples=3000) for r in (1e-3, 30.0))
    assert float((small - exact).norm() / exact.norm()) < 0.15
    assert float(large.trace()) < 0.2 * float(exact.trace())  # tanh saturates


def test_the_hankel_value_of_a_scalar_chain_by_hand():
    """Cut 4 of 6: √(1 + .8² + .8⁴ + .8⁶) reached, .5·.8² seen of it: .486541."""
    problem = chain()
    found = balanced(problem, at_zero(problem), 4, at=("end", lambda h: 0.5 * h))
    assert found.values.tolist() == pytest.approx([0.486541], abs=1e-6)
    C = observability_jacobian(problem, at_zero(problem), 4, at=("end", lambda h: 0.5 * h))
    assert float(C.to_dense()) == pytest.approx(0.5 * 0.8**2)


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
def test_hankel_values_are_those_of_both_gramians_and_of_the_first_columns_of_the_jacobian(cut):
    problem = network()
    path = at_zero(problem)
    found = balanced(problem, path, cut, at="end")
    C = observability_jacobian(problem, path, cut, at="end").to_dense()
    W_c, W_o = gramian(problem, path, at=cut).to_dense(), C.T @ C
    eigenvalues = torch.linalg.eigvals(W_c @ W_o).real.clamp(min=0).sqrt().sort(descending=True).values
    k = len(found.values)
    assert torch.allclose(found.values, eigenvalues[:k], rtol=1e-6)
    columns = torch.cat([J.to_dense() for J in layer_jacobians(problem, path)[:cut]], dim=1)
    assert torch.allclose(found.values, torch.linalg.svdvals(columns)[:k], rtol=1e-8)
    sigma = torch.diag(found.values)
    assert torch.allclose(found.readings.T @ W_c @ found.readings, sigma, atol=1e-10)
    assert torch.allclose(found.states.T @ W_o @ found.states, sigma, atol=1e-10)
    assert torch.allclose(found.readings.T @ found.states, torch.eye(k, dtype=torch.float64), atol=1e-8)


def test_few_directions_may_be_asked_for():
    problem = network()
    assert len(balanced(problem, at_zero(problem), 2, at="end", k=2).values) == 2


def test_misuse_is_refused():
    problem = chain()
    with pytest.raises(ValueError, match="radius > 0"):
        empirical_gramian(problem, at_zero(problem), 0.0)
    with pytest.raises(ValueError, match="from 0 to where y is read, 6; got 7"):
        observability_jacobian(problem, at_zero(problem), 7, at="end")
    with pytest.raises(ValueError, match="controls before the cut"):
        balanced(problem, at_zero(problem), 0, at="end")
