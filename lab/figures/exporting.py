"""Writes a figure as files: offline HTML, CSV, LaTeX, caption, BibTeX, and PDF, SVG, PNG where a browser is."""

from __future__ import annotations

import io
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from lab.columns import known
from lab.figures.cells import columns_csv, csv_text
from lab.figures.definition import IDENTITY, Figure
from lab.figures.formats import FORMATS, IMAGE_FORMATS, TEXT_FORMATS, check_formats
from lab.figures.images import ImageError, images
from lab.figures.latex import booktabs, escaped, macro
from lab.figures.page import page
from lab.figures.sheets import numbered, sheets
from lab.figures.style import LIGHT, SCREEN, SIZES, Theme

SUFFIXES = {name: name for name in (*TEXT_FORMATS, *IMAGE_FORMATS)} | {
    "caption": "caption.tex",
    "columns": "columns.csv",
}

SCALE = 3.0
"""Pixels of a PNG per layout pixel: 3 × 96 = 288 dpi."""

_SHORT = 12  # digits of a key that people are shown


@dataclass(frozen=True)
class Skipped:
    """A format that was asked for and not written, and why."""

    format: str
    reason: str


@dataclass(frozen=True)
class Exported:
    """What `export` did, and what is to be known of it."""

    written: tuple[Path, ...]
    skipped: tuple[Skipped, ...]
    note: str = ""

    @property
    def message(self) -> str:
        """One line per fact, for a person."""
        lines = [f"wrote {path}" for path in self.written]
        reasons = dict.fromkeys(skip.reason for skip in self.skipped)
        for reason in reasons:
            formats = ", ".join(skip.format.upper() for skip in self.skipped if skip.reason == reason)
            lines.append(f"no {formats}: {reason}")
        lines += [self.note] if self.note else []
        return "\n".join(lines)


def export(
    figure: Figure | go.Figure,
    path_stem: str | Path,
    formats: Sequence[str] = FORMATS,
    table: pd.DataFrame | None = None,
    *,
    size: str = "double",
    theme: Theme = LIGHT,
    provenance: Mapping[str, str] | None = None,
) -> Exported:
    """Writes `path_stem`.html, .csv, …; each file appears whole or not at all, folders are made.

    Args:
        figure: what to draw; or a drawing that is finished, which has no table, caption or sources.
        path_stem: path without suffix.
        formats: any of html, pdf, svg, png, csv, tex (the figure's summary in booktabs), columns (what the columns of
            the CSV mean, their types and units), caption, bib. The caption and BibTeX of a `Figure` are always written,
            the columns beside every CSV.
        table: what the figure is drawn from; keys of records in a column ``key`` become part of the provenance.
        size: width of PDF, SVG and PNG: "single" or "double" column of a paper, "slide", "screen".
        theme: of all formats; paper wants the light one.
        provenance: name → value ("command": "deltalab run …"), printed in the HTML and the caption.

    Returns:
        The files, and what was skipped: images where no browser is found. Images of what is too tall for a page
        go on in `path_stem`-2.pdf, ….

    Raises:
        TableError: the table cannot be drawn.
        ValueError: an unknown format or size, or a `Figure` without a table.
        OSError: the files cannot be written.
    """
    formats = _wanted(formats, size)
    made_by = {**_records(table), **(provenance or {})}
    if isinstance(figure, Figure):
        if table is None:
            raise ValueError(f"the figure {figure.name!r} needs a table; call export(figure, path_stem, table=...)")
        texts = _texts(figure, table, formats, theme, made_by)
        skipped: list[Skipped] = []
        drawings = _sheets(figure, table, theme, size)
    else:
        named: dict[str, Any] = {"title": "Figure", "alt": "a figure made with deltalab", "provenance": made_by}
        texts = {"html": page(figure, theme=theme, **named)} if "html" in formats else {}  # type: ignore[arg-type]
        reason = "a finished drawing has no table; pass a lab.figures.Figure and table="
        skipped = [
            Skipped(name, reason) for name in formats if name in TEXT_FORMATS and name not in ("html", "columns")
        ]
        drawings = (figure,)
    stem = Path(path_stem)
    contents: dict[str, bytes] = {f"{stem.name}.{SUFFIXES[name]}": text.encode() for name, text in texts.items()}
    pictures = {
        f"{file}.{name}": (drawing, name)
        for name in formats if name in IMAGE_FORMATS
        for file, drawing in numbered(stem.name, drawings).items()
    }  # fmt: skip
    if pictures:
        try:
            made = images(list(pictures.values()), scale=SCALE)
            contents |= dict(zip(pictures, made, strict=True))
        except ImageError as error:
            skipped += [Skipped(name, str(error)) for name in formats if name in IMAGE_FORMATS]
    stem.parent.mkdir(parents=True, exist_ok=True)
    written = [stem.with_name(name) for name in contents]
    for path, content in zip(written, contents.values(), strict=True):
        write_whole(path, content)
    return Exported(tuple(written), tuple(skipped), _too_tall(drawings, size))


