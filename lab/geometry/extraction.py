"""A dense weight difference as low-rank factors: the best ones of a rank, and ways to choose the rank."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Literal

from torch import Tensor

from lab.linalg import (
    LowRank,
    MarchenkoPastur,
    Spectrum,
    hard_threshold,
    largest_gaussian_singular_value,
)

Rule = Literal["hard threshold", "null"]


@dataclass(frozen=True, eq=False)
class Extraction:
    """ΔW ≈ B A.

    Attributes:
        factors: B (m, r) and A (r, n), each with √σ; rank 0 for nothing worth keeping.
        rank: r.
        relative_error: ‖ΔW − BA‖_F/‖ΔW‖_F; the least possible for this r (Eckart & Young 1936).
        rule: how r was chosen, in words.
        cut: the line between kept and dropped values; nan where a count was given.
    """

    factors: LowRank
    rank: int
    relative_error: float
    rule: str
    cut: float


def extract(
    delta_w: Tensor | Spectrum,
    *,
    rank: int | None = None,
    energy: float | None = None,
    rule: Rule | None = None,
    max_rank: int | None = None,
) -> Extraction:
    """The best low-rank factors of a difference, its rank given or chosen. Exactly one of rank, energy, rule.

    Args:
        delta_w: ΔW (m, n), or its spectrum with vectors.
        rank: r itself.
        energy: the least r that holds this fraction of ‖ΔW‖_F²; values below the noise floor hold none of it.
        rule: "hard threshold": values above Gavish & Donoho's line, which minimises the error if what lies below is
            noise. "null": values above the Tracy–Widom edge (95 %) of a Gaussian matrix with the observed median, i.e.
            those that noise would not show.
        max_rank: cap on a chosen rank.

    Raises:
        ValueError: not exactly one of the three, an unknown rule, or a rank out of range.
    """
    if sum(given is not None for given in (rank, energy, rule)) != 1:
        raise ValueError(f"give exactly one of rank, energy and rule; got {rank}, {energy}, {rule!r}.")
    spectrum = delta_w if isinstance(delta_w, Spectrum) else Spectrum.of(delta_w, vectors=True)
    values, cut = spectrum.values, float("nan")
    if rank is not None:
        chosen, name = rank, f"rank {rank}"
    elif energy is not None:
        chosen, name = min(spectrum.energy_rank(energy), spectrum.rank), f"{100 * energy:g} % of the energy"
    else:
        cut, name = _line(spectrum, rule), str(rule)
        chosen = int((values > max(cut, spectrum.noise_floor)).sum())
    if rank is None and max_rank is not None:
        chosen = min(chosen, max_rank)
    total = spectrum.frobenius_norm
    error = float(values[chosen:].norm()) / total if total > 0 else 0.0
    return Extraction(spectrum.truncated(chosen), chosen, error, name, cut)


def _line(spectrum: Spectrum, rule: Rule | None) -> float:
    m, n = spectrum.shape
    if not m * n:
        return 0.0
    if len(spectrum.values) < min(m, n):
        raise ValueError(
            f"a noise level needs all {min(m, n)} singular values; got {len(spectrum.values)} (a product of known "
            "rank). Use rank or energy."
        )
    median = float(spectrum.values.quantile(0.5))
    if rule == "hard threshold":
        return hard_threshold(m, n, median=median)
    if rule == "null":
        q = min(m, n) / max(m, n)
        std = median / sqrt(max(m, n) * float(MarchenkoPastur(q).quantile(0.5)))
        return largest_gaussian_singular_value(m, n, std, probability=0.95)
    raise ValueError(f'rule must be "hard threshold" or "null"; got {rule!r}.')
