from __future__ import annotations

import subprocess
import sys
import types

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import experiments
import lab.cli
from lab.cli import app, extra_options
from lab.runs import Job, Record, Store, key


def squares() -> types.ModuleType:
    """A small experiment: squares of numbers, of which some may fail."""

    def jobs(
        scale: str,
        *,
        model: str = "abacus",
        seed: int = 0,
        lr: float | None = None,
        sizes: tuple[int, ...] = (1, 2),
        failing: int = -1,
    ) -> list[Job]:
        if model == "none such":
            raise ValueError("unknown model 'none such'; choose one of: abacus")
        count = {"smoke": 2, "demo": 3, "paper": 4}[scale]
        config = {"model": model, "seed": seed, "lr": lr, "sizes": sizes, "failing": failing}
        return [Job("squares", {"i": i, **config}) for i in range(count)]

    def measure(job: Job, store: Store) -> Record:
        i = job.config["i"]
        if i == job.config["failing"]:
            raise ZeroDivisionError(f"no {i}")
        if i == 2 and job.config["model"] == "interrupts":
            raise KeyboardInterrupt
        table = pd.DataFrame({"step": [0, 1], "square": [0, i * i]})
        return Record(job, {"square": i * i, "score": 0.5}, {"curve": table})

    module = types.ModuleType("experiments.squares")
    module.__dict__.update(NAME="squares", FIGURES=(), jobs=jobs, measure=measure)
    return module


@pytest.fixture
def fake(monkeypatch, tmp_path):
    module = squares()
    monkeypatch.setattr(experiments, "EXPERIMENTS", ("squares", "training_run"))
    monkeypatch.setitem(sys.modules, "experiments.squares", module)
    monkeypatch.setenv("DELTALAB_STORE", str(tmp_path / "runs"))
    monkeypatch.setattr("lab.runs.places.GALLERY", tmp_path / "no gallery")
    monkeypatch.setattr(lab.cli, "question", lambda name: f"what is {name}?")
    return module


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})


def test_run_measures_prints_and_stores(fake, tmp_path):
    done = invoke("run", "squares", "--scale", "smoke")
    assert done.exit_code == 0, done.output
    store = Store(tmp_path / "runs")
    assert len(store.keys("squares")) == 2
    assert "i=1\n  square  1\n  score   0.5" in done.stdout
    assert f"2 record(s) in {store.path}; to explore them: deltalab app" in done.stdout
    assert "squares (smoke): 2 of 2 done, 0 left" in done.stderr
    assert {m.provenance["command"] for m in store.manifests()} == {"deltalab run squares --scale smoke"}
    again = invoke("run", "squares", "--scale", "demo")
    assert "squares (demo): 2 of 3 done, 1 left" in again.stderr


def test_an_experiment_may_summarize_itself(fake):
    fake.summary = lambda store, records: f"{len(records)} squares, {len(store.keys())} stored"
    assert "2 squares, 2 stored" in invoke("run", "squares", "--scale", "smoke").stdout


def test_options_reach_the_experiment_with_their_types(fake, tmp_path):
    options = ["--model", "pen", "--seed", "3", "--lr", "1", "--sizes", "4,5", "--store", str(tmp_path / "mine")]
    done = invoke("run", "squares", "--scale=smoke", "--quiet", *options)
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    (config, _) = (manifest.job.config for manifest in Store(tmp_path / "mine").manifests())
    assert config | {"i": 0} == {"i": 0, "model": "pen", "seed": 3, "lr": 1.0, "sizes": [4, 5], "failing": -1}
    assert type(config["lr"]) is float
    done = invoke("run", "squares", "--scale=smoke", "--lr=none", "--sizes=7")
    (config, _) = (manifest.job.config for manifest in Store(tmp_path / "runs").manifests())
    assert config["lr"] is None
    assert config["sizes"] == [7]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nothing"], "unknown experiment 'nothing'; choose one of: squares, training_run"),
        (["run", "squares", "--scale", "huge"], "unknown scale 'huge'; choose one of: smoke, demo, paper"),
        (["run", "squares", "--engine", "steam"], "unknown engine 'steam'; choose one of: local, ray"),
        (
            ["run", "squares", "--task", "x"],
            "squares has no option --task; choose from: --model, --seed, --lr",
        ),
        (["run", "squares", "--lr", "fast"], "--lr is 'fast'; expected float | None"),
        (["run", "squares", "--sizes", "1,x"], "--sizes is '1,x'; expected tuple[int, ...]"),
        (["run", "squares", "--lr"], "--lr has no value; write --lr VALUE"),
        (["run", "squares", "demo"], "'demo' belongs to no option"),
        (["run", "squares", "--model", "none such"], "unknown model 'none such'; choose one of: abacus"),
        (["list", "nothing"], "unknown experiment 'nothing'; choose one of: squares, training_run"),
        (["show", "abc"], "has a key that begins with 'abc'"),
        (["export", "nothing"], "no figure is called 'nothing'; there are"),
        (["bench", "nothing"], "unknown benchmark 'nothing'; choose one of:"),
    ],
)
def test_what_does_not_exist_is_refused_with_the_choices(fake, arguments, message):
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_a_store_that_is_a_file_is_refused(fake, tmp_path):
    (tmp_path / "file").write_text("")
    done = invoke("run", "squares", "--store", str(tmp_path / "file"))
    assert done.exit_code == 1
    assert "is a file; a store is a folder" in done.stderr


