"""Everything that a collection's inner products and angles say, as the tables of the figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from lab.faces import outlined
from lab.geometry.collections.angles import task_maps
from lab.geometry.collections.beyond_chance import DRAWS, BeyondChance, beyond_chance
from lab.geometry.collections.collection import Collection
from lab.geometry.collections.gram import gram
from lab.geometry.collections.leave_out import left_out_table, share_against_size, task_of


@outlined
@dataclass(frozen=True, eq=False)
class Portrait:
    """A collection beside its nulls.

    Attributes:
        tables: of the figures shared_directions, left_out_tasks, task_map (unless all spaces are one) and
            tasks_needed; and beside_nulls, one row per null, member and number of directions.
        beyond: one comparison per null.
    """

    tables: Mapping[str, pd.DataFrame]
    beyond: tuple[BeyondChance, ...]


def portrait(
    collection: Collection,
    nulls: Mapping[str, Callable[[int], Collection]],
    *,
    n_draws: int = DRAWS,
    label: str = "",
    tell: Callable[[str], None] = lambda text: None,
) -> Portrait:
    """Tasks are left out, all seeds of one at a time, and explained by all directions that the others span.

    Args:
        collection: of three tasks or more.
        nulls: name -> seed -> a null collection (`nulls_of`).
        n_draws: of each null.
        label: of the collection, for figures.
        tell: as for `beyond_chance`.

    Raises:
        ValueError: as `beyond_chance`; fewer than three tasks.
    """
    held = collection.in_memory()
    inner, most = gram(held), len({task_of(member) for member in held.members}) - 2
    found = beyond_chance(held, nulls, inner=inner, unit="task", n_draws=n_draws, tell=tell)
    curves = {"the tasks": inner} | {name: gram(drawn(0)) for name, drawn in nulls.items()}
    tables = {
        "shared_directions": pd.concat([comparison.table() for comparison in found]),
        "beside_nulls": pd.concat([f.by_member.assign(null=f.null) for f in found]),
        "left_out_tasks": left_out_table(inner, most),
        "task_map": task_maps(held),
        "tasks_needed": pd.concat([share_against_size(of, most).assign(of=name) for name, of in curves.items()]),
    }
    return Portrait(
        {name: table.assign(label=label).reset_index(drop=True) for name, table in tables.items() if len(table)},
        tuple(found),
    )
