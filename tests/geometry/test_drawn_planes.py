"""Lines and planes of a trained delta where its loss has no curvature to walk by."""

from __future__ import annotations

from math import inf, nan

import pytest
import torch

from lab.deltas import BitFit
from lab.geometry.drawn_planes import Drawn, TrainedDelta, _stiff_length, around_solution
from lab.models.tiny import tiny_plm


@pytest.mark.parametrize(
    ("curvature", "loss", "expected"),
    [(8.0, 1.0, 0.5), (0.0, 1.0, 7.0), (-1e-18, 1.0, 7.0), (5e-324, 1.0, 7.0), (nan, 1.0, 7.0), (8.0, nan, 7.0),
     (8.0, inf, 7.0)],
)  # fmt: skip
def test_without_curvature_a_direction_is_as_long_as_the_way_trained(curvature, loss, expected):
    assert _stiff_length(curvature, loss, 7.0) == expected


def test_a_loss_of_one_example_is_drawn_though_its_second_curvature_is_zero():
    """One squared error has a Gauss-Newton matrix of rank one: its second eigenvalue is 0, or rounding of any sign."""
    delta = BitFit().on(tiny_plm("bert", head="regression", num_labels=1))
    batch = {"input_ids": torch.tensor([[5, 6, 7]]), "attention_mask": torch.ones(1, 3), "labels": torch.tensor([0.3])}
    batch["labels"] = batch["labels"].double()
    generator = torch.Generator().manual_seed(0)
    steps = 0.01 * torch.randn(4, delta.size, generator=generator, dtype=torch.float64)
    trajectory = delta.phi0 + steps.cumsum(0)
    found = Drawn(3)
    around_solution(TrainedDelta("BitFit", delta, batch, trajectory[-1], trajectory), found)
    plane = found.tables()["loss_plane"].query("plane == 'two stiffest directions' and kind == 'grid'")
    assert plane.loss.notna().all()
    assert found.metrics["stiff_length"] > 0
