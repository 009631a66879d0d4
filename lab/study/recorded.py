"""The collection that training runs of a store make, whichever experiment wanted them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from lab.deltas import Delta
from lab.geometry.collections import Collection, Member, from_coordinates
from lab.geometry.collections.collection import require_same_matrices
from lab.geometry.weight_changes import native_changes
from lab.linalg import LowRank
from lab.runs import Store
from lab.study.materials import open_plm
from lab.study.training_run import TRAINING_RUN, TrainingRun
from lab.tasks import type_of


def recorded_collection(store: Store, keys: Sequence[str]) -> Collection:
    """Members from the records of training runs: ΔW of methods that change matrices, φ − φ₀ of all others.

    Headers are read at once, the φ of a member when it is asked for. Displacements are read at once: they are small.

    Args:
        store: that holds the records.
        keys: of records of `training_run`, or prefixes of keys.

    Raises:
        ValueError: a record is of another experiment, of another PLM than the first, or has no φ; its method changes
            other matrices; displacements of runs with different starts. The message names the member.
        KeyError, StoreError: as `Store.find` and `Store.manifest`.
    """
    found = [store.find(key) for key in keys]
    runs = [_run(store, key) for key in found]
    members = tuple(
        Member(f"{run.task}, {key[:8]}", run.task, type_of(run.task), run.seed)
        for run, key in zip(runs, found, strict=True)
    )
    for member, run in zip(members, runs, strict=True):
        if _plm(run) != _plm(runs[0]):
            raise ValueError(
                f"member {member.name!r} was trained on {_plm(run)}, {members[0].name!r} on {_plm(runs[0])}: changes "
                "of different PLMs have no common subspace. Give runs of one PLM."
            )
    deltas = [_delta(run) for run in runs]

    def phi(i: int) -> Tensor:
        arrays = store.get(found[i]).arrays
        if "phi" not in arrays:
            raise ValueError(f"the record of member {members[i].name!r} holds no φ; train it with keep_phi.")
        return torch.as_tensor(arrays["phi"])[: deltas[i].size].to(deltas[i].phi0)

    @cache
    def changes(i: int) -> dict[str, Tensor | LowRank]:
        return _changes(deltas[i], phi(i))

    shapes = [{name: (dw.shape[0], dw.shape[1]) for name, dw in _changes(d, d.phi0).items()} for d in deltas]
    if runs and not any(shapes):
        _require_one_start(members, runs)
        return from_coordinates(deltas[0], {member: phi(i) for i, member in enumerate(members)})
    require_same_matrices(members, shapes)
    return Collection(members, shapes[0] if shapes else {}, lambda i, name: changes(i)[name])


def _run(store: Store, key: str) -> TrainingRun:
    job = store.manifest(key).job
    if job.experiment != TRAINING_RUN.name:
        raise ValueError(f"record {key[:8]} is of {job.experiment}; members are records of {TRAINING_RUN.name}.")
    return TRAINING_RUN.config.from_json(job.config)


def _plm(run: TrainingRun) -> str:
    cut = "" if run.n_layers is None else f", {run.n_layers} blocks"
    return f"{run.model}, {run.weights}{cut}"


def _delta(run: TrainingRun) -> Delta:
    """Without a head; the run's own subspace is part of the map."""
    plm = open_plm(run.model, weights=run.weights, n_layers=run.n_layers)
    if run.subspace is not None:
        raise ValueError(f"{run.task}: a run in a random subspace of {run.subspace} dimensions is no member.")
    return run.how.body(plm, run.method_seed)


def _changes(delta: Delta, phi: Tensor) -> dict[str, Tensor | LowRank]:
    with torch.no_grad():
        return native_changes(delta, phi)


def _require_one_start(members: Sequence[Member], runs: Sequence[TrainingRun]) -> None:
    starts = [(run.method, run.method_seed) for run in runs]
    for member, (method, start) in zip(members, starts, strict=True):
        if (method, start) != starts[0]:
            raise ValueError(
                f"member {member.name!r} starts at another φ₀ than {members[0].name!r} (method {method}, start "
                f"{start}): displacements φ − φ₀ mean the same from one start alone."
            )
