"""What the least control does when it is applied, against what first order promised, and against training."""

from __future__ import annotations

import pandas as pd

from lab.figures.definition import TEXT, Column, Figure
from lab.figures.gramian_spectra import SEED
from lab.figures.grammar import Grid, Panel, listed, split
from lab.figures.sources import DING_2022
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = {
    "label": Column("the method", TEXT),
    "model": Column("the PLM", TEXT),
    "task": Column("the task the batch is from", TEXT),
    "request": Column("wanted rise of every sentence's margin", "logits"),
    "norm": Column("‖δφ‖ of the least control for it, to first order", "units of φ"),
    "predicted": Column("mean rise to first order; below the request where it cannot be reached", "logits"),
    "achieved": Column("mean rise when that control is applied", "logits"),
    "lowest": Column("smallest rise among the sentences", "logits"),
    "highest": Column("largest rise among the sentences", "logits"),
    "training_norm": Column("‖φ − φ₀‖ after training", "units of φ"),
    "training_change": Column("mean rise of the margins by training", "logits"),
}


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    """Per PLM and task: what was wanted against what happens, and against the price; a line per method and seed."""
    grid = Grid(theme, wrap=2, height=360, labels=table.label)
    for place, part in split(table, "model", "task"):
        promised, price = (grid.panel(f"{place}, {what}") for what in ("promised and achieved", "price"))
        wanted = sorted(part.request.unique())
        promised.line(wanted, wanted, "as promised", colour=theme.muted, dash="dot", width=1.5)
        for _, run in part.groupby(["label", *(name for name in SEED if name in part)], sort=False):
            _run(promised, price, run.sort_values("request"))
        promised.x("wanted rise [logits]", log=True)
        price.x("‖δφ‖ [units of φ]", log=True)
    return grid.y("rise that happens [logits]")


def _run(promised: Panel, price: Panel, run: pd.DataFrame) -> None:
    label, look = run.label.iloc[0], promised.grid.look(run.label.iloc[0])
    promised.band(run.request, run.lowest, run.highest, label, colour=look.colour, alpha=0.12)
    for panel, x in ((promised, run.request), (price, run.norm)):
        hover = "%{x:.3g}: %{y:.3g} logits"
        panel.line(x, run.achieved, label, colour=look.colour, symbol=look.symbol, hover=hover)
    star = {"symbol": "star", "size": 12, "colour": look.colour, "edge": promised.grid.theme.ink, "listed": False}
    end = run.iloc[:1]
    hover = "training: ‖δφ‖ = %{x:.3g}, %{y:.3g} logits"
    price.points(end.training_norm, end.training_change, label, hover=hover, key="training", **star)


def _answer(table: pd.DataFrame) -> Answer:
    """Per method: the price of one logit, how much of it arrives, up to where at least half arrives; and the norm of
    training over the first-order price of what training achieved."""
    rows, told = [], []
    names = ["label", "model", "task", *(["seed"] if "seed" in table and table.seed.nunique() > 1 else [])]
    for values, run in table.groupby(names, sort=False):
        one = run.iloc[int((run.request - 1).abs().to_numpy().argmin())]
        holds = run[run.achieved >= 0.5 * run.request]
        slope = float(one.norm / one.predicted) if one.predicted > 0 else float("nan")
        change, norm = float(run.training_change.iloc[0]), float(run.training_norm.iloc[0])
        row = dict(zip(["method", *names[1:]], values, strict=True)) | {"‖δφ‖ per logit": slope}
        row |= {f"achieved of {one.request:g} [logits]": float(one.achieved)}
        row |= {"half arrives up to [logits]": float(holds.request.max()) if len(holds) else 0.0}
        row |= {"training: rise [logits]": change, "training: ‖δφ‖": norm}
        known = change > 0 and slope > 0
        rows.append(row | {"training over least": norm / (slope * change) if known else float("nan")})
        told.append(f"{row['method']} on {row['task']} {slope:.3g}, of which {one.achieved:.2f} arrives")
    return Answer(listed("Least ‖δφ‖ that raises every margin by one logit", told), pd.DataFrame(rows))


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
        "sentences), and rise against the norm of the control (right), with training's norm and rise as a star."
    ),
    reading=(
        "On the dotted line first order tells the truth; where a curve bends away, the network has left the region "
        "in which its linearisation holds. A star to the right of its curve means that training used more norm than "
        "the least control needs for the same rise on these sentences; it also had to serve all others. Norms are in "
        "each method's own coordinates."
    ),
    source=(DING_2022,),
    example=_example,
    optional=SEED,
)
