"""One method trained on many tasks, and the collection that its solutions make: what studies of shared subspaces share.

Runs are children (`TRAINING_RUN`), so studies with one setting train them once.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePath
from typing import Any

import torch
from torch import Tensor

from lab.deltas import Delta, DeltaMethod, method_from_json
from lab.geometry.collections import (
    Collection,
    Member,
    from_coordinates,
    from_phis,
    input_columns,
    nulls_of,
    update_on,
)
from lab.geometry.weight_changes import native_changes
from lab.models import PLM
from lab.statistics import learned
from lab.study.amounts import scored_examples, training_steps
from lab.study.config import Config
from lab.study.lab import Lab
from lab.study.materials import open_plm, open_task
from lab.study.settings import setting
from lab.study.training_run import TRAINING_RUN, TrainingRun, reported
from lab.tasks import type_of
from lab.tasks.constant import constant_score
from lab.tasks.fingerprint import fingerprint

TEXTS = 16
"""Texts of a task that show what the layers see: of sixteen tasks several times as many tokens as MiniLM is wide."""

TASKS = (
    "rotten-tomatoes", "imdb", "drug-reviews", "bbc-news", "bigram-shift", "sentence-length", "next-sentence",
    "same-topic",
)  # fmt: skip
"""The packaged tasks: of four types."""

LORA: dict[str, Any] = {"method": "lora", "rank": 4}
PROMPT: dict[str, Any] = {"method": "prompt", "tokens": 8}
"""The methods of the studies that share runs; small, as the collection is."""


@dataclass(frozen=True, kw_only=True)
class Collected(Config):
    """One method on many tasks."""

    model: str = setting("name for load_plm", role="model")
    tasks: tuple[str, ...] = setting(
        "names for load_task; folders by their name in $DELTALAB_TASKS, or by path", role="task"
    )
    method: dict[str, Any] = setting("hyperparameters of the delta method (`DeltaMethod.to_json`)")
    lr: float = setting("step size of φ")
    head_lr: float = setting("step size of a head", 1e-2, keyed=True)
    own_starts: bool = setting(
        "another start φ₀ for every run; one start makes tasks share directions for that reason alone",
        True,
        keyed=True,
    )
    steps: int = training_steps("AdamW steps of every run")
    n_train: int = setting("most training examples of a task", unit="example", low=1)
    n_validation: int = scored_examples("most validation examples, a part of the training data")
    n_test: int = scored_examples("most test examples")
    max_length: int = setting("tokens kept per example", unit="token", low=1)
    batch_size: int = setting("examples per step", 8, unit="example", low=1, keyed=True)
    seeds: tuple[int, ...] = setting("runs per task", (0,), low=0, keyed=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [short(task) for task in self.tasks]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated or len(names) < 3:
            raise ValueError(
                f"a collection needs three tasks or more, each once; got {', '.join(names)}"
                + (f" with {', '.join(repeated)} more than once." if repeated else ".")
            )

    @property
    def how(self) -> DeltaMethod:
        """The delta method."""
        return method_from_json(self.method)

    @property
    def label(self) -> str:
        """What figures call the collection."""
        start = "" if self.own_starts or not changes_matrices(self.how, self.model) else ", one start"
        return f"{self.how.title}, {PurePath(self.model).name}{start}"

    def run(self, task: str, seed: int, shots: int | None = None) -> TrainingRun:
        """The training run of one task.

        Args:
            task: one of `tasks`.
            seed: one of `seeds`.
            shots: training examples per class (two classes' worth of a regression) instead of `n_train`.
        """
        n_classes, sizes = _sizes(task, fingerprint(task))
        wanted = {
            "train": self.n_train if shots is None else shots * max(n_classes, 2),
            "validation": self.n_validation,
        }
        n_train, n_validation = (min(n, sizes[split]) for split, n in wanted.items())
        own, first = zlib.crc32(f"{short(task)}/{seed}".encode()) % 2**16, self.seeds[0]
        return TrainingRun(
            model=self.model, task=task, method=self.method, seed=own if self.own_starts else seed,
            start=None if self.own_starts or seed == first else first, lr=self.lr, head_lr=self.head_lr,
            steps=self.steps, n_train=n_train, n_validation=n_validation, n_test=self.n_test, splits=3,
            max_length=self.max_length, batch_size=self.batch_size,
        )  # fmt: skip

    def opened(self) -> PLM:
        """The PLM that changes of matrices are read on; its head is of no task."""
        return open_plm(self.model)


@dataclass(frozen=True, eq=False)
class Trained:
    """A member of a collection before it is one.

    Attributes:
        member: task, type and seed.
        run: how it was trained.
        phi: (d,), head last.
        score: on test data.
        chance: of the best constant answer on test data.
    """

    member: Member
    run: TrainingRun
    phi: Tensor
    score: float
    chance: float

    @property
    def learned(self) -> bool:
        """Whether the score is two standard errors above the best constant answer, so that a share of it means
        something."""
        test = self.run.data.test
        assert test is not None  # three splits
        return learned([self.score], self.chance, len(test))


def short(task: str) -> str:
    """A task's name for people: of a path of one machine its last part.

    Example:
        >>> short("/data/tasks/rte"), short("rte"), short("glue/rte")
        ('rte', 'rte', 'glue/rte')
    """
    return PurePath(task).name if PurePath(task).is_absolute() else task


def trained(
    c: Collected,
    lab: Lab,
    *,
    tasks: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    shots: int | None = None,
) -> list[Trained]:
    """Runs of every task and seed, a child's record each, seed by seed.

    Args:
        c: the collection's setting.
        lab: where children run.
        tasks: some of its tasks; default all.
        seeds: some of its seeds; default all.
        shots: training examples per class instead of `n_train`.
    """
    who = [(task, seed) for seed in (seeds or c.seeds) for task in (c.tasks if tasks is None else tasks)]
    runs = lab.run(TRAINING_RUN, [c.run(*each, shots) for each in who], c.how.title)
    found = []
    for (task, seed), run in zip(who, runs, strict=True):
        name = short(task) if len(c.seeds) == 1 else f"{short(task)}, seed {seed}"
        member = Member(name, short(task), type_of(task), seed)
        chance = constant_score(run.config.data, "test")
        found.append(Trained(member, run.config, torch.as_tensor(run.arrays["phi"]), reported(run), chance))
    return found


def collection_of(c: Collected, members: Sequence[Trained], *, coordinates: bool = False) -> Collection:
    """The runs' changes of matrices, or, where a method changes none (prompt, prefix), the displacements φ − φ₀.

    Args:
        c: the collection's setting.
        members: of it.
        coordinates: displacements for every method; of LoRA they depend on the start that all share.

    Raises:
        ValueError: displacements of runs with other starts, which mean nothing beside each other.
    """
    body = c.how.body(c.opened(), c.seeds[0])
    phis: dict[Member | str, Tensor] = {each.member: each.phi[: body.size].to(body.phi0) for each in members}
    if not coordinates and changes_matrices(c.how, c.model):
        return from_phis({member: (body, phi) for member, phi in phis.items()})
    if c.own_starts:
        raise ValueError(
            f"{c.how.title} is compared in its own coordinates, which need one start: own_starts must be false."
        )
    return from_coordinates(body, phis)


def points_on(c: Collected, plm: PLM, collection: Collection) -> tuple[Delta, Tensor]:
    """The delta on a PLM that reaches a collection's points p ∈ R^D, and the φ it has at p = 0: φ = φ₀ + p.

    Args:
        c: the collection's setting.
        plm: with the head of any task.
        collection: of `collection_of`.
    """
    body = c.how.body(plm, c.seeds[0])
    delta = body if collection.names == body.layout.names else update_on(plm, collection)
    return delta, delta.phi0


def changes_matrices(how: DeltaMethod, model: str) -> bool:
    """Whether a method changes weight matrices of the PLM, so that its solutions compare as ΔW."""
    body = how.body(open_plm(model), 0)
    with torch.no_grad():
        return bool(native_changes(body, body.phi0))


def drawn_nulls(c: Collected, collection: Collection, tasks: Sequence[str]) -> dict[str, Callable[[int], Collection]]:
    """The nulls of a collection (`lab.geometry.collections.nulls_of`): those of matrices where it has matrices.

    Args:
        c: the collection's setting.
        collection: of it, or a part.
        tasks: whose texts show what the layers see.
    """
    if not changes_matrices(c.how, c.model):
        return nulls_of(collection)
    base, inputs = base_of(c, collection), seen_inputs(c, collection, tasks)
    return nulls_of(collection, base=base.__getitem__, inputs=inputs.__getitem__)


def seen_inputs(c: Collected, collection: Collection, tasks: Sequence[str]) -> Mapping[str, Tensor]:
    """What the layers see at θ₀ of some texts of the given tasks (`lab.geometry.collections.input_columns`)."""
    plm = c.opened()
    batches = (
        batch
        for task in tasks
        for batch in c.run(task, c.seeds[0]).data.encode(plm, max_length=c.max_length).train.batches(TEXTS, size=TEXTS)
    )
    return input_columns(plm, batches, collection.names)


def base_of(c: Collected, collection: Collection) -> Mapping[str, Tensor]:
    """Name of a matrix of the collection -> W₀ (m, n), float64."""
    plm = c.opened()
    known = {matrix.label: matrix for matrix in plm.matrices(plm.architecture.roles(plm.model))}
    return {name: known[name].of(plm.parameters[known[name].name]).detach().double() for name in collection.names}


@lru_cache(maxsize=256)
def _sizes(task: str, content: str | None) -> tuple[int, dict[str, int]]:
    """Classes, and the examples of each split, of three."""
    whole = open_task(task, splits=3)
    return whole.num_labels, {name: len(examples) for name, examples in whole.splits.items()}
