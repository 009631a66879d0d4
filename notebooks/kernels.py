"""Kernels that start at once: one process imports what notebooks import, then forks into a kernel for each of them.

A kernel by itself imports PyTorch, transformers and the laboratory again, fifteen seconds of a core. A forked one begins
where these imports ended: its variables, its environment and what it imports later are its own, as in a fresh kernel.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

IMPORTED = (
    "ipykernel.kernelapp", "ipywidgets", "pandas", "pyarrow.parquet", "duckdb", "plotly.graph_objects",
    "plotly.io._renderers", "numba", "torch",
    "transformers.models.bert.modeling_bert", "transformers.models.llama.modeling_llama", "lab.control", "lab.deltas",
    "lab.execution", "lab.figures", "lab.geometry.collections", "lab.models", "lab.projections", "lab.runs",
    "lab.study", "lab.tasks", "lab.training", "app.playgrounds",
)  # fmt: skip
"""Modules that leave no thread behind: a fork would lose it."""


@contextmanager
def warm(environment: Mapping[str, str]) -> Iterator[str]:
    """The folder of a kernel spec, ``python3``, whose kernels are forks; they end with the block.

    Args:
        environment: variables of the process that imports; a kernel has those that it is started with.
    """
    with TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        address = str(Path(folder) / "socket")
        listener.bind(address)
        listener.listen()
        command = [sys.executable, "-S", __file__, address, "-f", "{connection_file}"]
        spec = {"argv": command, "display_name": "Python 3", "language": "python"}
        (Path(folder) / "python3").mkdir()
        (Path(folder) / "python3" / "kernel.json").write_text(json.dumps(spec))
        with subprocess.Popen(
            [sys.executable, __file__, str(listener.fileno())], stdin=subprocess.PIPE,
            env={**os.environ, **environment}, pass_fds=[listener.fileno()],
        ) as nursery:  # fmt: skip
            try:
                yield folder
            finally:
                nursery.kill()


def nursery(listener: socket.socket) -> None:
    """Imports, then forks for everyone who connects, until the end of stdin; returns in the forks only."""
    import gc
    import importlib
    import select

    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()  # what is here stays, and no fork looks through it
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a kernel
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            sys.exit()
        starter, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            return become_kernel(starter)
        starter.close()


def become_kernel(starter: socket.socket) -> None:
    """The kernel that the starter asks for; it ends when the starter does."""
    import threading

    from ipykernel.kernelapp import IPKernelApp

    asked = json.loads(starter.makefile().readline())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    threading.Thread(target=lambda: (starter.recv(1), os._exit(0)), daemon=True).start()
    IPKernelApp.launch_instance(argv=[*asked["arguments"], "--log-level=CRITICAL"])  # no word of how to connect


def start(address: str, *arguments: str) -> None:
    """What Jupyter starts, and ends, in the kernel's place: a process without any import to wait for."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with socket.socket(socket.AF_UNIX) as kernel:
        kernel.connect(address)
        asked = {"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd()}
        kernel.sendall(json.dumps(asked).encode() + b"\n")
        kernel.recv(1)  # nothing comes: it is over when the kernel is


if __name__ == "__main__":
    if len(sys.argv) == 2:
        nursery(socket.socket(fileno=int(sys.argv[1])))
    else:
        start(*sys.argv[1:])
