"""How ``make test`` runs the tests: a file stays in one process, and Python keeps what it has compiled."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_a_file_stays_in_one_process(request):
    """xdist reads the groups in the hook that gives them: ours must come before it."""
    called = [impl.plugin for impl in reversed(request.config.hook.pytest_collection_modifyitems.get_hookimpls())]
    xdist = [i for i, plugin in enumerate(called) if type(plugin).__name__ == "WorkerInteractor"]
    if not xdist:
        pytest.skip("shows where several processes share the tests (pytest -n 2 --dist loadgroup)")
    (ours,) = [i for i, plugin in enumerate(called) if getattr(plugin, "WHOLE_MACHINE", None)]
    assert ours < xdist[0]


def test_make_lets_python_keep_what_it_compiled():
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    show = ["make", "--silent", "--eval", 'show: ; @echo "[$$PYTHONDONTWRITEBYTECODE]"', "show"]
    said = subprocess.run(show, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert said == "[]\n"
