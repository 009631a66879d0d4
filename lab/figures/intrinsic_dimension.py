"""Score against the dimension of the subspace, and where it meets the 90 % line: d90 with its interval."""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.d90 import D90, answers
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, Panel, listed, split
from lab.figures.sources import AGHAJANYAN_2020, LI_2018
from lab.figures.style import Theme, counted, plain, score_title
from lab.statistics import Answer

_COLUMNS = columns("intrinsic_dimension", "label", "model", "task", "kind", "d", "seed", "score", "metric")

_REFERENCES = (("full fine-tuning", "solid"), ("90 % of it", "dash"), ("linear probe", "dot"))
"""Name and dash of each of `D90.references`."""


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    """One panel per task; in it a colour per method and PLM."""
    found = answers(table)
    models = {answer.model for answer in found}
    grid, span = Grid(theme, wrap=3, height=380, share_x=True), _span(table)
    for task, part in split(table, "task"):
        here = [answer for answer in found if answer.task == part.task.iloc[0]]
        panel = grid.panel(f"{here[0].model} · {task}" if len(models) == 1 else task)
        shared = {answer.references for answer in here}
        for answer in {answer.references: answer for answer in reversed(here)}.values():  # once for all that share it
            colour = theme.ink if len(shared) == 1 else grid.colour(_name(answer, models))
            _references(panel, _rows(part, answer), answer, colour)
        for answer in here:
            name = _name(answer, models)
            said = f"{name}: {answer.words}" if len(found) > 1 and table.task.nunique() == 1 else name
            _curve(panel, _rows(part, answer), answer, said, {"colour": grid.colour(name)}, span)
        if len(here) == 1 and isfinite(answer.line):
            _label(panel, answer, span, grid.colour(name))
    grid.x("dimension d of the random subspace [count]", log=True, range=span)
    return grid.y(f"held-out {score_title(table.metric)}")


def _name(answer: D90, models: set[str]) -> str:
    return answer.label if len(models) == 1 else f"{answer.label} · {answer.model}"


def _rows(table: pd.DataFrame, answer: D90) -> pd.DataFrame:
    return table[(table.label == answer.label) & (table.model == answer.model) & (table.task == answer.task)]


def _span(table: pd.DataFrame) -> tuple[float, float]:
    """Range of the d axis: what was tried and the interval, with room on both sides."""
    drawn = table[~table.kind.isin(["full", "linear_probe"])].d.astype(float)
    drawn = drawn[np.isfinite(drawn) & (drawn > 0)]
    return (float(drawn.min()) / 1.6, float(drawn.max()) * 1.6) if len(drawn) else (1.0, 1e4)


def _references(panel: Panel, rows: pd.DataFrame, answer: D90, colour: str) -> None:
    """What a curve is read against: full fine-tuning with the range of its seeds, the line, the linear probe."""
    full = rows[rows.kind == "full"].score.dropna()
    if len(full) > 1:
        panel.zone(y=(full.min(), full.max()), colour=colour)
    for height, (name, dash) in zip(answer.references, _REFERENCES, strict=True):
        if isfinite(height):
            panel.rule(y=height, name=name, colour=colour, dash=dash, width=1.3)


def _curve(
    panel: Panel, rows: pd.DataFrame, answer: D90, name: str, look: dict[str, Any], span: tuple[float, float]
) -> None:
    """Interval, fit, a point per seed, the null, and the diamond at (d90, line)."""
    grid = panel.grid
    closed = isfinite(answer.low) and answer.low > 0, isfinite(answer.high)
    if any(closed):  # a search that learned nothing, or has one seed, bounds d90 on neither side
        ends = (answer.low if closed[0] else span[0], answer.high if closed[1] else span[1])
        panel.zone(x=ends, colour=look["colour"])
    null, fit, runs = (rows[rows.kind == kind] for kind in ("random_weights", "fit", "subspace"))
    hover = f"d = %{{x:,}}, seed %{{customdata[0]}}<br>score %{{y:.3f}}<extra>{plain(name)}</extra>"
    points: dict[str, Any] = {"hover": hover, "edge": grid.theme.background}
    if len(null):
        cross: dict[str, Any] = {
            "symbol": "x-thin",
            "size": 8,
            "colour": grid.theme.muted,
            "edge": grid.theme.muted,
            "edge_width": 2,
        }
        panel.points(null.d, null.score, "random weights", data=[null.seed], **points | cross)
    fit = fit.sort_values("d")
    panel.line(fit.d, fit.score, name, width=2, **look)
    marked: dict[str, Any] = {"symbol": grid.symbol(look["colour"]), "alpha": 0.8, "size": 7, "colour": look["colour"]}
    panel.points(runs.d, runs.score, name, data=[runs.seed], **points | marked)
    if isfinite(answer.d90):
        said = f"{answer.equation}<extra>{plain(name)}</extra>"
        diamond: dict[str, Any] = {
            "symbol": "diamond",
            "size": 12,
            "edge": grid.theme.background,
            "edge_width": 1.5,
            "hover": said,
        }
        panel.points([answer.d90], [answer.line], name, **diamond, **look)


