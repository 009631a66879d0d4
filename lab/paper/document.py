"""The TeX of a paper: its preamble, its pages, captions as commands, tables in the width of the venue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.figures.latex import escaped, macro
from lab.figures.latex.columns import HEADER
from lab.figures.latex.table import tabulars
from lab.figures.sources import Source
from lab.figures.style import counted
from lab.paper.picture import Picture
from lab.paper.piece import Piece
from lab.paper.template import Template
from lab.paper.venues import Venue

_LINE = 1.3
"""Height of a row of a table [em]."""

_NARROW = 4.0
"""Width from which on headers are broken where that makes a table fit its column [em]."""

_HIGHEST = 0.72
"""Share of the page's height that a table may take."""

PREAMBLE = r"""% What figures and tables of deltalab need; \input it in your own document.
\usepackage[utf8]{inputenc}
% The document's own type stays; accents that it lacks are those of T1.
\makeatletter\input{t1enc.def}\makeatother
\ProvideTextCommandDefault{\k}[1]{\UseTextAccent{T1}{\k}{#1}}
\usepackage{textcomp}
\usepackage{amsmath,amssymb}
\usepackage{graphicx}
\usepackage{booktabs}
\usepackage{siunitx}
% Room for more floats that wait for their page than the 52 of LaTeX.
\ifdefined\extrafloats\extrafloats{200}\fi
% A table that is still too wide for its column is scaled down to it.
\newsavebox{\deltatable}
\newcommand{\fitted}[1]{\sbox{\deltatable}{#1}\ifdim\wd\deltatable>\linewidth
  \resizebox{\linewidth}{!}{\usebox{\deltatable}}\else\usebox{\deltatable}\fi}
% So is a plot that is too high for its page.
\newcommand{\lowered}[1]{\sbox{\deltatable}{#1}\ifdim\ht\deltatable>0.72\textheight
  \resizebox{!}{0.72\textheight}{\usebox{\deltatable}}\else\usebox{\deltatable}\fi}
"""

PLOTS = r"""\usepackage{pgfplots}
\pgfplotsset{compat=1.16}
"""


@dataclass(frozen=True)
class Table:
    """The answer of a piece as TeX.

    Attributes:
        tex: one ``tabular`` or several.
        wide: it spans the text, not a column.
        left_out: rows that did not fit on a page; all are in the CSV beside it.
        bold: whether any number is the best.
        interval: whether any number has an interval.
    """

    tex: str
    wide: bool
    left_out: int
    bold: bool
    interval: bool


