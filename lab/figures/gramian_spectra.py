"""Spectra of the controllability Gramian: what each method can move, and how easily."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.costates import by_task, log_axis, places
from lab.figures.definition import TEXT, Column, Figure
from lab.figures.sources import DING_2022
from lab.figures.style import Theme, plain

_COLUMNS = {
    "label": Column('the method; "random subspace" is the null of all', TEXT),
    "model": Column("the PLM", TEXT),
    "task": Column("the task the batch is from", TEXT),
    "at": Column(
        "what is moved: logits or read, the state that the head reads (whole spectra), or end, the state after the "
        "last block (the largest values)",
        TEXT,
    ),
    "kind": Column("at the start, after training, or random weights", TEXT),
    "index": Column("number of the singular value, from 1, in decreasing order", "count"),
    "sigma": Column("singular value of J = ∂y/∂φ; the Gramian's eigenvalue is its square", "units of y per unit of φ"),
}
SEED = {"seed": Column("seed of head, method and batch", "count")}
NULL = "random subspace"
_KINDS = {"at the start": "solid", "after training": "dash", "random weights": "dot"}
_PLACES = {"logits": "logits", "read": "state that the head reads", "end": "state after the last block"}


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    order = {at: i for i, at in enumerate(_PLACES)}
    parts = {
        (task, at): part[part["at"] == at]
        for task, part in sorted(by_task(table).items())
        for at in sorted(part["at"].unique(), key=lambda at: order.get(at, 9))
    }
    runs = ["model", *(name for name in SEED if name in table)]
    labels = [label for label in dict.fromkeys(table.label) if label != NULL]
    columns = min(len(parts), 2)
    rows = -(-len(parts) // columns)
    figure = make_subplots(
        rows, columns, horizontal_spacing=0.12, vertical_spacing=0.3 / rows if rows > 1 else 0.0,
        subplot_titles=[f"{plain(task)}, {plain(_PLACES.get(at, at))}" for task, at in parts],
    )  # fmt: skip
    figure.update_annotations(font=None)
    for n, part in enumerate(parts.values()):
        place = {"row": n // columns + 1, "col": n % columns + 1}
        for i, label in enumerate(labels):
            for kind, dash in _KINDS.items():
                for _, run in part[(part.label == label) & (part.kind == kind)].groupby(runs):
                    run = run.sort_values("index")
                    figure.add_scatter(
                        x=run["index"], y=run.sigma.where(run.sigma > 0), showlegend=False,
                        line={"color": theme.colour(i), "dash": dash, "width": 2 if kind == "at the start" else 1.2},
                        hovertemplate=f"σ<sub>%{{x}}</sub> = %{{y:.4g}}<extra>{plain(label)}, {kind}</extra>",
                        **_marked(theme, i, len(run)), **place,
                    )  # fmt: skip
        for _, run in part[part.label == NULL].groupby(runs):
            run = run.sort_values("index")
            figure.add_scatter(
                x=run["index"], y=run.sigma.where(run.sigma > 0), mode="lines", showlegend=False, **place,
                line={"color": theme.muted, "width": 4}, opacity=0.55,
                hovertemplate=f"σ<sub>%{{x}}</sub> = %{{y:.4g}}<extra>{NULL}</extra>",
            )  # fmt: skip
        figure.update_yaxes(
            type="log", title_text="singular value [units of y per unit of φ]", **log_axis(part.sigma), **place
        )
        figure.update_xaxes(title_text="index [count]", **place)
    for i, label in enumerate(labels):
        figure.add_scatter(
            x=[None], y=[None], name=plain(label), line={"color": theme.colour(i), "width": 3}, row=1, col=1,
            **_marked(theme, i, 1),
        )  # fmt: skip
    if (table.label == NULL).any():
        figure.add_scatter(
            x=[None],
            y=[None],
            mode="lines",
            name=NULL,
            line={"color": theme.muted, "width": 4},
            opacity=0.55,
            row=1,
            col=1,
        )
    for kind, dash in _KINDS.items():
        if (table.kind == kind).any():
            figure.add_scatter(
                x=[None], y=[None], mode="lines", name=kind, line={"color": theme.ink, "dash": dash}, row=1, col=1
            )
    figure.update_layout(height=400 if rows == 1 else 330 * rows)
    return figure


def _marked(theme: Theme, i: int, n: int) -> dict[str, Any]:
    """A line of n points, with markers on about eight of them once the palette's colours are used up."""
    if i < len(theme.palette):
        return {"mode": "lines"}
    step = max(1, n // 8)
    sizes = [0 if k % step else 8 for k in range(n)]
    return {"mode": "lines+markers", "marker": {"symbol": theme.symbol(i), "size": sizes, "line": {"width": 0}}}


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per spectrum: how many values, how many above 0, the largest, Σσ² over all that are there, effective rank
    exp(−Σ p ln p)."""
    rows = []
    several = ["seed"] if "seed" in table and table.seed.nunique() > 1 else []
    for names, part in table.groupby(["label", "model", "task", "at", "kind", *several], sort=False):
        sigma = np.sort(part.sigma.to_numpy(float))[::-1]
        p = sigma[sigma > 0] / sigma.sum() if sigma.sum() > 0 else np.empty(0)
        rows.append(
            {"method": names[0], "model": names[1], "task": names[2], "at": names[3], "when": names[4],
             **dict(zip(several, names[5:], strict=True)),
             "values [count]": len(sigma), "rank [count]": int((sigma > 0).sum()), "largest σ": float(sigma[0]),
             "Σσ²": float((sigma**2).sum()),
             "effective rank": float(np.exp(-(p * np.log(p)).sum())) if len(p) else 0.0}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _describe(table: pd.DataFrame) -> str:
    found = _summary(table)
    found = found.assign(place=places(found))
    start = found[(found["at"] == "logits") & (found.when == "at the start")]
    sentences = [
        f"{row.method} on {row.place}: Σσ² {row['Σσ²']:.3g}, effective rank {row['effective rank']:.1f} "
        f"of {row['values [count]']}"
        for _, row in (start if len(start) else found).iterrows()
    ]
    return "What the controls can move at the logits before training. " + "; ".join(sentences) + "."


def _example() -> pd.DataFrame:
    """Made-up spectra of two methods and of a random subspace."""
    rows = []
    for label, size in (("LoRA", 2.0), ("prompt", 0.5), (NULL, 0.2)):
        for kind in _KINDS if label != NULL else ("at the start",):
            grown = {"at the start": 1.0, "after training": 2.0, "random weights": 0.3}[kind]
            for at, n in (("logits", 20), ("end", 5)):
                if at == "end" and (kind != "at the start" or label == NULL):
                    continue
                rows += [(label, "minilm", "bbc-news", at, kind, i, size * grown * 0.8**i) for i in range(1, n + 1)]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


GRAMIAN_SPECTRA = Figure(
    name="gramian_spectra",
    title="Spectra of the controllability Gramian",
    columns=_COLUMNS,
    build=_build,
    group="control",
    order=7,
    summary=_summary,
    describe=_describe,
    caption=(
        "Singular values of J = ∂y/∂φ on one batch for methods of about equal budget, y the logits, the state that the "
        "head reads (all values), or the whole state after the last block (the largest): before training (solid), "
        "after it (dashed), and on random weights (dotted), beside a random subspace of all weights of the same "
        "dimension (grey). Their squares are the eigenvalues of the controllability Gramian."
    ),
    reading=(
        "σ is how far y moves along a direction per unit of control, so a change of size z along it costs (z/σ)². A "
        "line that stays high moves many directions cheaply; one that falls fast moves few. A method above the grey "
        "line does better than its number of coordinates alone would. Each method has its own units of control: a "
        "larger σ is also what a mere rescaling of φ gives, so compare shapes first."
    ),
    source=(DING_2022,),
    example=_example,
    optional=SEED,
)
