"""The gallery: a page for each figure, drawn from the shipped records, with its answer and the code that draws it."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Literal

from streamlit.logger import set_log_level
from writing import written

from app.loading import Contents, contents
from app.slices import newest, readable, rows, unmixed
from lab.figures import DARK, FIGURES, LIGHT, Figure, Size, TableError
from lab.figures.images import ImageError, images
from lab.figures.sketch import sketch
from lab.study.catalogue import Outline, outlines

Pictures = Literal["svg", "sketch", "none"]

WIDTH = Size(width=760, font=13, fixed=True)
THEMES = {"light": LIGHT, "dark": DARK}
GROUPS = {
    "training": "Training", "dimension": "Dimension", "weights": "What changes in the weights",
    "loss": "How the loss bends", "methods": "The methods compared", "control": "The control view",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Drawn:
    """A figure with what it is drawn from."""

    figure: Figure
    question: Outline | None
    table: Any
    measured: bool


def gallery(folder: Path, kept: Path, pictures: Pictures) -> dict[str, str]:
    """Page -> text; pictures are written into the folder.

    Args:
        folder: of the pages.
        kept: pictures of earlier builds by what they show, so that only new numbers are drawn.
        pictures: "svg", by a browser; "sketch": the panel that holds most, without words; "none": pages alone, with the
            answers of made-up tables, to check their links.
    """
    set_log_level("ERROR")  # the rows are those that the explorer chooses, and it warns of being asked by none
    if pictures == "none":
        every = [Drawn(figure, None, figure.example(), measured=False) for figure in FIGURES]
    else:
        found = contents()
        every = [_drawn(found, figure) for figure in FIGURES]
        _pictures(every, folder / "gallery", kept, sketches=pictures == "sketch")
    pages = {f"gallery/{one.figure.name}.md": _page(one, pictures) for one in every}
    return {"gallery.md": _index(every, pictures), **pages}


def _drawn(found: Contents, figure: Figure) -> Drawn:
    """The newest rows that the explorer would draw, of the experiment that gives most of them; the figure's own example
    where nothing was measured."""
    measured: list[Drawn] = []
    asked = sorted((o for o in outlines() if figure.name in o.figures), key=lambda o: not o.scaled)
    for outline in asked:
        manifests = [m for m in found.of_experiment(outline.name) if figure.table in m.tables]
        if not manifests:
            continue
        table = unmixed(rows(newest(manifests, outline), figure)[0], figure)
        known = [c for c in ("label", *figure.columns, *figure.optional) if c in table and table[c].dtype.kind in "OUT"]
        for column, values in readable(table, figure, known).items():
            table = table[table[column].astype(str).isin(values)]
        try:
            figure.answer(table)
            measured.append(Drawn(figure, outline, table, measured=True))
        except TableError:
            continue
    return max(measured, key=lambda one: len(one.table), default=None) or Drawn(
        figure, asked[0] if asked else None, figure.example(), measured=False
    )


def _pictures(shown: list[Drawn], folder: Path, kept: Path, *, sketches: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    kept.mkdir(parents=True, exist_ok=True)
    drawings = {
        f"{one.figure.name}.{name}": (one.figure.draw(one.table, theme, WIDTH), theme)
        for one in shown
        for name, theme in THEMES.items()
    }
    if sketches:
        for name, (drawing, theme) in drawings.items():
            written(folder / f"{name}.svg", sketch(drawing, theme))
        return
    digests = {
        name: hashlib.sha256(drawing.to_json().encode()).hexdigest()[:24] for name, (drawing, _) in drawings.items()
    }
    new = [name for name, digest in digests.items() if not (kept / f"{digest}.svg").exists()]
    try:
        made = images([(drawings[name][0], "svg") for name in new]) if new else []
    except ImageError as error:
        print(f"figures are sketches: {error}", file=sys.stderr)
        _pictures(shown, folder, kept, sketches=True)
        return
    for name, picture in zip(new, made, strict=True):
        (kept / f"{digests[name]}.svg").write_bytes(picture)
    for name, digest in digests.items():
        written(folder / f"{name}.svg", (kept / f"{digest}.svg").read_bytes())


def _page(one: Drawn, pictures: Pictures) -> str:
    figure, name = one.figure, one.figure.name
    made = inspect.getsource(sys.modules[figure.build.__module__])
    by = f"`deltalab run {one.question.name}` measures it. " if one.question and one.question.scaled else ""
    origin = "" if one.measured else "**Made-up numbers:** the gallery has no record of it yet. "
    return "".join(
        [
            f"# {figure.title}\n\n",
            f"{_sentence(one.question.question)}\n\n" if one.question else "",
            *(_image(f"{name}.{theme}.svg", figure.alt(one.table), theme) for theme in THEMES if pictures != "none"),
            f"{origin}{plain(figure.alt(one.table))}\n\n",
            f"## Draw it\n\n{by}From your own records, and where there are none from the gallery's:\n\n",
            f"```bash\ndeltalab export {name} --out figures\ndeltalab paper {name} --venue icml --out paper\n```\n\n",
            f"```python\nimport lab\n\nlab.show({name!r})\n```\n\n",
            "From a table of yours with the columns below:\n\n",
            f"```python\nfrom lab.figures import {name.upper()}\n\n{name.upper()}.draw(table)\n```\n\n",
            f"## Caption\n\n{plain(figure.caption)}\n\n## How to read it\n\n{plain(figure.reading)}\n\n",
            f"## Its table\n\nA record's table `{figure.table}`; [all columns](../reference/columns.md).\n\n",
            "| column | unit | what it is |\n|---|---|---|\n",
            *(f"| `{c}` | {cell(v.unit)} | {cell(v.description)} |\n" for c, v in figure.columns.items()),
            *(f"| `{c}` (optional) | {cell(v.unit)} | {cell(v.description)} |\n" for c, v in figure.optional.items()),
            "\n## Sources\n\n",
            *(f"* {plain(source.citation)}: {plain(source.title)}\n" for source in figure.source),
            f"\n<details><summary>The code that draws it: lab/figures/{name}.py</summary>\n\n",
            f"````python\n{made}````\n\n</details>\n",
        ]
    )


def _index(shown: list[Drawn], pictures: Pictures) -> str:
    parts = [
        "# Gallery of figures\n\n",
        f"{len(shown)} figures, each drawn from the newest records in `gallery/`, with its answer and its code.\n",
    ]
    for group, heading in GROUPS.items():
        own = [one for one in shown if one.figure.group == group]
        if not own:
            continue
        parts.append(
            f'\n## {heading}\n\n````{{raw}} html\n<div class="wall">\n{"".join(_cards(own, pictures))}</div>\n````\n'
        )
        names = "\n".join(f"gallery/{one.figure.name}" for one in own)
        parts.append(f"\n```{{toctree}}\n:hidden:\n\n{names}\n```\n")
    return "".join(parts)


def _cards(shown: list[Drawn], pictures: Pictures) -> Iterator[str]:
    for one in shown:
        name = one.figure.name
        drawn = "".join(
            f'<img class="only-{theme}" src="_images/{name}.{theme}.svg" alt="" loading="lazy">'
            for theme in THEMES
            if pictures != "none"
        )
        yield f'<a href="gallery/{name}.html">{drawn}<span>{escape(one.figure.title)}</span></a>\n'


def _image(path: str, alt: str, theme: str) -> str:
    picture = f"```{{image}} {path}\n:alt: {' '.join(alt.split())}\n:class: only-{theme} drawing\n```"
    return f"````{{container}} paned\n{picture}\n````\n\n"


def _sentence(text: str) -> str:
    return f"*{plain(text[:1].upper() + text[1:])}*"


def plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    for letter in "\\`*_[]<>|{}$":
        text = text.replace(letter, f"\\{letter}" if letter not in "<>" else {"<": "&lt;", ">": "&gt;"}[letter])
    return text


def cell(text: str) -> str:
    return plain(text.replace("\n", " "))
