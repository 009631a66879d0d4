"""What records say of the claims of the literature: one setting at a time, with the commands that made them."""

from __future__ import annotations

import json
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import PurePath
from typing import Any

from lab.runs import Damaged, DamagedRecord, Record, Records, key
from lab.statistics import Verdict, judged, strongest
from lab.study.again import CONTENT, again
from lab.study.alike import settings_of
from lab.study.catalogue import experiment_names, load_experiment
from lab.study.experiment import Experiment
from lab.tasks import TASKS

TASK_FOLDER = "DELTALAB_TASKS=FOLDER"
"""What a command needs in front of it where a task is a folder: FOLDER stands for the one above it (docs/tasks.md)."""


def verdicts_of(experiment: Experiment[Any], records: Sequence[Record]) -> list[Verdict]:
    """What records say of the claims an experiment tests; empty where it tests none.

    Its `claims` judge one setting at a time: records whose configs differ in nothing but the experiment's `replicates`
    (without any, each record is a setting). So runs of another model, budget or scale never mix. The command of each
    verdict is the one that made its records. A record whose seeds another one of the same config holds among its own is
    the same runs again, and is left out. No verdict is corrected for others here: `all_verdicts` does that.
    """
    if experiment.claims is None:
        return []
    verdicts = []
    for alike in settings_of(_once(records), experiment.replicates):
        found = [experiment.finding(record) for record in alike]
        models = tuple(sorted({model for one in found for model in one.config.named("model")}))
        verdicts += [
            replace(v, commands=commands_of(alike, experiment), models=models) for v in experiment.claims(found)
        ]
    return verdicts


def all_verdicts(runs: Records, damaged: Damaged | None = None) -> list[Verdict]:
    """The verdicts of all experiments on the records of these stores, in the order of the catalogue.

    Corrected for one another, family by family (`lab.statistics.judged`); what stands on too few units is left out
    where the same statement about the same PLMs stands on enough (`lab.statistics.strongest`).

    Args:
        runs: the stores.
        damaged: takes what is wrong with records that cannot be read, or whose config is none of their experiment's,
            by key, while the others are judged.

    Raises:
        DamagedRecord, ValueError: a record that is judged cannot be read, without `damaged`.
    """
    found = []
    for name in experiment_names():
        experiment = load_experiment(name)
        records = list(runs.records(name, damaged=damaged))
        if damaged is not None:
            records = _readable(records, experiment, damaged)
        found += verdicts_of(experiment, records)
    return judged(strongest(found))


def _once(records: Sequence[Record]) -> list[Record]:
    """Without records that differ from another one in nothing but that it has their seeds and more."""
    others: dict[str, list[frozenset[int]]] = defaultdict(list)
    split = [_seeds_apart(record.job.config) for record in records]
    for rest, seeds in split:
        others[rest].append(seeds)
    return [
        r for r, (rest, seeds) in zip(records, split, strict=True) if not any(seeds < more for more in others[rest])
    ]


def _seeds_apart(config: Mapping[str, Any]) -> tuple[str, frozenset[int]]:
    rest = {name: value for name, value in config.items() if name != "seeds"}
    return json.dumps(rest, sort_keys=True), frozenset(config.get("seeds", ()))


def _readable(records: Sequence[Record], experiment: Experiment[Any], damaged: Damaged) -> list[Record]:
    """The records whose config the experiment reads; the others, as of another version, are named in `damaged`."""
    kept = []
    for record in records if experiment.claims is not None else ():
        try:
            experiment.finding(record)
            kept.append(record)
        except ValueError as error:
            name = key(record.job)
            damaged[name] = DamagedRecord(f"record {name[:12]} of {experiment.name} is not judged: {error}")
    return kept


def commands_of(records: Iterable[Record], experiment: Experiment[Any] | None = None) -> tuple[str, ...]:
    """The commands that make these records, each once, in the order of the records; empty where none is known.

    Each is what the record's provenance holds, in one spelling: ``--name=value``, no ``--store``, of a path its last
    part, and `TASK_FOLDER` in front where a task of one of its records is no package. Where a scale has changed since,
    so that this command asks for something else by now, it is the one with the whole config.

    Args:
        records: of one experiment.
        experiment: theirs; none: the commands are not looked into.
    """
    found = []
    for record in records:
        given = record.provenance.get("command")
        if isinstance(given, str) and given:
            if experiment is not None and not _asks_for(experiment, given, record):
                given = again(experiment.name, record.job.config)
            folder = any(map(_is_folder, _tasks(record.job.config)))
            found.append(f"{TASK_FOLDER} {_portable(given)}" if folder else _portable(given))
    return tuple(dict.fromkeys(one for one in found if f"{TASK_FOLDER} {one}" not in found))


OF_THE_RUN = frozenset({"scale", "store", "workers", "engine", "address", "cpus", "gpus", "quiet", "trace", "out"})
"""Options of ``deltalab run`` that are none of the experiment."""


def _asks_for(experiment: Experiment[Any], command: str, record: Record) -> bool:
    """Whether a command still asks for this record's job; True of one that cannot be read here."""
    own = {name: value for name, value in record.job.config.items() if name != CONTENT}
    configs = _asked(experiment.name, command) if experiment.name in experiment_names() else None
    return configs is None or json.dumps(own, sort_keys=True) in configs


@lru_cache(maxsize=256)
def _asked(name: str, command: str) -> frozenset[str] | None:
    """The configs that a command asks for, as JSON; None where it is no scale with the experiment's own options."""
    experiment = load_experiment(name)
    program, *words = shlex.split(_spelt(command))
    given = dict(word.removeprefix("--").partition("=")[::2] for word in words if word.startswith("--"))
    if program != "deltalab" or words[:2] != ["run", name] or "scale" not in given:
        return None
    try:
        options = experiment.options(given["scale"])
        values = options.read({option: value for option, value in given.items() if option not in OF_THE_RUN})
        configs = experiment.configs(given["scale"], **values)
    except ValueError:
        return frozenset()  # the scale or one of these options is gone
    return frozenset(json.dumps(config.to_json(), sort_keys=True) for config in configs)


def _spelt(command: str) -> str:
    """The same with ``--name=value`` for every option."""
    words, parts = shlex.split(command), []
    while words:
        word = words.pop(0)
        if word.startswith("--") and "=" not in word and words and not words[0].startswith("--"):
            word = f"{word}={words.pop(0)}"
        parts.append(word)
    return shlex.join(parts)


def _portable(command: str) -> str:
    parts = []
    for word in shlex.split(_spelt(command)):
        name, separator, value = word.partition("=")
        if name != "--store":
            values = [PurePath(v).name if PurePath(v).is_absolute() else v for v in value.split(",")]
            parts.append(name + separator + ",".join(values))
    return shlex.join(parts)


def _tasks(config: Mapping[str, Any]) -> Iterator[str]:
    """Every name that a config calls ``task``, ``tuning_task`` or lists as ``tasks``, at any depth."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _tasks(value)
        elif name in ("task", "tuning_task", "tasks"):
            yield from [value] if isinstance(value, str) else value


def _is_folder(task: str) -> bool:
    return not task.startswith("glue/") and all(source.name != task for source in TASKS)
