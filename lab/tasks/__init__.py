"""Tasks: labelled batches, a loss, a metric with its unit."""

# the nouns
from lab.tasks.columns import BadFile
from lab.tasks.description import described
from lab.tasks.encoding import EncodedSplit
from lab.tasks.examples import Examples

# loading
from lab.tasks.load import TASKS, load_task

# scores
from lab.tasks.metrics import METRICS, Metric
from lab.tasks.packaged import MissingPackage

# perturbed inputs
from lab.tasks.perturbations import PERTURBATIONS, first_words, noisy_embedding, perturbed
from lab.tasks.source import TaskSource
from lab.tasks.task import EncodedTask, Task

# prompts
from lab.tasks.templates import TEMPLATES, ManualTemplate, manual_template
from lab.tasks.types import type_of

__all__ = [
    "METRICS",
    "PERTURBATIONS",
    "TASKS",
    "TEMPLATES",
    "BadFile",
    "EncodedSplit",
    "EncodedTask",
    "Examples",
    "ManualTemplate",
    "Metric",
    "MissingPackage",
    "Task",
    "TaskSource",
    "described",
    "first_words",
    "load_task",
    "manual_template",
    "noisy_embedding",
    "perturbed",
    "type_of",
]
