"""Eigenvalues of the curvature of each delta, before and after training, beside random weights."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.figure import TEXT, Column, Figure
from lab.figures.sources import GHORBANI_2019, SCHRAUDOLPH_2002
from lab.figures.style import Theme, fade, log_ticks, plain

_COLUMNS = {
    "label": Column('method, with ", random weights" for the null of pre-training', TEXT),
    "state": Column("when: start or trained", TEXT),
    "scope": Column("which coordinates of φ: all, or one block", TEXT),
    "index": Column("number of the eigenvalue, from 1, in decreasing order", "count"),
    "eigenvalue": Column("eigenvalue of the Gauss-Newton matrix", "nats per unit of φ²"),
}
_RANDOM = ", random weights"


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    """Left: all of φ, a line per method and state. Right: the largest eigenvalue of every block."""
    figure = make_subplots(
        1, 2, column_widths=[0.6, 0.4], horizontal_spacing=0.1,
        subplot_titles=["all coordinates", "largest eigenvalue of each block"],
    )  # fmt: skip
    figure.update_annotations(font=None)
    methods = list(dict.fromkeys(label.removesuffix(_RANDOM) for label in table.label))
    colours = {method: theme.colour(i) for i, method in enumerate(methods)}
    whole, parts = table[table.scope == "all"], table[table.scope != "all"]
    scopes = ordered_scopes(parts.scope)
    for (label, state), rows in whole.groupby(["label", "state"], sort=False):
        rows = rows[rows.eigenvalue > 0].sort_values("index")
        style = _style(str(label), str(state), colours, theme)
        figure.add_scatter(
            x=rows["index"], y=rows.eigenvalue, mode="lines", name=plain(f"{label}, {state}"), line=style,
            hovertemplate="λ<sub>%{x}</sub> = %{y:.3g}", row=1, col=1,
        )  # fmt: skip
    for (label, state), rows in parts.groupby(["label", "state"], sort=False):
        top = rows.groupby("scope").eigenvalue.max()
        style = _style(str(label), str(state), colours, theme)
        figure.add_scatter(
            x=[_short(scope) for scope in scopes], y=top.reindex(scopes), mode="lines+markers", showlegend=False,
            line=style, marker={"color": style["color"], "size": 5}, name=plain(f"{label}, {state}"),
            hovertemplate="%{x}: %{y:.3g}", row=1, col=2,
        )  # fmt: skip
    last = float(table["index"].max())
    figure.update_xaxes(
        type="log", title_text="index [count]", range=[-0.04, np.log10(last) + 0.04], tickvals=log_ticks(1, last),
        row=1, col=1,
    )  # fmt: skip
    figure.update_xaxes(title_text="coordinates of φ [block]", type="category", row=1, col=2)
    figure.update_yaxes(type="log", exponentformat="power", dtick=1)
    figure.update_yaxes(title_text="eigenvalue [nats per unit of φ²]", row=1, col=1)
    return figure.update_layout(height=380)


def _style(label: str, state: str, colours: dict[str, str], theme: Theme) -> dict[str, object]:
    """Colour of the method; dotted before training; grey for the null."""
    null = label.endswith(_RANDOM)
    colour = theme.muted if null else colours[label]
    return {
        "color": fade(colour, 0.75) if null else colour,
        "width": 1.4 if null else 2,
        "dash": "solid" if state == "trained" else "dot",
    }


def _short(scope: str) -> str:
    """ "block 3" is 3 on the axis; head and embeddings are the rest."""
    return plain(scope.removeprefix("block ")) if scope != "outside the blocks" else "rest"


def ordered_scopes(scopes: pd.Series) -> list[str]:
    """`block b` by number, the rest last."""
    present = list(dict.fromkeys(scopes))
    number = {scope: int(scope.split()[-1]) for scope in present if scope.split()[-1].isdigit()}
    return sorted(number, key=number.__getitem__) + [scope for scope in present if scope not in number]


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per method and state: largest eigenvalue, trace, effective rank (Σλ)²/Σλ², how many hold 90 % of the trace."""
    rows = []
    for (label, state), part in table[table.scope == "all"].groupby(["label", "state"], sort=False):
        values = np.sort(part.eigenvalue.clip(lower=0).to_numpy(float))[::-1]
        total = float(values.sum())
        rows.append(
            {"label": label, "state": state, "eigenvalues [count]": len(values), "largest": values[0], "trace": total,
             "effective rank": total**2 / float((values**2).sum()) if total else 0.0,
             "for 90 % of the trace [count]": int(np.searchsorted(np.cumsum(values), 0.9 * total) + 1)}
        )  # fmt: skip
    columns = ["label", "state", "eigenvalues [count]", "largest", "trace", "effective rank"]
    found = pd.DataFrame(rows, columns=[*columns, "for 90 % of the trace [count]"])
    return found if len(found) else table[["label", "state", "scope", "eigenvalue"]].head(1)


def _describe(table: pd.DataFrame) -> str:
    found = _summary(table)
    if "largest" not in found:
        return f"The largest eigenvalues of single blocks of {found.label.iloc[0]}; none of all coordinates together."
    return " ".join(
        f"{row['label']}, {row['state']}: largest eigenvalue {row['largest']:.3g}, effective rank "
        f"{row['effective rank']:.1f} of {row['eigenvalues [count]']}."
        for _, row in found.iterrows()
    )


def _example() -> pd.DataFrame:
    """Made-up spectra: a few stiff directions over a bulk that training lowers; four blocks and a head."""
    rows = []
    for label, height in (("LoRA r = 8", 1.0), ("BitFit", 3.0), ("LoRA r = 8, random weights", 0.05)):
        for state, fall in (("start", 1.0), ("trained", 0.2)):
            for scope, share in (("all", 1.0), *((f"block {b}", 0.1 * (b + 1)) for b in range(4)), ("head", 0.6)):
                index = np.arange(1, 41 if scope == "all" else 11)
                values = height * share * np.where(index <= 4, 1.0, 0.03 * fall * index**-0.8)
                rows.append(
                    pd.DataFrame({"label": label, "state": state, "scope": scope, "index": index, "eigenvalue": values})
                )
    return pd.concat(rows, ignore_index=True)


CURVATURE_SPECTRUM = Figure(
    name="curvature_spectrum",
    title="Curvature of the loss in a delta's vector",
    columns=_COLUMNS,
    build=_build,
    summary=_summary,
    describe=_describe,
    caption=(
        "Eigenvalues of the Gauss-Newton matrix of each delta on one fixed batch, before training (dotted) and after "
        "(solid), with random weights in grey; left all of φ on logarithmic axes, right the largest eigenvalue of the "
        "diagonal block of every layer."
    ),
    reading=(
        "A line that starts high and drops steeply means few stiff directions: along all others the loss hardly "
        "changes, so many vectors solve the task, and a random subspace need only meet the few. The rank is at most "
        "(classes − 1) times the number of sentences, whatever the length of φ, so the end of each line is the "
        "batch's, not the model's. Heights of different methods are in units of their own φ and cannot be compared; "
        "shapes can. A null that lies as high as its method says that pre-training did not make these directions."
    ),
    source=(SCHRAUDOLPH_2002, GHORBANI_2019),
    example=_example,
)