def _label(panel: Panel, answer: D90, span: tuple[float, float], colour: str) -> None:
    """d90 in words where the rising curve leaves room: above the line on the left, else below it on the right."""
    low, high = np.log10(span)
    at = min(max(np.log10(answer.d90), low), high) if isfinite(answer.d90) else high
    left = at - low > 0.36 * (high - low)  # the label's width in a single column
    panel.note(float(at), answer.line, f"<b>{answer.equation}</b>", colour=colour, right=not left, below=not left)


def _answer(table: pd.DataFrame) -> Answer:
    found = answers(table)
    columns = {
        "model": "model",
        "task": "task",
        "label": "method",
        "d90": "d90 [count]",
        "low": "low [count]",
        "high": "high [count]",
        "line": "line",
        "full": "full fine-tuning",
        "linear_probe": "linear probe",
        "random_weights": "random weights",
        "runs": "runs [count]",
    }
    rows = [{name: getattr(answer, field) for field, name in columns.items()} for answer in found]
    told, warnings = [], []
    for answer in found:
        told.append(f"{answer.label}, {answer.model} on {answer.task}: {answer.text}")
        if answer.probe_passes:
            warnings.append("where the linear probe alone reaches the line, a freely trained head would hide d90")
        if answer.diverged:
            warnings.append(f"{counted(answer.diverged, 'run')} diverged and cannot be drawn")
    end = f". But {'; '.join(dict.fromkeys(warnings))}."[:160] if warnings else "."
    return Answer(listed("d90, the dimension that reaches 90 % of full fine-tuning", told, end=end), pd.DataFrame(rows))


def _example() -> pd.DataFrame:
    """A made-up search: a logistic curve in log d with two seeds, and every kind of row."""

    def score(d: int) -> float:
        return 0.25 + 0.67 / (1 + (400 / d) ** 1.2)

    tried, line = (16, 64, 250, 1000, 2000, 4000), 0.9 * 0.925
    rows: list[tuple[str, float, float | None, float]]
    rows = [("subspace", d, seed, score(d) + 0.008 * (2 * seed - 1)) for d in tried for seed in (0, 1)]
    rows += [("fit", d, None, score(d)) for d in tried]
    rows += [("full", 22_700_000, seed, 0.92 + 0.01 * seed) for seed in (0, 1)]
    rows += [("linear_probe", 1925, seed, 0.61 + 0.01 * seed) for seed in (0, 1)]
    rows += [("random_weights", 1797, seed, 0.31 + 0.02 * seed) for seed in (0, 1)]
    rows += [("d90", 1797, None, line), ("d90_low", 1480, None, line), ("d90_high", 2350, None, line)]
    table = pd.DataFrame(rows, columns=["kind", "d", "seed", "score"])
    return table.assign(label="DID fastfood", model="minilm", task="bbc-news", metric="accuracy")


INTRINSIC_DIMENSION = Figure(
    name="intrinsic_dimension",
    title="Intrinsic dimension",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="dimension",
    order=1,
    averages=("seed",),
    caption=(
        "Validation score of fine-tuning in a random subspace of dimension d: a point per seed, a monotone "
        "(isotonic) fit of the means, and d90, the smallest dimension that reaches 90 % of full fine-tuning "
        "(dashed line), with its 95 % interval (shaded). Full fine-tuning (solid, band: range over seeds), "
        "the head trained alone on frozen features (dotted) and the same architecture with random weights in a "
        "subspace of the same dimension (crosses) are drawn beside it."
    ),
    reading=(
        "Follow the fit from the left until it meets the dashed line: that dimension is d90, and the shaded band is "
        "where it would fall again with other seeds. A small d90 means that few directions suffice to adapt this PLM "
        "to this task. Two rows say whether it means anything: if the dotted line (linear probe) already reaches the "
        "dashed one, the head alone solves the task; and if the crosses (random weights) lie near the curve, "
        "pre-training is not what makes the dimension small. d90 depends on steps, step sizes and data, so compare "
        "only runs that share them."
    ),
    source=(LI_2018, AGHAJANYAN_2020),
    example=_example,
    table="runs",
)
