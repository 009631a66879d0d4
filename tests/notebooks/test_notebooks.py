"""Every notebook runs top to bottom, offline, in the running interpreter, and shows what it would show today."""

from __future__ import annotations

import ast
import base64
import importlib
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import nbformat
import numpy as np
import pytest

from lab.figures.images import find_browser
from lab.runs import Store
from lab.runs.places import GALLERY

pytest.importorskip("nbclient", reason="notebooks need the extra [notebooks]")

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
CELL_SECONDS = 240  # 40 s for all cells on one free core; a loaded machine gets its time

every = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def render() -> Iterator[ModuleType]:
    """notebooks/render.py, imported where it lies."""
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("render")
    finally:
        sys.path.remove(str(FOLDER))
        for name in ("render", "kernels"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def specs(render) -> Iterator[str]:
    """Of kernels that do not import everything again."""
    with render.warm(render.ENVIRONMENT) as folder:
        yield folder


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def codes(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def streams(notebook: nbformat.NotebookNode, name: str) -> str:
    outputs = [output for cell in codes(notebook) for output in cell.outputs]
    return "".join(output.text for output in outputs if output.get("name") == name)


def test_there_are_nine_and_together_they_are_light():
    assert [path.name[:2] for path in NOTEBOOKS] == [f"0{n}" for n in range(1, 10)]
    assert sum(path.stat().st_size for path in NOTEBOOKS) <= 3_000_000


@every
def test_it_asks_answers_and_sets_two_exercises(path, render):
    prose = [cell.source for cell in read(path).cells if cell.cell_type == "markdown"]
    assert re.search(r"\*\*.+?\?\*\*", prose[0], re.DOTALL), "it begins with a question, in bold"
    text = "\n".join(prose)
    assert -1 < text.find("## The answer") < text.find("## Exercises")
    solutions = render.SOLUTION.findall(text)
    assert len(solutions) == 2
    assert all(found[3].strip() for found in solutions)


WORDS = re.compile(r"[-−]?[0-9][0-9.,]*(e[-+]?[0-9]+)?|nan|inf")


def printed(notebook: nbformat.NotebookNode, render: ModuleType) -> list[str]:
    """What the solutions print, without the numbers, which rounding may move."""
    prose = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    return [WORDS.sub("…", found[3]) for text in prose for found in render.SOLUTION.findall(text)]


@pytest.mark.timeout(600)
@every
def test_the_notebook_runs(path, render, specs, tmp_path):
    environment = {**render.ENVIRONMENT, "DELTALAB_STORE": str(tmp_path / "runs")}
    before = set(FOLDER.iterdir())
    ran = render.executed(path, timeout=CELL_SECONDS, environment=environment, specs=specs)
    assert [cell.execution_count for cell in codes(ran)] == list(range(1, len(codes(ran)) + 1))
    assert streams(ran, "stderr") == ""
    kinds = [[output.output_type for output in cell.outputs] for cell in codes(ran)]
    assert kinds == [[output.output_type for output in cell.outputs] for cell in codes(read(path))], (
        "it shows other things than the committed outputs; run python notebooks/render.py"
    )
    assert printed(ran, render) == printed(read(path), render)
    assert set(FOLDER.iterdir()) - before <= {FOLDER / "__pycache__"}
    assert not (tmp_path / "runs").exists()


def written(tmp_path: Path, *sources: str) -> Path:
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    path = tmp_path / "small.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


@pytest.mark.timeout(600)
def test_a_notebook_runs_in_this_interpreter_without_a_network(render, tmp_path):
    online = "import urllib.request as r\ntry:\n    r.urlopen('http://example.org')\nexcept OSError: print('offline')"
    ran = render.executed(written(tmp_path, "import sys; print(sys.executable)", online), timeout=60)
    assert streams(ran, "stdout").splitlines() == [sys.executable, "offline"]


def test_a_warm_kernel_knows_nothing_of_the_one_before_and_ends_with_it(render, specs, tmp_path):
    spoil = "import json, os, sys; json.spoilt = y = 1; os.environ['SPOILT'] = '1'"
    told = "print('torch' in sys.modules, os.getpid())"
    asked = (
        "import json, os, sys; print(sys.executable, 'y' in dir(), hasattr(json, 'spoilt'), os.environ.get('SPOILT'))"
    )
    first = render.executed(written(tmp_path, spoil, told), timeout=60, specs=specs)
    warm, pid = streams(first, "stdout").split()
    assert warm == "True"
    second = render.executed(
        written(tmp_path, asked, "os._exit(1) if 'HTTP_PROXY' not in os.environ else 1"), timeout=60, specs=specs
    )
    assert streams(second, "stdout").split() == [sys.executable, "False", "False", "None"]
    for _ in range(100):
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("the kernel is still there")


def test_a_solution_runs_and_says_what_it_prints(render, specs, tmp_path):
    told = "<details><summary>Solution</summary>\n\n```python\nprint(x + {})\n```\n\n```text\n{}```\n\n</details>"
    cells = [
        nbformat.v4.new_code_cell("x = 1"),
        nbformat.v4.new_markdown_cell(told.format(1, "") + told.format(2, "9\n")),
    ]
    path = tmp_path / "small.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_code_cell("x")]), path)
    ran = render.executed(path, timeout=60, specs=specs)
    assert ran.cells[1].source == told.format(1, "2\n") + told.format(2, "3\n")
    assert [cell.execution_count for cell in codes(ran)] == [1, 2]
    assert ran.cells[2].outputs[0].execution_count == 2


def test_figures_are_kept_to_five_digits_and_sliders_are_not(render):
    cell = nbformat.v4.new_code_cell("")
    doubles = base64.b64encode(np.array([[0, 0.5]]).tobytes()).decode()
    z = {"dtype": "f8", "bdata": doubles, "shape": "1, 2"}
    trace = {"x": [1 / 3, 2, "a"], "y": [0, 0.5, None] * 4, "z": z}
    data = {render.PLOTLY: {"data": [trace]}, render.WIDGET: {"model_id": "1"}, "text/plain": "said"}
    cell.outputs = [nbformat.v4.new_output("display_data", data)]
    render.light(nbformat.v4.new_notebook(cells=[cell]))
    kept = cell.outputs[0].data
    (trace,) = kept.pop(render.PLOTLY)["data"]
    assert kept == {"text/plain": "said"}
    assert trace["x"] == [0.33333, 2, "a"]
    assert {trace[name]["dtype"] for name in "yz"} == {"f4"}
    numbers = {name: np.frombuffer(base64.b64decode(trace[name]["bdata"]), "<f4").tolist() for name in "yz"}
    assert str(numbers) == str({"y": [0.0, 0.5, np.nan] * 4, "z": [0.0, 0.5]})
    assert trace["z"]["shape"] == "1, 2"


@pytest.mark.timeout(600)
def test_an_error_in_a_cell_is_not_passed_over(render, specs, tmp_path):
    from nbclient.exceptions import CellExecutionError

    with pytest.raises(CellExecutionError, match="oops"):
        render.executed(written(tmp_path, "1 + 1", "raise ValueError('oops')"), timeout=60, specs=specs)


@pytest.mark.skipif(find_browser() is None, reason="PNGs need a browser")
def test_every_figure_is_kept_as_an_image_too(render):
    drawing = {"data": [{"type": "scatter", "x": [0, 1], "y": [0, 1]}], "layout": {"width": 200, "height": 100}}
    cell = nbformat.v4.new_code_cell("")
    cell.outputs = [nbformat.v4.new_output("display_data", {render.PLOTLY: drawing})]
    render.with_images(nbformat.v4.new_notebook(cells=[cell]))
    assert cell.outputs[0].data["image/png"].startswith("iVBORw0KGgo")  # base64 of a PNG's first bytes


@every
def test_it_holds_prose_and_calls_only(path):
    defined = (ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.For, ast.While)
    for cell in codes(read(path)):
        if cell.source.startswith("%%writefile"):  # a file of somebody's own package
            continue
        lines = [line for line in cell.source.splitlines() if not line.startswith("%")]
        found = [type(node).__name__ for node in ast.walk(ast.parse("\n".join(lines))) if isinstance(node, defined)]
        assert found == [], f"an algorithm belongs into lab/: {cell.source}"
    prose = [cell for cell in read(path).cells if cell.cell_type == "markdown"]
    assert len(prose) >= len(codes(read(path))) / 2


@every
def test_it_is_committed_with_clean_outputs(path, render):
    notebook = read(path)
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert [cell.execution_count for cell in codes(notebook)] == list(range(1, len(codes(notebook)) + 1))
    outputs = [output for cell in codes(notebook) for output in cell.outputs]
    assert "error" not in {output.output_type for output in outputs}
    assert all("image/png" in output.data for output in outputs if render.PLOTLY in output.get("data", {}))
    assert path.stat().st_size < 1_000_000
    text = json.dumps([{**output, "data": {}} for output in outputs]) + streams(notebook, "stdout")
    assert not re.search(r"/(home|root|Users|tmp)/", text)
    assert str(FOLDER.parent) not in text


@every
def test_links_lead_somewhere(path):
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            links = re.findall(r"\]\(([^)#:]+)\)", cell.source)
            assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_record_it_shows_is_the_gallery_s_newest():
    newest = max(Store(GALLERY).manifests("intrinsic_dimension"), key=lambda found: found.provenance["ended"])
    shown = streams(read(FOLDER / "01_ten_minutes_with_the_lab.ipynb"), "stdout")
    assert f"record {newest.key[:12]}" in shown, "the gallery has a newer record: run python notebooks/render.py"
