"""`make gpu`: dry without a card, and every part of it in its tiny size on the CPU."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield importlib.import_module("gpu")
    for name in ("gpu", "_report"):
        sys.modules.pop(name, None)


def test_without_a_card_it_says_what_would_run(bench, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    bench.main(["--out", str(tmp_path)])
    said = capsys.readouterr().out
    assert said.startswith("dry (no CUDA device here); on a card this would run, within 600 seconds:")
    assert all(f"  {name} " in said for name in bench.PARTS)
    assert not list(tmp_path.iterdir())


def test_every_part_runs_in_its_tiny_size(bench, capsys, tmp_path):
    bench.main(["--twin", "--out", str(tmp_path)])
    (file,) = tmp_path.glob("gpu-cpu-twin-*.json")
    found = json.loads(file.read_text())
    assert found["card"] == "cpu-twin"
    assert {row["part"] for row in found["rows"]} == set(bench.PARTS)
    assert not [row for row in found["rows"] if "failed" in row or "left_out" in row]
    by_part = {name: [row for row in found["rows"] if row["part"] == name] for name in bench.PARTS}
    assert all(row["seconds"] > 0 and row["times_copy"] > 0 for row in by_part["kernels"])
    assert [row["d"] for row in by_part["d90"]] == [4, 16]
    assert by_part["memory"][0]["bytes"] > 0
    assert {row["shape"][1] for row in by_part["7B spectra"]} >= {16}


def test_a_part_that_fails_or_comes_too_late_says_so(bench, monkeypatch, capsys):
    def out_of_memory(size):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setitem(bench.PARTS, "d90", (out_of_memory, "no time"))
    assert bench.run(bench.TWIN, ["d90", "tests"], 100)["d90"] == [{"failed": "CUDA out of memory"}]
    assert bench.run(bench.TWIN, ["tests"], -1) == {"tests": [{"left_out": "-1 seconds were over"}]}
    with pytest.raises(SystemExit):
        bench.main(["--parts", "none such"])
    assert "unknown parts none such; choose from tests, kernels" in capsys.readouterr().err
