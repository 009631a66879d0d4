"""Radii of answers: exact on linear classifiers, a bound on the distance to the boundary everywhere."""

from __future__ import annotations

import pytest
import torch

from lab.control.certificates import entrance_radii, first_order_radii
from lab.deltas import BitFit, LoRA
from lab.models.tiny import tiny_plm


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_two_classes_by_hand():
    """f = (x₁, −x₁) at (1, 0): m = 2, ‖J‖₂ = √2, radius 2/(√2·√2) = 1, which is the distance to x₁ = 0."""
    W = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    x = torch.tensor([[1.0, 0.0], [-0.5, 3.0]], dtype=torch.float64)
    found = first_order_radii(lambda x: x @ W.mT, x, torch.tensor([0, 0]))
    assert found.margin.tolist() == pytest.approx([2, -1])
    assert found.steepness.tolist() == pytest.approx([2**0.5, 2**0.5])
    assert found.radius.tolist() == pytest.approx([1, 0])  # the second is wrong already
    assert found.boundary.tolist() == pytest.approx([1, 0])
    assert found.size.tolist() == pytest.approx([1, 9.25**0.5])


def test_no_push_within_the_radius_changes_the_answer_of_a_linear_classifier_and_one_to_the_boundary_does():
    W, x = normal(4, 6, seed=1), normal(30, 6, seed=2)
    labels = (x @ W.mT).argmax(1)
    found = first_order_radii(lambda x: x @ W.mT, x, labels)
    assert bool((found.radius <= found.boundary * (1 + 1e-12)).all())
    for seed in range(20):
        push = normal(30, 6, seed=10 + seed)
        push *= (0.999 * found.boundary / push.norm(dim=1))[:, None]
        assert bool((((x + push) @ W.mT).argmax(1) == labels).all())
    slopes = W[labels][:, None] - W[None]  # (30, 4, 6)
    distance = ((x @ W.mT).gather(1, labels[:, None]) - x @ W.mT) / slopes.norm(dim=2).clamp_min(1e-300)
    nearest = distance.scatter(1, labels[:, None], torch.inf).argmin(1)
    down = -slopes[torch.arange(30), nearest]
    across = x + 1.001 * found.boundary[:, None] * down / down.norm(dim=1, keepdim=True)
    assert bool(((across @ W.mT).argmax(1) == nearest).all())


@pytest.mark.parametrize("method", [LoRA(rank=1, head="frozen"), BitFit(head="frozen")])
def test_radii_of_a_delta_are_those_of_its_own_jacobian_and_know_no_padding(method):
    delta = method.on(tiny_plm("bert"))
    batch = {
        "input_ids": torch.tensor([[2, 5, 7, 3], [2, 9, 3, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]),
        "labels": torch.tensor([0, 1]),
    }
    phi = delta.phi0 + 0.3 * normal(delta.size)
    batch["labels"] = delta.logits(phi, batch).argmax(1)
    found = entrance_radii(delta, phi, batch)
    short = {name: value[1:, :3] if value.ndim == 2 else value[1:] for name, value in batch.items()}
    alone = entrance_radii(delta, phi, short)
    for both, one in zip(vars(found).values(), vars(alone).values(), strict=True):
        torch.testing.assert_close(both[1:], one, rtol=1e-9, atol=1e-12)
    assert bool((found.radius > 0).all())
    assert bool((found.radius <= found.boundary * (1 + 1e-12)).all())


def test_one_logit_has_no_margin():
    with pytest.raises(ValueError, match="two classes or more"):
        first_order_radii(lambda x: x[:, :1], torch.ones(2, 3), torch.zeros(2).long())
