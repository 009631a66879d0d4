"""How a cluster on this machine is started: with any folder for temporary files."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from lab.execution import ray as engine
from lab.execution.ray import LONGEST_FOLDER, Ray
from lab.runs import Store


def test_ray_takes_the_usual_folder_where_its_sockets_fit(monkeypatch):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", "/tmp/short")
    monkeypatch.setattr("os.access", lambda place, mode: True)
    assert engine._short_folder() == Path("/tmp/short/ray")
    monkeypatch.setattr("tempfile.tempdir", "/tmp/" + "x" * LONGEST_FOLDER)
    assert engine._short_folder() == Path(f"/tmp/ray-{os.getuid()}")
    monkeypatch.setattr("os.access", lambda place, mode: False)
    with pytest.raises(ValueError, match=r"is too long for Ray's sockets: \d+ bytes, at most 38; set TMPDIR"):
        engine._short_folder()


def test_a_cluster_of_our_own_that_does_not_start_is_no_matter_of_addresses(monkeypatch, tmp_path):
    def init(**_: object) -> None:
        raise Exception("no memory")

    cluster = type(sys)("ray")
    cluster.__dict__.update(init=init, is_initialized=lambda: False)
    monkeypatch.setitem(sys.modules, "ray", cluster)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ValueError, match=r"Ray cannot start on this machine \(no memory\); --engine local"):
        Ray(Store(tmp_path))
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(ValueError, match=r"answers at address '10.0.0.1:6379' \(\$RAY_ADDRESS\)"):
        Ray(Store(tmp_path))
