"""Adapters of several tasks become the tables of a collection; read as safetensors only, by their headers first."""

from __future__ import annotations

import re
import shlex
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from app.opening import Refused, known_base
from lab.figures.style import counted

FILES = ("adapter_config.json", "adapter_model.safetensors")
"""What the folder of an adapter holds."""


@dataclass(frozen=True)
class Several:
    """What adapters of several tasks share.

    Attributes:
        title: how many were opened.
        tables: name of a figure → its table.
        shared: a sentence per null: how many directions are shared beyond chance.
        members: one row per adapter.
        command: that prints the same; "" for uploads.
    """

    title: str
    tables: Mapping[str, pd.DataFrame]
    shared: tuple[str, ...]
    members: pd.DataFrame
    command: str


def open_several(base: str, listing: str, tell: Callable[[float, str], None]) -> Several:
    """Adapters on this machine, as a collection.

    Args:
        base: as of `open_folders`.
        listing: a line each: an adapter's folder, or folder,task,type,seed; or a folder that holds adapters' folders.
        tell: called with how far it is, and what is done.

    Raises:
        Refused: what cannot be opened, and why; fewer than three tasks.
    """
    lines = [line.strip() for line in listing.splitlines() if line.strip()]
    rows = [row for line in lines for row in _adapters_in(line)]
    missing = [folder for row in rows if not (folder := Path(row.partition(",")[0].strip())).exists()]
    if missing:
        raise Refused(f"There is no {missing[0]} on this machine.")
    command = shlex.join(["deltalab", "collection", *(row.partition(",")[0].strip() for row in rows)])
    return _several(base, rows, f"{command} --base {base.strip()}" if base.strip() else command, tell, hide=None)


def open_uploaded_folders(base: str, files: Mapping[str, bytes], tell: Callable[[float, str], None]) -> Several:
    """An uploaded folder of adapters' folders: each has an adapter_config.json and an adapter_model.safetensors.

    Args:
        base: as of `open_folders`.
        files: path in the upload → content. Paths only say what belongs together; they are used nowhere.
        tell: as of `open_several`.

    Raises:
        Refused: as of `open_several`; an adapter without one of its files.
    """
    folders: dict[str, dict[str, bytes]] = {}
    for path, content in files.items():
        place, _, name = path.replace("\\", "/").rpartition("/")
        if name in FILES:
            folders.setdefault(place, {})[name] = content
    with tempfile.TemporaryDirectory() as scratch:
        rows = []
        for i, (place, contents) in enumerate(folders.items()):
            if lacking := [name for name in FILES if name not in contents]:
                raise Refused(f"The uploaded folder {place or '(top)'} lacks {lacking[0]}.")
            shown = re.sub(r"[^A-Za-z0-9_-]+", "_", place.rpartition("/")[2])[:60]
            own = Path(scratch) / f"{i}-{shown}"  # a name of our own, which people know again
            own.mkdir()
            for name, content in contents.items():
                (own / name).write_bytes(content)
            rows.append(str(own))
        return _several(base, rows, "", tell, hide=Path(scratch))


def _adapters_in(line: str) -> list[str]:
    """The adapters' folders in a folder that is none itself; else the line."""
    folder = Path(line).expanduser()
    if not folder.is_dir() or (folder / "adapter_config.json").exists():
        return [line if "," in line else str(folder)]
    inside = sorted(path.parent for path in folder.glob("*/adapter_config.json"))
    return [str(path) for path in inside] or [str(folder)]


def _several(
    base: str, rows: Sequence[str], command: str, tell: Callable[[float, str], None], *, hide: Path | None
) -> Several:
    from lab.commands.collection import listed
    from lab.geometry import collections

    if len(rows) < 3:
        raise Refused(f"A collection of {len(rows)} says nothing about sharing; give three adapters or more.")
    known = known_base(base)
    try:
        with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as listing:
            listing.write("\n".join(rows))
            listing.flush()
            members = listed(collections, [listing.name])
        tell(0.1, "adapters")
        held = collections.read_collection(members, known).in_memory()
        nulls = collections.nulls_of(held, base=None if known is None else collections.base_matrices(held, known))
        found = collections.portrait(held, nulls, label="adapters", tell=lambda text: tell(0.5, text))
    except (ValueError, OSError, ImportError) as error:
        text = str(error)
        raise Refused(text if hide is None else text.replace(f"{hide}/", "the uploaded ")) from error
    shared = tuple(
        f"{counted(one.n_directions, 'direction')} shared beyond chance, {'and' if one.mean_is_shared else 'not'} "
        f"the mean (null: {one.null})"
        for one in found.beyond
    )
    about = pd.DataFrame([{"adapter": m.name, "task": m.task, "type": m.type, "seed": m.seed} for m in held.members])
    return Several(f"{len(members)} adapters", found.tables, shared, about, command)
