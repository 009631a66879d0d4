"""The forest plots beside the page of claims; imported by the command that draws them, since plotly comes with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lab.claims_page import Section
from lab.figures.forest import forest
from lab.figures.images import ImageError, images
from lab.figures.style import LIGHT, Size


def drawn(shown: Sequence[Section], folder: Path) -> str:
    """Writes the forest plots of sections whose numbers have changed; what was done, or why not."""
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
