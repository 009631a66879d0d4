"""Records of collections of tasks: each collection once, and told apart where one name stands for several."""

from __future__ import annotations

import pandas as pd

from lab.figures.definition import IDENTITY


def each_once(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of every collection once, with its record in the label where several collections have one.

    What a collection shares is in the record of every experiment on it, number by number the same: twice as many rows
    are no more tasks. And the same tasks with another number of seeds are another collection, though no member of the
    two has one name, so that nothing in their rows contradicts.

    Args:
        table: with `label`, and with `key` where the rows are from records.
    """
    if "key" not in table:
        return table
    own = table[[name for name in table if name not in IDENTITY]]
    rows = pd.util.hash_pandas_object(own, index=False)
    records = rows.groupby([table["label"], table["key"]], sort=False, dropna=False)
    content = records.transform(lambda hashes: hash(tuple(sorted(hashes))))
    first = table["key"].groupby([table["label"], content], sort=False).transform("first")
    once = table[table["key"].isna() | (table["key"] == first)]
    several = once.groupby("label")["key"].transform("nunique") > 1
    named = once["label"].astype(str) + " · record " + once["key"].astype(str).str[:6]
    return once.assign(label=once["label"].where(~several, named))
