"""How near prompts bring a head to wanted outputs, beside the part that no prompt reaches."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed, records, split
from lab.figures.sources import BHARGAVA_2023
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = columns("reach_targets", "head", "tokens", "prompt", "target", "wanted", "bound", "missed", "least")
_NEAREST, _MOST = 1e-3, 1.5
"""Edges of the axes: nearer targets and larger misses are drawn there."""


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, wrap=2, height=420)
    for title, own in records(table):
        panel, own = grid.panel(title), own.assign(ratio=(own.wanted / own.bound).clip(lower=_NEAREST))
        x = np.geomspace(own.ratio.min() / 1.2, own.ratio.max() * 1.2, 200)
        least = np.clip(1 - 1 / x, 0, None)
        panel.band(x, np.zeros_like(x), least, "unreachable part", colour=theme.muted, alpha=0.16)
        panel.line(x, least, "unreachable part", colour=theme.ink, width=2)
        for prompt, part in split(own, "prompt"):
            y, name, symbol = part.missed.clip(upper=_MOST), f"{prompt} prompts", grid.symbol(prompt)
            data = [part["head"], part.tokens, part.target, part.missed]
            hover = "head %{customdata[0]}, k = %{customdata[1]}, %{customdata[2]}: misses %{customdata[3]:.3f}"
            panel.points(part.ratio, y, name, symbol=symbol, alpha=0.6, size=7, data=data, hover=hover)
    grid.x("‖P<sub>⊥</sub>y*‖ / bound [1]", log=True)
    return grid.y("share of P<sub>⊥</sub>y* missed [fraction]", zero=True)


def _answer(table: pd.DataFrame) -> Answer:
    """Per kind of prompt and target: how far it lies, what is out of reach, and what was missed."""
    rows, told = [], []
    parts = records(table)
    for title, own in parts:
        for (prompt, target), part in own.groupby(["prompt", "target"], sort=False):
            row = {"prompt": prompt, "target": target, "points [count]": len(part)}
            row |= {"median wanted/bound": (part.wanted / part.bound).median()}
            row |= {"unreachable, median": part.least.median(), "missed, least": part.missed.min()}
            row |= {"missed, median": part.missed.median()}
            row |= {"nearer than the bound allows [count]": int((part.missed < part.least - 1e-9).sum())}
            rows.append(({"record": title} if len(parts) > 1 else {}) | row)
        before = f"{title}: " if len(parts) > 1 else ""
        for prompt, part in split(own, "prompt"):
            inside, beyond = (part.missed[part.least.eq(0) == within] for within in (True, False))
            words = [f"{q.median():.2f} {where}" for q, where in ((inside, "within"), (beyond, "beyond")) if len(q)]
            told.append(f"{before}{prompt} prompts: {', '.join(words)}")
    nearer = int((table.missed < table.least - 1e-9).sum())
    end = f". {nearer} of {len(table)} prompts come nearer than the bound allows."
    lead = "Median share of a target missed, within and beyond the bound"
    return Answer(listed(lead, told, end=end), pd.DataFrame(rows))


def _example() -> pd.DataFrame:
    """Made-up searches: targets within the bound are met by free prompts, soft ones stay behind."""
    rows = []
    for head in range(4):
        for k in (1, 8):
            bound = 4.0 + head + 0.2 * k
            for prompt, extra in (("free", 0.02), ("soft", 0.3)):
                for share in (0.1, 0.5, 1.0, 2.0):
                    least = max(0.0, 1 - 1 / share)
                    missed = least + (1 - least) * extra * (1 + 0.1 * head)
                    rows.append((head, k, prompt, f"{share:g} × the bound", share * bound, bound, missed, least))
        rows.append((head, 8, "trained", "another text's output", 0.6, 6.0, 1.1, 0.0))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


REACH_TARGETS = Figure(
    name="reach_targets",
    title="Wanted outputs of a head, and what no prompt reaches",
    columns=_COLUMNS,
    build=_build,
    group="control",
    order=17,
    conclude=_answer,
    apart=("model", "task", "seed"),
    caption=(
        "Share of a wanted change of a head's output that the nearest prompt found still misses, against the length "
        "of that change relative to the bound of what prompts reach. Both are of the part orthogonal to the output "
        "without a prompt. Prompts are free at the entrance of the block, soft (they pass the embedding's LayerNorm), "
        "or trained on the task. First block, first token. Points at the edges (10⁻³, 1.5) lie beyond them."
    ),
    reading=(
        "No point may lie in the grey area: left of 1 nothing is ruled out, right of it at least 1 − bound/wanted is. "
        "Points on the line are targets that a prompt approaches as far as the bound allows; points far above it are "
        "targets that the bound does not rule out and the search did not reach. 1 is what no prompt at all misses; a "
        "prompt above 1 leads away from the target."
    ),
    source=(BHARGAVA_2023,),
    example=_example,
)
