"""λ(x): the softmax mass that a prefix or a prompt takes, by layer, head and token, before and after training."""

from __future__ import annotations

import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed, split
from lab.figures.sources import HE_2022
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = columns("prefix_mass", "stage", "block", "head", "position", "mass", "even")
_LABEL = columns("prefix_mass", "label")
_SHOWN = {"head": "head", "position": "token"}


def _named(table: pd.DataFrame) -> pd.DataFrame:
    """Stages named with their method where it is known: "prefix, trained"."""
    if "label" not in table:
        return table
    return table.assign(stage=table.label + ", " + table.stage).sort_values("label", kind="stable")


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    """Above by head, below by token, one column per stage; one colour scale."""
    stages = split(_named(table), "stage")
    grid = Grid(theme, wrap=len(stages), height=280, share_y=True)
    for over, word in _SHOWN.items():
        for i, (stage, part) in enumerate(stages):
            panel = grid.panel(f"{stage}, by {word}\neven: {part.even.mean():.3f}", new_row=i == 0)
            cells = part.pivot_table(index="block", columns=over, values="mass", aggfunc="mean")
            hover = f"block %{{y}}, {word} %{{x}}: λ = %{{z:.3f}}"
            panel.heat(cells, "λ [fraction]", low=0, hover=hover).x(f"{word} [index]", options={"showgrid": False})
    return grid.y("block [index]", reverse=True, whole=True, options={"showgrid": False})


def _answer(table: pd.DataFrame) -> Answer:
    """Per stage and block: mean λ, and the heads that give most and least."""
    rows, told = [], []
    for (stage, block), part in _named(table).groupby(["stage", "block"], sort=False):
        heads = part.groupby("head").mass.mean()
        row = {"stage": stage, "block": block, "mean λ": part.mass.mean(), "even share": part.even.mean()}
        row |= {"λ at the first token": part.mass[part.position == part.position.min()].mean()}
        rows.append(row | {"least by head": heads.min(), "most by head": heads.max(), "most at head": heads.idxmax()})
    for stage, part in split(_named(table), "stage"):
        heads = part.groupby(["block", "head"]).mass.mean()
        block, head = heads.index[int(heads.to_numpy().argmax())]
        most = f"most {heads.max():.3f} (block {block}, head {head})"
        told.append(f"{stage}: {part.mass.mean():.3f}, even share {part.even.mean():.3f}, {most}")
    return Answer(listed("Mean softmax mass λ on the trained tokens", told), pd.DataFrame(rows))


def _example() -> pd.DataFrame:
    """Made-up masses: even at the start, a few heads taken over after training."""
    rows = []
    for label, even in (("prefix", 0.2), ("prompt", 0.4)):
        for stage in ("start", "trained"):
            for block in range(4):
                for head in range(6):
                    for position in range(8):
                        mass = even if stage == "start" else 0.1 + 0.6 * ((block * 5 + head * 3) % 7) / 7
                        rows.append((label, stage, block, head, position, mass * (1 - 0.03 * position), even))
    return pd.DataFrame(rows, columns=["label", *_COLUMNS])


PREFIX_MASS = Figure(
    name="prefix_mass",
    title="Where a prefix or prompt acts",
    columns=_COLUMNS,
    build=_build,
    group="control",
    order=15,
    conclude=_answer,
    label="stage",
    caption=(
        "λ(x), the softmax mass that attention gives to the tokens of a prefix or prompt, by block and head (top, mean "
        "over tokens) and by block and token of the text (bottom, mean over heads), at the start of training and after "
        "it; mean over texts."
    ),
    reading=(
        "A head's output is (1 − λ)·(what the text alone gives) + λ·(a mixture of the trained tokens' values): λ is "
        "the gate of this control. Dark cells are heads or tokens that they hardly touch; bright ones are heads they "
        "have taken over. The colour bar marks the even share, what λ would be if all keys were alike: the null. A "
        "prompt's tokens carry states of their own from block to block, a prefix's are trained in each."
    ),
    source=(HE_2022,),
    example=_example,
    optional=_LABEL,
)
