"""Names for records and curves that tell them apart."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd

from lab.columns import COLUMNS, FLAG, TEXT
from lab.runs import Manifest
from lab.study.again import CONTENT

SHOWN_KEY = 12
"""Digits of a key that people are shown; enough to tell a hundred thousand records apart."""

MOST_NAMED = 3
"""Settings that a name holds; where jobs differ in more, they are numbered."""

COUNTED = ("steps", "n_train", "n_validation", "n_test", "splits", "tokens", "sentences", "shots", "batch_size")
"""Settings that are numbers of something: "160 steps"; none of it is all."""

SPEAKING = ("kind", "setting", "part", "measured")
"""Settings whose values say what they are of."""

LONGEST_LIST = 40
"""Characters of a list that words hold; of a longer one they say how many entries it has."""

_METHOD = "method."  # prefix of a nested method's settings in a flattened config


def describe(manifest: Manifest) -> str:
    """A record in a few words: method, PLM, task, seed, whatever of these its job has; else its experiment."""
    config = manifest.settings
    parts = [method(config), *(str(config[name]) for name in ("model", "task") if config.get(name))]
    if config.get("seed") is not None:
        parts.append(f"seed {config['seed']}")
    return " · ".join(part for part in parts if part) or manifest.job.experiment


def setting(manifest: Manifest, name: str) -> Any:
    """A setting of a record's job: its own, or that of the training runs it describes; None without any."""
    config = manifest.settings
    if config.get(name) is not None:
        return config[name]
    return next((value for key, value in config.items() if key.endswith(f".{name}") and value is not None), None)


def method(config: Mapping[str, Any]) -> str:
    """The method of a flattened config as figures call it: "DID fastfood", "LoRA r = 8"; "" if it has none.

    Of other settings of the method, what sets records apart, `labelled` adds.
    """
    name = config.get("method") or config.get("method.method")
    if not name:
        return ""
    own = {setting.removeprefix(_METHOD): value for setting, value in config.items() if setting.startswith(_METHOD)}
    return _titled(str(name), {"projection": config.get("projection"), **own}) + (
        ", random weights" if config.get("weights") == "random" else ""
    )


_METHODS = {
    "full": ("full fine-tuning",), "linear-probe": ("linear probe",), "lora": ("LoRA", "rank", "r = {}"),
    "adapter": ("adapter", "bottleneck", "{}"), "prefix": ("prefix", "tokens", "{}"),
    "prompt": ("prompt", "tokens", "{}"), "ia3": ("IA3",), "bitfit": ("BitFit",), "added-bias": ("added biases",),
    "last-layer": ("last layer",), "selective-module": ("random modules",), "diff-pruning": ("diff pruning",),
    "did": ("DID", "dimension", "d = {:,}"), "said": ("SAID", "dimension", "d = {:,}"),
}  # fmt: skip
"""Name in a job → what figures call the method, its size, and the form of that: as `lab.deltas` does, without torch."""


def _titled(name: str, own: Mapping[str, Any]) -> str:
    shown, *sized = _METHODS.get(name, (name,))
    size = own.get(sized[0]) if sized else None
    words = [shown, str(own.get("projection") or ""), sized[1].format(size) if size is not None else ""]
    return " ".join(word for word in words if word)


def in_words(settings: Mapping[str, Any]) -> str:
    """Settings that tell records apart, for a menu: "160 steps, 800 training examples", "LoRA r = 4, step size 0.03".

    Args:
        settings: of a flattened config, such as `lab.study.alike.differences` finds.
    """
    words: list[str] = []
    left = dict(settings)
    for name in [name for name in settings if name.endswith(".method")]:
        place = name.removesuffix("method")
        own = {key.removeprefix(place): value for key, value in settings.items() if key.startswith(place)}
        if (title := _titled(str(own["method"]), own)) and own["method"] is not None:
            words.append(title if place == _METHOD else f"{quantity(place[:-1])} {title}")
        for used in ("method", "projection", *_METHODS.get(str(own["method"]), ())[1:2]):
            left.pop(place + used, None)
    return ", ".join([*words, *filter(None, (_in_words(name, value) for name, value in left.items()))])


def _in_words(name: str, value: Any) -> str:
    called = quantity(name)
    entries = json.loads(value) if isinstance(value, str) and value.startswith("[") else value
    if value is None:
        return f"all {called}" if name in COUNTED else ""
    if name in SPEAKING:
        return str(value)
    if isinstance(entries, list):
        told = ", ".join(map(str, entries))
        short = len(told) <= LONGEST_LIST and not any(isinstance(entry, (dict, list)) for entry in entries)
        return f"{called} {told}" if short else f"{len(entries)} {called}"
    if isinstance(value, bool):
        return called if value else f"no {called}"
    return f"{value:,} {called}" if name in COUNTED else f"{called} {number_or_word(value)}"


