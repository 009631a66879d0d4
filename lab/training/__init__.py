"""Training: one φ, or many at once; and what a step of it costs."""

from lab.training.cost import StepCost, TrainingStep, example_batch, step_cost
from lab.training.evaluation import evaluate
from lab.training.fit import Fit, fit, fit_many
from lab.training.predict import predict
from lab.training.pruning import fit_and_prune
from lab.training.resident import measured_peaks
from lab.training.step_size import default_step_size, schedule

__all__ = [
    "Fit",
    "StepCost",
    "TrainingStep",
    "default_step_size",
    "evaluate",
    "example_batch",
    "fit",
    "fit_and_prune",
    "fit_many",
    "measured_peaks",
    "predict",
    "schedule",
    "step_cost",
]
