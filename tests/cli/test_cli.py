from __future__ import annotations

import re
import shlex
import subprocess
import sys
import types
from importlib.metadata import version
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import experiments
import lab.cli
from lab.cli import app
from lab.commands.run import ENGINES, _remedy, extra_options
from lab.execution import Failure, Local, RunsFailed
from lab.runs import Job, Record, Store, key
from lab.study.again import again
from lab.study.catalogue import load_experiment, outlines

SQUARES = (
    """
from dataclasses import dataclass, fields
import pandas as pd
from lab.study import Config, Experiment, Result, Settings, setting

@dataclass(frozen=True, kw_only=True)
class Square(Config):
    i: int = setting("the number")
    model: str = setting("what counts")
    seed: int = setting("of nothing", low=0)
    lr: float | None = setting("how fast", unit="1/s")
    sizes: tuple[int, ...] = setting("of nothing")
    failing: int = setting("which one fails")

@dataclass(frozen=True, kw_only=True)
class Plan(Settings):
    model: str = setting("what counts", "abacus")
    seed: int = setting("of nothing", 0, low=0)
    lr: float | None = setting("how fast", None, unit="1/s")
    sizes: tuple[int, ...] = setting("of nothing", (1, 2))
    failing: int = setting("which one fails", -1)
    count: int = setting("how many", low=1)

    def configs(self):
        if self.model == "none such":
            raise ValueError("unknown model \'none such\'; choose one of: abacus")
        if self.model == "unreachable":
            raise OSError("cannot load \'unreachable\': the hub does not answer")
        shared = {e.name: getattr(self, e.name) for e in fields(self) if e.name != "count"}
        return [Square(i=i, **shared) for i in range(self.count)]

def measure(c, lab):
    if c.i == c.failing:
        raise ZeroDivisionError(f"no {c.i}")
    if c.i == 2 and c.model == "interrupts":
        raise KeyboardInterrupt
    table = pd.DataFrame({"step": [0, 1], "square": [0, c.i**2]})
    return Result({"square": c.i**2, "score": 0.5}, {"curve": table})

EXPERIMENT = Experiment(
    name="squares",
    question="what is a square? """
    + "and why " * 40
    + """",
    config=Square,
    scales={"smoke": Plan(count=2), "demo": Plan(count=3), "paper": Plan(count=4)},
    measure=measure,
)
"""
)
"""A small experiment: squares of numbers, of which some may fail."""


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """The experiment, added as anyone adds one: by a file in the folder."""
    (folder := tmp_path / "experiments").mkdir()
    (folder / "squares.py").write_text(SQUARES)
    monkeypatch.setattr(experiments, "__path__", [str(folder), *experiments.__path__])
    assert experiments.__spec__ is not None
    monkeypatch.setattr(experiments.__spec__, "submodule_search_locations", experiments.__path__)
    outlines.cache_clear()
    monkeypatch.setenv("DELTALAB_STORE", str(tmp_path / "runs"))
    monkeypatch.setattr("lab.runs.places.GALLERY", tmp_path / "no gallery")
    yield
    sys.modules.pop("experiments.squares", None)
    outlines.cache_clear()


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


