"""What the least control does when it is applied, against what first order promised, and against training."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.gramian_spectra import SEED
from lab.figures.grammar import Grid, Panel, listed, split
from lab.figures.sources import DING_2022
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = columns(
    "control_energy",
    "label",
    "model",
    "task",
    "request",
    "norm",
    "predicted",
    "achieved",
    "lowest",
    "highest",
    "training_norm",
    "training_change",
)

_MOST_PLACES = 3
"""PLMs and tasks of which both panels are drawn: six panels at most."""


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    """Per PLM and task: what is wanted against what happens, and against the price; of more than three, the price."""
    grid, places = Grid(theme, wrap=2, height=360, labels=table.label), split(table, "model", "task")
    for place, part in places:
        promised = grid.panel(f"{place}, promised and achieved") if len(places) <= _MOST_PLACES else None
        price = grid.panel(f"{place}, price")
        for _, run in part.groupby(["label", *(name for name in SEED if name in part)], sort=False):
            run = run.sort_values("request")
            _price(price, run)
            if promised is not None:
                _promised(promised, run)
        if promised is not None:
            wanted = sorted(part.request.unique())
            promised.line(wanted, wanted, "as promised", colour=theme.muted, dash="dot", width=1.5)
            promised.x("wanted rise [logits]", log=True)
        price.rule(y=0, dash="solid").x("‖δφ‖ [units of φ]", log=True)
    return grid.y("rise that happens [logits]")


def _promised(panel: Panel, run: pd.DataFrame) -> None:
    label = run.label.iloc[0]
    look, hover = panel.grid.look(label), "wanted %{x:.3g}, happens %{y:.3g} logits"
    panel.band(run.request, run.lowest, run.highest, label, colour=look.colour, alpha=0.12)
    panel.line(
        run.request, run.achieved, label, colour=look.colour, symbol=look.symbol, key="least control", hover=hover
    )


def _price(panel: Panel, run: pd.DataFrame) -> None:
    label, end = run.label.iloc[0], run.iloc[:1]
    look, hover = panel.grid.look(label), "‖δφ‖ = %{x:.3g}: %{y:.3g} logits"
    panel.line(run.norm, run.achieved, label, colour=look.colour, symbol=look.symbol, key="least control", hover=hover)
    panel.points(
        end.training_norm, end.training_change, label, colour=look.colour, symbol="star", size=12, key="training",
        edge=panel.grid.theme.ink, listed=False, hover=f"training, {hover}",
    )  # fmt: skip


def _answer(table: pd.DataFrame) -> Answer:
    """Per method: the price of one logit, how much of it arrives, up to where at least half arrives; and the norm of
    training over the first-order price of what training achieved."""
    rows = []
    names = ["label", "model", "task", *(["seed"] if "seed" in table and table.seed.nunique() > 1 else [])]
    for values, run in table.groupby(names, sort=False):
        one, holds = run.iloc[int((run.request - 1).abs().to_numpy().argmin())], run[run.achieved >= 0.5 * run.request]
        slope = float(one.norm / one.predicted) if one.predicted > 0 else np.nan
        change, norm = float(run.training_change.iloc[0]), float(run.training_norm.iloc[0])
        row = dict(zip(["method", *names[1:]], values, strict=True)) | {"‖δφ‖ per logit [units of φ]": slope}
        row |= {f"achieved of {one.request:g} [logits]": float(one.achieved)}
        row |= {"half arrives up to [logits]": float(holds.request.max()) if len(holds) else 0.0}
        row |= {"training: rise [logits]": change, "training: ‖δφ‖ [units of φ]": norm}
        rows.append(row | {"training over least [1]": norm / (slope * change) if change > 0 and slope > 0 else np.nan})
    found = pd.DataFrame(rows)
    arrives = next(str(name) for name in found if str(name).startswith("achieved"))
    told = [
        f"{name}: {part[arrives].mean():.2f} (training {part['training: rise [logits]'].mean():.2f})"
        for name, part in split(found, "method", "model", "task")
    ]
    wanted = arrives.removeprefix("achieved of ").removesuffix(" [logits]")
    noun = "logit" if wanted == "1" else "logits"
    lead = f"Rise of the margins that the least control for {wanted} {noun} gives, and that of training [logits]"
    return Answer(listed(lead, told), found)


def _example() -> pd.DataFrame:
    """Made-up curves: first order holds for small requests and saturates for large ones."""
    rows = []
    for label, price, limit in (("LoRA", 0.2, 4.0), ("prompt", 1.5, 1.5)):
        for request in (0.1, 0.3, 1.0, 3.0, 10.0):
            achieved = limit * request / (limit + request)
            first, got = (request, price * request, request), (achieved, 0.7 * achieved, 1.2 * achieved)
            rows.append((label, "minilm", "bbc-news", *first, *got, 9 * price, limit / 2))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


CONTROL_ENERGY = Figure(
    name="control_energy",
    title="Least energy against achieved change",
    columns=_COLUMNS,
    build=_build,
    group="control",
    order=9,
    conclude=_answer,
    caption=(
        "The smallest change of φ that raises every sentence's margin by a given amount to first order, applied to the "
        "network: rise that was wanted against rise that happens (left; band: smallest and largest among the "
        "sentences), and rise against the norm of the control (right), with the norm and rise of training as a star. "
        "For more than three pairs of PLM and task, the right panel alone."
    ),
    reading=(
        "On the dotted line the first-order prediction holds; where a curve bends away, the network has left the "
        "region in which its linearisation holds. A star to the right of its curve means that training used more norm "
        "than the least control needs for the same rise on these sentences; it also had to serve all others. Norms are "
        "in each method's own coordinates."
    ),
    source=(DING_2022,),
    example=_example,
    optional=SEED,
)
