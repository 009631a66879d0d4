"""``deltalab``: run experiments, look at what they found, export figures, open the explorer, check the theory."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # as in lab.__main__: Ctrl-C during the imports shows no traceback

import typer
from rich.table import Table

from lab import figures as defined  # pandas and plotly come with the first that is asked for
from lab.commands.claims import claims
from lab.commands.collection import collection
from lab.commands.drawn import drawn_table, experiment_in
from lab.commands.explorer import explorer
from lab.commands.paper import paper
from lab.commands.run import RunCommand, run
from lab.commands.spectra import spectra
from lab.commands.terminal import DEFAULT_FORMATS, Formats, output, refusals, write_figure
from lab.figures.cells import csv_text
from lab.reports import experiments_table, figures_table, record_text, runs_table
from lab.runs import environment, everything
from lab.siblings import come_first
from lab.study.catalogue import experiment_names, outlines, question

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

StorePath = Annotated[
    Path | None, typer.Option("--store", help="Folder of the runs.  [default: $DELTALAB_STORE, else ./runs]")
]


def _version(asked: bool) -> None:
    if asked:
        here = environment()
        packages = {"python": here["python"], **here["packages"]}
        commit = f" ({here['commit'][:7]}{', changed' if here['dirty'] else ''})" if here["commit"] else ""
        typer.echo(f"deltalab {packages.pop('deltalab', 'of a checkout that is not installed')}{commit}")
        typer.echo(", ".join(f"{name} {version}" for name, version in packages.items()))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Versions to quote where something fails."),
    ] = False,
) -> None:
    """A laboratory for the theory of delta tuning: intrinsic dimension, spectra and optimal control."""


app.command("run", cls=RunCommand, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(run)


@app.command("list")
def list_runs(
    experiment: Annotated[str | None, typer.Argument(help="Only the runs of this experiment.")] = None,
    figures: Annotated[bool, typer.Option("--figures", help="The figures, of this experiment or all.")] = False,
    store: StorePath = None,
) -> None:
    """List the experiments with what is in the store and the gallery; of one experiment, its runs."""
    with refusals():
        runs = everything(store)
        console = output()
        if figures:
            only = None if experiment is None else experiment_in(runs, experiment)
            drawing = {
                name: [asked.name for asked in outlines() if name in asked.figures]
                for name in (f.name for f in defined.FIGURES)
            }
            shown = {f.name: f.title for f in defined.FIGURES if only is None or only in drawing[f.name]}
            console.print(figures_table(shown, drawing))
        elif experiment is None:
            names = dict.fromkeys((*experiment_names(), *runs.experiments()))
            console.print(experiments_table(runs, {name: question(name) for name in names}))
        else:
            console.print(runs_table(runs, experiment_in(runs, experiment)))


@app.command()
def show(
    key: Annotated[str, typer.Argument(help="A key, or the beginning of one.")],
    table: Annotated[str | None, typer.Option(help="Print this table of the record as CSV.")] = None,
    store: StorePath = None,
) -> None:
    """Show a record: job, metrics, tables, arrays, provenance; its files are verified."""
    with refusals():
        runs = everything(store)
        record = runs.get(runs.find(key))
        if table is not None and table not in record.tables:
            raise ValueError(
                f"the record has no table {table!r}; choose one of: {', '.join(record.tables) or '(none)'}"
            )
        typer.echo(record_text(record) if table is None else csv_text(record.tables[table]).rstrip())


@app.command("export")
def export_figure(
    name: Annotated[str, typer.Argument(metavar="FIGURE", help="Its name; `deltalab list --figures` shows them.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("out"),
    formats: Formats = DEFAULT_FORMATS,
    experiment: Annotated[str | None, typer.Option(help="Whose runs to draw, if several would do.")] = None,
    where: Annotated[list[str] | None, typer.Option(help="Only rows with COLUMN=VALUE; may be repeated.")] = None,
    size: Annotated[str, typer.Option(help="Of PDF, SVG and PNG: single or double column, slide, screen.")] = "double",
    store: StorePath = None,
) -> None:
    """Write a figure of your runs, or else of the gallery's: HTML, PDF, SVG, CSV, LaTeX."""
    with refusals():
        chosen = defined.figure(name)
        table = drawn_table(chosen, store=store, experiment=experiment, where=where)
        options = [f"--experiment={experiment}"] if experiment else []
        options += [f"--where={condition}" for condition in where or []]
        write_figure(chosen, table, out / name, formats, shlex.join(["deltalab", "export", name, *options]), size)


