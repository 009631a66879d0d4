"""What each delta method reaches: every seed, mean and interval per task, and the mean rank over tasks."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, Panel, around, first_seen, half_width, listed, split, spread
from lab.figures.sources import DEMSAR_2006, DING_2022
from lab.figures.style import Theme, count, score_title
from lab.statistics import Answer, Ranking, mean_interval
from lab.statistics.ranking import ordered, ranked

_COLUMNS = columns("performance", "label", "kind", "task", "seed", "score", "tunable")
_OPTIONAL = columns("performance", "metric")
_EACH = 5
"""Tasks that have a panel each; of more, one panel holds all."""


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, wrap=2, height=320, share_y=True, labels=table.label)
    plms = _plms(table)
    for plm, own in plms:
        before = f"{plm} · " if len(plms) > 1 else ""
        tasks = split(own, "task")
        if len(tasks) > _EACH:
            _together(grid.panel(f"{before}{len(tasks)} tasks"), own)
        for task, part in tasks if len(tasks) <= _EACH else []:
            panel = grid.panel(before + task)
            for label, runs in split(part, "label"):
                spread(panel, runs.score.tolist(), label, colour=grid.look(label).colour, about=_size(runs))
            null = part.score[part.kind == "null"].mean()
            if np.isfinite(null):
                panel.rule(x=null, dash="dash", name="the head alone")
            panel.x(score_title(part.metric if "metric" in part else []), range=around(part.score))
        _ranks(grid.panel(f"{before}all tasks"), own, theme)
    return grid.y(categories=first_seen([label for _, own in plms for label in ordered(own)]))


def _size(runs: pd.DataFrame) -> str:
    return f"<br>{count(runs.tunable.mean())} tunable"


def _together(panel: Panel, table: pd.DataFrame) -> None:
    """Many tasks in one panel: each method beside the head alone, or beside the mean of all where that is missing."""
    means = table.pivot_table(index="task", columns="label", values="score", sort=False)
    null = table[table.kind == "null"].groupby("task").score.mean().reindex(means.index)
    alone = bool(null.notna().all())
    beside = means.sub(null if alone else means.mean(axis=1), axis=0)
    for label, runs in split(table, "label"):
        found, colour = beside[label].dropna(), panel.grid.look(label).colour
        spread(panel, found.tolist(), label, colour=colour, about=_size(runs), of=list(found.index), unit="task")
    panel.rule(x=0, dash="dash", name="the head alone" if alone else "the mean of all methods")
    unit = score_title(table.metric if "metric" in table else []).rpartition(" [")[2]
    panel.x(
        f"score beside {'the head alone' if alone else 'the mean'} [{unit}",
        range=around(pd.Series(beside.to_numpy().ravel()).dropna()),
    )


def _plms(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """One part per PLM: methods are ranked among those of the same PLM."""
    return split(table, "model") if "model" in table else [("", table)]


def _ranks(panel: Panel, table: pd.DataFrame, theme: Theme) -> None:
    """Mean ranks; bars of half a critical difference to either side: methods differ where their bars do not overlap."""
    ranking = _ranking(table)
    ranks = {} if ranking is None else ranking.mean_ranks
    half = ranking.critical_difference / 2 if ranking is not None and ranking.critical_difference < inf else 0.0
    for label, rank in ranks.items():
        look = panel.grid.look(label)
        marked: dict[str, Any] = {
            "colour": look.colour,
            "symbol": look.symbol,
            "hover": "mean rank %{x:.2f}<extra>%{y}</extra>",
        }
        panel.points([rank], [label], across=[half], **marked)
    most = max(ranks.values(), default=1) + 0.6  # the best on the right, as in the other panels
    step = {"tick0": 1, "dtick": 1 if len(ranks) < 8 else 2}
    panel.x("mean rank ± half a critical difference [rank]", range=(most, 0.4), options=step)


def _answer(table: pd.DataFrame) -> Answer:
    rows, told, plms = [], [], _plms(table)
    for plm, own in plms:
        ranking, before = _ranking(own), {"model": plm} if len(plms) > 1 else {}
        ranks = {} if ranking is None else ranking.mean_ranks
        for label in ordered(own):
            part = own[own.label == label]
            row: dict[str, Any] = {**before, "method": label, "mean rank": ranks.get(str(label), np.nan)}
            row |= {"tunable [count]": part.tunable.mean()}
            for task, runs in split(own, "task"):
                scores = runs.score[runs.label == label].tolist()
                found = mean_interval(scores) if scores else None
                row[task] = np.nan if found is None else found.estimate
                row[f"{task} ±"] = np.nan if found is None or found.n < 2 else half_width(found)
            rows.append(row | {"seeds [count]": int(part.seed.nunique())})
        means, null = own.groupby("label").score.mean(), own.score[own.kind == "null"].mean()
        best = ", ".join(f"{label} {means[label]:.3f}" for label in ordered(own)[:3])
        probe = f", the linear probe {null:.3f}" if np.isfinite(null) else ""
        told.append(f"{plm}: {best}{probe}" if before else best + probe)
    said = f". {ranking.told}" if len(plms) == 1 and ranking is not None else "."
    sentence = listed("Best mean ranks, with mean held-out score", told, end=said)
    return Answer(sentence, pd.DataFrame(rows), best=dict.fromkeys(table.task, "highest"))


def _ranking(table: pd.DataFrame) -> Ranking | None:
    """The methods ranked over tasks; None where no method has all of them."""
    complete = table.pivot_table(index="task", columns="label", values="score").notna().all()
    return ranked(table) if complete.any() else None


def _example() -> pd.DataFrame:
    """Made-up scores of six methods on three tasks, three seeds each."""
    rows = []
    methods = (
        ("full fine-tuning", "full", 22_713_986, 0.90),
        ("LoRA", "delta", 74_498, 0.88),
        ("adapter", "delta", 595_970, 0.87),
        ("prefix", "delta", 23_810, 0.80),
        ("prompt", "delta", 8450, 0.70),
        ("linear probe", "null", 770, 0.66),
    )
    for t, task in enumerate(("topic", "sentiment", "drugs")):
        for m, (label, kind, tunable, level) in enumerate(methods):
            for seed in range(3):
                score = level - 0.08 * t + 0.02 * np.cos(5 * seed + 3 * m + t)
                rows.append(
                    {"label": label, "kind": kind, "task": task, "seed": seed, "score": score}
                    | {"tunable": tunable, "metric": "accuracy"}
                )
    return pd.DataFrame(rows)


PERFORMANCE = Figure(
    name="performance",
    title="Performance of the methods",
    columns=_COLUMNS,
    optional=_OPTIONAL,
    build=_build,
    conclude=_answer,
    group="methods",
    order=1,
    averages=("seed", "task"),
    apart=("model",),
    caption=(
        "Validation score of each method after the same number of steps, one panel per task: every seed (points), mean "
        "and 95 % interval over seeds (bar; that of two seeds may leave the panel); dashed, the linear probe. Tasks "
        "beyond five share one panel: scores less the linear probe's, mean and interval over tasks. Last panel: mean "
        "rank over tasks, with half of Nemenyi's critical difference (95 %) to either side."
    ),
    reading=(
        "Methods stand from the best mean rank (top) to the worst. In a task's panel, intervals that do not overlap "
        "mean that other seeds would hardly change the order on this task; a method at the dashed line adds nothing to "
        "training the head alone. In the panel of ranks, methods differ where their bars do not overlap: with few "
        "tasks the bars are long, and the honest answer about other tasks is that these runs cannot tell. All methods "
        "had the same budget of steps; methods that need longer are seen at a disadvantage."
    ),
    source=(DING_2022, DEMSAR_2006),
    example=_example,
)
