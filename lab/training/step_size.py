"""Step sizes: the default for a delta of d coordinates in a PLM of D parameters, and the schedule over steps."""

from __future__ import annotations

FULL_STEP_SIZE = 5e-5
"""AdamW step size of full fine-tuning: the largest of the grid {2, 3, 5}e-5 of Devlin et al. 2019, appendix A.3."""

SUBSPACE_EXPONENT = 0.9
"""Exponent p of `default_step_size`; between the two derived bounds, found by tuning (see its docstring)."""


def default_step_size(d: int, D: int) -> float:
    """AdamW step size for d isotropic coordinates of D weights: η_full·(D/d)^p.

    An Adam step moves every coordinate by about η. With an isotropic projection (E‖Px‖² = ‖x‖²) that moves the weights
    by η√d, where full fine-tuning moves them by η_full√D. Matching the *distance* moved gives η = η_full·(D/d)^½.
    The projected gradient, though, is shorter by √(d/D); matching the first-order *decrease* of the loss,
    η·√d·‖Pᵀg‖ = η_full·√D·‖g‖, gives η = η_full·(D/d). The best step lies between the two: too short below, out of the
    region where the first order holds above. p = 0.9 was found by tuning, on MiniLM, bbc-news, Fastfood, batches of 16
    (docs/intrinsic_dimension.md has the numbers).

    Args:
        d: trained coordinates.
        D: parameters of the PLM.
    """
    if not 0 < d <= D:
        raise ValueError(f"a step size needs 0 < d <= D; got d = {d}, D = {D}.")
    return FULL_STEP_SIZE * (D / d) ** SUBSPACE_EXPONENT


def schedule(step: int, steps: int, warmup: float) -> float:
    """Factor on the step size at `step` of `steps`: linear warm-up over a fraction `warmup`, then linear decay to 0."""
    n_warmup = round(warmup * steps)
    if step < n_warmup:
        return (step + 1) / n_warmup
    return (steps - step) / max(1, steps - n_warmup)
