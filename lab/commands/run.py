"""``deltalab run``: have the records of an experiment made, then say what they answer."""

from __future__ import annotations

import csv
import inspect
import json
import shlex
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

import lab.figures as figures  # its names bring plotly when they are first used
import lab.study as study  # its names bring torch
from lab.commands.terminal import DEFAULT_FORMATS, Formats, complain, refusals, write_figure
from lab.execution import Engine, Interrupted, Local, RunsFailed
from lab.execution.ray import Ray
from lab.execution.workers import Workers
from lab.reports import metrics_text, table_text, verdict_text
from lab.runs import Job, Manifest, Record, Store, StoreError, tabulate, user_store
from lab.runs.journal import journal

INTERRUPTED = 130  # exit code of a program that was stopped by Ctrl-C: 128 + SIGINT
ENGINES: dict[str, Callable[..., Engine]] = {"local": Local, "workers": Workers, "ray": Ray}


class RunCommand(TyperCommand):
    """A command whose ``--help`` goes on with the experiment that is named before or after it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = {outline.name for outline in study.outlines()}
        ctx.meta["named"] = [name for word in args if (name := word.replace("-", "_")) in known]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        super().format_help(ctx, formatter)
        for name in ctx.meta["named"][:1]:
            typer.echo(study.load_experiment(name).help())


def run(
    context: typer.Context,
    experiment: Annotated[str, typer.Argument(help="Its name; `deltalab list` shows them.")],
    scale: Annotated[
        str | None, typer.Option(help="smoke (seconds, tiny model), demo (minutes) or paper (hours).  [default: demo]")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A PLM: minilm, smollm2, a hub id, a local folder.")] = None,
    task: Annotated[str | None, typer.Option(help="A task: bbc-news, …, glue/sst2, your CSV, JSON or Parquet.")] = None,
    text_column: Annotated[
        str | None, typer.Option(help="Of the task's file: the texts' column, or two joined by a comma.")
    ] = None,
    label_column: Annotated[str | None, typer.Option(help="Of the task's file: the labels' column.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    config: Annotated[
        str | None, typer.Option(help="One measurement by its config as JSON, instead of a scale and its options.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Run so many jobs at a time, each in a process.")] = None,
    engine: Annotated[str | None, typer.Option(help="local, workers or ray (a cluster).  [default: local]")] = None,
    address: Annotated[
        str | None, typer.Option(help="Of a running Ray cluster, host:port or auto; default: one on this machine.")
    ] = None,
    cpus: Annotated[float | None, typer.Option(help="Processors that a job reserves on Ray.  [default: 1]")] = None,
    gpus: Annotated[float | None, typer.Option(help="GPUs that a job reserves on Ray, also 0.5.  [default: 0]")] = None,
    store: Annotated[
        Path | None, typer.Option(help="Folder of the runs.  [default: $DELTALAB_STORE, else ./runs]")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress display.")] = False,
    trace: Annotated[bool, typer.Option("--trace", help="Show the traceback of jobs that fail.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write the experiment's figures of these runs to this folder.")
    ] = None,
    formats: Formats = DEFAULT_FORMATS,
) -> None:
    """Run an experiment; what is done already is not repeated.

    Further options go to the experiment (--lr 0.1 --seeds 0,1,2 …): deltalab run EXPERIMENT --help tells them.
    """
    with refusals():
        chosen = study.load_experiment(experiment)
        named = {"model": model, "task": task, "seed": seed}
        given = {name: str(value) for name, value in named.items() if value is not None} | extra_options(context.args)
        jobs, command = asked(chosen, scale, given, config, text_column, label_column)
        reserved = {"workers": workers, "address": address, "cpus": cpus, "gpus": gpus}
        options = {name: value for name, value in reserved.items() if value is not None}
        kind = engine if engine is not None else "local" if workers is None else "workers"
        runs = user_store(store)
        started = start_engine(kind, runs, command=command, progress=not quiet, **options)
        here = "" if engine is None else f" --engine {engine}"
        store_option = "" if store is None else f" --store {shlex.quote(str(store))}"
        here += "".join(f" --{name} {shlex.quote(str(value))}" for name, value in options.items()) + store_option
    try:
        with journal(runs.path, f"{command}{here}"):
            label = chosen.name if scale is None else f"{chosen.name} ({scale})"
            records = started.run(jobs, study.measured, label=label)
    except KeyboardInterrupt as interrupt:
        told = str(interrupt) if isinstance(interrupt, Interrupted) else "interrupted"
        complain(f"{told}\nresume with: {command}{here}")
        raise typer.Exit(INTERRUPTED) from None
    except RunsFailed as failed:
        if trace:
            for failure in failed.failures:
                traceback.print_exception(failure.error)
        complain(f"{failed}\n{_remedy(failed)}" + ("" if trace else "; --trace shows where"))
        raise typer.Exit(1) from None
    except StoreError as error:
        complain(str(error))
        raise typer.Exit(1) from None
    manifests = [runs.manifest(record.job) for record in records]
    typer.echo(answers(chosen, records, manifests))
    typer.echo("".join(f"\n{line}" for line in data_lines(manifests)), nl=False)
    if out is not None:
        with refusals():
            held = {name for manifest in manifests for name in manifest.tables}
            for drawn in map(figures.figure, chosen.figures):
                if drawn.table not in held:
                    typer.echo(f"{drawn.name}: not drawn, as these settings do not measure what it shows")
                    continue
                table = tabulate(manifests, drawn.table, also=drawn.also)
                write_figure(drawn, table, out / drawn.name, formats, command)
    typer.echo(f"\n{len(records)} record(s) in {runs.path}; to explore them: deltalab app{store_option}")


def asked(
    chosen: study.Experiment[Any],
    scale: str | None,
    given: dict[str, str],
    config: str | None,
    text_column: str | None = None,
    label_column: str | None = None,
) -> tuple[list[Job], str]:
    """The jobs that a command line asks for, and the command in one spelling.

    Raises:
        ValueError: a scale and a config, an unknown scale or option, columns of no file, or a config that is none of
            this experiment.
    """
    columns = {"text_column": text_column, "label_column": label_column}
    columns = {name: value for name, value in columns.items() if value is not None}
    if config is not None:
        if scale is not None or given or columns:
            raise ValueError("--config says everything about one measurement; leave --scale and other options out")
        try:
            values = json.loads(config)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"--config is not JSON ({error}); expected an object of settings") from None
        if not isinstance(values, dict):
            raise ValueError(f"--config is {config!r:.60}; expected an object of settings: '{{\"model\": …}}'")
        whole = chosen.config.from_json(values)
        return [chosen.job(whole)], chosen.again(whole)
    scale = scale or "demo"
    options = chosen.options(scale)
    texts = None if text_column is None else _text_columns(text_column)
    jobs = chosen.jobs(scale, **study.with_columns(options, options.read(given), texts, label_column))
    parts = [f"--{name.replace('_', '-')}={value}" for name, value in (given | columns).items()]
    return jobs, shlex.join(["deltalab", "run", chosen.name, "--scale", scale, *parts])


def answers(chosen: study.Experiment[Any], records: Sequence[Record], manifests: Sequence[Manifest]) -> str:
    """What the records say: the answers of the experiment's figures, the first one with its table, and the verdicts."""
    parts: list[str] = []
    for drawn in map(figures.figure, chosen.figures):
        try:
            answer = drawn.answer(tabulate(list(manifests), drawn.table, also=drawn.also))
        except (StoreError, figures.TableError):  # some experiments make a figure's table in some of their jobs only
            continue
        parts.append(answer.sentence if parts else f"{answer.sentence}\n\n{table_text(answer.table)}")
    verdicts = study.verdicts_of(chosen, records)
    return "\n\n".join([*parts, *([verdict_text(verdicts)] if verdicts else [])]) or metrics_text(records)


