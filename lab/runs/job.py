"""A job: what is asked, as plain JSON, and the key that names it for ever."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SHOWN_KEY = 12
"""Digits of a key that people are shown: enough to tell a hundred thousand records apart."""

EXPERIMENT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")


@dataclass(frozen=True, eq=False)
class Job:
    """One question put to one experiment.

    Two jobs are equal, and have one key, iff their canonical JSON is equal: mappings are sorted by key, tuples are
    lists, floats are written by ``repr`` (so ``1`` and ``1.0`` differ). No time, host or path belongs in a config.

    Args:
        experiment: name of the experiment: letters, digits, ``_`` and ``-`` (it names a folder).
        config: str, int, float (finite), bool, None, and lists, tuples and str-keyed mappings of them. It is copied;
            do not change the copy.

    Raises:
        ValueError: a name that is no plain identifier, a non-finite float, two entries with one flattened name.
        TypeError: a value or mapping key that JSON does not have.
    """

    experiment: str
    config: dict[str, Any]

    def __post_init__(self) -> None:
        if not isinstance(self.experiment, str) or not EXPERIMENT_NAME.fullmatch(self.experiment):
            raise ValueError(f"experiment is {self.experiment!r}; expected a name of letters, digits, '_' and '-'")
        if not isinstance(self.config, Mapping):
            raise TypeError(f"config is a {type(self.config).__name__}; expected a mapping of JSON values")
        object.__setattr__(self, "config", _plain(self.config, "config"))
        flattened(self.config)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and canonical(self) == canonical(other)

    def __hash__(self) -> int:
        return hash(canonical(self))


def canonical(job: Job) -> str:
    """The one JSON text of a job: sorted keys, no spaces, ASCII, floats by ``repr``."""
    tree = {"config": job.config, "experiment": job.experiment}
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), allow_nan=False)


def key(job: Job) -> str:
    """sha256 of the canonical JSON, as 64 hex digits."""
    return hashlib.sha256(canonical(job).encode()).hexdigest()


def flattened(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config as one level of columns: nested names joined by dots, lists as their JSON text.

    Raises:
        ValueError: two entries have the same flattened name (``{"a.b": 1, "a": {"b": 2}}``).

    Example:
        >>> flattened({"method": {"name": "LoRA", "targets": ["query", "value"]}, "seed": 0})
        {'method.name': 'LoRA', 'method.targets': '["query", "value"]', 'seed': 0}
    """
    columns: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            entries = {f"{name}.{inner}": item for inner, item in flattened(value).items()}
        else:
            entries = {name: json.dumps(value) if isinstance(value, (list, tuple)) else value}
        for column, item in entries.items():
            if column in columns:
                raise ValueError(f"two entries of the config are called {column!r} when flattened; rename one")
            columns[column] = item
    return columns


def described(job: Job) -> str:
    """A job in one line for a person: experiment, the beginning of its key, and what it sets.

    Example:
        >>> described(Job("toy", {"d": 10, "lr": None, "method": {"name": "LoRA"}}))
        'toy aee0ebe89cf2: d=10 method.name=LoRA'
    """
    return f"{job.experiment} {key(job)[:SHOWN_KEY]}: {settings(job)}"


def settings(job: Job) -> str:
    """What a job sets, as ``name=value``; options that are None are left out, sha256 have their first twelve digits."""
    told = {name: value for name, value in flattened(job.config).items() if value is not None}
    return " ".join(f"{name}={_digits(value)}" for name, value in told.items())


def _digits(value: Any) -> Any:
    whole = isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value)
    return value[:SHOWN_KEY] if whole else value


def _plain(value: Any, where: str) -> Any:
    """A deep copy made of dict, list, str, int, float, bool and None only."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{where} is {value}; expected a finite number (a key must not depend on NaN or infinity)")
        return float(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise TypeError(f"{where} has the key {name!r} of type {type(name).__name__}; expected str")
        return {str(name): _plain(item, f"{where}.{name}") for name, item in value.items()}
    raise TypeError(
        f"{where} is a {type(value).__name__}; expected str, int, float, bool, None, list, tuple or dict "
        "(convert arrays with .tolist(), numpy scalars with .item(), methods with their fields)"
    )