def test_failures_are_told_and_the_rest_is_kept(fake, tmp_path):
    done = invoke("run", "squares", "--scale", "smoke", "--failing", "0")
    assert done.exit_code == 1
    assert "1 of 2 failed, 1 done and stored" in done.stderr
    assert "ZeroDivisionError: no 0" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(Store(tmp_path / "runs").keys()) == 1


def test_ctrl_c_exits_with_130_and_says_how_to_resume(fake, tmp_path):
    done = invoke("run", "squares", "--scale", "paper", "--model", "interrupts", "--store", str(tmp_path / "my runs"))
    assert done.exit_code == 130
    assert "interrupted: squares (paper): 2 of 4 done, 2 left" in done.stderr
    command = "resume with: deltalab run squares --scale paper --model=interrupts --store "
    assert f"{command}'{tmp_path / 'my runs'}'" in done.stderr
    assert len(Store(tmp_path / "my runs").keys()) == 2


def test_list_shows_experiments_runs_and_damage(fake, tmp_path):
    assert "what is squares?" in invoke("list").stdout
    assert "0 runs" in invoke("list").stdout
    invoke("run", "squares", "--scale", "smoke")
    store = Store(tmp_path / "runs")
    listed = invoke("list", "squares").stdout
    assert "2 runs" in listed
    assert "what is" not in listed
    first, second = store.keys()
    assert first[:12] in listed
    assert second[:12] in listed
    assert "i=1 model=abacus seed=0 sizes=[1, 2] failing=-1" in listed
    (store.manifest(first).folder / "manifest.json").write_text("{}")
    listed = invoke("list").stdout
    assert "1 runs, 1 damaged" in listed
    assert first[:12] in listed


def test_show_tells_all_of_a_record(fake, tmp_path):
    invoke("run", "squares", "--scale", "smoke")
    store = Store(tmp_path / "runs")
    job = fake.jobs("smoke")[1]
    shown = invoke("show", key(job)[:9]).stdout
    assert f"squares {key(job)}" in shown
    assert "  square  1\n" in shown
    assert "curve  2 rows: step, square" in shown
    assert "command            deltalab run squares --scale smoke" in shown
    assert invoke("show", key(job), "--table", "curve").stdout == "step,square\n0,0\n1,1\n"
    refused = invoke("show", key(job), "--table", "nothing")
    assert refused.exit_code == 2
    assert "the record has no table 'nothing'; choose one of: curve" in refused.stderr
    (store.manifest(job).folder / "curve.parquet").write_bytes(b"")
    damaged = invoke("show", key(job))
    assert damaged.exit_code == 1
    assert "curve.parquet has 0 bytes" in damaged.stderr


def test_the_gallery_is_read_and_never_counts_as_done(fake, tmp_path, monkeypatch):
    monkeypatch.setattr("lab.runs.places.GALLERY", tmp_path / "gallery")
    invoke("run", "squares", "--scale", "smoke", "--store", str(tmp_path / "gallery"))
    assert "2 runs" in invoke("list", "squares").stdout
    assert "squares (smoke): 0 of 2 done, 2 left" in invoke("run", "squares", "--scale", "smoke").stderr
    assert "2 runs" in invoke("list", "squares").stdout, "a record that is in both counts once"


def test_help_needs_no_torch():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "lab.cli", "--help"], capture_output=True, text=True, check=True
    )
    assert all(command in done.stdout for command in ("run", "list", "show", "export", "app", "check", "bench"))
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "lab.runs.store" in imported
    assert imported.isdisjoint({"torch", "transformers", "streamlit"})


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "lab.cli", "run", "x y"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "unknown experiment 'x y'; choose one of: " in done.stderr


def test_extra_options_are_pairs():
    assert extra_options(["--a", "1", "--b=2", "--c-d", "-3"]) == {"a": "1", "b": "2", "c-d": "-3"}
    assert extra_options([]) == {}