def _sheets(figure: Figure, table: pd.DataFrame, theme: Theme, size: str) -> tuple[go.Figure, ...]:
    """The drawing in a size, on as many pages as it takes."""
    return sheets(figure.grid(table, theme), lambda grid: grid.figure(SIZES[size]), SIZES[size].tallest)


def _too_tall(drawings: Sequence[go.Figure], size: str) -> str:
    """That a drawing goes on on further pages, or is taller than one, and what to do; "" where it is neither."""
    height, tallest = drawings[0].layout.height, SIZES[size].tallest
    if len(drawings) > 1:
        return f"the figure is too tall for a page and goes on in {len(drawings) - 1} more: fewer rows make it one"
    if tallest is None or not height or height <= tallest:
        return ""
    return (
        f"the figure is {height / 96:.0f} in tall, a page has room for {tallest / 96:g}: draw fewer rows of the table"
    )


def rendered(
    figure: Figure,
    table: pd.DataFrame,
    format: str,
    *,
    size: str = "double",
    theme: Theme = LIGHT,
    provenance: Mapping[str, str] | None = None,
) -> bytes:
    """One format as bytes, without a file; arguments as in `export`.

    Returns:
        The file; of an image that takes several sheets, a ZIP of them, named as `export` names them.

    Raises:
        ImageError: no browser, for an image format.
        TableError, ValueError: as in `export`.
    """
    (name,) = _wanted([format], size)[:1]
    if name not in IMAGE_FORMATS:
        return _texts(figure, table, [name], theme, {**_records(table), **(provenance or {})})[name].encode()
    drawings = numbered(figure.name, _sheets(figure, table, theme, size))
    made = images([(drawing, name) for drawing in drawings.values()], scale=SCALE)
    if len(made) == 1:
        return made[0]
    return zipped({f"{file}.{name}": image for file, image in zip(drawings, made, strict=True)}, figure.name)


def sheet_count(figure: Figure, table: pd.DataFrame, size: str) -> int:
    """On how many sheets an image of a table is; arguments and errors as in `export`."""
    return len(_sheets(figure, table, LIGHT, size))


def _wanted(formats: Sequence[str], size: str) -> list[str]:
    check_formats(formats)
    if size not in SIZES:
        raise ValueError(f"size is {size!r}; choose one of {', '.join(SIZES)}")
    beside = ["columns"] if "csv" in formats else []
    return list(dict.fromkeys([*formats, *beside, "caption", "bib"]))


def _texts(
    figure: Figure, table: pd.DataFrame, formats: Sequence[str], theme: Theme, provenance: Mapping[str, str]
) -> dict[str, str]:
    made: dict[str, str] = {}
    for name in formats:
        if name == "html":
            drawing, answer = figure.draw(table, theme, SCREEN), figure.answer(table)
            told: dict[str, Any] = {"alt": answer.sentence, "answer": answer.table.head(200)}
            written: dict[str, Any] = {"title": figure.title, "caption": figure.caption, "reading": figure.reading}
            made[name] = page(drawing, theme=theme, sources=figure.source, provenance=provenance, **told, **written)
        elif name == "csv":
            made[name] = csv_text(_identified(figure.checked(table)))
        elif name == "columns":
            names = [str(name) for name in _identified(figure.checked(table))]
            meanings = {**known(names, figure.table), **figure.columns, **figure.optional}
            made[name] = columns_csv({name: meanings[name] for name in names})
        elif name == "tex":
            made[name] = booktabs(figure.summarize(table))
        elif name == "caption":
            made[name] = _caption(figure, provenance)
        elif name == "bib":
            made[name] = "\n".join(source.bibtex for source in figure.source)
    return made


def _identified(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the columns that say which record a row is from; empty ones where it is from none."""
    return table.assign(**{name: nan for name in IDENTITY if name not in table})


def caption_macro(figure: Figure) -> str:
    r"""The TeX command that prints a figure's caption: ``\DNineZeroCurvesCaption`` for d90_curves."""
    return f"\\{macro(figure.name)}Caption"


def _caption(figure: Figure, provenance: Mapping[str, str]) -> str:
    """The definition of a command that holds the caption; LaTeX takes no file as the argument of its captions."""
    cited = ",".join(source.key for source in figure.source)
    command = caption_macro(figure)
    comments = "".join(f"% {name}: {' '.join(str(text).split())}\n" for name, text in provenance.items())
    use = f"% \\input this file, then \\caption{{{command}}}\n"
    return f"{use}\\def{command}{{{escaped(figure.caption)} After~\\cite{{{cited}}}.}}\n{comments}"


def _records(table: pd.DataFrame | None) -> dict[str, str]:
    """Keys of the records, or the files, that a table's rows are from."""
    if table is None or "key" not in table.columns:
        return {}
    keys = dict.fromkeys(str(key)[:_SHORT] for key in table["key"].dropna())
    return {"keys": ", ".join(keys)} if keys else {}


def zipped(files: Mapping[str, bytes], folder: str) -> bytes:
    """The files as one ZIP that unpacks into a folder; the same files give the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(zipfile.ZipInfo(f"{folder}/{path}"), content, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def write_whole(path: Path, content: bytes) -> None:
    """Writes beside the target and renames, so that a reader never sees half a file."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
