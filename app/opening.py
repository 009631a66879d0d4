"""Weights that a person names or uploads become tables; read by their headers first, under names of our own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

UPLOAD_LIMIT = 200_000_000
"""Bytes of an uploaded file; larger ones can be opened by their folder."""


class Refused(ValueError):
    """What was named cannot be opened; the message is a sentence for the page."""


@dataclass(frozen=True)
class Opened:
    """The spectra of one update.

    Attributes:
        title: what was opened.
        values: the table of the figure of spectra.
        summary: scalars per matrix.
        medians: scalars per role.
        excluded: parameter, reason.
        note: what a reader must know, or "".
        command: the command that prints the same; "" for uploads.
    """

    title: str
    values: pd.DataFrame
    summary: pd.DataFrame
    medians: pd.DataFrame
    excluded: pd.DataFrame
    note: str
    command: str


def open_folders(base: str, tuned: str, tell: Callable[[float, str], None]) -> Opened:
    """An update on this machine.

    Args:
        base: a packaged PLM's name, or a path; "" for none.
        tuned: path of an adapter's folder, a model's folder or a safetensors file.
        tell: called with how far it is, in [0, 1], and the name of the next matrix.

    Raises:
        Refused: what cannot be opened, and why.
    """
    if not tuned.strip():
        raise Refused("Name the folder of an adapter or of a tuned model.")
    folder = Path(tuned.strip()).expanduser()
    if not folder.exists():
        raise Refused(f"There is no {folder} on this machine.")
    command = f"deltalab spectra {base.strip() or '-'} {tuned.strip()}"
    return _opened(known_base(base), folder, folder.name, command, tell, hide=None)


def open_upload(base: str, weights: bytes, config: bytes | None, tell: Callable[[float, str], None]) -> Opened:
    """An uploaded safetensors file: an adapter if its adapter_config.json comes with it, else a tuned model.

    The bytes are written under names of our own into a folder that is removed again; the names they came with are not
    used, and nothing in them is run.

    Raises:
        Refused: too large, or what cannot be opened, and why.
    """
    for what, content in (("weights", weights), ("adapter_config.json", config or b"")):
        if len(content) > UPLOAD_LIMIT:
            raise Refused(
                f"The uploaded {what} have {len(content) / 1e6:.1f} MB, more than the {UPLOAD_LIMIT / 1e6:.0f} MB that "
                "are read here; give the folder instead."
            )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if config is not None:
            (folder / "adapter_config.json").write_bytes(config)
        target = folder / ("model.safetensors" if config is None else "adapter_model.safetensors")
        target.write_bytes(weights)
        tuned = target if config is None else folder
        return _opened(known_base(base), tuned, "uploaded file", "", tell, hide=folder)


def known_base(base: str) -> str | None:
    """A packaged name or an existing path; nothing is downloaded by the explorer."""
    from lab.models import PACKAGED

    text = base.strip()
    if not text:
        return None
    if text in {choice.name for choice in PACKAGED}:
        return text
    path = Path(text).expanduser()
    if not path.exists():
        names = ", ".join(choice.name for choice in PACKAGED)
        raise Refused(f"There is no {path} here, and the explorer downloads nothing. Packaged PLMs: {names}.")
    return str(path)


def _opened(
    base: str | None, tuned: Path, title: str, command: str, tell: Callable[[float, str], None], *, hide: Path | None
) -> Opened:
    from lab.geometry import aggregated, change_spectra, changes_between

    done = 0
    try:
        changes = changes_between(base, tuned)

        def watch(name: str) -> None:
            nonlocal done
            tell(done / len(changes), name)
            done += 1

        found = change_spectra(changes.watched(watch))
    except (ValueError, OSError, ImportError) as error:
        text = str(error)
        if hide is not None:  # where uploads lie for a moment is nobody's concern
            text = text.replace(f"{hide}/", "the uploaded ").replace(str(hide), "the uploaded file")
        raise Refused(text) from error
    values = found.values.assign(label=title)
    in_blocks = values.dropna(subset=["block"])
    return Opened(
        title=title,
        values=in_blocks if len(in_blocks) else values,
        summary=found.summary,
        medians=aggregated(found.summary),
        excluded=found.excluded,
        note=found.note,
        command=command,
    )
