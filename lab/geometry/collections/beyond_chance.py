"""How many shared directions are more than chance: leave-one-out gains beside those of null collections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lab.faces import outlined
from lab.geometry.collections.collection import Collection
from lab.geometry.collections.gram import Gram, gram
from lab.geometry.collections.leave_out import Unit, leave_out

Array = NDArray[np.float64]

DRAWS = 19
"""Draws of a null: the least with which one observation above all of them has p = 1/20."""


@outlined
@dataclass(frozen=True, eq=False)
class BeyondChance:
    """Leave-out shares of a collection beside those of one null.

    Attributes:
        null: its name.
        shares: (K + 1,): mean over members of the leave-out share with 0 … K directions.
        draws: (n_draws, K + 1): the same of each drawn null.
        level: of the test.
        by_member: one row per member and k: member, task, type, k, share, null_share (mean over draws).
    """

    null: str
    shares: Array
    draws: Array
    level: float
    by_member: pd.DataFrame

    @property
    def p_values(self) -> Array:
        """(K + 1,): of what direction j adds (j = 0: the mean): (1 + draws with a gain as large)/(1 + draws)."""
        gains, null = np.diff(self.shares, prepend=0.0), np.diff(self.draws, axis=1, prepend=0.0)
        return (1 + (null >= gains).sum(axis=0)) / (1 + len(self.draws))

    @property
    def mean_is_shared(self) -> bool:
        """Whether the mean of the others explains more of a member than it does in the null."""
        return bool(self.p_values[0] <= self.level)

    @property
    def n_directions(self) -> int:
        """Directions around the mean, one after the other, each of which explains more than in the null."""
        beyond = self.p_values[1:] <= self.level
        return int(len(beyond) if beyond.all() else np.argmin(beyond))

    def table(self) -> pd.DataFrame:
        """One row per number of directions: null, k, share, null_mean, null_low, null_high, p."""
        low, high = np.quantile(self.draws, [0.025, 0.975], axis=0)
        return pd.DataFrame(
            {"null": self.null, "k": np.arange(len(self.shares)), "share": self.shares,
             "null_mean": self.draws.mean(axis=0), "null_low": low, "null_high": high, "p": self.p_values}
        )  # fmt: skip


def beyond_chance(
    collection: Collection,
    nulls: Mapping[str, Callable[[int], Collection]],
    *,
    inner: Gram | None = None,
    unit: Unit = "member",
    k: int | None = None,
    n_draws: int = DRAWS,
    level: float = 0.05,
    tell: Callable[[str], None] = lambda text: None,
) -> list[BeyondChance]:
    """What the members explain of each other, beside what the members of null collections do.

    Every member is explained by the affine subspace of the others (`leave_out`); the gain of direction j is tested
    against the same gain in the nulls, at exact level for the first direction that shares nothing, and the count ends
    at the first that is not beyond.

    Args:
        collection: the members.
        nulls: name -> seed -> a null collection.
        inner: the Gram matrix, where it is at hand.
        unit: what is left out.
        k: most directions.
        n_draws: of each null; 1/(n_draws + 1) is the smallest p.
        level: of each test.
        tell: called with which draw comes next: a progress display's hook.

    Returns:
        One comparison per null.

    Raises:
        ValueError: 1/(n_draws + 1) exceeds the level: nothing could be beyond chance; as `leave_out`.
    """
    if 1 / (n_draws + 1) > level:
        raise ValueError(
            f"with {n_draws} draws no p-value is below {1 / (n_draws + 1):.3g}, so nothing can pass the level {level}; "
            f"draw {int(np.ceil(1 / level)) - 1} or more."
        )
    observed = leave_out(gram(collection) if inner is None else inner, unit, k)
    found = []
    for name, drawn in nulls.items():
        draws = []
        for seed in range(n_draws):
            tell(f"null {name}: draw {seed + 1} of {n_draws}")
            draws.append(leave_out(gram(drawn(seed)), unit, k)["share"])
        kept = observed[["member", "task", "type", "k", "share"]]
        by_member = kept.assign(null_share=np.mean(draws, axis=0))
        means = np.stack([_means(observed["k"], draw) for draw in draws])
        found.append(BeyondChance(name, _means(observed["k"], observed["share"]), means, level, by_member))
    return found


def _means(k: pd.Series, shares: pd.Series) -> Array:
    """Over members, for each number of directions."""
    return shares.groupby(k).mean().to_numpy()
