"""The memory of a training step beside that of full fine-tuning."""

from __future__ import annotations

from lab.deferred import pandas as pd

FULL = "full fine-tuning"
"""The method that others are measured against."""


def memory_saved(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of all methods but full fine-tuning, with `saved` = 1 − peak / full fine-tuning's peak.

    Args:
        table: label, batch_size and peak, and model and how where there are several; rows without full fine-tuning
            beside them are left out.
    """
    keys = [name for name in ("model", "how", "batch_size") if name in table]
    full = table[table.label == FULL].drop_duplicates(keys).set_index(keys).peak.rename("full")
    rows = table[table.label != FULL].join(full, on=keys)
    return rows.assign(saved=1 - rows.peak / rows.full).dropna(subset=["saved"])
