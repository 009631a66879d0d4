"""A dense weight difference as low-rank factors: the best ones of a rank, and ways to choose the rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from lab.geometry.nulls import above_null
from lab.linalg import LowRank, Spectrum, hard_threshold

Rule = Literal["hard threshold", "null"]
RULES: tuple[Rule, ...] = ("hard threshold", "null")


def check_choice(rank: int | None, energy: float | None, rule: str | None, max_rank: int | None) -> None:
    """Raise unless these choose a rank of some matrix: of a large model nothing is read before.

    Raises:
        ValueError: not exactly one of the first three, an unknown rule, a rank or energy out of range, or max_rank < 1.
    """
    if sum(given is not None for given in (rank, energy, rule)) != 1:
        raise ValueError(f"give exactly one of rank, energy and rule; got {rank}, {energy}, {rule!r}.")
    if rank is not None and rank < 0:
        raise ValueError(f"rank must be >= 0; got {rank}.")
    if energy is not None and not 0 < energy <= 1:
        raise ValueError(f"energy is a fraction of ‖ΔW‖² in (0, 1]; got {energy}.")
    if rule is not None and rule not in RULES:
        raise ValueError(f'rule must be "hard threshold" or "null"; got {rule!r}.')
    if max_rank is not None and max_rank < 1:
        raise ValueError(f"max_rank must be >= 1; got {max_rank}.")


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
    floor: float = 0.0,
) -> Extraction:
    """The best low-rank factors of a difference, its rank given or chosen. Exactly one of rank, energy, rule.

    Args:
        delta_w: ΔW (m, n), or its spectrum with vectors.
        rank: r itself.
        energy: the least r that holds this fraction of ‖ΔW‖_F²; values below the noise floor hold none of it.
        rule: "hard threshold": values above Gavish & Donoho's line, which minimises the error if what lies below is
            noise. "null": those that noise would not show, one after the other (`lab.geometry.nulls.above_null`).
        max_rank: cap on a chosen rank.
        floor: the rules keep no value up to it, nor up to the spectrum's own noise floor: rounding to a stored dtype.

    Raises:
        ValueError: as `check_choice`, or a rank above those of ΔW.
    """
    check_choice(rank, energy, rule, max_rank)
    spectrum = delta_w if isinstance(delta_w, Spectrum) else Spectrum.of(delta_w, vectors=True)
    values, cut = spectrum.values, float("nan")
    if rank is not None:
        chosen, name = rank, f"rank {rank}"
    elif energy is not None:
        chosen, name = min(spectrum.energy_rank(energy), spectrum.rank), f"{100 * energy:g} % of the energy"
    else:
        (chosen, cut), name = _line(spectrum, rule, max(spectrum.noise_floor, floor)), str(rule)
    if rank is None and max_rank is not None:
        chosen = min(chosen, max_rank)
    total = spectrum.frobenius_norm
    error = float(values[chosen:].norm()) / total if total > 0 else 0.0
    return Extraction(spectrum.truncated(chosen), chosen, error, name, cut)


def _line(spectrum: Spectrum, rule: Rule | None, floor: float) -> tuple[int, float]:
    """How many values a rule keeps, and its line."""
    m, n = spectrum.shape
    if not m * n:
        return 0, 0.0
    if len(spectrum.values) < min(m, n):
        raise ValueError(
            f"a noise level needs all {min(m, n)} singular values; got {len(spectrum.values)} (a product of known "
            "rank). Use rank or energy."
        )
    if rule == "hard threshold":
        cut = max(hard_threshold(m, n, median=float(spectrum.values.quantile(0.5))), floor)
        return int((spectrum.values > cut).sum()), cut
    return above_null(spectrum, floor=floor)
