"""``deltalab list --figures``: what `export` can draw."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from lab.cli import app
from lab.figures import FIGURES


@pytest.fixture
def listed(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "200")

    def listed(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["list", *arguments, "--figures", "--store", str(tmp_path)])
        assert done.exit_code == 0, done.output
        return done.output

    return listed


def test_every_figure_is_listed_with_its_experiments(listed):
    shown = listed()
    assert [f.name for f in FIGURES if f.name not in shown] == []
    (line,) = (line for line in shown.splitlines() if " d90_curves " in line)
    assert "predicted_dimension" in line
    assert "quadratic" in line


def test_of_one_experiment_its_own_are_listed(listed):
    shown = listed("efficiency")
    assert "training_compute" in shown
    assert "costates" not in shown
