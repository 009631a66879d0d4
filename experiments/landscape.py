"""The loss along lines and planes through trained deltas."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lab.deltas import Delta
from lab.geometry import (
    coordinates,
    gauss_newton,
    loss_line,
    loss_plane,
    plane_through,
    random_directions,
    trajectory_directions,
)
from lab.linalg import lanczos
from lab.study import Config, Experiment, Lab, Result, TrainingRun, setting, with_added_biases

SNAPSHOTS = 20
"""Points of a trajectory."""
Methods = tuple[dict[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class Landscape(Config):
    """The planes of one method, or the plane through the solutions of several."""

    model: str = setting("name for load_plm", role="model")
    task: str = setting("name or path for load_task", "bbc-news", role="task", keyed=True)
    methods: Methods = setting("one method, or several whose vectors are parts of one vector of their sum")
    seed: int = setting("of everything", 0, low=0, keyed=True)
    steps: int = setting("AdamW steps", unit="step", low=1)
    lr: float | None = setting("step size; none: by the rule for d and D", None, keyed=True)
    batch_size: int = setting("examples per step", unit="example", low=1)
    max_length: int = setting("tokens kept per example", unit="token", low=1)
    n_train: int | None = setting("training examples to use", None, unit="example", low=1, keyed=True)
    n_validation: int | None = setting("validation examples to score on", 64, unit="example", low=1, keyed=True)
    precision: str = setting("of the matrix products", "float32", keyed=True)
    weights: str = setting("random: freshly initialised", "pretrained", choices=("pretrained", "random"), keyed=True)
    evaluations: int = setting("of each run", 1, low=1, keyed=True)
    sentences: int = setting("whose loss is drawn", unit="example", low=1)
    points: int = setting("along each direction", low=3)

    def run(self, method: dict[str, Any]) -> TrainingRun:
        """The training run of one method."""
        own = ("methods", "sentences", "points")
        return TrainingRun(method=method, **{e.name: getattr(self, e.name) for e in fields(self) if e.name not in own})


@dataclass(frozen=True, kw_only=True)
class Plan(Landscape):
    """One measurement per method, and one of several."""

    methods: Methods = setting("each of which is measured alone")
    together: Methods = setting("whose solutions one plane goes through")
    added_biases: bool | None = setting("AddedBias for BitFit; none: by the PLM's name", None)

    def configs(self) -> tuple[Landscape, ...]:
        shared = {e.name: getattr(self, e.name) for e in fields(Landscape) if e.name != "methods"}
        groups = [*((method,) for method in self.methods), self.together]
        named = [with_added_biases(group, self.model, self.added_biases) for group in groups]
        return tuple(Landscape(methods=group, **shared) for group in named)


def measure(c: Landscape, lab: Lab) -> Result:
    """Train, choose the planes, evaluate the loss on them."""
    runs = [_Run(c, method) for method in c.methods]
    found = _Drawn(c.points)
    if len(runs) == 1:
        _one_method(runs[0], found)
    else:
        _several_methods(runs, found)
    metrics = {"start_loss": runs[0].value(runs[0].delta.phi0), **found.metrics, "tunable": runs[0].delta.size}
    return Result(metrics, found.tables())


class _Run:
    """One method, trained: its delta for analyses, its trajectory, and the loss of one fixed batch."""

    def __init__(self, c: Landscape, method: dict[str, Any]):
        run = c.run(method)
        self.label = run.how.title
        self.delta = run.analysed()
        self.batch = run.batch(self.delta, c.sentences)
        self.fit = run.trained(keep_every=max(1, -(-c.steps // SNAPSHOTS)))[1]
        self.phi = self.fit.phi
        assert self.fit.trajectory is not None
        self.trajectory: Tensor = self.fit.trajectory

    def loss(self, phi: Tensor) -> Tensor:
        return _loss(self.delta, self.batch, phi)

    def value(self, phi: Tensor) -> float:
        with torch.no_grad():
            return float(self.loss(phi))


def _loss(delta: Delta, batch: dict[str, Tensor], phi: Tensor) -> Tensor:
    return cross_entropy(delta.logits(phi, batch), batch["labels"])


def _one_method(run: _Run, found: _Drawn) -> None:
    delta, phi, label = run.delta, run.phi, run.label
    moved = phi - delta.phi0
    found.line(label, "start to solution", loss_line(run.loss, delta.phi0, moved, alphas=found.wide))
    u, v = random_directions(phi, delta.layout)
    found.line(label, "random direction at the solution", loss_line(run.loss, phi, u, alphas=found.grid))
    found.plane(label, "random, filter-normalised", run.loss, phi, (u, v), {"solution": phi})

    operator = gauss_newton(lambda x: delta.logits(x, run.batch), phi)
    stiff = lanczos(operator, 2, tol=1e-2)  # a direction to look along; its eigenvalue is good to the square of that
    start = run.value(delta.phi0)  # steps along a direction of curvature λ that the quadratic model takes to this loss
    pairs = zip(stiff.ritz_vectors.T, stiff.ritz_values, strict=True)
    first, second = (v * (2 * start / float(w)) ** 0.5 for v, w in pairs)
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
    found.metrics |= {"trajectory_share": sum(shares), "walk_share": _walk_share(run.trajectory)}


def _walk_share(trajectory: Tensor) -> float:
    """The null of the trajectory's share: that of Gaussian random walks with as many steps."""
    generator = torch.Generator().manual_seed(0)
    steps = torch.randn(len(trajectory) - 1, min(trajectory.shape[1], 2000), generator=generator, dtype=torch.float64)
    walk = torch.cat([torch.zeros_like(steps[:1]), steps.cumsum(dim=0)])
    return sum(trajectory_directions(walk)[2])


