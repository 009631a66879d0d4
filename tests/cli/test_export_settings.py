"""Runs of two budgets never share a line of an exported figure."""

from __future__ import annotations

import pandas as pd
import pytest
from typer.testing import CliRunner

import lab
from lab.cli import app
from lab.figures import PERFORMANCE, SHARED_DIRECTIONS
from lab.runs import Job, Record, Store, places


@pytest.fixture
def of_two_budgets(monkeypatch, tmp_path):
    """A store with a comparison of 64 steps, and a newer one of 160 whose scores are 0.1 higher."""
    monkeypatch.setattr(places, "GALLERY", tmp_path / "none")
    for steps, day in ((160, 2), (64, 1)):
        table = PERFORMANCE.example()
        for task, part in table.assign(score=table.score + (steps == 160) * 0.01).groupby("task"):
            config = {"model": "minilm", "task": task, "seeds": [0], "steps": steps}
            made = {"ended": f"2026-11-{day:02d}T10:00:00+00:00"}
            Store(tmp_path / "runs").put(Record(Job("performance", config), {}, {"performance": part}, provenance=made))
    return tmp_path / "runs"


def exported(store, out, *options: str) -> tuple[pd.DataFrame, str]:
    done = CliRunner().invoke(
        app, ["export", "performance", "--store", str(store), "--out", str(out), "--formats", "csv", *options]
    )
    assert done.exit_code == 0, done.output
    return pd.read_csv(out / "performance.csv"), done.stderr


def test_the_newest_setting_is_drawn_and_the_others_are_named(of_two_budgets, tmp_path):
    table, said = exported(of_two_budgets, tmp_path / "out")
    assert len(table) == len(PERFORMANCE.example())
    assert table.score.mean() == pytest.approx(PERFORMANCE.example().score.mean() + 0.01)
    assert "the newest of 2 settings: steps=160; --where draws another: steps=64" in said


def test_another_setting_is_drawn_where_it_is_asked_for(of_two_budgets, tmp_path):
    table, said = exported(of_two_budgets, tmp_path / "out", "--where", "steps=64")
    assert table.score.mean() == pytest.approx(PERFORMANCE.example().score.mean())
    assert "settings" not in said


def test_what_a_newer_record_contradicts_is_left_out_and_named(monkeypatch, tmp_path):
    """Settings that no figure tells apart, of an experiment that does not repeat over tasks: seeds, steps."""
    monkeypatch.setattr(places, "GALLERY", tmp_path / "none")
    store = Store(tmp_path / "runs")
    for seeds, day in (((0,), 1), ((0, 1), 2)):
        table = SHARED_DIRECTIONS.example()
        table = table.assign(share=table.share / len(seeds))
        made = {"ended": f"2026-11-{day:02d}T10:00:00+00:00"}
        job = Job("shared_subspace", {"model": "minilm", "seeds": list(seeds)})
        store.put(Record(job, {}, {"shared_directions": table}, provenance=made))
    command = ["export", "shared_directions", "--store", str(store.path), "--out", str(tmp_path), "--formats", "csv"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    drawn = pd.read_csv(tmp_path / "shared_directions.csv")
    assert list(drawn.share) == pytest.approx(list(SHARED_DIRECTIONS.example().share / 2))
    older = next(m.key for m in store.manifests() if m.job.config["seeds"] == [0])
    assert f"have other numbers for the same: {older[:12]};" in done.stderr
    monkeypatch.setenv("DELTALAB_STORE", str(store.path))
    assert lab.show("shared_directions").to_json() == lab.show("shared_directions", drawn).to_json()
