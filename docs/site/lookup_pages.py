"""Pages to look things up: commands with their options, experiments with their design, columns with their units."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from figure_pages import cell, plain
from typer.main import get_command

from lab.cli import app
from lab.columns import COLUMNS, NARROWER
from lab.study.catalogue import load_experiment, outlines


def commands_page() -> str:
    """Every command of ``deltalab`` with its options."""
    commands: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
    parts = ["# Commands\n\n`deltalab COMMAND --help` says the same. `python -m lab` is `deltalab`.\n"]
    for name, command in sorted(commands.items()):
        parts.append(f"\n## deltalab {name}\n\n{plain(' '.join((command.help or '').split()))}\n\n")
        parts += _options(command.params)
    return "".join(parts)


def _options(parameters: list[Any]) -> Iterator[str]:
    if parameters:
        yield "| option | what it is |\n|---|---|\n"
    for parameter in parameters:
        option = parameter.param_type_name == "option"
        name = ", ".join(f"`{opt}`" for opt in parameter.opts) if option else f"`{parameter.name.upper()}`"
        yield f"| {name} | {cell(getattr(parameter, 'help', None) or '')} |\n"


def experiments_page() -> str:
    """Every experiment with the design it declares: what is varied, tuned and held the same."""
    parts = [
        "# Experiments\n\n`deltalab run NAME --scale demo` measures one; `deltalab run NAME --help` has its options.\n"
    ]
    for outline in outlines():
        if not outline.scaled:
            continue
        e = load_experiment(outline.name)
        parts.append(f"\n## {outline.name}\n\n**{plain(e.question[:1].upper() + e.question[1:])}**\n\n")
        facts = {"Source": e.source, "Varied": e.varied, "Tuned": e.tuned, "Fixed": e.fixed, "Expected": e.expected}
        facts["Cost"] = e.cost
        parts += [f"* {name}: {plain(' '.join(said.split()))}\n" for name, said in facts.items() if said]
        figures = ", ".join(f"[{name}](../gallery/{name}.md)" for name in outline.figures)
        parts.append(f"* Figures: {figures}\n" if figures else "")
    return "".join(parts)


def columns_page() -> str:
    """The vocabulary of tables."""
    parts = [
        "# Columns of tables\n\n",
        "One vocabulary for the tables of records, the results of analyses, figures and CSV files "
        "(`lab/columns.py`). A table's unit and meaning of a column are those here.\n\n",
        "| column | type | unit | what it is |\n|---|---|---|---|\n",
    ]
    parts += [f"| `{n}` | {c.type} | {cell(c.unit)} | {cell(c.description)} |\n" for n, c in sorted(COLUMNS.items())]
    parts.append("\n## In one table\n\n| table | column | type | unit | what it is there |\n|---|---|---|---|---|\n")
    for table, own in sorted(NARROWER.items()):
        for name, c in sorted(own.items()):
            parts.append(f"| `{table}` | `{name}` | {c.type} | {cell(c.unit)} | {cell(c.description)} |\n")
    return "".join(parts)
