"""Balanced directions of steering: those of the control problem itself, projectors, and blind to what is not seen."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from lab.control import (
    ActivationSubspace,
    balanced_steering,
    balanced_subspaces,
    layerwise,
    lqr_of_energy,
    rollout,
    steering,
)
from lab.control.finite_reach import balanced
from lab.control.problem import ControlProblem
from lab.deltas import LoRA
from lab.models.tiny import tiny_plm


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(n=1):
    plm = tiny_plm("bert", num_labels=3).with_attention("eager")
    delta = LoRA(rank=1).on(plm)
    words = ["good film", "bad slow plot", "a bright story", "music"][:n]
    batch = dict(plm.tokenizer(words, padding=True, return_tensors="pt")) | {"labels": torch.arange(n) % 3}
    phi = delta.phi0 + 0.3 * normal(delta.size)
    problem = layerwise(delta, batch, cross_entropy)
    hidden = problem.h0.shape[-1]
    spaces = [
        ActivationSubspace(normal(hidden, seed=b), torch.linalg.qr(normal(hidden, 2, seed=9 + b)).Q, torch.tensor(4.0))
        for b in range(2)
    ]
    return problem, problem.split(phi), steering(problem, problem.split(phi), spaces)


def test_they_are_projectors_on_directions_that_are_driven_and_seen():
    """ZᵀX = 1 on the directions that are kept, for every example and block."""
    for space in balanced_subspaces(made(3)[2]):
        product = space.readings.mT @ space.states
        kept = (space.values > 0).double()
        expected = torch.diag_embed(kept)
        torch.testing.assert_close(product, expected, rtol=0, atol=1e-6)
        assert bool((space.values[:, 0] > 0).all())


@pytest.mark.parametrize("block", [0, 1])
def test_of_one_example_they_are_those_of_the_control_problem(block):
    """`balanced` finds the same Hankel values and the same oblique projector at the position that is steered, after the
    first block, where nothing else has moved yet, and after the last, where nothing else is read."""
    found = made()[2]
    T = found.problem.T
    whole = ControlProblem(
        h0=found.problem.h0,
        dynamics=(*found.problem.dynamics, lambda h, u: found.logits_of(h)),
        terminal_cost=lambda y: y.sum(),
        sizes=(*found.problem.sizes, 0),
        end=T,
    )
    path = rollout(whole, whole.zero_controls())
    expected = balanced(whole, path, block + 1, at="logits")
    space = balanced_subspaces(found)[block]
    k = len(expected.values)
    torch.testing.assert_close(space.values[0, :k], expected.values, rtol=1e-6, atol=1e-9)
    shape = path.states[block + 1].shape
    there = expected.states.reshape(*shape, k)[0, 0]
    read = expected.readings.reshape(*shape, k)[0, 0]
    torch.testing.assert_close(space.states[0] @ space.readings[0].mT, there @ read.mT, rtol=1e-6, atol=1e-8)


def test_what_the_logits_do_not_see_costs_nothing():
    problem, controls, found = made(2)
    seen = balanced_steering(problem, controls, found)
    space = seen.subspaces[-1]
    unseen = normal(2, len(space.mean), seed=5)
    Z = torch.linalg.qr(torch.cat([space.readings, space.basis.expand(2, -1, -1)], -1)).Q
    unseen = unseen - (Z @ (Z.mT @ unseen[..., None]))[..., 0]
    assert float(space.deviation(space.mean + unseen).norm()) < 1e-6 * float(unseen.norm())
    nothing = found.problem.zero_controls()
    assert float(rollout(seen.problem, nothing).cost) > 0
    spent = lqr_of_energy(seen, 0.5, iterations=6)
    assert sum(float(u.square().sum()) for u in spent) == pytest.approx(0.5)
    assert float(rollout(seen.problem, [0.01 * u for u in spent]).cost) < float(rollout(seen.problem, nothing).cost)
