"""Records as text for a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from lab.runs import SHOWN_KEY, DamagedRecord, Manifest, Record, Records, flattened, key, settings


def metrics_text(records: Sequence[Record]) -> str:
    """What an experiment measured, one block per record: what tells its job from the others, then the metrics."""
    configs = [flattened(record.job.config) for record in records]
    varied = [
        name for name in dict.fromkeys(name for config in configs for name in config) if len(_values(configs, name)) > 1
    ]
    blocks = []
    for record, config in zip(records, configs, strict=True):
        told = ", ".join(f"{name}={config[name]}" for name in varied if name in config)
        head = f"{record.job.experiment} {key(record.job)[:SHOWN_KEY]}"
        blocks.append(f"{head}: {told}\n{_pairs(record.metrics)}" if told else f"{head}\n{_pairs(record.metrics)}")
    return "\n".join(blocks)


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


def runs_table(runs: Records, experiment: str | None = None) -> Table:
    """One line per record, the latest last; records whose manifest is damaged are named at the end."""
    whole: list[Manifest] = []
    damaged: list[tuple[str, DamagedRecord]] = []
    for name in runs.keys(experiment):
        try:
            whole.append(runs.manifest(name))
        except DamagedRecord as error:
            damaged.append((name, error))
    title = f"{len(whole)} runs" + (f", {len(damaged)} damaged" if damaged else "")
    table = Table("key", "experiment", "started", "seconds", "job", title=title, title_justify="left")
    for manifest in sorted(whole, key=lambda m: str(m.provenance.get("started", ""))):
        provenance = manifest.provenance
        seconds = provenance.get("seconds")
        table.add_row(
            manifest.key[:SHOWN_KEY],
            manifest.job.experiment,
            str(provenance.get("started", ""))[:16].replace("T", " "),
            "" if seconds is None else f"{seconds:.1f}",
            Text(settings(manifest.job)),
        )
    for name, damage in damaged:
        table.add_row(name[:SHOWN_KEY], "damaged", "", "", Text(str(damage), style="red"))
    return table


def _values(configs: Sequence[Mapping[str, Any]], name: str) -> set[str]:
    return {repr(config.get(name)) for config in configs}


def _pairs(entries: Mapping[str, Any]) -> str:
    width = max((len(name) for name in entries), default=0)
    return "\n".join(f"  {name:<{width}}  {_value(value)}" for name, value in entries.items())


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (dict, list)):
        return json.dumps(value)
    return str(value)
