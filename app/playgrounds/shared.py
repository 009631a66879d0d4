"""Tasks that share directions, or only seem to: what others explain of each, beside k/(N − 1)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from app.playgrounds.playground import Playground
from lab.figures import Theme
from lab.figures.grammar import Grid

KINDS = ("all tasks, the task itself among them", "the other tasks alone")
NULL = "nothing shared: k/(N − 1)"
LENGTH = 2000
"""Numbers in each update; few against it, tasks are nearly orthogonal by chance."""


def simulate(tasks: int, shared: int, noise: float) -> pd.DataFrame:
    """Share of each centred update that the first k directions explain: of all tasks, and of all others.

    Args:
        tasks: N.
        shared: directions that all updates are made of; 0 for none.
        noise: length of what is each task's own, against the shared part's 1.
    """
    random = np.random.default_rng(0)
    common = np.linalg.qr(random.standard_normal((LENGTH, max(shared, 1))))[0][:, :shared]
    updates = common @ random.standard_normal((shared, tasks)) / np.sqrt(max(shared, 1))
    updates += noise * random.standard_normal((LENGTH, tasks)) / np.sqrt(LENGTH)
    rows = []
    for kind in KINDS:
        shares = np.mean([_explained(updates, i, alone=kind == KINDS[1]) for i in range(tasks)], axis=0)
        rows += [{"kind": kind, "k": k + 1, "share": share} for k, share in enumerate(shares)]
    rows += [{"kind": NULL, "k": k, "share": k / (tasks - 1)} for k in range(1, tasks)]
    return pd.DataFrame(rows)


def _explained(updates: np.ndarray, i: int, *, alone: bool) -> np.ndarray:
    """Share of update i, less the mean, that k directions explain, k = 1 … N − 1; `alone`: of the others only."""
    tasks = updates.shape[1]
    kept = np.delete(updates, i, axis=1) if alone else updates
    mean = kept.mean(axis=1, keepdims=True)
    basis, values, _ = np.linalg.svd(kept - mean, full_matrices=False)
    basis = basis * (values > 1e-9 * values[0])  # what centring left of nothing is no direction
    own = updates[:, i] - mean[:, 0]
    shares = np.cumsum((basis.T @ own) ** 2) / (own @ own)
    return np.pad(shares, (0, max(0, tasks - 1 - len(shares))), mode="edge")[: tasks - 1]


def draw(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, height=360)
    panel = grid.panel()
    for i, kind in enumerate(KINDS):
        part = table[table.kind == kind]
        panel.line(part.k, part.share, kind, colour=theme.colour(i))
    null = table[table.kind == NULL]
    panel.line(null.k, null.share, NULL, colour=theme.muted, dash="dash")
    return grid.x("directions k [count]").y("mean share of an update explained [1]", zero=True)


def answer(table: pd.DataFrame) -> str:
    middle = int(table.k.max() + 1) // 2
    own, others, null = (part[part.k == middle].share.iloc[0] for _, part in table.groupby("kind", sort=False))
    return (
        f"With {middle} directions, PCA of all tasks explains {own:.0%} of a task, of which k/(N − 1) = {null:.0%} "
        f"need no sharing at all; the other tasks alone explain {others:.0%}."
    )


PLAYGROUND = Playground(
    title="Shared subspaces",
    question="When do tasks share a subspace, and when does PCA only seem to say so?",
    theory="N updates with nothing in common are orthogonal; after centring each of N − 1 directions holds the same "
    "share, so the first k explain k/(N − 1) of every task (docs/shared_subspaces.md). What the others alone explain "
    "of a task is shared.",
    knobs={
        "tasks": ("Tasks N", (4, 8, 16, 32), 16),
        "shared": ("Shared directions", (0, 1, 3, 5, 10), 3),
        "noise": ("Own part", (0.0, 0.3, 1.0, 3.0), 1.0),
    },
    simulate=simulate,
    draw=draw,
    answer=answer,
)
