"""The table "delta as control": where each method acts, how, with how many numbers and how strongly."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lab.figures.costates import runs_of
from lab.figures.definition import TEXT, Column, Figure
from lab.figures.sources import DING_2022
from lab.figures.style import Theme, count, plain

_COLUMNS = {
    "label": Column("the method", TEXT),
    "model": Column("the PLM", TEXT),
    "task": Column("the task the batch is from", TEXT),
    "stage": Column('stage of the chain; "all" where φ does not split over layers', TEXT),
    "t": Column("its number", "count"),
    "kind": Column("type of control, computed", TEXT),
    "controls": Column("d_t, coordinates of φ that act in the stage", "count"),
    "norm": Column("‖B_t‖_F, B_t = ∂h_{t+1}/∂u_t on the batch", "1"),
    "rank": Column("rank of B_t; empty where it was not computed", "count"),
    "participation": Column("participation ratio of B_t's singular values", "1"),
    "gramian_share": Column("share of the trace of the end state's Gramian", "1"),
    "layers_reached": Column("share of the blocks the method acts in", "1"),
    "identity_error": Column("largest |logits(φ₀) − PLM's logits|", "1"),
}


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    runs = runs_of(table)
    order = table[table.stage != "all"].sort_values("t")
    stages = [s for s in ("embed",) if s in set(order.stage)]
    stages += sorted({s for s in order.stage if s.startswith("block")}, key=lambda s: int(s.split()[-1]))
    stages += [s for s in dict.fromkeys(order.stage) if s not in stages]
    names = list(runs)
    norms = np.full((len(names), len(stages)), np.nan)
    text = [["" for _ in stages] for _ in names]
    for i, part in enumerate(runs.values()):
        for stage, controls, norm in zip(part.stage, part.controls, part.norm, strict=True):
            if stage in stages and controls:
                j = stages.index(stage)
                norms[i, j] = np.log10(norm) if norm > 0 else np.nan
                text[i][j] = count(controls)
    kinds = [plain(part.kind.iloc[0]) for part in runs.values()]
    labels = [f"{plain(name)}<br><i>{kind}</i>" for name, kind in zip(names, kinds, strict=True)]
    if not stages:
        stages, norms, text = ["all"], np.full((len(names), 1), np.nan), [[""] for _ in names]
    figure = go.Figure(
        go.Heatmap(
            x=[plain(stage) for stage in stages],
            y=labels,
            z=norms,
            text=text,
            texttemplate="%{text}",
            xgap=2,
            ygap=2,
            colorscale=[[i / 11, colour] for i, colour in enumerate(theme.depths(12))],
            hoverongaps=False,
            colorbar={"title": {"text": "log₁₀ ‖B<sub>t</sub>‖", "side": "right"}, "thickness": 12},
            hovertemplate="%{y}<br>%{x}: %{text} controls, ‖B‖ = 10^%{z:.2f}<extra></extra>",
        )
    )
    figure.update_xaxes(title_text="stage [name]", side="bottom")
    figure.update_yaxes(title_text="method and type of control [name]", autorange="reversed", showgrid=False)
    figure.update_layout(height=max(200, 46 * len(names)))
    return figure


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """One row per method: the table of the theory, computed."""
    rows = []
    for name, part in runs_of(table).items():
        blocks = part[part.stage.str.startswith("block") & (part.controls > 0)]
        ranks = blocks["rank"].dropna()
        rows.append(
            {"method": name, "control": part.kind.iloc[0], "d": int(part.controls.sum()),
             "d_t per block": _range(blocks.controls), "‖B_t‖ in blocks": float(blocks.norm.mean()),
             "rank B_t": _range(ranks), "directions of B_t": float(blocks.participation.mean()),
             "blocks reached [%]": 100 * float(part.layers_reached.iloc[0]),
             "identity error": float(part.identity_error.iloc[0])}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _range(values: pd.Series) -> str:
    if values.empty:
        return "–"
    low, high = int(values.min()), int(values.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _describe(table: pd.DataFrame) -> str:
    found = _summary(table)
    return (
        "How each method controls the layers: "
        + "; ".join(
            f"{row.method}, {row.control}, reaches {row['blocks reached [%]']:.0f} % of the blocks"
            for _, row in found.iterrows()
        )
        + "."
    )


def _example() -> pd.DataFrame:
    """Made-up rows: feedback in all blocks, an initial condition, and a method that does not split over layers."""
    rows = []
    for t, stage in enumerate(("embed", "block 0", "block 1", "readout")):
        inside = stage.startswith("block")
        rows.append(("LoRA", stage, t, "feedback: bilinear", 512 if inside else 0, 9.0 if inside else 0.0,
                     224.0 if inside else 0.0, 14.0 if inside else 0.0, 0.5 if inside else 0.0, 1.0, 0.0))  # fmt: skip
        first = stage == "embed"
        rows.append(("prompt", stage, t, "initial condition", 320 if first else 0, 80.0 if first else 0.0,
                     300.0 if first else 0.0, 190.0 if first else 0.0, 1.0 if first else 0.0, 0.0, 0.3))  # fmt: skip
    rows.append(("DID", "all", 0, "coupled over time", 40, np.nan, np.nan, np.nan, np.nan, 1.0, 0.0))
    names = [name for name in _COLUMNS if name not in ("model", "task")]
    return pd.DataFrame(rows, columns=names).assign(model="minilm", task="bbc-news")[list(_COLUMNS)]


DELTA_AS_CONTROL = Figure(
    name="delta_as_control",
    title="Delta as control",
    columns=_COLUMNS,
    build=_build,
    group="control",
    order=4,
    summary=_summary,
    describe=_describe,
    caption=(
        "Where each delta method acts on the chain of layers: number of its coordinates per stage (written), strength "
        "‖B_t‖ with B_t = ∂h_{t+1}/∂u_t (colour), and the type of control, found by measuring what the method adds to "
        "each module's output: independent of the input (open loop), proportional to it, affine in it (bilinear), or "
        "nonlinear."
    ),
    reading=(
        "An empty cell is a stage the method does not act in: a prompt is an initial condition, a probe a terminal "
        "control. Open-loop control adds the same change whatever the state is; feedback depends on the state. Norms "
        "are per unit of the method's own coordinates, at a point near its start: compare along a row rather than "
        "between rows. The table gives the rank where it was small enough to compute."
    ),
    source=(DING_2022,),
    example=_example,
)
