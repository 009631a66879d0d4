"""Files that are written only where they change, so that what is built from them is built again only then."""

from __future__ import annotations

from pathlib import Path


def written(path: Path, content: str | bytes) -> None:
    """Writes a file, with its folders, unless it holds this already."""
    new = content.encode() if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == new:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(new)