app.command("spectra")(spectra)
app.command("collection")(collection)
app.command("paper")(paper)
app.command("claims")(claims)
app.command("app")(explorer)


@app.command()
def check() -> None:
    """Compute the known answers of the theory, live: green or red."""
    answers = importlib.import_module("lab.known_answers")  # brings torch
    console = output()
    table = Table("", "answer", "expected", "got", "source")
    wrong = 0
    for answer in answers.KNOWN_ANSWERS:
        result = answers.checked(answer)
        wrong += not result.right
        mark = "[green]✓[/green]" if result.right else "[red]✗[/red]"
        table.add_row(mark, answer.name, result.expected, result.got, answer.source)
    console.print(table)
    console.print(f"{len(answers.KNOWN_ANSWERS) - wrong} of {len(answers.KNOWN_ANSWERS)} as expected")
    raise typer.Exit(1 if wrong else 0)


@app.command()
def count(
    model: Annotated[str, typer.Option(help="A published model; a wrong name lists them.")] = "roberta-large",
    head: Annotated[str, typer.Option(help="mlm or lm (the language-model head), or classification.")] = "lm",
    labels: Annotated[int, typer.Option(help="Classes of a classification head.")] = 2,
) -> None:
    """Count what each method trains and stores on a model, beside the published percentages; needs no weights."""
    models, deltas = importlib.import_module("lab.models"), importlib.import_module("lab.deltas")  # bring torch
    with refusals():
        plm = models.meta_plm(model, head=head, num_labels=labels)
        rows = []
        for row in deltas.count_table(plm, deltas.METHODS):
            counts = row.counts
            numbers = [f"{n:,}" for n in (counts.trained, counts.head, counts.stored)]
            percents = [deltas.percentage(p) for p in (counts.percent, row.percent_stored)]
            rows.append((row.method, *numbers, *percents, row.published, row.note))
    names = ("method", "trained", "of it head", "stored", "trained %", "stored %", "published %", "note")
    empty = {name for name, column in zip(names, zip(*rows, strict=True), strict=True) if not set(column) - {"", "0"}}
    table = Table(*(name for name in names if name not in empty))
    for row in rows:
        table.add_row(*(text for name, text in zip(names, row, strict=True) if name not in empty))
    console = output()
    console.print(f"{plm.name}, {head} head: {plm.size:,} parameters; % = 100·n / (all parameters + those added)")
    console.print(table)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def bench(
    context: typer.Context,
    benchmark: Annotated[str, typer.Argument(help="Its name, such as projections.")],
) -> None:
    """Run a benchmark of ours against peers; further options go to it. Benchmarks come with a clone of the project."""
    with refusals():
        folder = Path(__file__).resolve().parents[1] / "benchmarks"
        names = sorted(path.stem for path in folder.glob("[!_]*.py"))
        if not names:
            raise ValueError("benchmarks come with a clone of the project, not with an installed package")
        if benchmark not in names:
            raise ValueError(f"unknown benchmark {benchmark!r}; choose one of: {', '.join(names) or '(none)'}")
    command = [sys.executable, str(folder / f"{benchmark}.py"), *context.args]
    raise typer.Exit(subprocess.run(command, check=False).returncode)


def main() -> None:
    """Entry point of the ``deltalab`` command."""
    come_first()
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # read by torch when it allocates: blocks as long as all weights come in huge pages, a fifth of a step saved
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    app()


if __name__ == "__main__":
    main()
