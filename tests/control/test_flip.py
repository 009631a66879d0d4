"""The least control that flips a prediction: closed form, minimum energy, and what is achieved on a PLM."""

from __future__ import annotations

from math import pi, sqrt

import pytest
import torch

from lab.control import layerwise, minimum_energy, rollout
from lab.control.flip import BEYOND, least_flip
from lab.deltas import Delta, LinearProbe, LoRA
from lab.linalg import Layout, Part
from lab.models.tiny import tiny_plm

IDS = torch.tensor([[2, 17, 5, 40, 3]])
BATCH = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS), "token_type_ids": torch.zeros_like(IDS)}


class Linear(Delta):
    """Logits A φ, with nothing else of a PLM."""

    at_identity = True

    def __init__(self, A):
        self.A, self.phi0 = A, torch.zeros(A.shape[1], dtype=A.dtype)
        self.layout = Layout((Part("first", (2,), 0), Part("rest", (A.shape[1] - 2,), None)))

    def overrides(self, phi):
        return {}

    def logits(self, phi, batch):
        return (self.A @ phi)[None]


A = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]], dtype=torch.float64)


def test_linear_logits_are_flipped_in_one_step_to_the_nearest_class():
    """φ = (3, 2, 0, 0): to class 1 the margin is 1 and ‖g‖ = √2, to class 2 it is 3; δ = −(1 + ε)/2·(1, −1, 0, 0)."""
    phi = torch.tensor([3.0, 2.0, 0.0, 0.0], dtype=torch.float64)
    found = least_flip(Linear(A), phi, BATCH)
    assert (found.start, found.target, found.flipped) == (0, 1, True)
    assert found.margin == pytest.approx(1.0)
    expected = -(1 + BEYOND) / 2 * torch.tensor([1.0, -1.0, 0.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(found.control, expected)
    (attempt,) = found.attempts
    assert attempt.promised == -BEYOND
    assert attempt.achieved == pytest.approx(-BEYOND)
    assert found.shares(Linear(A)) == pytest.approx({0: 1.0, None: 0.0})
    assert found.by_chance == pytest.approx(sqrt(2) * float(expected.norm()) * sqrt(2 / (4 * pi)))


def test_only_free_coordinates_move():
    phi = torch.tensor([3.0, 2.0, 0.0, 0.0], dtype=torch.float64)
    delta = Linear(A)
    free = torch.tensor([False, True, True, True])
    found = least_flip(delta, phi, BATCH, free=free)
    torch.testing.assert_close(found.control, torch.tensor([0.0, 1 + BEYOND, 0.0, 0.0], dtype=torch.float64))
    none = least_flip(delta, phi, BATCH, free=torch.tensor([False, False, False, True]))
    assert not none.flipped
    assert none.attempts == ()
    assert not none.control.any()


def test_a_random_control_moves_the_margin_as_said():
    phi = torch.tensor([3.0, 2.0, 0.0, 0.0], dtype=torch.float64)
    found = least_flip(Linear(A), phi, BATCH)
    r = torch.randn(20_000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    r = r / r.norm(dim=1, keepdim=True) * found.control.norm()
    measured = float((r[:, 0] - r[:, 1]).abs().mean())
    exact = 4 / (3 * pi) * sqrt(2) * float(found.control.norm())  # E|r_1| on the sphere in R⁴ is 4/(3π)
    assert measured == pytest.approx(exact, rel=0.02)
    assert found.by_chance == pytest.approx(exact, rel=0.08)  # √(2/(πd)) is the limit of many coordinates


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_the_first_step_is_the_minimum_energy_control_and_the_last_flips(family):
    plm = tiny_plm(family, seed=0)
    delta = LoRA(rank=2, head="frozen").on(plm, seed=0)
    noise = torch.randn(delta.size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    phi = delta.phi0 + 0.1 * noise.to(delta.phi0)
    batch = {name: BATCH[name] for name in (BATCH if family == "bert" else ("input_ids", "attention_mask"))}
    first = least_flip(delta, phi, batch, attempts=1)
    problem = layerwise(delta, {**batch, "labels": torch.tensor([0])}, torch.nn.functional.cross_entropy)
    trajectory = rollout(problem, problem.split(phi))
    wanted = torch.tensor([-(first.margin + BEYOND)], dtype=torch.float64)
    least = minimum_energy(
        problem, trajectory, wanted, at=lambda z: z[:, first.start] - z[:, first.target], tolerance=1e-12
    )
    torch.testing.assert_close(first.control, least.control, rtol=1e-6, atol=1e-9)
    assert first.attempts[0].achieved == pytest.approx(first.margin + float(least.achieved), abs=1e-8)
    found = least_flip(delta, phi, batch, attempts=8)
    assert found.flipped
    (logits,) = delta.logits(phi + found.control, batch)
    assert int(logits.argmax()) == found.target
    assert found.attempts[-1].achieved == pytest.approx(float(logits[found.start] - logits[found.target]))
    assert abs(found.attempts[-1].achieved + BEYOND) < abs(first.attempts[0].achieved + BEYOND)  # corrected


def test_several_texts_are_refused():
    delta = LinearProbe().on(tiny_plm("bert", seed=0), seed=0)
    two = {name: tensor.repeat(2, 1) for name, tensor in BATCH.items()}
    with pytest.raises(ValueError, match="one text for two classes"):
        least_flip(delta, delta.phi0, two)
