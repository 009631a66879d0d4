"""Training in two stages, where what is stored is not what is trained (diff pruning)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lab.deltas import Delta
from lab.tasks import EncodedTask, Task
from lab.training.fit import Fit, fit


def fit_and_prune(
    delta: Delta, task: Task | EncodedTask, *, steps: int, final_share: float = 0.25, **settings: Any
) -> tuple[Delta, Fit]:
    """Train, keep what the delta stores, and train that (Guo et al. 2021, section 3.3).

    A delta that stores its φ as it is, is fitted once, for all steps.

    Args:
        delta: any; `TrainingForm.finish` says which of the two it is.
        task: as for `fit`.
        steps: of both stages together.
        final_share: share of the steps that train what was kept, with the choice held fixed. Default a quarter.
        settings: of `fit`, for both stages; φ starts at `delta.phi0`, and a trajectory or checkpoint has no meaning
            across two spaces.

    Returns:
        The delta that is stored, and its fit: φ and score are of what was kept; history, steps and seconds are of both.

    Raises:
        ValueError: final_share outside [0, 1), a checkpoint or a trajectory, or what `fit` refuses.
    """
    finish = delta.training().finish
    if finish is None:
        return delta, fit(delta, task, steps=steps, **settings)
    if not 0 <= final_share < 1:
        raise ValueError(f"final_share must lie in [0, 1); got {final_share}.")
    for name in ("checkpoint", "keep_every", "phi0"):
        if settings.get(name) is not None:
            raise ValueError(f"{name} is of one space, and pruning goes from one to another; leave it out.")
    last = max(1, round(final_share * steps))
    search = fit(delta, task, steps=max(1, steps - last), **settings)
    if search.status != "finished":
        return delta, search
    kept, phi = finish(search.phi)
    final = fit(kept, task, steps=last, phi0=phi, **{**settings, "lr": search.lr})
    history = search.history + [row | {"step": row["step"] + search.steps} for row in final.history]
    return kept, replace(
        final,
        history=history,
        steps=search.steps + final.steps,
        seconds=search.seconds + final.seconds,
        peak_memory=max(search.peak_memory, final.peak_memory),
    )
