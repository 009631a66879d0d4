"""Runs the notebooks of this folder and keeps what they show: ``python notebooks/render.py [NAME …]``.

A figure is kept twice: as plotly's own JSON, which Jupyter draws, and as a PNG for whoever shows notebooks without
running anything (GitHub). The tests run the notebooks by the same `executed`.
"""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import plotly.io as pio
from ipykernel.kernelspec import write_kernel_spec
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from PIL import Image

from lab.figures.images import images

FOLDER = Path(__file__).parent
PLOTLY = "application/vnd.plotly.v1+json"
NOWHERE = "http://127.0.0.1:9"  # nobody listens on the discard port
PROXIES = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), NOWHERE)
ENVIRONMENT = {
    **PROXIES, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0", "DELTALAB_PROGRESS": "0"
}  # fmt: skip
"""No network; one thread, and none that spins while it waits: beside other work either crawls."""


def executed(path: Path, *, timeout: float, environment: Mapping[str, str] = ENVIRONMENT) -> nbformat.NotebookNode:
    """The notebook after running it top to bottom in a fresh kernel of the running interpreter.

    Args:
        path: of the notebook; not changed.
        timeout: seconds that one cell may take.
        environment: variables set in the kernel, beside this process's own.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised.
        nbclient.exceptions.CellTimeoutError: a cell took too long.
    """
    notebook = nbformat.read(path, as_version=4)
    with TemporaryDirectory() as folder:
        write_kernel_spec(Path(folder) / "python3")  # its command is sys.executable
        manager = KernelManager(kernel_name="python3", kernel_spec_manager=_only(folder))
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
    return notebook


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


def _with_few_colours(png: bytes) -> bytes:
    """The image in 128 colours: drawings have few, and the file is a fifth as large."""
    small = BytesIO()
    image = Image.open(BytesIO(png)).convert("RGB")
    image.quantize(128, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


def main(names: Sequence[str]) -> None:
    for path in [Path(name) for name in names] or sorted(FOLDER.glob("*.ipynb")):
        nbformat.write(with_images(executed(path, timeout=600)), path)
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