def table(piece: Piece, venue: Venue) -> Table:
    """The answer's table: in a column where it is narrow enough, as many rows as a page has room for."""
    rows, best = piece.rows, piece.answer.best
    column = venue.room(wide=False)
    wide, header = venue.columns == 2, HEADER
    for narrow in (HEADER, _NARROW):
        if len(tabulars(rows, best=best, width=column, header=narrow)) == 1:
            wide, header = False, narrow
            break
    fit: dict[str, Any] = {"best": best, "width": venue.room(wide=wide), "header": header}
    parts = tabulars(rows, **fit)
    lines = int(_HIGHEST * venue.height * 72.27 / (_LINE * venue.type))
    most = max(2, lines // len(parts) - 4)
    left_out = max(0, len(rows) - most)
    if left_out:
        parts = tabulars(rows.head(most), **fit)
    body = "\\par\\smallskip\n".join(f"\\fitted{{%\n{part}}}" for part in parts)
    tex = f"{{\\fontsize{{{venue.type:g}}}{{{_LINE * venue.type:.3g}}}\\selectfont\n{body}\\par}}\n"
    return Table(tex, wide, left_out, r"\bfseries" in body, "+-" in body or "{interval}" in body)


def captions(pieces: Sequence[Piece], tables: Mapping[str, Table]) -> str:
    """The captions of figures and tables, as commands: what people copy into their own paper."""
    lines = ["% The captions, as commands: use them as \\caption{\\...Caption}.\n"]
    for piece in pieces:
        cited = f"~\\cite{{{','.join(source.key for source in piece.figure.source)}}}"
        lines.append(f"\\def\\{macro(piece.name)}Caption{{{escaped(piece.figure.caption)} After{cited}.}}\n")
        if piece.remark:
            lines.append(f"\\def\\{macro(piece.name)}Remark{{{escaped(piece.remark)}}}\n")
        lines.append(f"\\def\\{macro(piece.name)}Answer{{{escaped(piece.answer.sentence)}}}\n")
        lines.append(f"\\def\\{macro(piece.name)}TableCaption{{{_table_caption(piece, tables[piece.name])}}}\n")
    return "".join(lines)


def _table_caption(piece: Piece, made: Table) -> str:
    title = piece.figure.title
    said = [escaped(title if title.endswith(("?", ".")) else f"{title}.")]
    if piece.said:
        facts = "; ".join(f"{name}: {value:g}" if isinstance(value, float) else f"{name}: {value}"
                          for name, value in piece.said.items())  # fmt: skip
        said.append(escaped(f"In all rows, {facts}."))
    if made.interval:
        said.append(escaped("± and brackets: 95 % intervals."))
    if made.bold:
        said.append("Bold: the best, and what its interval does not tell from it.")
    if made.left_out:
        said.append(escaped(f"{counted(made.left_out, 'more row')} in tables/{piece.name}.csv."))
    return " ".join(said)


def main(
    pieces: Sequence[Piece], venue: Venue, pictures: Mapping[str, Picture], tables: Mapping[str, Table],
    plots: Sequence[str], template: Template | None = None,
) -> str:  # fmt: skip
    """The document.

    Args:
        pieces: in their order.
        venue: whose page it has.
        pictures, tables: of each piece.
        plots: names of the pieces that are drawn by PGFPlots.
        template: somebody's own document, which it is put into; default: one that shows all of it.
    """
    inputs = f"\\input{{deltalab}}\n{PLOTS if plots else ''}\\input{{captions}}\n"
    page = _frames if venue.slides else _section
    body = "".join(
        page(piece, pictures[piece.name], tables[piece.name], venue, piece.name in plots) for piece in pieces
    )
    if template is not None:
        return template.filled(inputs, body)
    note = f"% {venue.note}.\n" if venue.note else ""
    title = " · ".join(dict.fromkeys(piece.figure.title for piece in pieces))
    head = (
        "% Made by deltalab; PROVENANCE.md says from what.\n"
        "% To compile: pdflatex main; bibtex main; pdflatex main (twice), or tectonic main.tex.\n"
        f"{note}{venue.setup}{inputs}"
        f"\\title{{{escaped(title)}}}\n\\author{{}}\n\\date{{}}\n"
        "\\begin{document}\n"
    )
    style = "IEEEtran" if venue.name == "ieee" else "plain"
    end = f"\\bibliographystyle{{{style}}}\n\\bibliography{{refs}}\n"
    if venue.slides:
        return f"{head}{body}\\begin{{frame}}[allowframebreaks]{{References}}\n{end}\\end{{frame}}\n\\end{{document}}\n"
    return f"{head}\\maketitle\n{body}{end}\\end{{document}}\n"


def _section(piece: Piece, drawn: Picture, made: Table, venue: Venue, plot: bool) -> str:
    name, command = piece.name, macro(piece.name)
    figure = "figure*" if drawn.wide and venue.columns == 2 else "figure"
    float_ = "table*" if made.wide and venue.columns == 2 else "table"
    return (
        f"\n\\section{{{escaped(piece.figure.title)}}}\n{{\\emergencystretch=3em {_remark(piece)}\\{command}Answer{{}} "
        f"See Figure~\\ref{{fig:{name}}} and Table~\\ref{{tab:{name}}}.\\par}}\n\n"
        f"{_floats(piece, drawn, figure, plot)}"
        f"\\begin{{{float_}}}[htbp]\n  \\centering\n  \\caption{{\\{command}TableCaption}}\\label{{tab:{name}}}\n"
        f"  \\input{{tables/{name}}}\n\\end{{{float_}}}\n"
    )


def _floats(piece: Piece, drawn: Picture, environment: str, plot: bool) -> str:
    """The figure; what does not fit on its page goes on under the same number."""
    begin, end = f"\\begin{{{environment}}}[htbp]\n", f"\\end{{{environment}}}\n\n"
    floats = []
    for i, file in enumerate(drawn.named(piece.name)):
        caption = f"\\caption{{\\{macro(piece.name)}Caption}}\\label{{fig:{piece.name}}}"
        again = "\\addtocounter{figure}{-1}\\caption{Continued.}"
        floats.append(f"{begin}  \\centering\n  {_graphics(file, drawn, plot)}\n  {again if i else caption}\n{end}")
    return "".join(floats)


def _remark(piece: Piece) -> str:
    """What the author says of a piece, before its answer."""
    return f"\\{macro(piece.name)}Remark{{}} " if piece.remark else ""


def _frames(piece: Piece, drawn: Picture, made: Table, venue: Venue, plot: bool) -> str:
    name, command, title = piece.name, macro(piece.name), escaped(piece.figure.title)
    said = f"{_remark(piece)}\\{command}Answer{{}}"
    cited = ",".join(source.key for source in piece.figure.source)
    files = list(drawn.named(name))
    shown = "".join(
        f"\n\\begin{{frame}}{{{title}{f' --- {i} of {len(files)}' if len(files) > 1 else ''}}}\n  \\centering\n"
        f"  {_graphics(file, drawn, plot)}\n\\end{{frame}}\n"
        for i, file in enumerate(files, 1)
    )
    return shown + (
        f"\n\\begin{{frame}}{{{title} --- the answer}}\n  \\small{said}~\\cite{{{cited}}}\n"
        "\\end{frame}\n"
        f"\n\\begin{{frame}}{{{title} --- the numbers}}\n  \\centering\n  \\input{{tables/{name}}}\n"
        f"  {{\\tiny\\{command}TableCaption\\par}}\n\\end{{frame}}\n"
    )


def _graphics(name: str, drawn: Picture, plot: bool) -> str:
    fit = "" if drawn.fits else "[width=\\linewidth,height=0.72\\textheight,keepaspectratio]"
    if plot:
        inner = f"\\input{{figures/{name}}}"
        return inner if drawn.fits else f"\\lowered{{{inner}}}"
    return f"\\includegraphics{fit}{{figures/{name}.pdf}}"


def references(pieces: Sequence[Piece]) -> str:
    """The BibTeX of what is cited, each once, in the order of citation."""
    sources: dict[str, Source] = {source.key: source for piece in pieces for source in piece.figure.source}
    return "\n".join(source.bibtex for source in sources.values())
