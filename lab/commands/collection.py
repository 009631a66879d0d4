"""``deltalab collection``: do adapters of many tasks share directions, and is that more than chance?"""

from __future__ import annotations

import csv
import importlib
import shlex
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from lab.commands.spectra import keys
from lab.commands.terminal import DEFAULT_FORMATS, Formats, cell, output, refusals, write_figure, write_table
from lab.deferred import numpy as np
from lab.deferred import pandas as pd
from lab.figures import figure

IN_MEMORY = 1 << 27
"""Numbers (1 GiB in float64) up to which members are read once and kept, as nulls read them again."""

_TITLES = {
    "k": "directions",
    "explained": "variance",
    "isotropic": "k/(N − 1)",
    "share": "others explain",
    "null_low": "null, low",
    "null_high": "null, high",
    "p": "p",
}


def collection(
    adapters: Annotated[
        list[str],
        typer.Argument(
            metavar="ADAPTER...",
            help="Adapter folders or tuned models; or files that list them, a line each: folder,task,type,seed.",
        ),
    ],
    base: Annotated[
        str | None, typer.Option(help="W₀: minilm, smollm2, a hub id, a folder. LoRA can be read without it.")
    ] = None,
    unit: Annotated[str, typer.Option(help="What is left out: member, task, type, or seed.")] = "member",
    inputs: Annotated[
        str | None, typer.Option(help="A task whose texts show what the layers see: the null of activations.")
    ] = None,
    draws: Annotated[int, typer.Option(help="Draws of every null.", min=19)] = 19,
    most: Annotated[int, typer.Option("--directions", help="Directions to look at.", min=1)] = 10,
    compress: Annotated[
        int | None, typer.Option(help="Keep so many inputs and outputs of every matrix, for all members.", min=1)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write tables and figures here; with --compress, subspace and adapters too.")
    ] = None,
    formats: Formats = DEFAULT_FORMATS,
) -> None:
    """What adapters of many tasks share: what others explain of each, beside nulls; and how many directions count.

    Tensors are read one matrix at a time. What is compared are the ΔW, never the factors B and A.
    """
    with refusals():
        if compress is not None and out is None:
            raise ValueError("--compress writes a subspace and adapters; say where: --out FOLDER")
        if inputs is not None and base is None:
            raise ValueError("--inputs runs texts through the PLM below the adapters; say which: --base MODEL")
        library: Any = importlib.import_module("lab.geometry.collections")  # brings torch
        members = listed(library, adapters)
        if len(members) < 3:
            raise ValueError(f"a collection of {len(members)} says nothing about sharing; give three members or more.")
        try:
            opened = library.read_collection(members, base)
        except (OSError, ImportError) as error:
            raise ValueError(str(error)) from error
        held = opened.in_memory() if opened.numbers() <= IN_MEMORY else opened
        inner = library.gram(held)
        nulls = drawn_nulls(library, held, base, inputs)
        with Console(stderr=True).status("drawing nulls") if sys.stderr.isatty() else nullcontext() as shown:
            watch = shown.update if shown is not None else (lambda text: None)
            found = library.beyond_chance(held, nulls, inner=inner, unit=unit, n_draws=draws, tell=watch)
        tables = {
            "members": members_table(library, inner, unit, found[0]),
            "shares": shares_table(library, held, inner, found),
        }
        tell(tables, found, most, len(held), draws)
        if compress is not None and out is not None:
            tables["compressed"] = compressed(library, held, compress, out, base)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            of = keys({member.name: path for member, path in members.items()})
            for name, table in tables.items():
                whose = {"key": table["member"].map(of)} if "member" in table else {}
                write_table(table.assign(model=base or "", **whose), out / f"{name}.csv", name)
            drawn = {
                "shared_directions": tables["shares"],
                "left_out_tasks": library.left_out_table(inner, found[0].n_directions),
                "task_map": library.task_maps(held),
            }
            command = shlex.join(["deltalab", "collection", *adapters])
            for name, table in drawn.items():
                if table.empty:
                    typer.echo("no map of the tasks: all changes have the same row spaces and the same column spaces")
                    continue
                write_figure(
                    figure(name), table.assign(label="adapters", model=base or ""), out / name, formats, command
                )


LISTED = ("folder", "task", "type", "seed")
"""What a line of a list gives; a first line of these words is its header."""


def listed(library: Any, arguments: list[str]) -> dict[Any, str]:
    """The members that folders and lists name: member -> folder.

    Raises:
        ValueError: a list is no text or has a line that means nothing; the same folder twice.
    """
    rows: list[tuple[str, str, str, int | None]] = []
    for argument in arguments:
        is_list = Path(argument).is_file() and Path(argument).suffix not in (".safetensors", ".json")
        rows += _lines(Path(argument)) if is_list else [(argument, "", "", None)]
    paths = [path for path, *_ in rows]
    if len(set(paths)) < len(paths):
        twice = sorted({path for path in paths if paths.count(path) > 1})[:3]
        raise ValueError(f"the same folder is named twice: {twice}; name each once")
    short = [Path(path).name or path for path in paths]
    return {
        library.Member(name if short.count(name) == 1 else path, task, kind, seed): path
        for (path, task, kind, seed), name in zip(rows, short, strict=True)
    }


