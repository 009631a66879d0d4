"""OpenMP is told not to spin before torch is loaded, unless the user says otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab import __main__, cli

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("given", "found"), [(None, "0"), ("1000", "1000")])
def test_the_command_lets_waiting_threads_sleep(given, found, monkeypatch):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    if given is not None:
        monkeypatch.setenv("GOMP_SPINCOUNT", given)
    seen = []
    monkeypatch.setattr(cli, "main", lambda: seen.append(os.environ["GOMP_SPINCOUNT"]))
    __main__.main()
    assert seen == [found]


def test_it_is_set_before_torch_is_loaded():
    asked = "import sys, lab.__main__, lab; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", asked], cwd=ROOT, check=True)


@pytest.mark.parametrize(("given", "found"), [({}, "0"), ({"GOMP_SPINCOUNT": "7"}, "7")])
def test_make_hands_it_on_and_the_user_has_the_last_word(given, found):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GOMP_", "MAKE"))} | given
    asked = ["make", "--no-print-directory", "-f", "-", "shown"]
    makefile = f"include {ROOT / 'Makefile'}\nshown:\n\t@echo $$GOMP_SPINCOUNT\n"
    done = subprocess.run(asked, input=makefile, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == found