def test_one_measurement_is_made_from_its_config_alone(fake, tmp_path):
    invoke("run", "squares", "--scale", "smoke")
    (store, other) = (Store(tmp_path / "runs"), Store(tmp_path / "other"))
    for manifest in store.manifests():
        command = shlex.split(again(manifest.job.experiment, manifest.job.config))
        done = invoke(*command[1:], "--store", str(other.path))
        assert done.exit_code == 0, done.output
    assert other.keys() == store.keys()


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
        (["run", "nothing"], "unknown experiment 'nothing'; choose one of: training_run, "),
        (["run", "square"], "unknown experiment 'square'; did you mean 'squares'? choose one of: "),
        (["run", "squares", "--scale", "huge"], "unknown scale 'huge' of squares; choose one of: smoke, demo, paper"),
        (["run", "squares", "--engine", "steam"], "unknown engine 'steam'; choose one of: local, workers, ray"),
        (["export", "squares", "--formats", " "], "--formats is ' '; choose from html, pdf"),
        (["run", "squares", "--engine", ""], "unknown engine ''; choose one of: local, workers, ray"),
        (["run", "squares", "--workers", "0"], "workers is 0; expected at least 1"),
        (
            ["run", "squares", "--config", "null"],
            "--config is 'null'; expected an object of settings: '{\"model\": …}'",
        ),
        (["run", "squares", "--address", "auto"], "the local engine has no option --address; add --engine ray"),
        (["run", "squares", "--gpus", "0.5"], "the local engine has no option --gpus; add --engine ray"),
        (
            ["run", "squares", "--task", "x"],
            "no option --task; choose from: --model, --seed, --lr",
        ),
        (["run", "squares", "--lr", "fast"], "--lr is 'fast'; expected a number, or none"),
        (["run", "squares", "--sizes", "1,x"], "--sizes is '1,x'; expected whole numbers joined by commas"),
        (["run", "squares", "--lr"], "--lr has no value; write --lr VALUE"),
        (["run", "squares", "demo"], "'demo' belongs to no option"),
        (["run", "squares", "--model", "none such"], "unknown model 'none such'; choose one of: abacus"),
        (["run", "squares", "--size", "3", "--count", "0"], "--count is 0; expected at least 1"),
        (["run", "squares", "--fail", "3"], "no option --fail; did you mean --failing? choose from: --model"),
        (["run", "squares", "--config", "{}", "--lr", "3"], "--config says everything about one measurement"),
        (["run", "squares", "--config", "{"], "--config is not JSON"),
        (["run", "squares", "--config", '{"j": 1}'], "a config of this experiment has no 'j'; "),
        (
            ["export", "intrinsic-dimension", "--experiment", "squars"],
            "unknown experiment 'squars'; did you mean 'squares'? choose",
        ),
        (["list", "nothing"], "unknown experiment 'nothing'; choose one of: training_run"),
        (["show", "abc"], "has a key that begins with 'abc'"),
        (["export", "nothing"], "no figure is called 'nothing'; `deltalab list --figures` shows all"),
        (["bench", "nothing"], "unknown benchmark 'nothing'; choose one of:"),
    ],
)
def test_what_does_not_exist_is_refused_with_the_choices(fake, arguments, message):
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_a_model_out_of_reach_is_a_sentence_and_no_traceback(fake):
    """Where jobs depend on the PLM's shapes, it is loaded before the first job runs."""
    done = invoke("run", "squares", "--model", "unreachable")
    assert done.exit_code == 1
    assert done.stderr == "cannot load 'unreachable': the hub does not answer\n"
    assert isinstance(done.exception, SystemExit)


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


@pytest.mark.parametrize(("error", "remedy"), [
    (FileNotFoundError, "change what the message names"), (ValueError, "change what the message names"),
    (ModuleNotFoundError, "change what the message names"), (OSError, "run the same command again"),
])  # fmt: skip
def test_what_would_fail_again_is_not_to_be_run_again(error, remedy):
    failed = RunsFailed([Failure(Job("toy", {"i": 1}), error("no"))], done=0, total=1)
    assert _remedy(failed).startswith(remedy)


def test_ctrl_c_exits_with_130_and_says_how_to_resume(fake, tmp_path):
    done = invoke("run", "squares", "--scale", "paper", "--model", "interrupts", "--store", str(tmp_path / "my runs"))
    assert done.exit_code == 130
    assert "interrupted: squares (paper): 2 of 4 done, 2 left" in done.stderr
    command = "resume with: deltalab run squares --scale paper --model=interrupts --store "
    assert f"{command}'{tmp_path / 'my runs'}'" in done.stderr
    assert len(Store(tmp_path / "my runs").keys()) == 2


def test_options_of_ray_reach_it_and_the_command_that_resumes(fake, tmp_path, monkeypatch):
    class Fake(Local):
        def __init__(self, store: Store, *, address: str, cpus: float, gpus: float, **options: Any) -> None:
            super().__init__(store, **options)
            asked.append((address, cpus, gpus))

    asked: list[tuple[str, float, float]] = []
    monkeypatch.setitem(ENGINES, "ray", Fake)
    options = ["--engine", "ray", "--address", "10.0.0.1:6379", "--cpus", "2", "--gpus", "0.5"]
    done = invoke("run", "squares", "--scale", "paper", "--model", "interrupts", *options)
    assert asked == [("10.0.0.1:6379", 2.0, 0.5)]
    command = "deltalab run squares --scale paper --model=interrupts"
    assert f"resume with: {command} --engine ray --address 10.0.0.1:6379 --cpus 2.0 --gpus 0.5\n" in done.stderr
    assert {m.provenance["command"] for m in Store(tmp_path / "runs").manifests()} == {command}


