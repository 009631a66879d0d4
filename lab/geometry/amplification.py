"""Which directions of W₀ an update amplifies: the table of Hu et al. 2021, section 7.3, with its random column."""

from __future__ import annotations

from collections.abc import Sequence
from math import log, nan, sqrt

import pandas as pd
import torch
from torch import Tensor

from lab.linalg import LowRank, Spectrum


def amplification(
    delta_w: Tensor | LowRank | Spectrum, W0: Tensor, ranks: Sequence[int] = (4, 64), *, base: Spectrum | None = None
) -> pd.DataFrame:
    """‖UᵀW₀V‖_F for U, V the first r singular vectors of ΔW, of W₀ and at random, and the factor ‖ΔW‖_F/‖U_ΔᵀW₀V_Δ‖_F.

    A large factor says that ΔW adds what W₀ has little of in those directions; a projection near the random level says
    that ΔW ignores W₀. At random, E‖UᵀW₀V‖_F² = ‖W₀‖_F² r²/(mn) exactly.

    Args:
        delta_w: ΔW (m, n), or its spectrum with vectors.
        W0: W₀ (m, n).
        ranks: r; default the two of Hu et al., Table 7. Those above min(m, n) are left out, and so are those above the
            rank of ΔW for its own columns (nan).
        base: spectrum of W₀, if at hand.

    Returns:
        One row per r: rank, delta_norm, base_norm, onto_delta, onto_base, onto_random, factor.

    Raises:
        ValueError: shapes differ, or an entry is not finite.
    """
    if tuple(delta_w.shape) != tuple(W0.shape):  # of a spectrum too
        raise ValueError(f"ΔW and W₀ must have one shape; got {tuple(delta_w.shape)} and {tuple(W0.shape)}.")
    update = delta_w if isinstance(delta_w, Spectrum) else Spectrum.of(delta_w, vectors=True)
    base = base if base is not None else Spectrum.of(W0)
    m, n = update.shape
    W = W0.detach().to(torch.float64)
    rows = []
    for r in ranks:
        if not 1 <= r <= min(m, n):
            continue
        onto_delta = nan
        if r <= update.rank and update.left is not None and update.right is not None:
            onto_delta = float((update.left[:, :r].T @ W @ update.right[:, :r]).norm())
        rows.append(
            {
                "rank": r,
                "delta_norm": update.frobenius_norm,
                "base_norm": base.frobenius_norm,
                "onto_delta": onto_delta,
                "onto_base": float(base.values[:r].norm()),  # UᵀW₀V is diag(σ_1 … σ_r)
                "onto_random": base.frobenius_norm * r / sqrt(m * n),
                "factor": update.frobenius_norm / onto_delta if onto_delta > 0 else nan,
            }
        )
    columns = ["rank", "delta_norm", "base_norm", "onto_delta", "onto_base", "onto_random", "factor"]
    return pd.DataFrame(rows, columns=columns)


def emphasis(onto_random: float, onto_base: float) -> float:
    """Where the directions of ΔW stand in W₀, on a log scale from random ones (0) to W₀'s first (1).

    ln(p_ΔW/p_random)/ln(p_W₀/p_random) with p = ‖UᵀW₀V‖_F. A random ΔW has 0, one along W₀'s first directions 1.

    Args:
        onto_random: p_ΔW/p_random.
        onto_base: p_ΔW/p_W₀, below `onto_random`.

    Raises:
        ValueError: ratios that are not positive, or W₀'s own directions no more emphasised than random ones.

    Example:
        >>> round(emphasis(onto_random=10, onto_base=0.1), 3)
        0.5
    """
    if not (onto_random > onto_base > 0):
        raise ValueError(f"expected 0 < p_ΔW/p_W₀ < p_ΔW/p_random; got {onto_base} and {onto_random}.")
    return log(onto_random) / log(onto_random / onto_base)
