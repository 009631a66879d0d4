"""Ctrl-C at any time of the start: no traceback."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

MARK = "import time:"


def as_at_a_terminal() -> None:
    """In the new process: a shell that ran these tests in the background would have it ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("program_name", ["lab", "lab.cli"])
@pytest.mark.parametrize("module", ["typer", "lab.runs.store", "lab.reports"])
def test_interrupted_while_it_imports_it_ends_in_silence(program_name, module):
    """The interpreter says on stderr what it imports; as soon as it has imported this module it is interrupted."""
    command = [sys.executable, "-X", "importtime", "-m", program_name, "list"]
    program = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=as_at_a_terminal
    )
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


@pytest.mark.parametrize("ignored", [False, True])
def test_once_the_commands_run_they_are_told_unless_the_shell_lets_it_be_ignored(ignored):
    before = "signal.signal(signal.SIGINT, signal.SIG_IGN); " if ignored else ""
    code = (
        f"import signal, lab.__main__, lab.cli; {before}"
        "lab.cli.app = lambda: print(repr(signal.getsignal(signal.SIGINT))); lab.__main__.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, preexec_fn=as_at_a_terminal
    )
    assert ("SIG_IGN" if ignored else "default_int_handler") in done.stdout
