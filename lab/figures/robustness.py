"""Accuracy under perturbed inputs, open loop against feedback."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.definition import TEXT, Column, Figure
from lab.figures.seed_dots import half_width
from lab.figures.sources import DING_2022, YANG_2022
from lab.figures.style import Theme, plain
from lab.statistics import mean_interval

CLEAN = "clean"
_COLUMNS = {
    "label": Column("the method", TEXT),
    "loop": Column("feedback or open loop", TEXT),
    "seed": Column("seed of the run", "count"),
    "kind": Column("perturbation, or clean", TEXT),
    "strength": Column("share of words, or noise in units of the embedding's root mean square; 0 for clean", "1"),
    "score": Column("accuracy", "fraction"),
}
_AXES = {
    "word drops": "words left out [fraction]",
    "typos": "words mistyped [fraction]",
    "embedding noise": "embedding noise [rms]",
}


def _with_clean(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The rows of one perturbation, the clean ones as its strength 0."""
    return table[(table.kind == kind) | (table.kind == CLEAN)]


def _kinds(table: pd.DataFrame) -> list[str]:
    return [kind for kind in dict.fromkeys(table.kind) if kind != CLEAN] or [CLEAN]


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    kinds, labels = _kinds(table), list(dict.fromkeys(table.label))
    figure = make_subplots(1, len(kinds), shared_yaxes=True, horizontal_spacing=0.03)
    for column, kind in enumerate(kinds, start=1):
        for i, label in enumerate(labels):
            part = _with_clean(table[table.label == label], kind)
            if len(part):
                _line(figure, part, theme, i, column)
        figure.update_xaxes(title_text=_AXES.get(kind, f"{plain(kind)} [strength]"), row=1, col=column)
    figure.update_yaxes(title_text="accuracy [fraction]", row=1, col=1)
    figure.update_layout(height=360)
    return figure


def _line(figure: go.Figure, part: pd.DataFrame, theme: Theme, i: int, column: int) -> None:
    label, loop, colour = plain(part.label.iloc[0]), part.loop.iloc[0], theme.colour(i)
    found = [(float(s), mean_interval(rows.score.tolist())) for s, rows in part.groupby("strength")]  # type: ignore[arg-type]
    name = f"{label} ({plain(loop)})"
    strengths = [s for s, _ in found]
    step = 0.012 * (max(strengths) - min(strengths))  # side by side, so that intervals can be told apart
    figure.add_scatter(
        x=[s + (i - 1.5) * step for s in strengths], y=[x.estimate for _, x in found], name=name, legendgroup=name,
        showlegend=column == 1, mode="lines+markers", marker={"symbol": theme.symbol(i), "size": 6},
        line={"color": colour, "dash": "solid" if loop == "feedback" else "dot", "width": 2},
        error_y={"type": "data", "array": [half_width(x) for _, x in found], "thickness": 1.2, "width": 0},
        hovertemplate=f"%{{y:.3f}}, {found[0][1].n} seeds<extra>{name}</extra>", row=1, col=column,
    )  # fmt: skip


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per method: clean accuracy, and what the strongest perturbation of each kind costs, with its interval."""
    rows = []
    for label, part in table.groupby("label", sort=False):
        clean = part[part.kind == CLEAN].set_index("seed").score
        row: dict[str, object] = {"label": label, "loop": part.loop.iloc[0], "clean accuracy": clean.mean()}
        for kind in _kinds(table):
            rows_of = part[(part.kind == kind) & (part.strength == part.strength[part.kind == kind].max())]
            lost = (rows_of.seed.map(clean) - rows_of.score).dropna().tolist()
            found = mean_interval(lost) if lost else None
            row[f"lost to {kind}"] = np.nan if found is None else found.estimate
            row[f"lost to {kind} ±"] = np.nan if found is None or found.n < 2 else half_width(found)
        rows.append(row)
    return pd.DataFrame(rows)


def _describe(table: pd.DataFrame) -> str:
    kinds = _kinds(table)
    parts = []
    for row in _summary(table).to_dict("records"):
        lost = ", ".join(f"{row[f'lost to {kind}']:.3f} to {kind}" for kind in kinds)
        parts.append(f"{row['label']} ({row['loop']}): clean accuracy {row['clean accuracy']:.3f}, loses {lost}")
    return "; ".join(parts) + "; at the strongest perturbation, mean over seeds."


def _example() -> pd.DataFrame:
    """Made-up accuracies that fall with the strength, a little faster in open loop."""
    rng = np.random.default_rng(0)
    rows = []
    for label, loop, rate in (("LoRA", "feedback", 0.25), ("BitFit", "open loop", 0.32), ("prefix", "open loop", 0.35)):
        for seed in range(3):
            rows.append((label, loop, seed, CLEAN, 0.0, 0.92 + 0.01 * rng.standard_normal()))
            for kind, scale in (("word drops", 1.0), ("typos", 1.0), ("embedding noise", 4.0)):
                for share in (0.3, 0.6):
                    score = 0.92 - rate * share + 0.01 * rng.standard_normal()
                    rows.append((label, loop, seed, kind, share * scale, score))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


ROBUSTNESS = Figure(
    name="robustness",
    title="Accuracy under perturbed inputs",
    columns=_COLUMNS,
    build=_build,
    group="control",
    order=13,
    summary=_summary,
    describe=_describe,
    caption=(
        "Accuracy against the strength of a perturbation of the input: words left out, inner letters swapped, "
        "Gaussian noise on the word embeddings. Solid: methods that feed the state back; dotted: open loop. Mean over "
        "seeds and its 95 % interval."
    ),
    reading=(
        "All lines start at the clean accuracy; what counts is how fast they fall, not where they start. If feedback "
        "rejected disturbances, solid lines would fall more slowly than dotted ones. Points are shifted sideways a "
        "little so that intervals can be told apart. All seeds are scored on the same examples, so the intervals show "
        "the variation of training, not of the choice of examples."
    ),
    source=(DING_2022, YANG_2022),
    example=_example,
)
