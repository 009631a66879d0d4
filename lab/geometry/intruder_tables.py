"""Intruder dimensions of several matrices as tables: overlaps, onsets, and what W₀ + t·ΔW scores as t grows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, nan
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from lab.geometry.intruder_forecast import forecast_intruder
from lab.geometry.intruder_onset import intruder_onset
from lab.geometry.intruders import Intruders, intruder_dimensions, mitigate
from lab.geometry.nulls import randomly_turned
from lab.geometry.sign_flip_null import random_signs
from lab.linalg import Spectrum
from lab.models import PLM
from lab.models.architecture import WeightMatrix

Score = Callable[[Mapping[str, Tensor]], float]
KS, EPSILONS = (1, 5, 10, 20), (0.3, 0.4, 0.5, 0.6, 0.7)


@dataclass(frozen=True, eq=False)
class ChangedMatrix:
    """One matrix under study: W₀, ΔW, and their spectra with vectors.

    Attributes:
        at: where it stands.
        base, change: W₀ and ΔW, float64.
        base_spectrum, update: their spectra, with vectors.
    """

    at: WeightMatrix
    base: Tensor
    change: Tensor
    base_spectrum: Spectrum
    update: Spectrum

    @staticmethod
    def of(m: WeightMatrix, plm: PLM, weights: Mapping[str, Tensor]) -> ChangedMatrix:
        """The matrix as it is in the PLM and among the changed weights."""
        W0 = m.of(plm.parameters[m.name]).detach().double()
        change = m.of(weights[m.name]).detach().double() - W0
        return ChangedMatrix(m, W0, change, Spectrum.of(W0, vectors=True), Spectrum.of(change, vectors=True))

    @property
    def place(self) -> dict[str, Any]:
        """Columns that name the matrix."""
        return {"matrix": self.at.label, "role": self.at.role, "block": self.at.block}

    def at_strength(self, t: float) -> Tensor:
        """W₀ + t·ΔW."""
        return self.base + t * self.change

    def look(self, W1: Tensor, k: int, epsilon: float) -> Intruders:
        """The intruders of a changed matrix."""
        return intruder_dimensions(self.base, W1, k, epsilon, base=self.base_spectrum)


def null_changes(matrix: ChangedMatrix, *, dense: bool, seed: int) -> dict[str, Tensor]:
    """What chance makes of a ΔW: "random" keeps its singular values and turns their directions; "signs" keeps the size
    of every entry and draws its sign. The second has no meaning for a product kept as factors, whose entries are no
    independent numbers, and is there for `dense` differences alone."""
    found = {"random": randomly_turned(matrix.update, seed=seed).to_dense()}
    return found | ({"signs": random_signs(matrix.change, seed=seed)} if dense else {})


def overlap_table(
    matrices: Sequence[ChangedMatrix], shown: Sequence[float], k: int, epsilon: float, dense: Collection[str] = ()
) -> pd.DataFrame:
    """Per matrix, strength and j: the largest overlap of u_j with W₀'s vectors; other kinds than "tuned" are nulls.

    Args:
        matrices: under study.
        shown: strengths t.
        k, epsilon: of `intruder_dimensions`.
        dense: labels of the matrices whose ΔW is no product of factors: they have the null of random signs too.
    """
    tables = []
    for n, matrix in enumerate(matrices):
        nulls = null_changes(matrix, dense=matrix.at.label in dense, seed=n)
        for strength in shown:
            for kind, change in {"tuned": matrix.change, **nulls}.items():
                W1 = matrix.base + strength * change
                found = matrix.look(W1, max(*KS, k), epsilon)
                table = pd.DataFrame({"overlap": found.overlaps, "sigma": found.values})
                table.insert(0, "index", np.arange(1, len(table) + 1))
                tables.append(table.assign(strength=strength, kind=kind, **matrix.place))
    return pd.concat(tables, ignore_index=True)


def count_sweep(overlaps: pd.DataFrame) -> pd.DataFrame:
    """Mean count per matrix over k and ε, from the overlaps."""
    rows = [
        {"kind": kind, "strength": strength, "k": k, "epsilon": epsilon,
         "count": float((part[part["index"] <= k]["overlap"] < epsilon).groupby(part["matrix"]).sum().mean())}
        for (kind, strength), part in overlaps.groupby(["kind", "strength"], sort=False)
        for k in KS
        for epsilon in EPSILONS
    ]  # fmt: skip
    return pd.DataFrame(rows)


def onset_row(matrix: ChangedMatrix, k: int, epsilon: float, dense: Collection[str] = ()) -> dict[str, Any]:
    """At which strength the first intruder is forecast, and at which it is seen; NaN with random signs of factors.

    Infinite, and nothing tried, where no strength brings one: of ΔW = 0, and where W₀ = 0 has no directions.
    """
    base, norm = matrix.base_spectrum, matrix.update.spectral_norm
    forecast = forecast_intruder(base, matrix.update, k=k, epsilon=epsilon)
    known = base.values[:k][base.values[:k] > 1e-12 * base.spectral_norm]  # a rank below k has no σ_k to start from
    high = 20 * base.spectral_norm / norm if norm > 0 else inf
    if not (len(known) and isfinite(high)):
        return _no_onset(matrix, dense=matrix.at.label in dense)
    low = 0.05 * float(known[-1]) / norm
    looked: dict[str, Any] = {"low": low, "high": high, "k": k, "epsilon": epsilon, "step": 2.0, "tolerance": 0.05}
    nulls = null_changes(matrix, dense=matrix.at.label in dense, seed=1)
    seen = {name: intruder_onset(matrix.base, change, base=base, **looked) for name, change in nulls.items()}
    return matrix.place | {
        "forecast": forecast.strength,
        "forecast_low": forecast.low,
        "forecast_high": forecast.high,
        "aligned": forecast.aligned_strength,
        "gaussian": forecast.gaussian_spike / norm,
        "seen": intruder_onset(matrix.base, matrix.change, base=base, **looked),
        "seen_random": seen["random"],
        "seen_signs": seen.get("signs", nan),
        "tried_up_to": high,
        "relative_frobenius_norm": matrix.update.frobenius_norm / base.frobenius_norm,
    }


def _no_onset(matrix: ChangedMatrix, *, dense: bool) -> dict[str, Any]:
    never = ("forecast", "forecast_low", "forecast_high", "gaussian", "seen", "seen_random")
    base, change = matrix.base_spectrum.frobenius_norm, matrix.update.frobenius_norm
    return matrix.place | dict.fromkeys(never, inf) | {
        "aligned": nan, "seen_signs": inf if dense else nan, "tried_up_to": 0.0,
        "relative_frobenius_norm": change / base if base > 0 else nan,
    }  # fmt: skip


def scaled(plm: PLM, weights: Mapping[str, Tensor], strength: float) -> dict[str, Tensor]:
    """θ₀ + t·Δθ; a new head, which has no θ₀ worth the name, as trained."""
    return {
        name: value if name in plm.new_names else plm.parameters[name] + strength * (value - plm.parameters[name])
        for name, value in weights.items()
    }


def strength_table(
    plm: PLM,
    weights: Mapping[str, Tensor],
    matrices: Sequence[ChangedMatrix],
    onsets: pd.DataFrame,
    *,
    strengths: Sequence[float],
    k: int,
    epsilon: float,
    score: Score,
) -> pd.DataFrame:
    """What happens as t grows: score, intruders, matrices that have one; beside how many the forecast says.

    Args:
        plm, weights: θ₀ and the changed weights.
        matrices: under study.
        onsets: of `onset_row`, one row per matrix.
        strengths: t of the rows.
        k, epsilon: leading vectors, and the overlap below which one intrudes.
        score: of changed weights.
    """
    forecasts = {"forecast": "forecast", "low": "forecast_high", "high": "forecast_low", "aligned": "aligned"}
    rows = []
    for t in strengths:
        counts = [m.look(m.at_strength(t), k, epsilon).count for m in matrices]
        rows.append(
            {"strength": t, "score": score(scaled(plm, weights, t)), "intruders": sum(counts),
             "with_intruder": float(np.mean([n > 0 for n in counts])),
             **{name: float((onsets[column] <= t).mean()) for name, column in forecasts.items()}}
        )  # fmt: skip
    return pd.DataFrame(rows)


def worth_mitigating(strengths: pd.DataFrame) -> float:
    """The least strength with intruders; the last where none has any."""
    intruded = strengths[strengths["intruders"] > 0]
    return float((intruded if len(intruded) else strengths.tail(1))["strength"].iloc[0])


def mitigation_table(
    plm: PLM,
    weights: Mapping[str, Tensor],
    matrices: Sequence[ChangedMatrix],
    t: float,
    *,
    lambdas: Sequence[float],
    k: int,
    epsilon: float,
    score: Score,
) -> pd.DataFrame:
    """Score over λ at one strength; λ = 1 keeps the intruders, λ = 0 removes them. Arguments as of `strength_table`."""
    found = [m.look(m.at_strength(t), k, epsilon) for m in matrices]
    rows = []
    for factor in lambdas:
        changed, left = scaled(plm, weights, t), 0
        for m, intruders in zip(matrices, found, strict=True):
            W1 = mitigate(m.at_strength(t), intruders, factor)
            left += m.look(W1, k, epsilon).count
            changed[m.at.name] = m.at.added(changed[m.at.name], (W1 - m.at_strength(t)).to(plm.dtype))
        rows.append(
            {"lambda": factor, "strength": t, "score": score(changed), "intruders": left,
             "mitigated": sum(intruders.count for intruders in found)}
        )  # fmt: skip
    return pd.DataFrame(rows)


def finite_median(values: pd.Series) -> float | None:
    """The median; None where most are infinite: no intruder up to the largest strength tried."""
    median = float(values.fillna(inf).median()) if len(values) else inf
    return median if isfinite(median) else None


def onset_metrics(onsets: pd.DataFrame) -> dict[str, float | int | None]:
    """How many matrices intrude, in the record and by the forecast, and medians of when; from rows of `onset_row`."""
    finite = onsets[np.isfinite(onsets["seen"]) & np.isfinite(onsets["forecast"])]
    relative = onsets["relative_frobenius_norm"]
    return {
        "matrices_that_intrude": int(np.isfinite(onsets["seen"]).sum()),
        "matrices_forecast": int(np.isfinite(onsets["forecast"]).sum()),
        "median_onset": finite_median(onsets["seen"]),
        "median_onset_relative": finite_median(onsets["seen"] * relative),
        "median_onset_random_relative": finite_median(onsets["seen_random"] * relative),
        "median_onset_signs_relative": finite_median((onsets["seen_signs"] * relative).dropna()),
        "median_seen_over_forecast": finite_median(finite["seen"] / finite["forecast"]),
        "median_seen_over_aligned": finite_median(onsets["seen"] / onsets["aligned"]),
    }
