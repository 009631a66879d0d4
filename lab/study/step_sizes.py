"""A fair search of step sizes: the same half-decades and the same rule for everything that is compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log10

from lab.study.config import Config
from lab.study.experiment import Finding
from lab.study.settings import setting
from lab.study.training_run import TrainingRun, merit


@dataclass(frozen=True)
class StepSizes:
    """The step sizes that were tried on one thing.

    Attributes:
        tried: step size -> its run, by growing step size.
        best: the step size that did best; the smaller of two that did equally well.
    """

    tried: Mapping[float, Finding[TrainingRun]]
    best: float


def tuned(
    starts: Mapping[str, float],
    run: Callable[[Sequence[tuple[str, float]]], Sequence[Finding[TrainingRun]]],
    *,
    smallest: int,
    largest: int,
) -> dict[str, StepSizes]:
    """Label -> the search of its step size, over half-decades about its start, by `merit` on validation data.

    A grid grows by one while its best is at an edge and there is room. All grids grow together, so that an engine has
    many runs to do at a time.

    Args:
        starts: label -> where its grid starts.
        run: the training runs of pairs (label, step size), in their order.
        smallest: step sizes tried first: the start and its neighbours, the larger one first.
        largest: most step sizes tried.
    """
    middle = {label: half_decade(start) for label, start in starts.items()}
    ends = {label: (k - (smallest - 1) // 2, k + smallest // 2) for label, k in middle.items()}
    tried: dict[str, dict[float, Finding[TrainingRun]]] = {label: {} for label in starts}
    while missing := [
        (label, lr)
        for label, (low, high) in ends.items()
        for lr in map(step_size, range(low, high + 1))
        if lr not in tried[label]
    ]:
        for (label, lr), found in zip(missing, run(missing), strict=True):
            tried[label][lr] = found
        for label, (low, high) in ends.items():
            best = _best(tried[label])
            if high - low + 1 < largest and best in (step_size(low), step_size(high)):
                ends[label] = (low - 1, high) if best == step_size(low) else (low, high + 1)
    return {label: StepSizes(dict(sorted(found.items())), _best(found)) for label, found in tried.items()}


def _best(tried: Mapping[float, Finding[TrainingRun]]) -> float:
    return max(sorted(tried), key=lambda lr: merit(tried[lr].tables["history"]))


@dataclass(frozen=True, kw_only=True)
class StepSizeGrids(Config):
    """The settings of an experiment that may choose step sizes by this rule, about those it is given."""

    smallest_grid: int = setting("half-decades tried first, about the given step size", 3, low=1)
    largest_grid: int = setting("most of them, while the best is at an edge", 5, low=1)

    def best(
        self, starts: Mapping[str, float], run: Callable[[Sequence[tuple[str, float]]], Sequence[Finding[TrainingRun]]]
    ) -> dict[str, float]:
        """Label -> the step size that `tuned` finds best, on grids of these sizes."""
        found = tuned(starts, run, smallest=self.smallest_grid, largest=self.largest_grid)
        return {label: sizes.best for label, sizes in found.items()}


def half_decade(lr: float) -> int:
    """k of the step size 1·10^(k/2) (k even) or 3·10^((k−1)/2) (k odd) nearest to lr on a logarithmic scale."""
    return round(2 * log10(lr))


def step_size(k: int) -> float:
    """1·10^(k/2) for even k, 3·10^((k−1)/2) for odd k: 1e-4, 3e-4, 1e-3, …"""
    return float(f"{3 if k % 2 else 1}e{k // 2}")
