"""`ControlProblem` and `rollout`: bookkeeping of states, costs and the joint control vector."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lab.control import ControlProblem, residual_toy, rollout
from lab.control.problem import advance, cost_to_go


def counting_problem(sizes: tuple[int, ...] = (1, 2, 0)) -> ControlProblem:
    """h ↦ h + Σu, R_t = (t + 1)·Σu², ℓ = h: every number can be done in the head."""
    return ControlProblem(
        h0=torch.zeros(1, dtype=torch.float64),
        dynamics=tuple(lambda h, u: h + u.sum() for _ in sizes),
        terminal_cost=lambda h: h.sum(),
        sizes=sizes,
        running_costs=tuple((lambda h, u, t=t: (t + 1) * u.square().sum()) for t in range(len(sizes))),
    )


def test_rollout_by_hand():
    trajectory = rollout(counting_problem(), [torch.tensor([1.0]), torch.tensor([2.0, 3.0]), torch.tensor([])])
    assert [float(h) for h in trajectory.states] == [0.0, 1.0, 6.0, 6.0]
    assert trajectory.running.tolist() == [1.0, 2 * 13.0, 0.0]
    assert float(trajectory.terminal) == 6.0
    assert float(trajectory.cost) == 33.0
    assert trajectory.end is trajectory.states[-1]


def test_no_running_costs_means_none():
    problem = replace(counting_problem(), running_costs=())
    assert rollout(problem, problem.split(torch.ones(3).double())).running.tolist() == [0.0, 0.0, 0.0]


def test_cost_to_go_and_advance_are_tails_of_the_rollout():
    problem, controls = residual_toy(n_layers=4)
    trajectory = rollout(problem, controls)
    for t in range(problem.T + 1):
        tail = cost_to_go(problem, t, trajectory.states[t], controls[t:])
        torch.testing.assert_close(tail, trajectory.terminal + trajectory.running[t:].sum(), rtol=1e-14, atol=0)
        assert torch.equal(advance(problem, 0, problem.h0, controls[:t]), trajectory.states[t])


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.integers(0, 10**6))
def test_join_inverts_split_under_any_positions(sizes, seed):
    d = sum(sizes)
    generator = torch.Generator().manual_seed(seed)
    problem = replace(counting_problem(tuple(sizes)), positions=torch.randperm(d, generator=generator))
    phi = torch.randn(d, generator=generator, dtype=torch.float64)
    assert torch.equal(problem.join(problem.split(phi)), phi)
    assert [len(u) for u in problem.split(phi)] == sizes


def test_zero_controls_fit():
    problem = counting_problem()
    assert float(rollout(problem, problem.zero_controls()).cost) == 0.0


def test_misuse():
    problem = counting_problem()
    with pytest.raises(ValueError, match="at least one stage"):
        replace(problem, dynamics=())
    with pytest.raises(ValueError, match="names needs one entry per stage"):
        replace(problem, names=("only one",))
    with pytest.raises(ValueError, match=r"end is the index of a state, 0 … 3; got 4"):
        replace(problem, end=4)
    with pytest.raises(ValueError, match=r"positions needs shape \(3,\)"):
        replace(problem, positions=torch.arange(2))
    with pytest.raises(ValueError, match=r"joint control has shape \(3,\); got \(2,\)"):
        problem.split(torch.zeros(2))
    with pytest.raises(ValueError, match=r"got u\[1\] of shape \(1,\), expected shape \(2,\) at stage 1"):
        rollout(problem, [torch.zeros(1), torch.zeros(1), torch.zeros(0)])
    with pytest.raises(ValueError, match="got 2 controls, expected 3 controls"):
        rollout(problem, [torch.zeros(1), torch.zeros(2)])
