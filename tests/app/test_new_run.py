"""A run asked for on a page: started as a process of its own, watched, cancelled, resumed; a terminal's is seen too."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.launch import again, log_end, start, stop
from lab.runs import Store
from lab.runs.journal import Entry, entries, journal, run_of


def awaited(store: Path, wanted: Callable[[Entry], bool], seconds: float = 120) -> Entry:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = entries(store)
        if found and wanted(found[0]):
            return found[0]
        time.sleep(0.1)
    raise AssertionError([(entry.state, log_end(entry)) for entry in entries(store)])


def test_the_form_is_made_of_the_typed_settings_and_asks_for_what_was_changed(opened, tmp_path):
    shown = opened("new_run", tmp_path)
    shown.selectbox(key="experiment").set_value("quadratic").run()
    assert not shown.exception
    assert "deltalab run quadratic --scale smoke" in shown.code[0].value
    field = shown.text_input(key="quadratic-smoke-draws")
    assert "at least 2" in field.help
    field.set_value("3").run()
    assert "--draws=3" in shown.code[0].value
    shown.text_input(key="quadratic-smoke-draws").set_value("1").run()
    assert "draws" in shown.error[0].value
    assert shown.button[0].disabled


def test_experiment_and_scale_are_in_the_address(opened, tmp_path):
    shown = opened("new_run", tmp_path, experiment="Quadratic", scale="demo")
    assert not shown.exception
    assert "deltalab run quadratic --scale demo" in shown.code[0].value


def test_a_run_is_started_watched_and_finished(opened, tmp_path):
    shown = opened("new_run", tmp_path)
    shown.selectbox(key="experiment").set_value("quadratic").run()
    shown.button[0].click().run()
    assert not shown.exception
    ended = awaited(tmp_path, lambda entry: "record(s) in" in log_end(entry))
    assert ended.state == "finished", log_end(ended)
    assert Store(tmp_path).keys("quadratic")
    shown.run()
    assert any("finished" in element.value for element in shown.markdown)
    assert shown.button[0].disabled  # what is done is not asked for again


def test_a_run_is_cancelled_and_resumed(tmp_path, monkeypatch):
    """From a server that ignores Ctrl-C, as one does that was started in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _cancel_and_resume(tmp_path, monkeypatch)
    finally:
        signal.signal(signal.SIGINT, before)
        for entry in entries(tmp_path):
            if entry.state == "running":
                os.kill(entry.pid, signal.SIGKILL)


def _cancel_and_resume(tmp_path, monkeypatch):
    words = ["run", "training_run", "--scale", "smoke", "--steps", "100000"]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    start(words, tmp_path)
    at_work = awaited(tmp_path, lambda entry: bool(entry.levels))
    stop(at_work)
    ended = awaited(tmp_path, lambda entry: entry.state != "running")
    assert ended.state == "interrupted", log_end(ended)
    assert "resume with: deltalab run training_run" in log_end(ended)
    again(ended, tmp_path)
    resumed = awaited(tmp_path, lambda entry: entry.name != ended.name and entry.state == "running")
    os.kill(resumed.pid, signal.SIGKILL)
    assert awaited(tmp_path, lambda entry: entry.state == "killed").name == resumed.name


def test_a_terminal_s_command_is_shown_with_what_it_is_in(opened, tmp_path):
    with journal(tmp_path, "deltalab run somewhere"), run_of("[x](https://x.example)", done=1, total=3):
        shown = opened("new_run", tmp_path)
        assert not shown.exception
        said = " ".join(element.value for element in shown.markdown)
        assert "**running**" in said
        assert "deltalab run somewhere" in said
        assert [button.label for button in shown.button] == ["Start", "Cancel"]


def test_what_an_entry_says_is_started_only_if_it_is_a_run(tmp_path):
    entry = Entry("x", "rm -rf /", 1, 0.0, "failed", (), "")
    with pytest.raises(ValueError, match="which is no run"):
        again(entry, tmp_path)
    assert entries(tmp_path) == []
