"""Runs the notebooks of this folder and keeps what they show: ``python notebooks/render.py [NAME …]``.

A figure is kept twice: as plotly's own JSON to five digits, which Jupyter draws, and as a PNG for whoever shows notebooks
without running anything (GitHub). Sliders are kept as what they were set to, since they live in a kernel only.

A solution of an exercise is folded in prose: a fenced block of Python, and below it one of what it prints. It runs with
the cells, and what it prints is written there. The tests run the notebooks by the same `executed`.
"""

from __future__ import annotations

import base64
import os
import re
import sys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
import numpy as np
import plotly.io as pio
from ipykernel.kernelspec import write_kernel_spec
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpecManager
from kernels import warm
from nbclient import NotebookClient
from PIL import Image

from lab.figures.images import images

FOLDER = Path(__file__).parent
PLOTLY = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"
DIGITS = 5
COORDINATES = ("x", "y", "z")
MANY = 8
"""So many numbers of a trace are kept as plotly keeps arrays: float32 in base64, a fifth of them as text, one a line."""
SOLUTION = re.compile(r"(<details>.*?\n```python\n)(.*?)(\n```\n\n```text\n)(.*?)(```.*?</details>)", re.DOTALL)
"""What opens it, the code, what lies between, what it prints, and the end."""
NOWHERE = "http://127.0.0.1:9"  # nobody listens on the discard port
PROXIES = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), NOWHERE)
ENVIRONMENT = {
    **PROXIES, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0", "DELTALAB_PROGRESS": "0"
}  # fmt: skip
"""No network; one thread, and none that spins while it waits: beside other work either crawls."""


def executed(
    path: Path, *, timeout: float, environment: Mapping[str, str] = ENVIRONMENT, specs: str = ""
) -> nbformat.NotebookNode:
    """The notebook after running it, solutions included, top to bottom in a fresh kernel of the running interpreter.

    Args:
        path: of the notebook; not changed.
        timeout: seconds that one cell may take.
        environment: variables set in the kernel, beside this process's own.
        specs: folder of the kernel's spec, as `kernels.warm` gives it; default: a kernel that imports all by itself.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised.
        nbclient.exceptions.CellTimeoutError: a cell took too long.
    """
    notebook = with_solutions(nbformat.read(path, as_version=4))
    with TemporaryDirectory() as folder:
        write_kernel_spec(Path(folder) / "python3")  # its command is sys.executable
        manager = KernelManager(kernel_name="python3", kernel_spec_manager=_only(specs or folder))
        manager.client_class = "jupyter_client.asynchronous.AsyncKernelClient"  # the one nbclient talks to
        client = NotebookClient(
            notebook, km=manager, timeout=timeout, startup_timeout=180, record_timing=False, coalesce_streams=True,
            resources={"metadata": {"path": path.parent}},
        )  # fmt: skip
        try:
            client.execute(env={**os.environ, **environment})
        finally:
            manager.shutdown_kernel(now=True)
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    return told(notebook)


def with_solutions(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with a code cell after every folded solution."""
    cells = []
    for cell in notebook.cells:
        cells.append(cell)
        if cell.cell_type == "markdown":
            found = SOLUTION.findall(cell.source)
            cells += [nbformat.v4.new_code_cell(code, metadata={"solution": True}) for _, code, *_ in found]
    return nbformat.from_dict({**notebook, "cells": cells})


def told(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Back again: what the solutions printed is in the prose, and their cells are gone."""
    cells: list[nbformat.NotebookNode] = []
    printed: list[str] = []
    for cell in reversed(notebook.cells):
        if cell.metadata.get("solution"):
            printed.append("".join(output.get("text", "") for output in cell.outputs).rstrip() + "\n")
        elif printed:
            cell = deepcopy(cell)
            cell.source = SOLUTION.sub(
                lambda match: "".join([*match.groups()[:3], printed.pop(), match[5]]), cell.source
            )
            cells.append(cell)
        else:
            cells.append(cell)
    kept = cells[::-1]
    for count, cell in enumerate((cell for cell in kept if cell.cell_type == "code"), 1):
        cell.execution_count = count
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
    return nbformat.from_dict({**notebook, "cells": kept})


def _only(folder: str) -> KernelSpecManager:
    manager = KernelSpecManager(ensure_native_kernel=False)
    manager.kernel_dirs = [folder]
    return manager


def with_images(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Adds a PNG to every plotly figure of a notebook, in place; one start of the browser for all."""
    outputs = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = [data for data in outputs if PLOTLY in data]
    drawings = [(pio.from_json(pio.json.to_json_plotly(data[PLOTLY])), "png") for data in shown]
    for data, png in zip(shown, images(drawings), strict=True):
        data["image/png"] = base64.b64encode(_with_few_colours(png)).decode()
    return notebook


def light(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Figures to five digits, long rows of numbers as bytes, and no sliders, in place: what a repository need not keep."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            data.pop(WIDGET, None)
            if PLOTLY in data:
                data[PLOTLY] = _rounded(data[PLOTLY])
                for trace in data[PLOTLY].get("data", ()):
                    trace |= {name: _packed(trace[name]) for name in COORDINATES if name in trace}
    return notebook


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _packed(values: Any) -> Any:
    """plotly's form of an array of numbers, where these are many and nothing else is among them."""
    if isinstance(values, dict) and values.get("dtype") == "f8":
        rows = np.frombuffer(base64.b64decode(values["bdata"]), "<f8").astype("<f4")
        return {**values, "dtype": "f4", "bdata": base64.b64encode(rows.tobytes()).decode()}
    if not isinstance(values, list) or len(values) < MANY or not {type(v) for v in values} <= {int, float, type(None)}:
        return values
    rows = np.asarray([np.nan if value is None else value for value in values], "<f4")  # where a line is broken
    return {"dtype": "f4", "bdata": base64.b64encode(rows.tobytes()).decode()}


def _with_few_colours(png: bytes) -> bytes:
    """The image in 64 colours: drawings have few, and the file is a sixth as large."""
    small = BytesIO()
    image = Image.open(BytesIO(png)).convert("RGB")
    image.quantize(64, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


def main(names: Sequence[str]) -> None:
    with warm(ENVIRONMENT) as specs:
        for path in [Path(name) for name in names] or sorted(FOLDER.glob("*.ipynb")):
            nbformat.write(with_images(light(executed(path, timeout=600, specs=specs))), path)
            print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
