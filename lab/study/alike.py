"""Which records belong together: those of one setting, which differ only in what their experiment repeats over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from lab.runs import Job, canonical, flattened
from lab.study.again import CONTENT


class Asked(Protocol):
    """A record, or its head."""

    @property
    def job(self) -> Job:
        """What was asked."""


A = TypeVar("A", bound=Asked)


def settings_of(records: Sequence[A], replicates: Sequence[str]) -> list[list[A]]:
    """Records in groups whose configs differ in nothing but the entries named, in the order of their first records.

    What a local task or model holds is a part of its name: it is compared where the name is.

    Args:
        records: of one experiment, or their heads.
        replicates: entries in which those of one setting may differ.
    """
    groups: dict[str, list[A]] = {}
    for record in records:
        groups.setdefault(canonical(Job(record.job.experiment, _fixed(record, replicates))), []).append(record)
    return list(groups.values())


def drawn_together(records: Sequence[A], replicates: Sequence[str]) -> list[list[A]]:
    """Records in groups, each of which one figure may draw: their settings where tasks are repeated over, else all.

    Runs of two budgets on the same tasks would share a line otherwise; other figures set their settings side by side.

    Args:
        records, replicates: as of `settings_of`.
    """
    if "task" in replicates:
        return settings_of(records, replicates)
    return [list(records)] if records else []


def told_apart(settings: Sequence[Sequence[Asked]], replicates: Sequence[str], most: int = 3) -> list[str]:
    """What sets each setting apart from the others, as "steps=160, splits=3": single values, at most so many.

    Args:
        settings: groups of `settings_of`.
        replicates: as there.
        most: entries that are named.
    """
    found = differences(settings, replicates, most)
    return [", ".join(f"{name}={value}" for name, value in own.items()) for own in found]


def differences(
    settings: Sequence[Sequence[Asked]], replicates: Sequence[str], most: int = 3, *, lists: bool = False
) -> list[dict[str, Any]]:
    """The entries of each setting's flattened config that set it apart from the others.

    Those first that tell more of the settings apart than the ones before them do; the rest only while there is room.

    Args:
        settings: groups of `settings_of`.
        replicates: as there.
        most: entries that are named.
        lists: whether entries that are lists are named, too.
    """
    configs = [flattened(_fixed(setting[0], replicates)) for setting in settings]
    names = dict.fromkeys(name for config in configs for name in config if not name.startswith(f"{CONTENT}."))
    differing = [name for name in names if len({repr(config.get(name)) for config in configs}) > 1]
    if not lists:
        differing = [n for n in differing if not any(str(config.get(n))[:1] in "[{" for config in configs)]
    telling: list[str] = []
    for name in differing:
        if _told(configs, [*telling, name]) > _told(configs, telling):
            telling.append(name)
    kept = {*telling[:most]}
    kept |= {*[name for name in differing if name not in kept][: most - len(kept)]}
    return [{name: config[name] for name in differing if name in kept and name in config} for config in configs]


def _told(configs: Sequence[dict[str, Any]], names: Sequence[str]) -> int:
    """How many of the configs these entries tell apart."""
    return len({repr([config.get(name) for name in names]) for config in configs})


def _fixed(record: Asked, replicates: Sequence[str]) -> dict[str, Any]:
    """The config without what is repeated over, and without the content of what is."""
    config = dict(record.job.config)
    own = [config.pop(name, None) for name in replicates]
    repeated = [value for value in own if isinstance(value, str)]
    held = {name: digest for name, digest in config.pop(CONTENT, {}).items() if name not in repeated}
    return {**config, CONTENT: held}
