"""What experiments are made of: typed settings, configs, the experiment as a value, the lab that runs children.

Names are loaded on first use, because most of them bring torch, and a list of experiments needs none of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab.study.alike import settings_of
    from lab.study.catalogue import (
        SCALES,
        experiment_drawing,
        experiment_names,
        load_experiment,
        outline_of,
        outlines,
        question,
    )
    from lab.study.claims import all_verdicts, commands_of, verdicts_of
    from lab.study.config import Config
    from lab.study.data import data_used, with_columns
    from lab.study.experiment import ANY_PLM, Experiment, Finding, Result, Scale, subjects
    from lab.study.lab import Lab, measured
    from lab.study.materials import (
        device,
        few_shot,
        open_plm,
        open_task,
        provenance_of,
        with_added_biases,
        without_biases,
    )
    from lab.study.settings import Settings, setting
    from lab.study.training_run import (
        TRAINING_RUN,
        Budget,
        RunSize,
        Solution,
        TrainingRun,
        Workload,
        counts,
        final,
        merit,
        reported,
        scored_rows,
        solution,
    )

_PLACES = {
    "catalogue": ("SCALES", "experiment_drawing", "experiment_names", "load_experiment", "outline_of", "outlines",
                  "question"),
    "alike": ("settings_of",),
    "claims": ("all_verdicts", "commands_of", "verdicts_of"),
    "config": ("Config",),
    "data": ("data_used", "with_columns"),
    "experiment": ("ANY_PLM", "Experiment", "Finding", "Result", "Scale", "subjects"),
    "lab": ("Lab", "measured"),
    "materials": ("device", "few_shot", "open_plm", "open_task", "provenance_of", "with_added_biases",
                  "without_biases"),
    "settings": ("Settings", "setting"),
    "training_run": ("TRAINING_RUN", "Budget", "RunSize", "Solution", "TrainingRun", "Workload", "counts", "final",
                     "merit", "reported", "scored_rows", "solution"),
}  # fmt: skip
_MODULE = {name: module for module, names in _PLACES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE[name]}"), name)


def __dir__() -> list[str]:
    return __all__


__all__ = [
    "ANY_PLM",
    "SCALES",
    "TRAINING_RUN",
    "Budget",
    "Config",
    "Experiment",
    "Finding",
    "Lab",
    "Result",
    "RunSize",
    "Scale",
    "Settings",
    "Solution",
    "TrainingRun",
    "Workload",
    "all_verdicts",
    "commands_of",
    "counts",
    "data_used",
    "device",
    "experiment_drawing",
    "experiment_names",
    "few_shot",
    "final",
    "load_experiment",
    "measured",
    "merit",
    "open_plm",
    "open_task",
    "outline_of",
    "outlines",
    "provenance_of",
    "question",
    "reported",
    "scored_rows",
    "setting",
    "settings_of",
    "solution",
    "subjects",
    "verdicts_of",
    "with_added_biases",
    "with_columns",
    "without_biases",
]
