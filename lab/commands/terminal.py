"""What every command shares: refusals in one sentence, tables on a terminal, figures as files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

import lab.figures as figures  # its names bring plotly when they are first used
from lab.columns import known
from lab.deferred import pandas as pd
from lab.figures.cells import columns_csv, csv_text
from lab.figures.formats import FORMATS, check_formats
from lab.runs import Damaged, StoreError, UnknownRecord

if TYPE_CHECKING:
    from lab.figures import Figure

MISUSE = 2

DEFAULT_FORMATS = ",".join(FORMATS)


def split_formats(formats: str) -> list[str]:
    """The formats that a text joins by commas.

    Raises:
        ValueError: one is none, or there is none.
    """
    wanted = [name.strip() for name in formats.split(",") if name.strip()]
    if not wanted:
        raise ValueError(f"--formats is {formats!r}; choose from {', '.join(FORMATS)}, joined by commas")
    check_formats(wanted)
    return wanted


def _checked(formats: str) -> str:
    """Says what is wrong with the formats before anything is computed."""
    with refusals():
        split_formats(formats)
    return formats


Formats = Annotated[
    str,
    typer.Option(help="Of figures: any of html, pdf, svg, png, csv, tex, joined by commas.", callback=_checked),
]


def write_figure(
    chosen: Figure, table: pd.DataFrame, stem: Path, formats: str, command: str, size: str = "double"
) -> None:
    """Exports a figure and says what was written, and what was not and why.

    Raises:
        ValueError: an unknown format or size, or a table that the figure cannot draw.
    """
    wanted = split_formats(formats)
    done = figures.export(chosen, stem, wanted, table, size=size, provenance={"command": command})
    typer.echo(done.message)


def write_table(table: pd.DataFrame, path: Path, kind: str) -> None:
    """Writes a table as CSV and what its columns mean beside it, as NAME.columns.csv, and says so.

    Args:
        table: whose columns are in the vocabulary (`lab.columns`).
        path: of the CSV.
        kind: of the table, which may narrow what a column means.
    """
    beside = path.with_suffix(".columns.csv")
    path.write_text(csv_text(table), encoding="utf-8")
    beside.write_text(columns_csv(known(map(str, table), kind)), encoding="utf-8")
    typer.echo(f"wrote {path}\nwrote {beside}")


@contextmanager
def refusals() -> Iterator[None]:
    """Turns what a user can put right into one sentence on stderr.

    Misuse exits with 2; a failing store, and a model or file that cannot be reached, with 1.
    """
    try:
        yield
    except UnknownRecord as error:
        complain(str(error))
        raise typer.Exit(MISUSE) from None
    except StoreError as error:
        complain(str(error))
        raise typer.Exit(1) from None
    except ValueError as error:
        complain(str(error))
        raise typer.Exit(MISUSE) from None
    except BrokenPipeError:  # the reader of a pipe has gone: typer ends quietly
        raise
    except OSError as error:
        complain(_in_words(error))
        raise typer.Exit(1) from None


def _in_words(error: OSError) -> str:
    """What the system refused, without its number: "out/x.csv: no space left on device"."""
    if error.strerror is None or error.filename2 is not None:
        return str(error)
    what = error.strerror[:1].lower() + error.strerror[1:]
    return what if error.filename is None else f"{error.filename}: {what}"


def name_damaged(damaged: Damaged) -> None:
    """Says on stderr which records cannot be read, and so are left out."""
    for error in damaged.values():
        complain(f"left out: {error}")


def output() -> Console:
    """Stdout; wide where it is no terminal, so that piped tables are not cut at 80 columns."""
    return Console(width=None if sys.stdout.isatty() else 180)


def plain(text: str) -> str:
    """A text from a file as it may be shown: control characters, which a terminal would obey, are spelled out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def cell(text: str) -> Text:
    """A cell of a table: no markup, no control characters."""
    return Text(plain(text))


def complain(text: str) -> None:
    """A message to the person at the terminal."""
    text = "\n".join(map(plain, text.splitlines()))
    typer.secho(text, fg="red" if sys.stderr.isatty() else None, err=True)
