"""``deltalab spectra``: what an update did to the weights, matrix by matrix, from the files before and after."""

from __future__ import annotations

import importlib
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from lab.columns import known
from lab.commands.terminal import DEFAULT_FORMATS, Formats, cell, output, plain, refusals, write_figure
from lab.deferred import pandas as pd
from lab.figures import figure
from lab.figures.cells import columns_csv, csv_text
from lab.figures.latex import booktabs
from lab.runs.content import file_digest

NO_BASE = "-"

_COLUMNS = {
    "matrix": "matrix",
    "shape": "m × n",
    "stable_rank": "stable rank",
    "effective_rank": "effective",
    "null_effective_rank": "null's",
    "participation_ratio": "participation",
    "energy_rank_90": "90 % energy",
    "frobenius_norm": "‖ΔW‖F",
    "spectral_norm": "‖ΔW‖2",
    "relative_frobenius_norm": "‖ΔW‖F/‖W0‖F",
    "relative_spectral_norm": "‖ΔW‖2/‖W0‖2",
    "n_above_null": "above null",
    "n_above_threshold": "above GD",
    "tail_exponent": "tail α",
    "tail_distance": "KS",
}


def spectra(
    base: Annotated[
        str, typer.Argument(help="W₀: minilm, smollm2, a hub id, a folder, a .safetensors file; - for none.")
    ],
    tuned: Annotated[
        list[str], typer.Argument(metavar="TUNED_OR_ADAPTER...", help="Tuned models or peft adapters: folders, files.")
    ],
    by: Annotated[str, typer.Option(help="Aggregate per role or per block.")] = "role",
    allow_missing: Annotated[str | None, typer.Option(help="Regular expression of names that may be missing.")] = None,
    device: Annotated[
        str | None, typer.Option(help="Where dense matrices are decomposed.  [default: a GPU if any]")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write figure, CSV and LaTeX to this folder.")] = None,
    formats: Formats = DEFAULT_FORMATS,
    extract: Annotated[
        Path | None, typer.Option(help="Write the update as a LoRA that peft reads to this folder.")
    ] = None,
    rank: Annotated[int | None, typer.Option(help="Rank of that LoRA.")] = None,
    energy: Annotated[
        float | None, typer.Option(help="Or: per matrix, the rank that holds this part of ‖ΔW‖².")
    ] = None,
    rule: Annotated[
        str | None, typer.Option(help='Or: per matrix, the values above "null" or "hard threshold".')
    ] = None,
    max_rank: Annotated[int | None, typer.Option(help="With --energy or --rule: no rank above this.")] = None,
) -> None:
    """Spectra of weight differences beside their null: ranks, norms relative to W₀, what stands out of chance.

    Tensors are read one by one; two models are never in memory. No code in a file runs; pickles are refused.
    """
    with refusals():
        if by not in ("role", "block"):
            raise ValueError(f"--by is {by!r}; choose role or block.")
        if extract is not None and len(tuned) > 1:
            raise ValueError(f"--extract writes one LoRA; got {len(tuned)} updates.")
        if extract is None and any(option is not None for option in (rank, energy, rule, max_rank)):
            raise ValueError(
                "--rank, --energy, --rule and --max-rank choose the rank of a LoRA; say where to write it: --extract "
                "FOLDER"
            )
        geometry: Any = importlib.import_module("lab.geometry")  # brings torch
        if extract is not None:
            given = {"--rank": rank, "--energy": energy, "--rule": rule}
            named = [f"{option} {value}" for option, value in given.items() if value is not None]
            if len(named) != 1:
                raise ValueError(
                    f"the LoRA of --extract has one choice of its rank: --rank, --energy or --rule; got "
                    f"{' and '.join(named) or 'none'}."
                )
            if rank is not None and rank < 1:
                raise ValueError(f"--rank is {rank}; a LoRA has a rank of at least 1.")
            importlib.import_module("lab.geometry.extraction").check_choice(rank, energy, rule, max_rank)
            if extract.exists() and (not extract.is_dir() or any(extract.iterdir())):
                raise ValueError(f"{extract} exists already; remove it or choose another folder.")
        labels = labelled(tuned)
        updates = opened(geometry, base, labels, allow_missing)
        for label, changes in updates.items():
            require_matrices(label, changes)
        found = geometry.joined_spectra(
            {label: measured(geometry, changes, label, device) for label, changes in updates.items()}
        )
        tell(geometry, found, by, several=len(tuned) > 1)
        command = shlex.join(["deltalab", "spectra", base, *tuned])
        if out is not None:
            write(geometry, found, by, base, keys(labels), out, formats, command)
        if extract is not None:
            by_name = None if base == NO_BASE or Path(base).exists() else base  # a hub id says the same elsewhere
            sources: Any = importlib.import_module("lab.geometry.sources")
            layers = sources.adaptable(None if base == NO_BASE else base, tuned[0])
            made = geometry.extract_lora(
                next(iter(updates.values())), rank=rank, energy=energy, rule=rule, max_rank=max_rank, base=by_name,
                layers=layers,
            )  # fmt: skip
            try:
                made.write(extract)
            except OSError as error:
                raise ValueError(str(error)) from error
            ranks = made.table["rank"]
            typer.echo(
                f"wrote {extract}: {int((ranks > 0).sum())} of {len(ranks)} matrices, ranks {ranks.min()} to "
                f"{ranks.max()}, {made.size:,} numbers; ‖ΔW − BA‖/‖ΔW‖ = {made.relative_error:.3g} over these matrices"
                + (f", {made.merged_error:.3g} over all that changed" if made.outside else "")
            )
            for why in importlib.import_module("lab.geometry.extracted_lora").NOT_HELD:
                held_back = [plain(name) for name, reason in made.excluded if reason == why]
                if held_back:
                    more = f" and {len(held_back) - 3} more" if len(held_back) > 3 else ""
                    typer.echo(f"not in it, {why}: {', '.join(held_back[:3])}{more}")


def labelled(paths: list[str]) -> dict[str, str]:
    """A short label for each path: its last part, or the whole where two would be the same.

    Raises:
        ValueError: the same path twice.
    """
    if len(set(paths)) < len(paths):
        raise ValueError(f"the same update is named twice: {', '.join(paths)}")
    short = [Path(path).name or path for path in paths]
    return {name if short.count(name) == 1 else path: path for name, path in zip(short, paths, strict=True)}


def keys(labels: Mapping[str, str]) -> dict[str, str]:
    """The sha256 of what each path holds, by its label; "" for what is no file here, as a hub id."""
    models: Any = importlib.import_module("lab.models.fingerprint")
    return {
        label: file_digest(Path(path)) if Path(path).is_file() else models.fingerprint(path) or ""
        for label, path in labels.items()
    }


def opened(geometry: Any, base: str, labels: dict[str, str], allow_missing: str | None = None) -> dict[str, Any]:
    """The weight differences of every update, by its label; no tensor is read yet.

    Raises:
        ValueError: a base or update that cannot be read.
    """
    before = None if base == NO_BASE else base
    try:
        return {
            label: geometry.changes_between(before, path, allow_missing=allow_missing) for label, path in labels.items()
        }
    except (OSError, ImportError) as error:
        raise ValueError(str(error)) from error


def require_matrices(label: str, changes: Any) -> None:
    """Raise where an update changes no matrix: norms, biases or a mixture's experts have no spectrum here.

    Raises:
        ValueError: there is none; what it changes is named.
    """
    if not len(changes):
        reasons = dict.fromkeys(reason for _, reason in changes.excluded)
        first = [name for name, _ in changes.excluded][:2]
        raise ValueError(
            f"{label} changes no matrix, so it has no spectrum; left out of it: {', '.join(first) or 'nothing'} and "
            f"{max(len(changes.excluded) - 2, 0)} more ({'; '.join(reasons) or 'it is empty'})"
        )


def measured(geometry: Any, changes: Any, label: str, device: str | None) -> Any:
    """The spectra of one update, with a progress bar where somebody watches."""
    torch: Any = importlib.import_module("torch")
    chosen = device if device is not None else "cuda" if torch.cuda.is_available() else None
    if chosen is not None and importlib.import_module("lab.models.device").device_of(chosen).type == "meta":
        raise ValueError("--device is 'meta', where there are no numbers; choose cpu, or a GPU")
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    with bar:
        task = bar.add_task(plain(label), total=len(changes))

        def tell(name: str) -> None:
            bar.update(task, advance=1, description=plain(f"{label}: {name}"[-60:]))

        return geometry.change_spectra(changes.watched(tell), device=chosen)


def tell(geometry: Any, found: Any, by: str, *, several: bool) -> None:
    """Prints the tables: every matrix, the medians, what was left out and why."""
    console = output()
    summary = found.summary
    size = summary["rows"].astype(str) + " × " + summary["columns"].astype(str)
    summary = summary.assign(shape=size, matrix=[_short(row) for row in summary.itertuples()])
    first = ["label"] if several else []
    console.print(_table(summary, first, "every matrix", {**_COLUMNS}))
    medians = geometry.aggregated(found.summary, [*first, by])
    console.print(_table(medians, [*first, by, "matrices"], f"medians per {by}", {**_COLUMNS, "matrix": ""}))
    for note in dict.fromkeys(note for note in [found.note] if note):
        typer.echo(f"note: {plain(note)}")
    drowned = summary[(summary["spectral_norm"] > 0) & (summary["spectral_norm"] <= summary["storage_noise"])]
    if len(drowned):
        typer.echo(
            f"note: {len(drowned)} of {len(summary)} differences are no larger than what rounding to "
            f"{' or '.join(sorted(set(drowned['storage'])))} makes: they may be a cast and nothing else"
        )
    for reason, parameters in found.excluded.groupby("reason", sort=False)["parameter"]:
        names = list(dict.fromkeys(parameters))
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        typer.echo(plain(f"left out, {reason}: {', '.join(names[:3])}{more}"))


def _short(row: Any) -> str:
    """Block and role where there are any: names are long, and in the files of --out."""
    return row.matrix if row.block is pd.NA else f"block {row.block} {row.role}"


def _table(rows: pd.DataFrame, first: list[str], title: str, titles: dict[str, str]) -> Table:
    shown = [*first, *(name for name in titles if name in rows.columns and name not in first)]
    shown = [name for name in shown if not rows[name].isna().all()]
    table = Table(title=title, title_justify="left")
    for name in shown:
        is_text = not pd.api.types.is_numeric_dtype(rows[name])
        table.add_column(titles.get(name) or name, justify="left" if is_text else "right", overflow="fold")
    for row in rows[shown].itertuples(index=False):
        table.add_row(*(cell(_shown(value)) for value in row))
    return table


def _shown(value: object) -> str:
    if value is pd.NA or (isinstance(value, float) and value != value):
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write(
    geometry: Any, found: Any, by: str, base: str, of: Mapping[str, str], out: Path, formats: str, command: str
) -> None:
    """The figure of the block matrices with its exports; all scalars, their medians, and their units.

    Args:
        of: label -> sha256 of the update's files.
    """

    def identified(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(model=base, key=table["label"].map(of))

    drawn = figure("weight_difference_spectra")
    values = identified(found.values)
    in_blocks = values.dropna(subset=["block"])
    write_figure(drawn, in_blocks if len(in_blocks) else values, out / drawn.name, formats, command)
    medians, shown = geometry.aggregated(found.summary, ["label", by]), {"label", by, "matrices", *_COLUMNS}
    texts = {
        "summary.csv": csv_text(identified(found.summary)),
        "medians.csv": csv_text(identified(medians)),
        "columns.csv": columns_csv(known([*found.summary, "matrices", "model", "key", *found.excluded], "summary")),
        "medians.tex": booktabs(medians[[name for name in medians if name in shown]].rename(columns=_COLUMNS)),
        "left_out.csv": csv_text(identified(found.excluded)),
    }
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
        typer.echo(f"wrote {out / name}")
