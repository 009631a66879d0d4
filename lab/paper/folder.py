"""The files of a paper's folder, and writing them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lab.figures.exporting import write_whole
from lab.figures.style import counted
from lab.paper.document import PREAMBLE, captions, main, references, table
from lab.paper.picture import Picture, pdfs, picture
from lab.paper.piece import Piece
from lab.paper.plots import Plot, plot
from lab.paper.provenance import provenance
from lab.paper.table_files import meanings_csv, rows_csv
from lab.paper.template import REFERENCES, Template
from lab.paper.venues import Venue


def contents(
    pieces: Sequence[Piece],
    venue: Venue,
    *,
    command: str,
    pgf: bool = False,
    browser: bool = True,
    template: Template | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> dict[str, bytes]:
    """The files of the folder: path in it -> content.

    Args:
        pieces: one per figure, their names distinct.
        venue: whose page, type and width they have.
        command: that writes the folder again.
        pgf: figures that PGFPlots can draw are drawn by it, in the paper's own type, from a CSV beside them.
        browser: whether there is one to make PDFs; without it, all figures must be drawn by PGFPlots.
        template: somebody's own document that figures, tables and references are put into.
        tell: called with what somebody should know before it is printed (`warnings`).

    Raises:
        TableError: a table that its figure cannot draw.
        ImageError: no browser, or one that failed.
        ValueError: no piece, or the same figure twice.
    """
    names = [piece.name for piece in pieces]
    if not pieces or len(set(names)) < len(names):
        raise ValueError(f"a paper holds one figure or more, each once; got {', '.join(names) or 'none'}")
    pictures = {piece.name: picture(piece, venue) for piece in pieces}
    for piece in pieces:
        for text in warnings(piece, pictures[piece.name], venue):
            tell(text)
    plots = {name: made for name, drawn in pictures.items() if pgf and (made := _plots(name, drawn))}
    tables = {piece.name: table(piece, venue) for piece in pieces}
    texts = {
        "main.tex": main(pieces, venue, pictures, tables, list(plots), template),
        "deltalab.tex": PREAMBLE,
        "captions.tex": captions(pieces, tables),
        "refs.bib" if template is None else f"{REFERENCES}.bib": references(pieces),
        "PROVENANCE.md": provenance(pieces, venue, command),
    }
    for piece in pieces:
        texts[f"tables/{piece.name}.tex"] = tables[piece.name].tex
        texts[f"tables/{piece.name}.csv"] = rows_csv(piece)
        texts[f"tables/{piece.name}.columns.csv"] = meanings_csv(piece)
    for file, source in (item for own in plots.values() for item in own.items()):
        texts[f"figures/{file}.tex"] = source.tex
        texts[f"figures/{file}.points.csv"] = source.csv
    files = dict(template.files) if template is not None else {}
    files |= {path: text.encode() for path, text in texts.items()}
    drawn = {
        file: drawing for name in names if browser or name not in plots
        for file, drawing in pictures[name].named(name).items()
    }  # fmt: skip
    for file, pdf in zip(drawn, pdfs(list(drawn.values())) if drawn else (), strict=True):
        files[f"figures/{file}.pdf"] = pdf
    return files


def _plots(name: str, drawn: Picture) -> dict[str, Plot]:
    """The picture by PGFPlots, by the names of its files; empty where any of its drawings stays a PDF."""
    made = {file: plot(file, drawing) for file, drawing in drawn.named(name).items()}
    whole = {file: one for file, one in made.items() if one is not None}
    return whole if len(whole) == len(made) else {}


def outline(pieces: Sequence[Piece], venue: Venue) -> list[str]:
    """What the folder would hold, a line each; nothing is written, and no browser is started."""
    lines = []
    for piece in pieces:
        drawn, made = picture(piece, venue), table(piece, venue)
        width, height = drawn.inches
        lines.append(
            f"{piece.name}: figure {width:.2f} × {height:.2f} in{', across the text' if drawn.wide else ''}"
            f"{f', {len(drawn.drawings)} {venue.sheets}' if len(drawn.drawings) > 1 else ''}; "
            f"table of {counted(len(piece.rows) - made.left_out, 'row')}; {_origins(piece)}; "
            f"cites {', '.join(source.key for source in piece.figure.source)}"
        )
        lines += warnings(piece, drawn, venue)
    return lines


def warnings(piece: Piece, drawn: Picture, venue: Venue) -> list[str]:
    """What somebody should know before it is printed."""
    if drawn.fits:
        return []
    varying = [name for name in ("model", "task", "label") if name in piece.table and piece.table[name].nunique() > 1]
    choices = "; ".join(f"--where {name}={str(piece.table[name].iloc[0])!r}" for name in varying)
    return [
        f"{piece.name} is {drawn.inches[1]:.1f} in high, the page {venue.height:g} in: it is scaled down. "
        f"Draw fewer rows{f', such as {choices}' if choices else ''}"
    ]


def _origins(piece: Piece) -> str:
    keyed = [origin for origin in piece.origins if origin.key]
    return counted(len(keyed), "record") if keyed else "computed from files"


def write(files: Mapping[str, bytes], folder: Path) -> None:
    """Writes the files, each whole or not at all; others in the folder stay.

    Raises:
        OSError: they cannot be written.
    """
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, content)
