"""``deltalab app``: what it hands to Streamlit, and what it refuses."""

from __future__ import annotations

import os
import socket
import sys
import types
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from lab.cli import app
from lab.runs import Store


def invoke(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def streamlit(monkeypatch) -> list[str]:
    """Stands for Streamlit's command: the words it was called with."""
    words: list[str] = []

    def main(given: list[str], prog_name: str) -> int:
        words.extend(given)
        return 3

    monkeypatch.setenv("DELTALAB_STORE", "")  # the command sets it; restored afterwards
    monkeypatch.setattr("app.ready.begin", lambda: None)
    monkeypatch.setitem(sys.modules, "streamlit.web.cli", types.SimpleNamespace(main=main))  # type: ignore[arg-type]
    return words


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_app_opens_the_explorer_on_this_machine_only(streamlit):
    port = free_port()
    done = invoke("app", "--port", str(port), "--no-browser", "--store", "mine")
    assert done.exit_code == 3
    assert streamlit[0] == "run"
    assert Path(streamlit[1]).parts[-2:] == ("app", "main.py")
    assert {"--server.address=127.0.0.1", f"--server.port={port}", "--server.headless=true"} < set(streamlit)
    assert {"--server.allowedHosts=localhost", "--server.maxUploadSize=200", "--client.showErrorDetails=type"} < set(
        streamlit
    )
    assert os.environ["DELTALAB_STORE"] == str(Store("mine").path)


def test_an_explorer_that_is_not_installed_is_said(streamlit, monkeypatch):
    monkeypatch.setattr("lab.commands.explorer.find_spec", lambda name: None)
    done = invoke("app")
    assert done.exit_code == 2
    assert "pip install 'deltalab[app]'" in done.stderr


@pytest.mark.parametrize("port", ["80000", "0", "-1", "web"])
def test_a_port_that_is_none_is_refused(streamlit, port):
    done = invoke("app", "--port", port)
    assert done.exit_code == 2
    assert "Invalid value for '--port'" in done.stderr
    assert not streamlit


def test_a_port_that_is_taken_is_said(streamlit):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = invoke("app", "--port", str(taken.getsockname()[1]))
    assert done.exit_code == 2
    assert "cannot be used (Address already in use); choose another with --port" in done.stderr
    assert not streamlit