def _several_methods(runs: list[_Run], found: _Drawn) -> None:
    """The sum of the methods has one vector; each solution moves its own part of it."""
    joint = runs[0].delta
    for run in runs[1:]:
        joint = joint + run.delta
    starts = [run.delta.phi0 for run in runs]
    points = [torch.cat([run.phi if i == j else start for j, start in enumerate(starts)]) for i, run in enumerate(runs)]

    def loss(phi: Tensor) -> Tensor:
        return _loss(joint, runs[0].batch, phi)

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


class _Drawn:
    """Rows of the two tables, as they are computed."""

    def __init__(self, points: int):
        self.points = points
        self.grid = np.linspace(-1, 1, points).tolist()
        self.wide = np.linspace(-0.25, 1.25, 2 * points - 1).tolist()
        self.metrics: dict[str, float] = {}
        self._lines: list[pd.DataFrame] = []
        self._planes: list[pd.DataFrame] = []

    def line(self, label: str, line: str, table: pd.DataFrame) -> None:
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
        """The grid, and on top the trajectory (its projection, with its own loss) and named points."""
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
        return {
            "loss_plane": pd.concat(self._planes, ignore_index=True),
            "loss_line": pd.concat(self._lines, ignore_index=True),
        }


LORA, BITFIT, ADAPTER = {"method": "lora", "rank": 8}, {"method": "bitfit"}, {"method": "adapter", "bottleneck": 16}
DID = {"method": "did", "dimension": 1000}  # each point costs a transform of all weights

EXPERIMENT = Experiment(
    name="landscape",
    question="what does the loss of a delta look like around its start, its training trajectory and its solution?",
    source="Li, Xu, Taylor, Studer & Goldstein 2018 (planes); Goodfellow et al. 2015 (lines); Garipov et al. "
    "2018 (three "
    "solutions).",
    varied="the method, and the plane: filter-normalised random directions, PCA of the trajectory, the two stiffest "
    "directions at the solution, and the plane through the solutions of three methods.",
    tuned="nothing; step sizes follow the rule for d and D.",
    fixed="PLM, task, steps, the batch whose loss is drawn, seed.",
    expected="a smooth basin; the trajectory stays near a plane; the stiff plane rises within a fraction of the "
    "distance "
    "trained, the random one is flat over its whole width; three methods' solutions are joined by a ridge.",
    cost="demo: 1-2 minutes on two quiet cores (MiniLM), SmolLM2 about 15 minutes. smoke: seconds.",
    view="optimisation",
    config=Landscape,
    scales={
        "smoke": Plan(
            model="tiny-bert", methods=({"method": "lora", "rank": 1}, {"method": "did", "dimension": 20}),
            together=({"method": "lora", "rank": 1}, BITFIT, ADAPTER), steps=6, batch_size=8, max_length=8, n_train=64,
            n_validation=32, sentences=8, points=5,
        ),
        "demo": Plan(
            model="minilm", methods=(LORA, BITFIT), together=(LORA, BITFIT, ADAPTER), steps=30, batch_size=16,
            max_length=16, sentences=10, points=11,
        ),
        "paper": Plan(
            model="minilm", methods=(LORA, BITFIT, DID), together=(LORA, BITFIT, ADAPTER), steps=1000, batch_size=32,
            max_length=64, sentences=256, points=51,
        ),
    },
    measure=measure,
    figures=("loss_plane", "loss_line"),
)  # fmt: skip
