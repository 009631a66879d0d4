"""How the tests are shared out where several processes run them (``make test``: pytest-xdist, one thread each)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("GOMP_SPINCOUNT", "0")  # before torch is loaded; the Makefile says why

WHOLE_MACHINE = (
    "app/test_browser.py",
    "app/test_walk.py",
    "execution/test_kill.py",
    "execution/test_ray.py",
    "figures/test_figure_pictures.py",
    "notebooks",
    "packaging",
)
"""Files and folders whose tests start browsers, clusters, kernels or servers: one at a time."""


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in this hook too
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file stays in one process, with its fixtures; those that need the whole machine stay together in one."""
    here = Path(__file__).parent
    for item in items:
        place = item.path.relative_to(here)
        shared = any(place.is_relative_to(name) for name in WHOLE_MACHINE)
        item.add_marker(pytest.mark.xdist_group("whole machine" if shared else place.as_posix()))