def test_list_has_one_line_per_experiment(fake, tmp_path):
    assert re.search(r"│ squares +│ 0 +│ +│ +│ what is a square\? ", invoke("list").stdout)
    invoke("run", "squares", "--scale", "smoke")
    invoke("run", "squares", "--scale", "smoke", "--model", "pen")
    store = Store(tmp_path / "runs")
    store.put(
        Record(Job("of_old", {"runs": {"model": "slide rule"}}), {}, provenance={"started": "1970-01-01T00:00:00"})
    )
    (store.manifest(store.keys("squares")[0]).folder / "manifest.json").write_text("{}")
    lines = invoke("list").stdout.splitlines()
    (squares,) = (line for line in lines if "what is a square?" in line)
    assert re.search(r"│ 3, 1 damaged +│ abacus, pen +│ 20", squares)
    (old,) = (line for line in lines if "of_old" in line)
    assert re.search(r"│ 1 +│ slide rule +│ 1970-01-01 00:00 +│", old)


def test_list_of_an_experiment_shows_its_runs_and_what_they_share(fake, tmp_path):
    assert "squares: 0 runs" in invoke("list", "squares").stdout
    assert "intrinsic_dimension: 0 runs" in invoke("list", "intrinsic-dimension").stdout  # as with `run`
    invoke("run", "squares", "--scale", "smoke", "--sizes", ",".join(map(str, range(40))))
    store = Store(tmp_path / "runs")
    listed = invoke("list", "squares").stdout
    title, shared = (line.strip() for line in listed.splitlines()[:2])
    assert title == "squares: 2 runs"
    assert shared == "model=abacus seed=0 sizes=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, … failing=-1"
    first, second = store.keys()
    rows = [line for line in listed.splitlines() if first[:12] in line or second[:12] in line]
    assert {row.split("│")[4].strip() for row in rows} == {"i=0", "i=1"}
    (store.manifest(first).folder / "manifest.json").write_text("{}")
    listed = invoke("list", "squares").stdout
    assert "squares: 1 runs, 1 damaged" in listed
    assert first[:12] in listed


@pytest.mark.parametrize("arguments", [["squares", "--help"], ["--help", "squares"]])
def test_help_of_an_experiment_tells_its_question_and_options(fake, arguments):
    text = invoke("run", *arguments).stdout
    assert "--engine" in text
    assert "Question: what is a square?" in text
    assert "  --lr: a number, or none  [none]\n      how fast\n      [1/s]" in text
    assert "  --sizes: whole numbers joined by commas  [1,2]" in text
    assert "Options of" not in invoke("run", "--help").stdout


def test_show_tells_all_of_a_record(fake, tmp_path):
    invoke("run", "squares", "--scale", "smoke")
    store = Store(tmp_path / "runs")
    job = load_experiment("squares").jobs("smoke")[1]
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
    assert "squares: 2 runs" in invoke("list", "squares").stdout
    assert "squares (smoke): 0 of 2 done, 2 left" in invoke("run", "squares", "--scale", "smoke").stderr
    assert "2 runs" in invoke("list", "squares").stdout, "a record that is in both counts once"


DRAWN = """
from dataclasses import replace
from experiments.squares import EXPERIMENT as SQUARES
from lab.figures import INTRINSIC_DIMENSION
from lab.study import Experiment, Result

def measure(c, lab):
    return Result({"d90": 1797.0}, {"runs": INTRINSIC_DIMENSION.example().assign(model=f"m{c.i}")})

EXPERIMENT = Experiment(
    name="drawn",
    question="does it draw?",
    figures=("intrinsic_dimension",),
    config=SQUARES.config,
    scales=SQUARES.scales,
    measure=measure,
)
"""
"""The same with the table of a figure in each record."""


@pytest.fixture
def drawable(fake, tmp_path):
    (tmp_path / "experiments" / "drawn.py").write_text(DRAWN)
    outlines.cache_clear()
    yield
    sys.modules.pop("experiments.drawn", None)


def test_run_writes_the_figures_of_its_own_records(drawable, tmp_path):
    invoke("run", "drawn", "--scale", "paper")
    done = invoke("run", "drawn", "--scale", "smoke", "--out", str(tmp_path / "out"), "--formats", "csv,html")
    assert done.exit_code == 0, done.output
    assert f"wrote {tmp_path / 'out' / 'intrinsic_dimension.csv'}" in done.stdout
    written = pd.read_csv(tmp_path / "out" / "intrinsic_dimension.csv")
    assert set(written["model"]) == {"m0", "m1"}
    assert "deltalab run drawn --scale smoke" in (tmp_path / "out" / "intrinsic_dimension.html").read_text()