def labelled(table: pd.DataFrame, manifests: Sequence[Manifest], *, pool: Sequence[str] = ()) -> pd.DataFrame:
    """The table with a `label` on every row, no label standing for different jobs on one PLM and task.

    Where it would, what differs between the jobs is added: "DID fastfood, head free".

    Args:
        table: rows of these records, with their `key`.
        manifests: the records.
        pool: settings that may differ under one label, such as ("seed",) where a figure averages over seeds.
    """
    configs = {manifest.key: manifest.settings for manifest in manifests}
    names = {manifest.key: method(configs[manifest.key]) or manifest.job.experiment for manifest in manifests}
    given = table["label"] if "label" in table else pd.Series(None, index=table.index, dtype=object)
    labels = given.where(given.notna(), table["key"].map(names))
    out = table.assign(label=labels)
    shared = [name for name in ("label", "model", "task") if name in out]
    for _, group in out.groupby(shared, sort=False, dropna=False):
        keys = group["key"].unique()
        suffixes = _differences({key: configs[key] for key in keys}, pool) if len(keys) > 1 else {}
        if any(suffixes.values()):
            out.loc[group.index, "label"] = group["label"] + group["key"].map(suffixes)
    return out


def told_by_number(manifests: Sequence[Manifest], pool: Sequence[str] = ()) -> list[str]:
    """Settings in which records of one method, PLM and task differ, where they are so many that labels number them.

    Args:
        manifests: of one experiment.
        pool: as of `labelled`.
    """
    groups: dict[tuple[object, ...], list[Mapping[str, Any]]] = {}
    for manifest in manifests:
        config = manifest.settings
        told = (method(config), *(config.get(name) for name in ("label", "model", "task")))
        groups.setdefault(told, []).append(config)
    found: dict[str, None] = {}
    for configs in groups.values():
        for name in dict.fromkeys(name for config in configs for name in config if name not in pool):
            if not name.startswith(f"{CONTENT}.") and len({repr(config.get(name)) for config in configs}) > 1:
                found[name] = None
    return list(found) if len(found) > MOST_NAMED else []


def _differences(configs: Mapping[str, Mapping[str, Any]], pool: Sequence[str]) -> dict[str, str]:
    """For each key what sets its config apart from the others, as ", 30 steps"; its digits where nothing does."""
    names = dict.fromkeys(name for config in configs.values() for name in config)
    differing = [
        name for name in names if name not in pool and len({repr(config.get(name)) for config in configs.values()}) > 1
    ]
    if not differing and not pool:
        return {key: f", {key[:SHOWN_KEY]}" for key in configs}
    told = [name for name in differing if name not in ("model", "task")]
    chosen = {key: tuple(repr(config.get(name)) for name in told) for key, config in configs.items()}
    words = {
        key: "".join(
            f", {_in_words(name, value)}" for name in told[:MOST_NAMED] if (value := config.get(name)) is not None
        )
        for key, config in configs.items()
    }
    settings = list(dict.fromkeys(chosen.values()))
    if len(told) <= MOST_NAMED and len(set(words.values())) == len(settings):
        return words
    more = ", …" if len(told) > MOST_NAMED else ""
    return {key: f"{said}{more} (setting {settings.index(chosen[key]) + 1})" for key, said in words.items()}


def overview(manifests: Sequence[Manifest], mine: frozenset[str]) -> pd.DataFrame:
    """One row per record, for the table of runs."""
    rows = [
        {"run": describe(manifest), "experiment": manifest.job.experiment,
         "started": str(manifest.provenance.get("started", ""))[:16].replace("T", " "),
         "time [s]": manifest.provenance.get("seconds"), "device": manifest.provenance.get("device"),
         "from": "your runs" if manifest.key in mine else "gallery", "key": manifest.key[:SHOWN_KEY]}
        for manifest in manifests
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["run", "experiment", "started", "time [s]", "device", "from", "key"])


_WORDS = {
    "n_train": "training examples", "n_validation": "validation examples", "n_test": "test examples",
    "lr": "step size", "head_lr": "step size of the head", "max_length": "tokens of a text, at most",
    "batch_size": "texts in a batch", "d90": "d90", "tunable": "trained numbers", "stored": "stored numbers",
    "native": "parameters of the PLM", "seconds": "time of the run", "train_seconds": "training time", "model": "PLM",
    "method.method": "method", "keep_phi": "φ kept", "key": "record", "sizes": "PLMs", "shots": "examples of a class",
    "own_starts": "starts of their own", "joint_with": "jointly with", "tuning_task": "tuned on",
    "scored": "scored tasks",
}  # fmt: skip
"""What settings and metrics are called where their own name does not say it."""

_UNITLESS = ("", "1", "count", TEXT, FLAG, "as the quantity")
"""Units of the vocabulary that a name in words goes without."""


def quantity(name: str, metric: str = "") -> str:
    """A setting or metric in words, with its unit where the vocabulary has one: "training time [s]".

    Args:
        name: as in a config or a table of metrics.
        metric: the unit of scores; "" where it is not known, or not the same everywhere.
    """
    words = _WORDS.get(name) or re.sub(r"\.(?!\d)", ", ", name.removeprefix(_METHOD).replace("_", " "))
    unit = COLUMNS[name].unit if name in COLUMNS else ""
    unit = metric if unit == "unit of the metric" else unit
    return words if unit in _UNITLESS else f"{words} [{unit}]"


def number_or_word(value: object) -> str:
    """A setting or metric in a table of mixed ones: 6 digits of a number, a dash for what is missing."""
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return "–"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return f"{int(value):,}"
    return f"{value:,.6g}" if isinstance(value, float) else str(value)
