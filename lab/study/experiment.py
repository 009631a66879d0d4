"""`Experiment`: one question as a value, with everything that is asked of it written once, here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import pandas as pd

from lab.faces import outlined
from lab.runs import Job, Record
from lab.runs.record import Scalar
from lab.statistics import Verdict
from lab.study.again import CONTENT, again
from lab.study.catalogue import View
from lab.study.config import Config
from lab.study.content import contents
from lab.study.data import data_used, refuse_numbers
from lab.study.settings import Settings, expected, flag, meaning, range_text, written

if TYPE_CHECKING:
    from lab.study.lab import Lab

ANY_PLM = "*"
"""The `model` of settings for every PLM that has none of its own (`Scale.asked`)."""

C = TypeVar("C", bound=Config)


@outlined
@dataclass(frozen=True)
class Result:
    """What a measurement found: the parts of a record that its job does not hold (`lab.runs.Record`)."""

    metrics: Mapping[str, Scalar]
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Finding(Generic[C]):
    """A record beside its typed config."""

    config: C
    record: Record

    @property
    def metrics(self) -> Mapping[str, Any]:
        return self.record.metrics

    @property
    def tables(self) -> Mapping[str, pd.DataFrame]:
        return self.record.tables

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        return self.record.arrays


def subjects(found: Sequence[Finding[Any]]) -> str:
    """PLMs and tasks of findings, for a verdict: "minilm on bbc-news, smollm2 on bbc-news"."""
    return ", ".join(dict.fromkeys(f"{finding.config.model} on {finding.config.task}" for finding in found))


@dataclass(frozen=True)
class Scale:
    """What an experiment measures at one scale.

    Args:
        run: the settings, those of one PLM after the other.
        asked: settings that are used only where their PLM is asked for; `ANY_PLM` for all that have none of their own.
    """

    run: tuple[Settings, ...]
    asked: tuple[Settings, ...] = ()

    @staticmethod
    def of(given: Settings | Sequence[Settings] | Scale) -> Scale:
        """A scale from settings."""
        if isinstance(given, Scale):
            return given
        return Scale((given,) if isinstance(given, Settings) else tuple(given))

    def on(self, model: str | None) -> tuple[Settings, ...]:
        """The settings for one PLM: its own, else those for any, else those of the first one here."""
        if model is None:
            return self.run
        for name in (model, ANY_PLM):
            if own := [s for s in (*self.run, *self.asked) if getattr(s, "model", None) == name]:
                return tuple(own)
        first = getattr(self.run[0], "model", None)
        return tuple(s for s in self.run if getattr(s, "model", None) == first)


@dataclass(frozen=True, kw_only=True)
class Experiment(Generic[C]):
    """A question, and how it is answered.

    `name`, `question`, `view` and `figures` are written as literals: they are listed without importing the module.

    Args:
        name: of its jobs and records.
        question: what is asked, in one sentence.
        source: who asked or claimed it (paper, figure).
        varied: what differs between measurements.
        tuned: what is chosen by a search, and by which rule.
        fixed: what is held the same, so that the comparison is fair.
        expected: what the source, or theory, lets one expect.
        cost: time and memory per scale.
        config: the type of its measurements' settings.
        scales: settings by scale: configs, or settings whose `configs()` are the measurements. Without any, the
            experiment is a part of others and is run by them, or from the config of a record.
        measure: a pure function of the config; `lab` runs children and carries the store.
        figures: names of the figures that draw its tables; the first one's answer is the experiment's.
        claims: the verdicts of findings of one setting on claims of the literature.
        of_classes: whether it is a question on classes alone; a task of numbers is refused before anything is measured.
        replicates: fields in which findings of one setting may differ; others never mix.
        view: the theme under which it is listed.
    """

    name: str
    question: str
    config: type[C]
    measure: Callable[[C, Lab], Result] = field(repr=False)
    scales: Mapping[str, Settings | Sequence[Settings] | Scale] = field(default_factory=dict, repr=False)
    source: str = ""
    varied: str = ""
    tuned: str = ""
    fixed: str = ""
    expected: str = ""
    cost: str = ""
    figures: tuple[str, ...] = ()
    claims: Callable[[Sequence[Finding[C]]], list[Verdict]] | None = field(default=None, repr=False)
    of_classes: bool = False
    replicates: tuple[str, ...] = ()
    view: View = "methods"

    def job(self, config: C) -> Job:
        """The job of a config; what it names on this machine enters by content, not by name alone."""
        found = contents(config)
        return Job(self.name, config.to_json() | ({CONTENT: found} if found else {}))

    def finding(self, record: Record) -> Finding[C]:
        """A record of this experiment beside its config.

        Raises:
            ValueError: the record's config is none of this experiment.
        """
        return Finding(self.config.from_json(record.job.config), record)

    def scale(self, name: str) -> Scale:
        """The settings of a scale.

        Raises:
            ValueError: there is none of this name.
        """
        if name not in self.scales:
            known = ", ".join(self.scales) or "(none: it is a part of other experiments; give a --config)"
            raise ValueError(f"unknown scale {name!r} of {self.name}; choose one of: {known}")
        return Scale.of(self.scales[name])

    def configs(self, scale: str, **given: Any) -> list[C]:
        """The measurements of a scale.

        Args:
            scale: one of `scales`.
            given: settings instead of the scale's.

        Raises:
            ValueError: an unknown scale or setting, or a value out of range.
        """
        found: dict[str, C] = {}
        for settings in self.scale(scale).on(given.get("model")):
            known = {entry.name for entry in fields(settings)}
            if unknown := sorted(set(given) - known):
                raise ValueError(f"{self.name} has no setting {', '.join(unknown)}; it has: {', '.join(sorted(known))}")
            for config in replace(settings, **given).configs():
                found.setdefault(json.dumps(config.to_json(), sort_keys=True), config)
        return list(found.values())

    def jobs(self, scale: str, **given: Any) -> list[Job]:
        """The jobs of `configs`."""
        return [self.job(config) for config in self.configs(scale, **given)]

    def options(self, scale: str = "demo") -> type[Settings]:
        """The type of the settings that can be given."""
        return type(self.scale(scale if scale in self.scales else next(iter(self.scales), scale)).run[0])

    def help(self) -> str:
        """What the experiment says of itself, then its options with help, unit, range and the demo's values."""
        said = [(entry, getattr(self, entry)) for entry in ABOUT]
        lines = [self.name, "", *(f"{entry.capitalize()}: {text}" for entry, text in said if text)]
        if not self.scales:
            return "\n".join([*lines, "", "A part of other experiments: it has no scale, only a --config."])
        scale = "demo" if "demo" in self.scales else next(iter(self.scales))
        shown = self.scale(scale).run
        lines += ["", f"Options of {self.name}, beside the values of the scale {scale}:"]
        known = self.options(scale).options()
        for entry in fields(shown[0]):
            if entry.name in known:
                values = dict.fromkeys(written(getattr(settings, entry.name)) for settings in shown)
                names = ", ".join(flag(name) for name in (entry.name, meaning(entry).also) if name)
                lines.append(f"  {names}: {expected(known[entry.name])}  [{' | '.join(values)}]")
                lines += [f"      {text}" for text in (meaning(entry).help, range_text(entry)) if text]
        return "\n".join(lines)

    def again(self, config: Config) -> str:
        """A command that makes the record of one config, whatever made it the first time."""
        return again(self.name, config.to_json())

    def measured(self, job: Job, lab: Lab) -> Record:
        """The record of a job.

        Raises:
            ValueError: the job's config is none of this experiment, a local model or task that it names has changed
                since the job was made, or a task of numbers where only classes are asked about.
        """
        config = self.config.from_json(job.config)
        if (now := contents(config)) != job.config.get(CONTENT, {}):
            changed = ", ".join(sorted(set(now) | set(job.config.get(CONTENT, {})))) or "what it names"
            raise ValueError(f"{changed} changed after this run was asked for; give the command again")
        if self.of_classes:
            refuse_numbers(self.name, config)
        found = self.measure(config, lab)
        said = {"command": self.again(config), **({CONTENT: now} if now else {}), **found.provenance}
        if data := data_used(config):
            said["data"] = data
        return Record(job, found.metrics, found.tables, found.arrays, said)


ABOUT = ("question", "source", "varied", "tuned", "fixed", "expected", "cost")
"""What an experiment says of itself, in this order."""
