"""The table "delta as control": where each method acts, how, with how many numbers and how strongly."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed, split
from lab.figures.sources import DING_2022
from lab.figures.stages import chain, short, written
from lab.figures.style import Theme, count
from lab.statistics import Answer

_COLUMNS = columns(
    "delta_as_control",
    "label",
    "model",
    "task",
    "stage",
    "t",
    "kind",
    "controls",
    "norm",
    "rank",
    "participation",
    "gramian_share",
    "layers_reached",
    "identity_error",
)


_ROOM = 12
"""Most stages of a panel whose cells have room for a number."""


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    """A panel per PLM and task: methods by the stages of that PLM; numbers are written where there is room."""
    grid = Grid(theme, wrap=1, height=160)
    for panel, own in grid.by(table, "model", "task"):
        stages, rows, words = chain(own.stage[own.stage != "all"]) or ["all"], {}, []
        for name, part in split(own, "label"):
            at = part[part.controls > 0].set_index("stage")
            rows[f"{name} ({part.kind.iloc[0]})"] = [float(at.norm.get(stage, np.nan)) for stage in stages]
            words.append([count(at.controls[stage]) if stage in at.index else "" for stage in stages])
        names = [short(stage) for stage in stages]
        cells = pd.DataFrame(rows, index=names).T
        told = pd.DataFrame(words)
        hover = "%{y}<br>stage %{x}: %{customdata[1]} controls, ‖B‖ = %{customdata[0]:.3g}"
        text = words if len(stages) <= _ROOM else None
        panel.heat(cells, "‖B<sub>t</sub>‖ [1]", log=True, text=text, data=[cells, told], hover=hover, gap=2)
        panel.x("stage [block number]", categories=names, ticks=written(names, 12))
        panel.y("method, control [name]", categories=list(rows))
    return grid


def _answer(table: pd.DataFrame) -> Answer:
    """One row per method: the table of the theory, computed."""
    rows = []
    for name, part in split(table, "label", "model", "task"):
        blocks = part[part.stage.str.startswith("block") & (part.controls > 0)]
        row = {"method": name, "control": part.kind.iloc[0], "d [count]": int(part.controls.sum())}
        row |= {"d_t per block [count]": _range(blocks.controls), "‖B_t‖ in blocks": float(blocks.norm.mean())}
        row |= {"rank B_t": _range(blocks["rank"].dropna()), "directions of B_t": float(blocks.participation.mean())}
        row |= {"blocks reached [%]": 100 * float(part.layers_reached.iloc[0])}
        rows.append(row | {"identity error": float(part.identity_error.iloc[0])})
    told = [f"{row['method']}: {row['control']}, {row['blocks reached [%]']:.0f} %" for row in rows]
    lead = "How each method controls the layers, and the share of blocks it reaches"
    return Answer(listed(lead, told), pd.DataFrame(rows))


def _range(values: pd.Series) -> str:
    if values.empty:
        return "–"
    low, high = int(values.min()), int(values.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _example() -> pd.DataFrame:
    """Made-up rows: feedback in all blocks, an initial condition, and a method that does not split over layers."""
    acts = (512, 9.0, 224.0, 14.0, 0.5)
    begins = (320, 80.0, 300.0, 190.0, 1.0)
    nowhere = (0, 0.0, 0.0, 0.0, 0.0)
    rows: list[tuple[object, ...]] = []
    for t, stage in enumerate(("embed", "block 0", "block 1", "readout")):
        inside, first = stage.startswith("block"), stage == "embed"
        rows.append(("LoRA", stage, t, "feedback: bilinear", *(acts if inside else nowhere), 1.0, 0.0))
        rows.append(("prompt", stage, t, "initial condition", *(begins if first else nowhere), 0.0, 0.3))
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
    conclude=_answer,
    caption=(
        "Where each delta method acts on the chain of layers: number of its coordinates per stage (written, where "
        "there is room), strength ‖B_t‖ with B_t = ∂h_{t+1}/∂u_t (colour), and the type of control, found by "
        "measuring what the method adds to each module's output: independent of the input (open loop), proportional "
        "to it, affine in it (bilinear), or nonlinear."
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
