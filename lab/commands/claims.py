"""``deltalab claims``: what the records say of the claims of the literature."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

import lab.study as study  # its names bring torch when they are first used
from lab.claims_page import IMAGES, Section, claims_page, sections
from lab.commands.terminal import name_damaged, output, refusals
from lab.reports import claims_table
from lab.runs import Damaged, everything


def claims(
    out: Annotated[Path | None, typer.Option(help="Write a Markdown page to this file.")] = None,
    store: Annotated[
        Path | None, typer.Option(help="Folder of the runs; `gallery` for its records alone.  [default: ./runs]")
    ] = None,
) -> None:
    """Judge the claims of the literature by the records in the store and the gallery."""
    with refusals():
        damaged: Damaged = {}
        verdicts = study.all_verdicts(everything(store), damaged)
        name_damaged(damaged)
        if not verdicts:
            raise ValueError("no record tests a claim yet; run an experiment first: deltalab list shows them")
        if out is None:
            output().print(claims_table(verdicts))
        else:
            out.write_text(claims_page(verdicts), encoding="utf-8")
            typer.echo(f"{len(verdicts)} verdicts written to {out}")
            typer.echo(_drawn([s for s in sections(verdicts) if s.verdicts], out.parent / IMAGES))


def _drawn(shown: Sequence[Section], folder: Path) -> str:
    """Writes the forest plots of sections whose numbers have changed; what was done, or why not."""
    from lab.figures.forest import forest  # plotly, for those who draw
    from lab.figures.images import ImageError, images
    from lab.figures.style import LIGHT, Size

    stale = [s for s in shown if not _bears(folder / f"{s.name}.svg", s.digest)]
    drawings = [(forest(s.verdicts, LIGHT).figure(Size(width=960, font=13)), "svg") for s in stale]
    try:
        pictures = images(drawings) if drawings else []
    except ImageError as error:
        return f"no plots: {error}"
    folder.mkdir(parents=True, exist_ok=True)
    for section, picture in zip(stale, pictures, strict=True):
        text = f"{picture.decode()}\n<!-- numbers: {section.digest} -->\n"
        (folder / f"{section.name}.svg").write_text(text, encoding="utf-8")
    return f"{len(stale)} of {len(shown)} plots drawn in {folder}, the others show these numbers already"


def _bears(path: Path, digest: str) -> bool:
    return path.is_file() and digest in path.read_text(encoding="utf-8")
