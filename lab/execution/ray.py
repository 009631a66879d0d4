"""Jobs as Ray tasks: many processes on one machine, or a cluster. The only file that imports ray.

Ray moves jobs, never records: each worker writes to the store itself, so the store must lie on a file system that all
machines see. What is done is known by its key; Ray's own checkpoints are not used. The weights of a PLM are read once:
they lie in the object store, and every worker of a machine has them as views (`lab.models.shelf`).
"""

from __future__ import annotations

import importlib
import os
import socket
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lab.execution.bookkeeping import Outcomes, measure_and_store, run_missing
from lab.execution.protocol import Measure
from lab.runs import Job, Record, Store

LONGEST_FOLDER = 38
"""Bytes of the path of Ray's folder: a socket's may have 103 (macOS), ``session_…/sockets/plasma_store`` takes 65."""
RETRIES = 3  # of a task whose process or machine dies; a measurement that raises is not repeated
_WEIGHTS = "deltalab weights"


class Ray:
    """The engine for many processes.

    Measurements run in Ray's workers, where deltalab and the experiments must be importable. Children are tasks of
    their own: Ray takes the processors of a parent that waits for them, so one search uses the whole cluster.

    Args:
        store: where records go, and where finished ones are found; on a file system that all workers see.
        command: the command line that repeats this run, kept in the provenance of its records.
        progress: show done, left and time to go on stderr.
        address: of a running cluster ("auto": the one this machine belongs to); by default `ray.init` looks for
            ``$RAY_ADDRESS`` and else starts one on this machine, which lives as long as this process.
        cpus: processors that a job reserves, and threads that torch uses for it.
        gpus: GPUs that a job reserves; a fraction lets several jobs share one.

    Raises:
        ValueError: ray is not installed, no cluster answers at the address, or no machine of it has as many
            processors or GPUs as a job reserves (the job would wait for ever).
    """

    def __init__(
        self,
        store: Store,
        *,
        command: str | None = None,
        progress: bool = True,
        address: str | None = None,
        cpus: float = 1,
        gpus: float = 0,
    ) -> None:
        self.store = store
        self.command = command
        self.progress = progress
        self.cpus = cpus
        self.gpus = gpus
        self._ray = _imported()
        if not self._ray.is_initialized():
            _start(self._ray, address)
        for resource, wanted, option in (("CPU", cpus, "cpus"), ("GPU", gpus, "gpus")):
            most = max(node["Resources"].get(resource, 0) for node in self._ray.nodes() if node["Alive"])
            if not 0 <= wanted <= most:
                raise ValueError(f"{option} is {wanted:g}; expected 0 to {most:g}, the most that one machine here has")

    def run(self, jobs: Sequence[Job], measure: Measure, label: str = "") -> list[Record]:
        """See `lab.execution.protocol.Engine.run`."""

        def outcomes(missing: list[Job]) -> Outcomes:
            ray = self._ray
            task = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=RETRIES)(_measured_by_worker)
            # the weights outlive the worker that read them, because an actor owns them
            owner = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Weights)
            weights = owner.options(name=_WEIGHTS, get_if_exists=True).remote()
            reserved = {"cpus": self.cpus, "gpus": self.gpus}
            waiting = {task.remote(job, measure, self.store, self.command, weights, reserved): job for job in missing}
            try:
                while waiting:
                    (reference,), _ = ray.wait(list(waiting), num_returns=1)
                    job = waiting.pop(reference)
                    try:
                        error = ray.get(reference)
                    except ray.exceptions.RayError as lost:  # the worker died RETRIES + 1 times, or cannot import
                        error = lost
                    yield job, error
            finally:  # Ctrl-C, or a full disk: what was not begun is not begun, what runs is stopped
                for reference in waiting:
                    ray.cancel(reference, force=True)

        return run_missing(self.store, jobs, outcomes, label=label, progress=self.progress)


class Weights:
    """The actor that owns the weights of files in the object store, by the sha256 of the file.

    What a worker puts there goes when the worker does, and Ray stops idle workers. It answers with the reference in a
    list, because Ray would fetch what a bare one refers to.
    """

    def __init__(self) -> None:
        self._found: dict[str, list[Any]] = {}

    def find(self, sha256: str) -> list[Any]:
        """Empty before they were kept."""
        return self._found.get(sha256, [])

    def keep(self, sha256: str, packed: Any) -> list[Any]:
        """Of two workers that read one file at once, the first one's are kept."""
        if sha256 not in self._found:
            self._found[sha256] = [_imported().put(packed)]
        return self._found[sha256]


def _measured_by_worker(
    job: Job, measure: Measure, store: Store, command: str | None, weights: Any, reserved: dict[str, Any]
) -> Exception | None:
    ray, shelf = _imported(), importlib.import_module("lab.models.shelf")  # brings torch, which the driver does without

    def shared(sha256: str, read: Callable[[], Any]) -> Any:
        found = ray.get(weights.find.remote(sha256)) or ray.get(weights.keep.remote(sha256, read()))
        return ray.get(found[0])

    with shelf.kept_on(shared):
        return measure_and_store(job, measure, Ray(store, progress=False, **reserved), command)


def _start(ray: Any, address: str | None) -> None:
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    own = address is None and "RAY_ADDRESS" not in os.environ
    try:
        if port.isdecimal():  # in seconds; ray itself knocks for minutes, then ends the process
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(
            address=address,
            log_to_driver=False,
            include_dashboard=False,
            **({"_temp_dir": str(_short_folder())} if own else {}),
        )
    except Exception as error:  # ray raises a bare one when its processes do not start in time
        if own:
            raise ValueError(f"Ray cannot start on this machine ({error}); --engine local needs no Ray") from error
        given = repr(address) if address is not None else f"{os.environ['RAY_ADDRESS']!r} ($RAY_ADDRESS)"
        raise ValueError(
            f"no Ray cluster answers at address {given} ({error}); start one with: ray start --head, "
            "or leave the address out for one on this machine"
        ) from error


def _short_folder() -> Path:
    """Where Ray keeps its files: under the system's folder for temporary ones, unless that is too deep for sockets.

    Raises:
        ValueError: it is too deep, and there is no other.
    """
    wanted = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir(), "ray")
    places = (wanted, *(Path(root, f"ray-{os.getuid()}") for root in ("/tmp", "/var/tmp", "/dev/shm")))
    for place in places:
        if len(os.fsencode(place)) <= LONGEST_FOLDER and os.access(place.parent, os.W_OK):
            return place
    raise ValueError(
        f"the path {wanted} is too long for Ray's sockets: {len(os.fsencode(wanted))} bytes, "
        f"at most {LONGEST_FOLDER}; set TMPDIR to a shorter one"
    )


def _imported() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise ValueError("the ray engine needs ray, which is not installed; pip install 'deltalab[ray]'") from error