def data_lines(manifests: Sequence[Manifest]) -> list[str]:
    """What was made of the user's own files, each said once."""
    found = [manifest.provenance.get("data", {}) for manifest in manifests]
    return list(dict.fromkeys(f"{name}: {said}\n" for each in found for name, said in each.items()))


def _text_columns(text: str) -> str | tuple[str, str]:
    """One column or two; a name that holds a comma is written in quotation marks.

    Raises:
        ValueError: more than two.
    """
    names = next(csv.reader([text], skipinitialspace=True))
    if not 1 <= len(names) <= 2:
        raise ValueError(f"--text-column is {text!r}; expected one column, or two joined by a comma")
    return names[0] if len(names) == 1 else (names[0], names[1])


def _remedy(failed: RunsFailed) -> str:
    """What to do: misuse does not go away by running again, nor do a missing file and a missing package."""
    causes = {type(cause) for failure in failed.failures for cause in _causes(failure.error)}
    if causes and all(issubclass(cause, (ValueError, FileNotFoundError, ImportError)) for cause in causes):
        return "change what the message names; finished runs are not repeated"
    return "run the same command again to retry them"


def _causes(error: Exception) -> list[Exception]:
    """The exceptions at the bottom: of children, where a parent failed because of them."""
    if isinstance(error, RunsFailed):
        return [cause for failure in error.failures for cause in _causes(failure.error)]
    return [error]


def start_engine(name: str, store: Store, *, command: str, progress: bool, **options: Any) -> Engine:
    """An engine by name, with options of its own.

    Raises:
        ValueError: there is none of this name, it has no such option, or it cannot start.
    """
    if name not in ENGINES:
        raise ValueError(f"unknown engine {name!r}; choose one of: {', '.join(ENGINES)}")
    for option in options:
        having = [other for other, made in ENGINES.items() if option in inspect.signature(made).parameters]
        if name not in having:
            raise ValueError(f"the {name} engine has no option --{option}; add --engine {' or '.join(having)}")
    return ENGINES[name](store, command=command, progress=progress, **options)


def extra_options(arguments: list[str]) -> dict[str, str]:
    """Pairs of ``--name value`` or ``--name=value``.

    Raises:
        ValueError: a word that belongs to no option, or an option without a value.

    Example:
        >>> extra_options(["--lr", "0.1", "--seeds=0,1"])
        {'lr': '0.1', 'seeds': '0,1'}
    """
    options: dict[str, str] = {}
    words = iter(arguments)
    for word in words:
        if not word.startswith("--"):
            raise ValueError(f"{word!r} belongs to no option; options of an experiment are written --name value")
        name, equals, value = word[2:].partition("=")
        if not equals:
            value = next(words, "")
            if not value:
                raise ValueError(f"--{name} has no value; write --{name} VALUE")
        options[name] = value
    return options