def test_a_figure_whose_table_the_settings_do_not_measure_is_left_out_with_a_word(drawable, tmp_path):
    file = tmp_path / "experiments" / "drawn.py"
    file.write_text(
        DRAWN.replace('figures=("intrinsic_dimension",)', 'figures=("sequential_combination", "intrinsic_dimension")')
    )
    outlines.cache_clear()
    done = invoke("run", "drawn", "--scale", "smoke", "--out", str(tmp_path / "out"), "--formats", "csv")
    assert done.exit_code == 0, done.output
    assert "sequential_combination: not drawn, as these settings do not measure what it shows" in done.stdout
    assert (tmp_path / "out" / "intrinsic_dimension.csv").exists()


def test_export_draws_what_is_stored(drawable, tmp_path):
    invoke("run", "drawn", "--scale", "smoke")
    options = ["--out", str(tmp_path / "out"), "--formats", "csv,tex", "--where", "model=m1"]
    done = invoke("export", "intrinsic_dimension", *options)
    assert done.exit_code == 0, done.output
    assert set(pd.read_csv(tmp_path / "out" / "intrinsic_dimension.csv")["model"]) == {"m1"}
    assert (tmp_path / "out" / "intrinsic_dimension.tex").exists()
    assert "--where=model=m1" in (tmp_path / "out" / "intrinsic_dimension.caption.tex").read_text()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--where", "model=m9"], 2, "no row has model=m9; model is one of: "),
        (["--where", "nothing=1"], 2, "--where is 'nothing=1'; expected COLUMN=VALUE with one of: "),
        (["--formats", "gif"], 2, "choose from html, csv"),
        (["--experiment", "training_run"], 1, "no table in the runs of training_run has the columns"),
    ],
)
def test_export_refuses_what_it_cannot_draw(drawable, tmp_path, options, code, message):
    invoke("run", "drawn", "--scale", "smoke")
    done = invoke("export", "intrinsic_dimension", "--out", str(tmp_path / "out"), *options)
    assert done.exit_code == code
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


class Launched:
    """Stands for `subprocess.run`: remembers what was to be started."""

    returncode = 3

    def __call__(self, command: list[str], **options: object) -> Launched:
        self.command, self.options = command, options
        return self


@pytest.fixture
def launched(fake, monkeypatch) -> Launched:
    launched = Launched()
    monkeypatch.setattr(subprocess, "run", launched)
    return launched


def test_bench_runs_the_script_and_passes_options_on(launched, monkeypatch, tmp_path):
    script = tmp_path / "benchmarks" / "projections.py"
    script.parent.mkdir()
    script.touch()
    monkeypatch.setattr(lab.cli, "__file__", str(tmp_path / "lab" / "cli.py"))
    assert invoke("bench", "projections", "--repeats", "3").exit_code == 3
    assert launched.command == [sys.executable, str(script), "--repeats", "3"]
    assert "choose one of: projections" in invoke("bench", "nothing").stderr
    script.unlink()
    assert "benchmarks come with a clone of the project" in invoke("bench", "projections").stderr


@pytest.mark.parametrize(("rights", "code"), [((True, True), 0), ((True, False), 1)])
def test_check_is_green_or_red(monkeypatch, rights, code):
    def checked(answer: types.SimpleNamespace) -> types.SimpleNamespace:
        return types.SimpleNamespace(right=answer.right, expected="2", got="2" if answer.right else "3")

    known = [types.SimpleNamespace(name=f"answer {i}", source="by hand", right=right) for i, right in enumerate(rights)]
    answers = types.SimpleNamespace(KNOWN_ANSWERS=known, checked=checked)
    monkeypatch.setitem(sys.modules, "lab.known_answers", answers)  # type: ignore[arg-type]
    done = invoke("check")
    assert done.exit_code == code
    assert done.stdout.count("✓") == sum(rights)
    assert done.stdout.count("✗") == len(rights) - sum(rights)
    assert f"{sum(rights)} of 2 as expected" in done.stdout


def test_help_needs_no_torch():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "lab.cli", "--help"], capture_output=True, text=True, check=True
    )
    assert all(command in done.stdout for command in ("run", "list", "show", "export", "app", "check", "bench"))
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "lab.runs.store" in imported
    assert imported.isdisjoint({"torch", "transformers", "streamlit"})


def test_the_version_names_what_a_report_of_a_fault_needs():
    said = CliRunner().invoke(app, ["--version"])
    assert said.exit_code == 0
    assert said.output.startswith(f"deltalab {version('deltalab')}")
    assert all(f"{package} {version(package)}" in said.output for package in ("torch", "transformers", "peft"))


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "lab.cli", "run", "x y"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "unknown experiment 'x y'; choose one of: " in done.stderr


def test_extra_options_are_pairs():
    assert extra_options(["--a", "1", "--b=2", "--c-d", "-3"]) == {"a": "1", "b": "2", "c-d": "-3"}
    assert extra_options([]) == {}
