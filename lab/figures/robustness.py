"""Accuracy under perturbed inputs, open loop against feedback."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, Panel, first_seen, half_width, listed, split
from lab.figures.sources import DING_2022, YANG_2022
from lab.figures.style import Theme, counted, plain
from lab.statistics import Answer, mean_interval
from lab.statistics.robustness import CLEAN

_COLUMNS = columns("robustness", "label", "loop", "seed", "kind", "strength", "score")
_AXES = {
    "word drops": "words left out [fraction]",
    "typos": "words mistyped [fraction]",
    "embedding noise": "embedding noise [rms]",
}


def _with_clean(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The rows of one perturbation, the clean ones as its strength 0."""
    return table[(table.kind == kind) | (table.kind == CLEAN)]


def _kinds(table: pd.DataFrame) -> list[str]:
    return [kind for kind in first_seen(table.kind) if kind != CLEAN] or [CLEAN]


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    labels = first_seen(table.label)
    grid = Grid(theme, wrap=3, height=360, share_y=True, labels=labels)
    for kind in _kinds(table):
        panel = grid.panel().x(_AXES.get(kind, f"{plain(kind)} [strength]"))
        for label, part in split(_with_clean(table, kind), "label"):
            _line(panel, part, label, labels.index(label) - (len(labels) - 1) / 2)
    return grid.y("accuracy [fraction]")


def _line(panel: Panel, part: pd.DataFrame, label: str, aside: float) -> None:
    """Means over seeds with their intervals, a little aside of others so that intervals can be told apart."""
    loop, look = part.loop.iloc[0], panel.grid.look(label)
    x = sorted(part.strength.unique())
    found = [mean_interval(part.score[part.strength == strength].tolist()) for strength in x]
    step = 0.012 * (x[-1] - x[0])
    panel.line(
        [strength + aside * step for strength in x], [one.estimate for one in found], label, colour=look.colour,
        symbol=look.symbol, dash="solid" if loop == "feedback" else "dot", error=[half_width(one) for one in found],
        hover=f"%{{y:.3f}}, {counted(found[0].n, 'seed')}", key=loop,
    )  # fmt: skip


def _answer(table: pd.DataFrame) -> Answer:
    """Per method: clean accuracy, and what the strongest perturbation of each kind costs, with its interval."""
    rows, told = [], []
    for label, part in split(table, "label"):
        clean = part[part.kind == CLEAN].groupby("seed").score.mean()
        row: dict[str, object] = {"label": label, "loop": part.loop.iloc[0], "clean accuracy": clean.mean()}
        for kind in _kinds(table):
            hardest = part[(part.kind == kind) & (part.strength == part.strength[part.kind == kind].max())]
            lost = (hardest.seed.map(clean) - hardest.score).dropna().tolist()
            found = mean_interval(lost) if lost else None
            row[f"lost to {kind}"] = np.nan if found is None else found.estimate
            row[f"lost to {kind} ±"] = np.nan if found is None or found.n < 2 else half_width(found)
        rows.append(row)
        told.append(f"{label} loses " + ", ".join(f"{row[f'lost to {kind}']:.3f} to {kind}" for kind in _kinds(table)))
    lead = "Accuracy at the strongest perturbation, mean over seeds"
    best = {f"lost to {kind}": "lowest" for kind in _kinds(table)}
    return Answer(listed(lead, told), pd.DataFrame(rows), best=best)


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
    conclude=_answer,
    averages=("seed",),
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
