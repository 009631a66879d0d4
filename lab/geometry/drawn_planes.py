"""The loss along lines and over planes, collected in the two tables that the figures draw."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite, sqrt
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lab.deltas import Delta
from lab.geometry.batch_losses import batch_loss
from lab.geometry.curvature import Loss, gauss_newton
from lab.geometry.landscape import (
    coordinates,
    loss_line,
    loss_plane,
    plane_through,
    random_directions,
    trajectory_directions,
    walk_share,
)
from lab.linalg import lanczos


class Drawn:
    """Rows of the two tables, as they are computed.

    Args:
        points: along each direction of a plane.

    Attributes:
        grid: positions from −1 to 1, in units of a direction's length.
        wide: positions from −0.25 to 1.25, about a start (0) and a solution (1).
        metrics: numbers found on the way.
    """

    def __init__(self, points: int):
        self.points = points
        self.grid = np.linspace(-1, 1, points).tolist()
        self.wide = np.linspace(-0.25, 1.25, 2 * points - 1).tolist()
        self.metrics: dict[str, float] = {}
        self._lines: list[pd.DataFrame] = []
        self._planes: list[pd.DataFrame] = []

    def line(self, label: str, line: str, table: pd.DataFrame) -> None:
        """Add the table of `loss_line`, under the name of its line."""
        self._lines.append(table.assign(label=label, line=line))

    def plane(
        self,
        label: str,
        plane: str,
        loss: Any,
        origin: Tensor,
        directions: tuple[Tensor, Tensor],
        named: dict[str, Tensor],
        trajectory: Tensor | None = None,
        grids: tuple[list[float], list[float]] | None = None,
    ) -> None:
        """Add a plane's grid, and on top the trajectory (its projection, with its own loss) and named points."""
        alphas, betas = grids or (self.grid, self.grid)
        rows = [loss_plane(loss, origin, directions, alphas=alphas, betas=betas).assign(kind="grid", name="")]
        points = {"point": list(named.items()), "path": []}
        if trajectory is not None:
            points["path"] = [(str(i), phi) for i, phi in enumerate(trajectory)]
        for kind, entries in points.items():
            if entries:
                at = coordinates(torch.stack([phi for _, phi in entries]), origin, directions)
                with torch.no_grad():
                    losses = [float(loss(phi)) for _, phi in entries]
                table = pd.DataFrame({"alpha": at[:, 0].tolist(), "beta": at[:, 1].tolist(), "loss": losses})
                rows.append(table.assign(kind=kind, name=[name for name, _ in entries]))
        self._planes.append(pd.concat(rows, ignore_index=True).assign(label=label, plane=plane))

    def tables(self) -> dict[str, pd.DataFrame]:
        """`loss_plane` and `loss_line`."""
        return {
            "loss_plane": pd.concat(self._planes, ignore_index=True),
            "loss_line": pd.concat(self._lines, ignore_index=True),
        }


@dataclass(frozen=True, eq=False)
class TrainedDelta:
    """A trained delta with the way it took, and a batch whose loss is drawn.

    Attributes:
        label: of its method.
        delta: on attention with derivatives of every kind.
        batch: n sentences with their labels.
        phi: (d,), the solution.
        trajectory: (m, d), from the start to the solution.
    """

    label: str
    delta: Delta
    batch: dict[str, Tensor]
    phi: Tensor
    trajectory: Tensor

    def loss(self, phi: Tensor) -> Tensor:
        """Cross-entropy of the batch [nats], or mean squared error of numbers to predict."""
        return batch_loss(self.delta, self.batch)(phi)

    def value(self, phi: Tensor) -> float:
        """The loss as a number."""
        with torch.no_grad():
            return float(self.loss(phi))


def around_solution(run: TrainedDelta, found: Drawn) -> None:
    """The line from start to solution; at the solution a random and the stiffest directions; the trajectory's plane.

    A stiff direction is as long as the quadratic model needs to be back at the start's loss. Where the loss is flat to
    second order (λ ≤ 0, as of a saturated model), it is as long as the way that was trained.
    """
    delta, phi, label = run.delta, run.phi, run.label
    moved = phi - delta.phi0
    found.line(label, "start to solution", loss_line(run.loss, delta.phi0, moved, alphas=found.wide))
    u, v = random_directions(phi, delta.layout)
    found.line(label, "random direction at the solution", loss_line(run.loss, phi, u, alphas=found.grid))
    found.plane(label, "random, filter-normalised", run.loss, phi, (u, v), {"solution": phi})

    kind: Loss = "squared_error" if run.batch["labels"].is_floating_point() else "cross_entropy"
    operator = gauss_newton(lambda x: delta.logits(x, run.batch), phi, loss=kind)
    stiff = lanczos(operator, 2, tol=1e-2)  # a direction to look along; its eigenvalue is good to the square of that
    start = run.value(delta.phi0)  # steps along a direction of curvature λ that the quadratic model takes to this loss
    pairs = zip(stiff.ritz_vectors.T, stiff.ritz_values.tolist(), strict=True)
    first, second = (v * _stiff_length(w, start, float(moved.norm())) for v, w in pairs)
    found.line(label, "stiffest direction at the solution", loss_line(run.loss, phi, first, alphas=found.grid))
    found.plane(label, "two stiffest directions", run.loss, phi, (first, second), {"solution": phi})
    found.metrics |= {
        "stiffest": float(stiff.ritz_values[0]),
        "stiff_length": float(first.norm()),
        "distance": float(moved.norm()),
        "solution_loss": run.value(phi),
    }

    origin, (p, q), shares = trajectory_directions(run.trajectory)
    reach = coordinates(run.trajectory, origin, (p, q)).abs().amax(dim=0) * 1.3
    directions = (p * reach[0], q * reach[1])
    named = {"start": delta.phi0, "solution": phi}
    found.plane(label, "PCA of the trajectory", run.loss, origin, directions, named, run.trajectory)
    found.metrics |= {"trajectory_share": sum(shares), "walk_share": walk_share(run.trajectory)}


def _stiff_length(curvature: float, loss: float, otherwise: float) -> float:
    """√(2·loss/λ), where ½λs² reaches the loss; another length where λ is not above 0, and no length does."""
    length = sqrt(2 * loss / curvature) if curvature > 0 and loss >= 0 else inf
    return length if isfinite(length) else otherwise


def between_solutions(runs: list[TrainedDelta], found: Drawn) -> None:
    """The plane through three methods' solutions, and the lines between them.

    The sum of the methods has one vector; each solution moves its own part of it.
    """
    joint = runs[0].delta
    for run in runs[1:]:
        joint = joint + run.delta
    starts = [run.delta.phi0 for run in runs]
    points = [torch.cat([run.phi if i == j else start for j, start in enumerate(starts)]) for i, run in enumerate(runs)]

    loss = batch_loss(joint, runs[0].batch)
    origin, directions = plane_through(*points)
    label = ", ".join(run.label for run in runs)
    named = dict(zip([run.label for run in runs], points, strict=True))
    at = coordinates(torch.stack(points), origin, directions)
    grids = [np.linspace(float(x.min()) - 0.4, float(x.max()) + 0.4, found.points).tolist() for x in at.T]
    found.plane(label, "through three solutions", loss, origin, directions, named, grids=(grids[0], grids[1]))
    for i, j in ((0, 1), (0, 2), (1, 2)):
        name = f"{runs[i].label} to {runs[j].label}"
        found.line(label, name, loss_line(loss, points[i], points[j] - points[i], alphas=found.wide))
    found.metrics |= {"solution_loss": runs[0].value(runs[0].phi)}