def _lines(file: Path) -> list[tuple[str, str, str, int | None]]:
    """What the lines of a list say: folder, task, type, seed. Empty ones, comments (#) and a header say nothing."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file} is not UTF-8 text, so it is no list of adapters, a line each: {','.join(LISTED)}; give the "
            "folders themselves, or a list of them."
        ) from error
    found: list[tuple[str, str, str, int | None]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            (row,) = csv.reader([line], strict=True)
            path, task, kind, seed = [*(cell.strip() for cell in row), "", "", ""][: max(4, len(row))]
            if not found and [cell.strip().lower() for cell in row] == list(LISTED)[: len(row)]:
                continue
            found.append((path, task, kind, int(seed) if seed else None))
        except (csv.Error, ValueError):
            path = ""
        if not path:
            raise ValueError(
                f"{file}, line {number}: a line of a list is folder,task,type,seed with a whole seed; got {line!r:.99}."
            )
    return found


def drawn_nulls(library: Any, held: Any, base: str | None, inputs: str | None) -> dict[str, Callable[[int], Any]]:
    """The nulls that the given files allow: name -> seed -> a null collection."""
    W0 = None if base is None else library.base_matrices(held, base)
    columns = None if base is None or inputs is None else seen_inputs(library, held, base, inputs).__getitem__
    return library.nulls_of(held, base=W0, inputs=columns)


def seen_inputs(library: Any, held: Any, base: str, inputs: str) -> dict[str, Any]:
    """Columns of the second moments of every layer's inputs on 256 training texts of a task."""
    models: Any = importlib.import_module("lab.models")
    tasks: Any = importlib.import_module("lab.tasks")
    plm = models.load_plm(base)
    labels = [matrix.label for matrix in library.update_on(plm, held).matrices]
    batches = tasks.load_task(inputs).encode(plm).train.batches(32, size=256)
    found = library.input_columns(plm, batches, labels)
    return dict(zip(held.names, (found[label] for label in labels), strict=True))


def members_table(library: Any, inner: Any, unit: str, found: Any) -> pd.DataFrame:
    """One row per member: size, nearest other, what the mean and the counted directions of the others explain of it."""
    cosines = inner.cosines - 2 * np.eye(len(inner.members))
    shares = library.leave_out(inner, unit)
    by_k = shares.pivot(index="member", columns="k", values="share")
    counted = min(found.n_directions, by_k.columns.max())
    rows = [
        {"member": member.name, "task": member.task, "type": member.type, "norm": inner.norms[i],
         "nearest": inner.members[int(cosines[i].argmax())].name, "cosine": cosines[i].max(),
         "mean_only": by_k[0].get(member.name, np.nan), "explained": by_k[counted].get(member.name, np.nan)}
        for i, member in enumerate(inner.members)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def shares_table(library: Any, held: Any, inner: Any, found: list[Any]) -> pd.DataFrame:
    """One row per null and number of directions, k/(N − 1) and the variance explained among the members beside it."""
    explained = library.subspace_of(held, inner).explained
    table = pd.concat([comparison.table() for comparison in found], ignore_index=True)
    within = np.concatenate([[0.0], explained])
    table["explained"] = [within[min(k, len(within) - 1)] for k in table["k"]]
    table["isotropic"] = np.minimum(table["k"] / (len(held) - 1), 1.0)
    return table


def tell(tables: dict[str, pd.DataFrame], found: list[Any], most: int, n: int, draws: int) -> None:
    """Prints the tables and one verdict per null."""
    console = output()
    titles = {"norm": "‖ΔW‖F", "mean_only": "mean explains", "explained": f"{found[0].n_directions} directions explain"}
    console.print(_table(tables["members"], titles, "members; what the others explain of each"))
    for comparison in found:
        rows = tables["shares"]
        rows = rows[(rows["null"] == comparison.null) & (rows["k"] <= most)]
        console.print(_table(rows[list(_TITLES)], _TITLES, f"shares with one left out; null: {comparison.null}"))
    for comparison in found:
        mean = "the mean too" if comparison.mean_is_shared else "the mean not"
        typer.echo(
            f"shared beyond chance: {comparison.n_directions} of {n - 1} directions, {mean} "
            f"(null: {comparison.null}, {draws} draws, level {comparison.level:g})"
        )


def compressed(library: Any, held: Any, k: int, out: Path, base: str | None) -> pd.DataFrame:
    """Writes the subspace and the adapters rebuilt from it, and says what that costs."""
    name = None if base is None or Path(base).exists() else base  # a hub id says the same elsewhere
    try:
        table = library.compress(held, k, out, base=name)
    except OSError as error:
        raise ValueError(str(error)) from error
    titles = {"relative_error": "‖ΔW − rebuilt‖/‖ΔW‖", "round_trip": "of it by writing"}
    output().print(_table(table.drop(columns="adapter"), titles, f"rebuilt from {k} inputs and outputs per matrix"))
    typer.echo(f"wrote {out}: the subspace and {len(table)} adapters")
    return table


def _table(rows: pd.DataFrame, titles: dict[str, str], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    shown = [name for name in rows.columns if not (rows[name].isna() | (rows[name] == "")).all()]
    for name in shown:
        numeric = pd.api.types.is_numeric_dtype(rows[name])
        table.add_column(titles.get(name, name), justify="right" if numeric else "left", overflow="fold")
    for row in rows[shown].itertuples(index=False):
        table.add_row(*(cell(f"{value:.3g}" if isinstance(value, float) else str(value)) for value in row))
    return table
