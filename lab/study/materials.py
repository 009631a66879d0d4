"""What measurements are made on: PLMs and tasks, opened in one place and kept between jobs that share them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch

from lab.models import PLM, load_plm, random_weights
from lab.models.assemble import HeadKind
from lab.models.attention import Attention
from lab.models.fingerprint import fingerprint as model_fingerprint
from lab.tasks import Task, load_task
from lab.tasks.fingerprint import fingerprint as task_fingerprint
from lab.tasks.place import place_of

DTYPES = {"float32": torch.float32, "float64": torch.float64}

KEPT_TASKS = 24
"""Tasks kept in memory, cut to size: a collection goes around its tasks, and with fewer loads one anew for each run."""


def device() -> torch.device:
    """The GPU when there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def provenance_of(where: torch.device) -> dict[str, str]:
    """The GPU's name where one did the work; on a CPU the engine writes the processor's."""
    return {"device": torch.cuda.get_device_name(where)} if where.type == "cuda" else {}


def open_plm(
    model: str,
    num_labels: int = 2,
    *,
    seed: int = 0,
    weights: str = "pretrained",
    n_layers: int | None = None,
    verbalizer: tuple[str, ...] | None = None,
    head: HeadKind | None = None,
    attention: Attention = "sdpa",
    precision: str = "float32",
) -> PLM:
    """A PLM on the GPU, where there is one; the last two are kept, by content.

    Args:
        model: name for `load_plm`.
        num_labels: width of a new head; 1 for regression.
        seed: of the head, and of random weights.
        weights: "pretrained", or "random" for the same architecture freshly initialised.
        n_layers: keep only the first so many blocks.
        verbalizer: label words of a language-model head; None: a new head.
        head: "lm" for the language-model head without label words; default: what `verbalizer` says.
        attention: "sdpa" for training, "eager" for derivatives of every kind.
        precision: "float32" or "float64".
    """
    new: HeadKind = "regression" if num_labels == 1 else "classification"
    kind: HeadKind = head or (new if verbalizer is None else "lm")
    content = model_fingerprint(model)
    return _plm(model, num_labels, seed, weights, n_layers, verbalizer, kind, attention, precision, content)


@lru_cache(maxsize=2)
def _plm(
    model: str,
    num_labels: int,
    seed: int,
    weights: str,
    n_layers: int | None,
    verbalizer: tuple[str, ...] | None,
    head: HeadKind,
    attention: Attention,
    precision: str,
    content: str | None,
) -> PLM:
    plm = load_plm(
        model, num_labels=num_labels, head=head, verbalizer=verbalizer, n_layers=n_layers, seed=seed,
        dtype=DTYPES[precision], device=device(), attention=attention,
    )  # fmt: skip
    return random_weights(plm, seed=seed) if weights == "random" else plm


def open_task(
    name: str,
    n_train: int | None = None,
    n_validation: int | None = None,
    *,
    splits: int = 2,
    n_test: int | None = None,
) -> Task:
    """A task cut to size with a fixed seed, so that all jobs see the same examples; the last ones are kept, by content.

    Args:
        name: name or path for `load_task`.
        n_train: the most training examples to keep, all where there are fewer; None: all.
        n_validation: likewise.
        splits: 3 sets test data apart (`Task.with_test`).
        n_test: likewise.

    Raises:
        ValueError: a split of fewer examples than an interval needs (`lab.tasks.task.LEAST`).
    """
    return _task(name, n_train, n_validation, splits, n_test, task_fingerprint(name))


@lru_cache(maxsize=KEPT_TASKS)
def _task(
    name: str, n_train: int | None, n_validation: int | None, splits: int, n_test: int | None, content: str | None
) -> Task:
    loaded = load_task(name)
    return (loaded.with_test() if splits == 3 else loaded).at_most(n_train, n_validation, seed=0, n_test=n_test)


def few_shot(
    name: str, shots: int, seed: int, n_validation: int | None, *, splits: int = 2, n_test: int | None = None
) -> Task:
    """`shots` examples per class to train on, the whole task's held-out data to score on.

    With three splits these are test data, and as many examples as to train on are drawn to choose by (Gao et al. 2021).

    A task folder brings its published splits ("16-shot-13", …), and another seed is an error that lists them; of tasks
    without a folder they are drawn from the training data. The last eight are kept, by content.
    """
    return _few_shot(name, shots, seed, n_validation, splits, n_test, task_fingerprint(name))


@lru_cache(maxsize=8)
def _few_shot(
    name: str, shots: int, seed: int, n_validation: int | None, splits: int, n_test: int | None, content: str | None
) -> Task:
    whole = load_task(name)
    if content is not None and place_of(name).path.is_dir():
        drawn = load_task(name, few_shot_split=f"{shots}-shot-{seed}")
    else:
        drawn = whole.few_shot(shots, seed)
    if splits == 3:
        return drawn.subset(None, None, seed=0, n_test=n_test)
    n = n_validation and min(n_validation, len(whole.validation))
    return replace(drawn, validation=whole.validation).subset(None, n, seed=0)


WITHOUT_BIASES = ("llama", "smollm", "t5", "gemma")
"""Families without biases, as the names of their PLMs say them."""


def without_biases(model: str) -> bool:
    """Whether a PLM's name is of a family without biases, where BitFit has nothing to move.

    Example:
        >>> without_biases("smollm2"), without_biases("google/t5-v1_1-base"), without_biases("minilm")
        (True, True, False)
    """
    return any(family in model.lower() for family in WITHOUT_BIASES)


def with_added_biases(
    methods: Iterable[dict[str, Any]], model: str, added: bool | None = None
) -> tuple[dict[str, Any], ...]:
    """Methods with `AddedBias` in BitFit's place, for PLMs without biases; by default those of such a family."""
    if not (without_biases(model) if added is None else added):
        return tuple(methods)
    return tuple({"method": "added-bias"} if m["method"] == "bitfit" else m for m in methods)


def model_and_depth(size: str) -> tuple[str, int | None]:
    """The PLM's name and how many blocks to keep.

    Raises:
        ValueError: what stands after the colon is no number.

    Example:
        >>> model_and_depth("minilm:3"), model_and_depth("minilm")
        (('minilm', 3), ('minilm', None))
    """
    name, _, depth = size.partition(":")
    if depth and not depth.isdecimal():
        raise ValueError(f"a size is a PLM's name, or name:k for its first k blocks; got {size!r}.")
    return name, int(depth) if depth else None
