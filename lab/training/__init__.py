"""Training: one φ, or many at once."""

from lab.training.evaluation import evaluate
from lab.training.fit import Fit, fit, fit_many
from lab.training.step_size import default_step_size, schedule

__all__ = ["Fit", "default_step_size", "evaluate", "fit", "fit_many", "schedule"]
