"""Records as text for a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from lab.faces import sign_alone
from lab.runs import SHOWN_KEY, Damaged, Manifest, Record, Records, flattened, key
from lab.statistics import Verdict

if TYPE_CHECKING:
    import pandas as pd

LONGEST_VALUE = 32
"""Characters of a value in a list of runs; `deltalab show` tells all of it."""


def metrics_text(records: Sequence[Record]) -> str:
    """What an experiment measured, one block per record: what tells its job from the others, then the metrics."""
    configs = [flattened(record.job.config) for record in records]
    varied = _varied(configs)
    blocks = []
    for record, config in zip(records, configs, strict=True):
        told = ", ".join(f"{name}={config[name]}" for name in varied if name in config)
        head = f"{record.job.experiment} {key(record.job)[:SHOWN_KEY]}"
        blocks.append(f"{head}: {told}\n{_pairs(record.metrics)}" if told else f"{head}\n{_pairs(record.metrics)}")
    return "\n".join(blocks)


def table_text(table: pd.DataFrame) -> str:
    """A table of few rows for a terminal; numbers with four digits."""
    rows = [[_cell(value) for value in row] for row in table.itertuples(index=False)]
    widths = [max(map(len, column)) for column in zip(table.columns, *rows, strict=True)]
    lines = [[str(name) for name in table.columns], *rows]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def verdict_text(verdicts: Sequence[Verdict]) -> str:
    """One line per verdict: the answer, the claim, estimate and interval, and why it cannot be told."""
    lines = []
    for verdict in verdicts:
        m = verdict.measured
        told = f"{number(m.estimate)} [{number(m.low)}, {number(m.high)}]"
        why = f"; {verdict.reason}" if verdict.reason else ""
        lines.append(f"{verdict.answer:20s} {verdict.claim} ({told}{why})")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "–" if value != value else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def record_text(record: Record) -> str:
    """All of a record but the numbers in its tables and arrays."""
    sections = [
        f"{record.job.experiment} {key(record.job)}",
        "job\n" + _pairs(flattened(record.job.config)),
        "metrics\n" + _pairs(record.metrics),
    ]
    if record.tables:
        shapes = {name: f"{len(table)} rows: {', '.join(table.columns)}" for name, table in record.tables.items()}
        sections.append("tables\n" + _pairs(shapes))
    if record.arrays:
        sections.append("arrays\n" + _pairs({name: f"{a.dtype} {a.shape}" for name, a in record.arrays.items()}))
    sections.append("provenance\n" + _pairs(record.provenance))
    return "\n\n".join(sections)


def claims_table(verdicts: Sequence[Verdict]) -> Table:
    """Claims and what was measured, for a terminal."""
    table = Table("here", "claim", "measured", "95 % interval", "n", "claimed", "why not", title_justify="left")
    for verdict in verdicts:
        m = verdict.measured
        table.add_row(
            verdict.answer,
            Text(verdict.claim),
            Text(f"{verdict.quantity}: {number(m.estimate)}"),
            f"{number(m.low)} to {number(m.high)}",
            f"{m.n} {verdict.unit}",
            f"{verdict.side} {number(verdict.threshold)}",
            verdict.reason,
        )
    return table


def number(x: float) -> str:
    """Three digits, thousands separated; an end that nothing bounds, and what is not known, are said in words."""
    if x != x:
        return "unknown"
    if not isfinite(x):
        return "unbounded"
    return sign_alone(x) or (f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.3g}")


def experiments_table(runs: Records, questions: Mapping[str, str]) -> Table:
    """One line per experiment: how many runs, of which PLMs, when the latest began, and what it asks.

    Args:
        runs: where to look.
        questions: what each experiment asks, by name; the order is kept.
    """
    table = Table(title="deltalab run EXPERIMENT, deltalab list EXPERIMENT", title_justify="left")
    for column in ("experiment", "runs", "models", "latest", "question"):
        table.add_column(column, no_wrap=column != "question")  # the long one gives way
    for name, asked in questions.items():
        whole, damaged = _manifests(runs, name)
        configs = [flattened(manifest.job.config) for manifest in whole]
        models = {
            str(value) for config in configs for option, value in config.items() if option.split(".")[-1] == "model"
        }
        counted = f"{len(whole)}" + (f", {len(damaged)} damaged" if damaged else "")
        latest = max((_started(manifest) for manifest in whole), default="")
        table.add_row(name, counted, Text(_cut(", ".join(sorted(models)))), latest, Text(asked))
    return table


def figures_table(drawn: Mapping[str, str], drawing: Mapping[str, Sequence[str]]) -> Table:
    """One line per figure: what it shows, and the experiments that draw it.

    Args:
        drawn: the title of each figure, by name; the order is kept.
        drawing: the experiments of each.
    """
    table = Table(title="deltalab export FIGURE", title_justify="left")
    for column in ("figure", "title", "experiments"):
        table.add_column(column, no_wrap=column == "figure")
    for name, title in drawn.items():
        table.add_row(name, Text(title), Text(", ".join(drawing.get(name, ()))))
    return table


def runs_table(runs: Records, experiment: str) -> Group:
    """One line per record of an experiment, the latest last; those whose manifest is damaged are named at the end.

    A line holds what tells its job from the others; what all have in common is said once, above.
    """
    whole, damaged = _manifests(runs, experiment)
    configs = [flattened(manifest.job.config) for manifest in whole]
    varied = _varied(configs)
    shared = {name: value for name, value in (configs or [{}])[0].items() if name not in varied}
    table = Table("key", "started", "seconds", "job")
    for manifest, config in sorted(
        zip(whole, configs, strict=True), key=lambda pair: str(pair[0].provenance.get("started", ""))
    ):
        seconds = manifest.provenance.get("seconds")
        table.add_row(
            manifest.key[:SHOWN_KEY],
            _started(manifest),
            "" if seconds is None else f"{seconds:.1f}",
            Text(_settings({name: config[name] for name in varied if name in config})),
        )
    for name, damage in damaged.items():
        table.add_row(name[:SHOWN_KEY], "damaged", "", Text(str(damage), style="red"))
    counted = f"{experiment}: {len(whole)} runs" + (f", {len(damaged)} damaged" if damaged else "")
    return Group(Text(counted), Text(_settings(shared)), table)


def _manifests(runs: Records, experiment: str) -> tuple[list[Manifest], Damaged]:
    """Those that can be read, and key and damage of the others."""
    damaged: Damaged = {}
    return list(runs.manifests(experiment, damaged=damaged)), damaged


def _started(manifest: Manifest) -> str:
    return str(manifest.provenance.get("started", ""))[:16].replace("T", " ")


def _settings(config: Mapping[str, Any]) -> str:
    """``name=value`` of each, long values cut; options that are None are left out."""
    return " ".join(f"{name}={_cut(str(value))}" for name, value in config.items() if value is not None)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def _varied(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The options that differ between configs, in the order in which they occur."""
    names = dict.fromkeys(name for config in configs for name in config)
    return [name for name in names if len({repr(config.get(name)) for config in configs}) > 1]


def _pairs(entries: Mapping[str, Any]) -> str:
    width = max((len(name) for name in entries), default=0)
    return "\n".join(f"  {name:<{width}}  {_value(value)}" for name, value in entries.items())


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (dict, list)):
        return json.dumps(value)
    return str(value)
