"""Ctrl-C at any time of the start: no traceback."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

MARK = "import time:"


@pytest.mark.parametrize("module", ["typer", "lab.runs.store", "lab.reports"])
def test_interrupted_while_it_imports_it_ends_in_silence(module):
    """The interpreter says on stderr what it imports; as soon as it has imported this module it is interrupted."""
    command = [sys.executable, "-X", "importtime", "-m", "lab", "list"]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert program.stderr is not None
    said = []
    for line in program.stderr:
        said.append(line)
        if line.rstrip().endswith(f" {module}"):
            program.send_signal(signal.SIGINT)
            break
    out, err = program.communicate(timeout=60)
    assert program.returncode in (-signal.SIGINT, 130), "".join(said)
    words = [line for line in (*said, *err.splitlines()) if line.strip() and not line.startswith(MARK)]
    assert words == []
    assert out == ""


def test_once_the_commands_run_they_are_told():
    """The handler is Python's own again."""
    code = (
        "import signal, sys, lab.__main__, lab.cli; lab.cli.main = lambda: print(signal.getsignal(signal.SIGINT)); "
        "lab.__main__.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "default_int_handler" in done.stdout
