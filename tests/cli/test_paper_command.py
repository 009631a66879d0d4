"""``deltalab paper``: of records, of somebody's own adapter, dry, and one sentence for everything wrong."""

from __future__ import annotations

import re

import torch
from typer.testing import CliRunner, Result

from lab.cli import app
from lab.deltas import LoRA, save_adapter
from lab.models.tiny import tiny_plm
from lab.runs import Job, Record, Store


def paper(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["paper", *map(str, arguments)])


def test_a_dry_run_says_what_would_be_written(tmp_path):
    done = paper("cka", "--dry", "--venue", "icml", "--out", tmp_path / "out", "--store", tmp_path / "none")
    assert done.exit_code == 0, done.output
    assert "cka: figure" in done.stdout
    assert "cites kornblith2019similarity" in done.stdout
    assert not (tmp_path / "out").exists()


def test_of_several_experiments_one_is_drawn_and_the_others_are_named(tmp_path):
    done = paper("d90_curves", "--dry", "--store", tmp_path / "none")
    assert done.exit_code == 0, done.output
    assert "drawn are the runs of predicted_dimension; --experiment draws those of quadratic" in done.stderr
    other = paper("d90_curves", "--dry", "--experiment", "quadratic", "--store", tmp_path / "none")
    assert other.exit_code == 0, other.output
    assert other.stdout != done.stdout


def test_own_records_are_drawn_and_those_of_the_gallery_are_not(tmp_path):
    from lab.figures import CKA

    store = Store(tmp_path / "runs")
    job = Job("representations", {"model": "mine", "seed": 3})
    store.put(Record(job, {"x": 1.0}, tables={"cka": CKA.example()}))
    done = paper("cka", "--dry", "--store", tmp_path / "runs")
    assert done.exit_code == 0, done.output
    assert "; 1 record;" in done.stdout


def test_the_spectra_of_an_adapter(tmp_path):
    plm = tiny_plm("bert")
    delta = LoRA(rank=2).on(plm, seed=0)
    phi = torch.randn(delta.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    adapter = save_adapter(delta, phi, tmp_path / "my_adapter")
    done = paper("spectra", "-", adapter, "--venue", "acl", "--pgf", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    main, rows = (
        (tmp_path / "out" / name).read_text() for name in ("main.tex", "tables/weight_difference_spectra.csv")
    )
    assert r"\input{figures/weight_difference_spectra}" in main
    assert rows.splitlines()[0].startswith("role,stable rank")
    assert r"In all rows, update: my\_adapter" in (tmp_path / "out" / "captions.tex").read_text()
    assert rows.splitlines()[0].endswith(",key")
    (digest,) = {line.rpartition(",")[2] for line in rows.splitlines()[1:]}
    told = (tmp_path / "out" / "PROVENANCE.md").read_text()
    assert "deltalab spectra - " in told
    assert re.fullmatch("[0-9a-f]{64}", digest)
    assert f"{digest} my_adapter" in told
    meant = (tmp_path / "out" / "tables/weight_difference_spectra.columns.csv").read_text()
    assert "stable rank,number,1,‖ΔW‖_F²/‖ΔW‖₂²" in meant


def test_misuse_is_one_sentence(tmp_path):
    for arguments, message in {
        ("cka", "--venue", "nature"): "unknown venue 'nature'; choose one of: neurips, icml",
        ("pie",): "no figure is called 'pie'",
        ("spectra", "minilm"): "deltalab paper spectra BASE ADAPTER",
        ("cka", "--where", "model=none"): "no row has model=none",
    }.items():
        done = paper(*arguments, "--store", tmp_path / "none")
        assert done.exit_code == 2
        assert message in done.stderr
