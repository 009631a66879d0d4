"""The journal of commands at work: others see how far one is, and whether its process still lives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from lab.runs.journal import KEPT, RUNNING, entries, journal, run_of


def test_a_command_is_seen_while_it_works_with_the_runs_it_is_in(tmp_path):
    with journal(tmp_path, "deltalab run x"), run_of("outer", done=1, total=4) as advance:
        (entry,) = entries(tmp_path)
        assert (entry.command, entry.pid, entry.state) == ("deltalab run x", os.getpid(), "running")
        time.sleep(0.6)
        advance(2, 1)
        (level,) = entries(tmp_path)[0].levels
        assert (level.done, level.failed, level.total) == (2, 1, 4)
        assert level.remaining == pytest.approx(level.seconds / 2, rel=1e-6)  # two of three left ones are done
        with run_of("inner", done=0, total=2):
            time.sleep(0.6)
            advance(2, 1)
            assert [level.label for level in entries(tmp_path)[0].levels] == ["outer", "inner"]
    (entry,) = entries(tmp_path)
    assert entry.state == "finished"
    assert [level.label for level in entry.levels] == ["outer"]


@pytest.mark.parametrize(("error", "state"), [(KeyboardInterrupt, "interrupted"), (ValueError, "failed")])
def test_how_a_command_ended_is_kept(error, state, tmp_path):
    with pytest.raises(error), journal(tmp_path, "deltalab run x"):
        raise error
    assert [entry.state for entry in entries(tmp_path)] == [state]


def test_a_killed_command_is_known_as_killed(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom lab.runs.journal import journal\n"
        "with journal(Path(sys.argv[1]), 'deltalab run x'):\n    print('on', flush=True)\n    time.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "on\n"
    assert [entry.state for entry in entries(tmp_path)] == ["running"]
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert [entry.state for entry in entries(tmp_path)] == ["killed"]


def test_a_journal_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / RUNNING).write_text("in the way")
    with journal(tmp_path, "deltalab run x"), run_of("outer", done=0, total=1) as advance:
        advance(1, 0)
    assert entries(tmp_path) == []
    (tmp_path / "else").mkdir()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / RUNNING).symlink_to(tmp_path / "else")
    with journal(tmp_path / "linked", "deltalab run x"):
        pass
    assert list((tmp_path / "else").iterdir()) == []  # no link is followed


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 5000, json.dumps({"command": 1, "levels": [{"a": 1}]})])
def test_an_entry_that_is_none_is_left_out(text, tmp_path):
    with journal(tmp_path, "deltalab run x"):
        pass
    (tmp_path / RUNNING / "zzz.json").write_text(text)
    assert [entry.command for entry in entries(tmp_path)] == ["deltalab run x"]


def test_old_entries_go(tmp_path):
    for _ in range(KEPT + 5):
        with journal(tmp_path, "deltalab run x"):
            pass
    assert len(entries(tmp_path)) <= KEPT + 1
    assert not list((tmp_path / RUNNING).glob("*.lock"))
