"""How far prompts move a head's output, beside how far the bound lets them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, Panel, listed, records, split
from lab.figures.sources import BHARGAVA_2023
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = columns("reach_bound", "head", "tokens", "prompt", "reached", "sharp", "published")
_ORDER = ("random", "trained", "optimised")


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, wrap=2, height=420)
    for title, own in records(table):
        panel = grid.panel(title)
        _bound(panel, own, "published", "bound from norms alone", theme.muted, "dash")
        _bound(panel, own, "sharp", "sharp bound", theme.ink, "solid")
        order = own.assign(at=[_ORDER.index(p) if p in _ORDER else len(_ORDER) for p in own.prompt])
        for i, (prompt, part) in enumerate(split(order.sort_values(["at", "prompt"], kind="stable"), "prompt")):
            x, data = part.tokens * 2 ** (0.09 * (i - 1)), [part["head"], part.tokens]  # side by side
            hover, name = "head %{customdata[0]}, k = %{customdata[1]}: %{y:.3g}", f"{prompt} prompts"
            panel.points(x, part.reached, name, symbol=grid.symbol(prompt), alpha=0.7, size=7, data=data, hover=hover)
    grid.x("tokens of the prompt k [count]", log=True, ticks=sorted(table.tokens.unique()))
    return grid.y("‖y<sub>⊥</sub>‖ at the first token [1]", log=True)


def _bound(panel: Panel, table: pd.DataFrame, column: str, name: str, colour: str, dash: str) -> None:
    """Median and range over the heads of a bound."""
    own = table[table.prompt != "trained"] if (table.prompt != "trained").any() else table
    heads, name = own.groupby("tokens")[column], f"{name} (median and range over heads)"
    low, middle, high = heads.min(), heads.median(), heads.max()
    panel.band(low.index, low, high, name, colour=panel.grid.theme.muted, alpha=0.16)
    panel.line(middle.index, middle, name, colour=colour, dash=dash, width=2, hover="k = %{x}: %{y:.3g}")


def _answer(table: pd.DataFrame) -> Answer:
    """Per kind of prompt and k: the largest reached/bound, its median, and how often the bound was passed."""
    rows, told = [], []
    parts = records(table)
    for title, own in parts:
        for (prompt, k), part in own.groupby(["prompt", "tokens"], sort=False):
            ratio = part.reached / part.sharp
            row = {
                "prompt": prompt,
                "k [count]": k,
                "points [count]": len(part),
                "median reached": part.reached.median(),
            }
            row |= {"median sharp bound": part.sharp.median(), "median reached/bound": ratio.median()}
            row |= {"largest reached/bound": ratio.max(), "beyond the bound [count]": int((ratio > 1 + 1e-9).sum())}
            row |= {"median sharp/published": (part.sharp / part.published).median()}
            rows.append(({"record": title} if len(parts) > 1 else {}) | row)
        before = f"{title}: " if len(parts) > 1 else ""
        for prompt, part in split(own, "prompt"):
            ratio = part.reached / part.sharp
            told.append(f"{before}{prompt} prompts: {ratio.median():.2f} in the median, {ratio.max():.2f} at most")
    beyond = int((table.reached / table.sharp > 1 + 1e-9).sum())
    end = f". {beyond} of {len(table)} points lie beyond the bound."
    return Answer(listed("Share of the sharp bound that is reached", told, end=end), pd.DataFrame(rows))


def _example() -> pd.DataFrame:
    """Made-up heads: bounds that saturate in k, points below them."""
    rng = np.random.default_rng(0)
    rows = []
    for head in range(6):
        for k in (1, 2, 4, 8):
            sharp = (4 + head) * k / (k + 2)
            for prompt, share in (("random", 0.05), ("random", 0.08), ("optimised", 0.75)):
                rows.append((head, k, prompt, sharp * share * (1 + 0.2 * rng.random()), sharp, 12.0 + head))
        rows.append((head, 8, "trained", 0.4 * (1 + 0.3 * rng.random()), (4 + head) * 0.8, 12.0 + head))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


REACH_BOUND = Figure(
    name="reach_bound",
    title="What a prompt can reach in a head",
    columns=_COLUMNS,
    build=_build,
    group="control",
    order=16,
    conclude=_answer,
    apart=("model", "task", "seed"),
    caption=(
        "Length of the part of a head's output that is orthogonal to its output without a prompt, against the number "
        "of prompt tokens: for random prompts, prompts optimised for the head, and a soft prompt trained on the task, "
        "beside the upper bound from the norms of the matrices and a sharper one that knows the query. First block, "
        "first token."
    ),
    reading=(
        "Everything above a head's bound is unreachable, whatever the prompt says: no point may lie above its own "
        "head's solid line (bands show the range over heads, so a point may lie above the median). The gap between "
        "optimised prompts and the sharp line is what the bound gives away; the gap between trained and optimised "
        "prompts is reach that the task did not use in this layer."
    ),
    source=(BHARGAVA_2023,),
    example=_example,
)
