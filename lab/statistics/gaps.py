"""What generalisation gaps say of methods: full fine-tuning beside every delta, and prompt beside every other."""

from __future__ import annotations

from collections.abc import Mapping

from lab.deferred import pandas as pd
from lab.statistics.comparison import metric_name, over_tasks, paired
from lab.statistics.interval import Interval, least_of
from lab.statistics.verdict import Evidence, Verdict

FULL = "full fine-tuning"


def gap_verdicts(table: pd.DataFrame, evidence: Evidence) -> list[Verdict]:
    """Whether every delta has a smaller gap than full fine-tuning, and prompt the smallest of all.

    Both are about the least of many differences: none is picked on the data that judge it (`least_of`).

    Args:
        table: label, kind, task, seed, metric, gap.
        evidence: what the two have alike.
    """
    unit, deltas = f"[{metric_name(table)}]", list(dict.fromkeys(table[table.kind == "delta"].label))
    verdicts = []
    if below := _differences(table, {label: (FULL, label) for label in deltas}):
        every = evidence.above(
            0.0, least_of(below),
            "The generalisation gap of every single delta method is smaller than that of full fine-tuning.",
            f"gap of full fine-tuning minus a delta method's, the smallest of {len(below)} such differences {unit}",
        )  # fmt: skip
        verdicts.append(every)
    if above_prompt := _differences(table, {label: (label, "prompt") for label in deltas if label != "prompt"}):
        smallest = evidence.above(
            0.0, least_of(above_prompt),
            "Prompt tuning has the smallest generalisation gap of all delta methods.",
            "gap of another delta method minus that of prompt, the smallest of "
            f"{len(above_prompt)} such differences {unit}",
        )  # fmt: skip
        verdicts.append(smallest)
    return verdicts


def beside_full(table: pd.DataFrame) -> dict[str, Interval]:
    """Method -> its gap minus full fine-tuning's, paired by task and seed, with the interval of `over_tasks`.

    Args:
        table: label, kind, task, seed, gap; of one PLM.
    """
    others = dict.fromkeys(table.label[~table.kind.isin(["full", "null"])])
    return _differences(table, {label: (label, FULL) for label in others})


def _differences(table: pd.DataFrame, pairs: Mapping[str, tuple[str, str]]) -> dict[str, Interval]:
    """Name -> the first method's gap minus the second's, of each pair that the table has."""
    found = {name: paired(table, first, second, value="gap") for name, (first, second) in pairs.items()}
    return {name: over_tasks(by_task) for name, by_task in found.items() if by_task}
