"""Prompt, BitFit and adapter in every combination: what each adds alone, beside another, and together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product

from lab.deferred import numpy as np
from lab.deferred import pandas as pd
from lab.statistics.factorial import effects_beside, factorial_effects
from lab.statistics.interval import Interval
from lab.statistics.means import mean_interval

FACTORS = ("prompt", "BitFit", "adapter")
"""The three deltas of the design, as columns of the table: 1 where a delta is on."""

KINDS = ("effect", "beside another delta", "interaction")


def contrasts(table: pd.DataFrame) -> pd.DataFrame:
    """Effects of the three factors with their intervals over seeds: label, term, kind, values, estimate, low, high.

    Every seed that has all eight cells gives one value of each: a factor's main effect (over all four combinations of
    the others), its effect beside another delta (over the three that are not empty: what a *combination* gains by it),
    and the interactions. Student's t interval over the seeds.
    """
    rows = []
    for label, part in table.groupby("label", sort=False):
        designs = [cells for _, seed in part.groupby("seed") if len(cells := _cells(seed)) == 2 ** len(FACTORS)]
        for term, kind, values in _terms(designs):
            found = mean_interval(values)
            rows.append({"label": label, "term": term, "kind": kind, "values": values, **_ends(found)})
    return pd.DataFrame(rows, columns=["label", "term", "kind", "values", "estimate", "low", "high", "n"])


def _ends(interval: Interval) -> dict[str, float]:
    return {"estimate": interval.estimate, "low": interval.low, "high": interval.high, "n": interval.n}


def _cells(seed: pd.DataFrame) -> dict[tuple[bool, ...], float]:
    keys = (tuple(bool(row[factor]) for factor in FACTORS) for row in seed.to_dict("records"))
    return {key: score for key, score in zip(keys, seed.score.astype(float), strict=True) if np.isfinite(score)}


def _terms(designs: list[dict[tuple[bool, ...], float]]) -> list[tuple[str, str, list[float]]]:
    if not designs:
        return []
    found = []
    effects = [factorial_effects(cells) for cells in designs]
    for i, factor in enumerate(FACTORS):
        beside = [
            float(np.mean([value for on, value in effects_beside(cells, i).items() if any(on)])) for cells in designs
        ]
        found.append((factor, KINDS[0], [effect[i,] for effect in effects]))
        found.append((f"{factor} beside another", KINDS[1], beside))
    for order in range(2, len(FACTORS) + 1):
        for chosen in combinations(range(len(FACTORS)), order):
            name = " × ".join(FACTORS[i] for i in chosen)
            found.append((name, KINDS[2], [effect[chosen] for effect in effects]))
    return found


def cell_name(on: Sequence[int]) -> str:
    """A cell in words: "prompt + adapter"; "none"."""
    return " + ".join(factor for factor, used in zip(FACTORS, on, strict=True) if used) or "none"


CELLS = [
    cell_name(on) for on in sorted(product((0, 1), repeat=len(FACTORS)), key=lambda on: (sum(on), [-x for x in on]))
]


def named(table: pd.DataFrame) -> pd.Series:
    """The cell of each row in words: "prompt + adapter"; "none"."""
    rows = table[list(FACTORS)].astype(int).to_numpy().tolist()
    return pd.Series([cell_name(row) for row in rows], index=table.index)


def gaps_over_single(table: pd.DataFrame) -> list[float]:
    """Per seed: mean gap of training over held-out score of the cells with two or three parts minus that of one."""
    gap = (table.train_score - table.score).groupby([table.seed, table[list(FACTORS)].sum(axis=1)]).mean().unstack()
    several = (3 * gap[2] + gap[3]) / 4  # three cells with two parts, one with three
    return [float(value) for value in several - gap[1]]


def order_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Seeds × orders: the score after the last stage.

    Args:
        table: seed, order, stage, score; the order "all at once" is none.
    """
    orders = table[(table.stage == len(FACTORS)) & (table.order != "all at once")]
    return orders.pivot_table(index="seed", columns="order", values="score", sort=False)


def gains_of_orders(wide: pd.DataFrame) -> dict[str, Interval]:
    """Order -> its score minus the mean of all orders with the same seed, with the interval over seeds.

    Args:
        wide: of `order_scores`.
    """
    above = wide.sub(wide.mean(axis=1), axis=0)
    return {str(order): mean_interval(list(above[order].dropna())) for order in above}
