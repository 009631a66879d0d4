"""What a manual template gains, paired by seed."""

from __future__ import annotations

from lab.deferred import pandas as pd

READINGS = ("template", "no template")
"""Template with label words under the language-model head, or a new classification head without either."""


def gains(table: pd.DataFrame) -> dict[tuple[str, str], list[float]]:
    """(label, amount) -> score with template minus without, for each seed that has both."""
    wide = table.pivot_table(index=["label", "amount", "seed"], columns="reading", values="score", sort=False)
    if not set(READINGS) <= set(wide):
        return {}
    found: dict[tuple[str, str], list[float]] = {}
    for row in wide.dropna().reset_index().to_dict("records"):
        found.setdefault((row["label"], row["amount"]), []).append(row[READINGS[0]] - row[READINGS[1]])
    return found
