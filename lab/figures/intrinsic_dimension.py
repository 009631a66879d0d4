"""Score against the dimension of the subspace, and where it meets the 90 % line: d90 with its interval."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, log10
from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.d90 import KINDS, Answer, answers
from lab.figures.figure import TEXT, Column, Figure
from lab.figures.sources import AGHAJANYAN_2020, LI_2018
from lab.figures.style import Theme, counted, fade, log_ticks, plain, score_title

_COLUMNS = {
    "label": Column("method and projection, as the legend shall say it", TEXT),
    "model": Column("PLM", TEXT),
    "task": Column("task", TEXT),
    "kind": Column(f"what the row is: {', '.join(KINDS)}", TEXT),
    "d": Column("dimension of the subspace; of all weights (full) or the head (linear_probe); the d90 value", "count"),
    "seed": Column("seed of the run; empty for fit and d90 rows", "count"),
    "score": Column("validation score; the line to reach for d90 rows", "unit of the metric"),
    "metric": Column("name of the metric", TEXT),
}


_REFERENCES = (("full fine-tuning", "solid"), ("90 % of it", "dash"), ("linear probe", "dot"))
"""Name and dash of each of `Answer.references`."""


@dataclass(frozen=True)
class _Panel:
    """Where to draw: one subplot, and the range of its d axis."""

    figure: go.Figure
    theme: Theme
    row: int
    column: int
    span: tuple[float, float]

    def add(self, **trace: Any) -> None:
        self.figure.add_scatter(row=self.row, col=self.column, **trace)

    def band(self, direction: Literal["h", "v"], low: float, high: float, colour: str) -> None:
        add = self.figure.add_hrect if direction == "h" else self.figure.add_vrect
        place: dict[str, Any] = {"row": self.row, "col": self.column, "exclude_empty_subplots": False}
        add(low, high, fillcolor=fade(colour, 0.15), line_width=0, layer="below", **place)


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    """One panel per task; in it a colour per method and PLM."""
    found = answers(table)
    tasks = list(dict.fromkeys(answer.task for answer in found))
    models = list(dict.fromkeys(answer.model for answer in found))
    columns = min(len(tasks), 3)
    rows = -(-len(tasks) // columns)
    titles = [plain(f"{models[0]} · {task}" if len(models) == 1 else task) for task in tasks]
    figure = make_subplots(
        rows, columns, subplot_titles=titles, shared_xaxes="all", horizontal_spacing=0.07, vertical_spacing=0.16 / rows
    )
    figure.update_annotations(font=None)
    span = _span(table)
    names = list(dict.fromkeys(_name(answer, models) for answer in found))
    for i, task in enumerate(tasks):
        panel = _Panel(figure, theme, i // columns + 1, i % columns + 1, span)
        here = [answer for answer in found if answer.task == task]
        references: dict[tuple[float, float, float], Answer] = {}
        for answer in here:
            references.setdefault(answer.references, answer)
        for answer in references.values():  # once, however many curves share them
            colour = theme.ink if len(references) == 1 else theme.colour(names.index(_name(answer, models)))
            _references(panel, _rows(table, answer), answer, colour)
        for answer in here:
            name = _name(answer, models)
            _curve(panel, _rows(table, answer), answer, name, names.index(name), label=len(here) == 1)
    _legend(figure, table, found, models, theme)
    figure.update_xaxes(type="log", range=[log10(v) for v in span], tickvals=log_ticks(*span), tickformat=",")
    for column in range(1, columns + 1):
        figure.update_xaxes(title_text="dimension d of the random subspace [count]", row=rows, col=column)
    for row in range(1, rows + 1):
        figure.update_yaxes(title_text=f"validation {score_title(table.metric)}", row=row, col=1)
    figure.update_layout(height=380 if rows == 1 else 300 * rows)
    return figure


def _name(answer: Answer, models: list[str]) -> str:
    return plain(answer.label if len(models) == 1 else f"{answer.label} · {answer.model}")


def _rows(table: pd.DataFrame, answer: Answer) -> pd.DataFrame:
    return table[(table.label == answer.label) & (table.model == answer.model) & (table.task == answer.task)]


def _span(table: pd.DataFrame) -> tuple[float, float]:
    """Range of the d axis: what was tried and the interval, with room on both sides."""
    drawn = table[~table.kind.isin(["full", "linear_probe"])].d.astype(float)
    drawn = drawn[np.isfinite(drawn) & (drawn > 0)]
    return (float(drawn.min()) / 1.6, float(drawn.max()) * 1.6) if len(drawn) else (1.0, 1e4)


def _references(panel: _Panel, rows: pd.DataFrame, answer: Answer, colour: str) -> None:
    """What a curve is read against: full fine-tuning with the range of its seeds, the line, the linear probe."""
    full = rows[rows.kind == "full"].score.dropna()
    if len(full) > 1:
        panel.band("h", full.min(), full.max(), colour)
    for height, (name, dash) in zip(answer.references, _REFERENCES, strict=True):
        if isfinite(height):
            panel.add(
                x=list(panel.span), y=[height, height], mode="lines", showlegend=False, name=name,
                line={"color": colour, "dash": dash, "width": 1.3}, hovertemplate=f"{name}: %{{y:.3f}}<extra></extra>",
            )  # fmt: skip


def _curve(panel: _Panel, rows: pd.DataFrame, answer: Answer, name: str, number: int, *, label: bool) -> None:
    """Interval, fit, a point per seed, the null, and the diamond at (d90, line)."""
    theme, colour = panel.theme, panel.theme.colour(number)
    shared = {"legendgroup": name, "showlegend": False, "name": name}
    if isfinite(answer.low) or isfinite(answer.high):
        low = answer.low if isfinite(answer.low) and answer.low > 0 else panel.span[0]
        panel.band("v", low, answer.high if isfinite(answer.high) else panel.span[1], colour)
    null, fit, runs = (rows[rows.kind == kind] for kind in ("random_weights", "fit", "subspace"))
    hover = f"d = %{{x:,}}, seed %{{customdata}}<br>score %{{y:.3f}}<extra>{name}</extra>"
    panel.add(x=null.d, y=null.score, customdata=null.seed, hovertemplate=hover, **_null_mark(theme), **shared)
    fit = fit.sort_values("d")
    panel.add(x=fit.d, y=fit.score, mode="lines", line={"color": colour, "width": 2}, hoverinfo="skip", **shared)
    panel.add(x=runs.d, y=runs.score, customdata=runs.seed, hovertemplate=hover, **_point(theme, number), **shared)
    if isfinite(answer.d90):
        edge = {"color": theme.background, "width": 1.5}
        panel.add(
            x=[answer.d90], y=[answer.line], mode="markers", hovertemplate=f"{answer.equation}<extra>{name}</extra>",
            marker={"symbol": "diamond", "size": 12, "color": colour, "line": edge}, **shared,
        )  # fmt: skip
    if label and isfinite(answer.line):
        _label(panel, answer, colour)


def _label(panel: _Panel, answer: Answer, colour: str) -> None:
    """d90 in words where the rising curve leaves room: above the line on the left, else below it on the right."""
    low, high = (log10(end) for end in panel.span)
    at = min(max(log10(answer.d90), low), high) if isfinite(answer.d90) else high
    left = at - low > 0.36 * (high - low)  # the label's width in a single column
    panel.figure.add_annotation(
        x=at, y=answer.line, text=f"<b>{answer.equation}</b>", font={"color": colour}, showarrow=False,
        xanchor="right" if left else "left", xshift=-8 if left else 8,
        yanchor="bottom" if left else "top", yshift=3 if left else -3,
        bgcolor=fade(panel.theme.background, 0.8), borderpad=1, row=panel.row, col=panel.column,
    )  # fmt: skip


def _point(theme: Theme, number: int) -> dict[str, Any]:
    edge = {"color": theme.background, "width": 1}
    marker = {"color": theme.colour(number), "opacity": 0.8, "symbol": theme.symbol(number), "size": 7, "line": edge}
    return {"mode": "markers", "marker": marker}


def _null_mark(theme: Theme) -> dict[str, Any]:
    marker = {"symbol": "x-thin", "size": 8, "color": theme.muted, "line": {"width": 2, "color": theme.muted}}
    return {"mode": "markers", "marker": marker}


def _legend(figure: go.Figure, table: pd.DataFrame, found: tuple[Answer, ...], models: list[str], theme: Theme) -> None:
    """Entries on points without data: a curve each, with its answer where it has only one, then the references."""
    one_task = len({answer.task for answer in found}) == 1
    entries: dict[str, dict[str, Any]] = {}
    for answer in found:
        name = _name(answer, models)
        text = f"{name}: {answer.equation}" if one_task and len(found) > 1 else name
        entries.setdefault(name, {"name": text, "legendgroup": name, **_point(theme, len(entries))})
    for i, (name, dash) in enumerate(_REFERENCES):
        if any(isfinite(answer.references[i]) for answer in found):
            entries[name] = {"name": name, "mode": "lines", "line": {"color": theme.ink, "dash": dash, "width": 1.3}}
    if (table.kind == "random_weights").any():
        entries["null"] = {"name": "random weights", **_null_mark(theme)}
    for entry in entries.values():
        figure.add_scatter(x=[None], y=[None], row=1, col=1, **entry)


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    rows = [
        {"model": a.model, "task": a.task, "method": a.label, "d90 [count]": a.d90, "low [count]": a.low,
         "high [count]": a.high, "line": a.line, "full fine-tuning": a.full, "linear probe": a.linear_probe,
         "random weights": a.random_weights, "runs [count]": a.runs}
        for a in answers(table)
    ]  # fmt: skip
    return pd.DataFrame(rows)


_TOLD = 4
"""Curves that the alternative text goes through; the table has them all."""


def _describe(table: pd.DataFrame) -> str:
    sentences = []
    found = answers(table)
    for answer in found[:_TOLD]:
        sentence = f"{answer.label}, {answer.model} on {answer.task}: d90 {answer.text}"
        sentence += f", {counted(answer.runs, 'subspace run')}"
        for name in ("line", "full", "linear_probe", "random_weights"):
            if isfinite(getattr(answer, name)):
                sentence += f", {name.replace('_', ' ')} {getattr(answer, name):.3f}"
        if answer.probe_passes:
            sentence += ". The linear probe alone reaches the line, so a freely trained head would hide d90"
        if answer.diverged:
            sentence += f". {counted(answer.diverged, 'run')} diverged and cannot be drawn"
        sentences.append(sentence + ".")
    if len(found) > _TOLD:
        sentences.append(f"And {counted(len(found) - _TOLD, 'more curve')}.")
    return " ".join(sentences)


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
    summary=_summary,
    describe=_describe,
    caption=(
        "Validation score of fine-tuning in a random subspace of dimension d: one point per seed, a monotone "
        "(isotonic) fit of the means, and d90, the smallest dimension that reaches 90 % of full fine-tuning "
        "(dashed line), with its 95 % bootstrap interval (shaded). Full fine-tuning (solid, band: range over seeds), "
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
