"""The packages that come with `lab`: found before folders of the same names that a person happens to have."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The folder that `lab` was imported from: a clone of the project, or site-packages."""

SIBLINGS = ("lab", "experiments", "app")


def come_first() -> None:
    """Puts `ROOT` on `sys.path` before the first other folder that has one of the `SIBLINGS`.

    ``python -m lab.cli`` puts the working directory first, and so does Streamlit: somebody's own ``experiments/`` or
    ``app/`` there would be imported in the place of ours. Folders before that one keep their places.
    """
    for position, entry in enumerate(sys.path):
        folder = os.path.realpath(entry or os.curdir)
        if folder == str(ROOT):
            return
        # of os.path, which answer False where a folder may not be looked into
        if any(
            os.path.isdir(found := os.path.join(folder, name)) or os.path.isfile(f"{found}.py") for name in SIBLINGS
        ):
            sys.path.insert(position, str(ROOT))
            return
