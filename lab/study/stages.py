"""Deltas trained one after the other, in every order, each on what the earlier ones have made of the PLM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any

from lab.models import PLM, settled
from lab.study.training_run import TrainingRun


def stage(run: TrainingRun, plm: PLM) -> tuple[dict[str, Any], PLM]:
    """The row of one training on a given PLM, and the PLM as it leaves it: what was trained cannot move any more."""
    encoded = run.data.encode(plm, max_length=run.max_length)
    delta, result = run.fitted(run.on(plm), encoded)
    row = {
        "score": run.score_reported(delta, encoded, result), "metric": result.metric,
        "train_score": result.history[-2]["score"], "tunable": delta.size,
    }  # fmt: skip
    return row, settled(delta.plm, delta.overrides(result.phi))


def every_order(
    names: Sequence[str],
    plm: PLM,
    train: Callable[[PLM, int], tuple[dict[str, Any], PLM]],
    done: tuple[int, ...] = (),
) -> list[dict[str, Any]]:
    """One row per order and stage; orders that begin alike share their beginning.

    Args:
        names: of the parts.
        plm: as the parts that are done have left it.
        train: trains one part on a PLM; its row, and the PLM it leaves.
        done: parts that are trained already, in their order.
    """
    rows = []
    for new in sorted(set(range(len(names))) - set(done)):
        order = (*done, new)
        row, after = train(plm, new)
        rows += [
            {"order": " → ".join(names[i] for i in whole), "stage": len(order), **row}
            for whole in permutations(range(len(names)))
            if whole[: len(order)] == order
        ]
        rows += every_order(names, after, train, order)
    return rows
