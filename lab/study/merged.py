"""Scores of changed PLMs on the tasks of a collection: each under the head that came with the task's own change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from lab.deltas.additive import Additive
from lab.deltas.method import head_names
from lab.geometry.collections import Collection, merging
from lab.statistics.merging import ARITHMETIC, DARE, LEAST_SQUARES, MEAN, SUBSPACE, TIES
from lab.study.collected import Collected, Trained, points_on
from lab.training import evaluate

Moments = Callable[[int, str], Tensor]


def candidates(
    collection: Collection, moments: Moments | None, *, scales: tuple[float, ...], k: int
) -> Iterator[tuple[str, float, Tensor]]:
    """(merge, λ, merged point (D,)) of every merge; those with a λ once for each, to be chosen on validation data.

    Args:
        collection: N members.
        moments: as for `merging.least_squares`; None: that merge is left out.
        scales: λ·N: 1 makes task arithmetic the mean, N adds the changes up as they are.
        k: directions of the merge in the shared subspace.
    """
    n = len(collection)
    made: dict[str, Callable[[float], Collection]] = {
        ARITHMETIC: lambda s: merging.task_arithmetic(collection, s / n),
        TIES: lambda s: merging.ties(collection, scale=s),  # already a mean, of those that agree
        DARE: lambda s: merging.dare(collection, scale=s / n),
        SUBSPACE: lambda s: merging.in_subspace(collection, min(k, n), s / n),
    }
    yield MEAN, 1.0, point_of(merging.mean(collection))
    for merge, make in made.items():
        for scale in scales:
            yield merge, scale, point_of(make(scale))
    if moments is not None:
        yield LEAST_SQUARES, 1.0, point_of(merging.least_squares(collection, moments))


def point_of(merged: Collection) -> Tensor:
    """(D,) float32: the one member of a merged collection."""
    return (merged.vectors() @ torch.ones(1, dtype=merged.dtype)).float()


def losses_and_scores(
    c: Collected,
    collection: Collection,
    own: Trained,
    points: Mapping[str, Tensor],
    split: str,
    size: int | None = None,
) -> dict[str, tuple[float, float]]:
    """Name of a point -> (loss [nats], score) of the changed PLM on one task.

    Args:
        c: the collection's setting.
        collection: whose space the points are of.
        own: the task, and its head.
        points: name -> point (D,).
        split: "validation" or "test".
        size: examples, or all where there are fewer.
    """
    plm = own.run.opened()
    body, start = points_on(c, plm, collection)
    delta = body + Additive(plm, head_names(plm))
    head = own.phi[-(delta.size - body.size) :].to(start)
    encoded = own.run.data.encode(delta.plm, max_length=own.run.max_length)
    return {
        name: evaluate(delta, encoded, torch.cat([start + point.to(start), head]), split, size=size)
        for name, point in points.items()
    }
