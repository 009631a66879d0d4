"""`d90`: how many random directions of a method's own φ are enough for 90 % of what all of them give."""

from __future__ import annotations

from collections.abc import Sequence

from lab.deltas import Delta, DeltaMethod
from lab.geometry import IntrinsicDimension, intrinsic_dimension
from lab.models import PLM
from lab.projections import OneHot
from lab.tasks import Task
from lab.tasks.constant import constant_score
from lab.training import fit


def d90(
    method: DeltaMethod,
    plm: PLM,
    task: Task,
    *,
    steps: int = 60,
    batch_size: int = 16,
    max_length: int = 64,
    fraction: float = 0.9,
    seeds: Sequence[int] = (0, 1),
    start: int | None = None,
    max_evaluations: int = 16,
) -> IntrinsicDimension:
    """The intrinsic dimension of a method on a PLM and a task: d90 of full fine-tuning, or of BitFit inside its biases.

    φ = φ₀ + P x with a random P (one-hot, Uni-LoRA's; PᵀP = I), x trained by AdamW (Li et al. 2018, eq. 2), for growing
    dimensions of x; `lab.geometry.intrinsic_dimension` is the search. For numbers that are kept, with the linear probe
    and random weights beside them: ``deltalab run intrinsic_dimension``.

    Args:
        method: any, with a new head as part of its φ.
        plm, task: the frozen PLM, with a head for the task.
        steps, batch_size, max_length: of every training run. Default: the demo scale of the experiment.
        fraction: share of the whole method's score to reach. Default 0.9 (Li et al. 2018).
        seeds: of every dimension, and of the whole method; two or more for an interval.
        start: first dimension; default: the geometric middle between 2 and the size of φ.
        max_evaluations: most training runs in subspaces.

    Returns:
        The dimension with its interval. Where the whole method does not beat the majority share there is none, and
        `message` says so.

    Raises:
        TypeError: something else than a method, a PLM and a task, in this order.
    """
    if not isinstance(method, DeltaMethod):
        got = f"the class {method.__name__}" if isinstance(method, type) else type(method).__name__
        raise TypeError(f"d90 takes a method, such as BitFit(); got {got}.")
    if not isinstance(plm, PLM) or not isinstance(task, Task):
        got = f"{type(plm).__name__} and {type(task).__name__}"
        raise TypeError(
            f"d90 takes a method, a PLM (load_plm opens one) and a task (load_task), in this order; got {got}."
        )
    delta, encoded = method.on(plm), task.encode(plm, max_length=max_length)

    def trained(part: Delta, seed: int) -> float:
        return fit(part, encoded, seed=seed, steps=steps, batch_size=batch_size).score

    def score(d: int, chosen: Sequence[int]) -> list[float]:
        return [trained(delta.restrict(OneHot(delta.size, d, seed=seed)), seed) for seed in chosen]

    whole = [trained(delta, seed) for seed in seeds]
    return intrinsic_dimension(
        score, whole, max_dimension=delta.size, min_dimension=min(2, delta.size), start=start, fraction=fraction,
        reference=constant_score(task, "validation"), seeds=seeds, max_evaluations=max_evaluations,
        n_examples=len(task.validation) if task.metric.name == "accuracy" else None,
    )  # fmt: skip
