"""Spectra of weight differences, each beside its null: what rank an update has, how large it is, what stands out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
import pandas as pd
import torch

from lab.columns import columns, named_now
from lab.deltas import Delta
from lab.faces import Facts, faced
from lab.geometry.nulls import NULL_SCALARS, SpectrumNull, spectrum_null
from lab.geometry.weight_changes import WeightChange, WeightChanges, delta_changes
from lab.linalg import LowRank, Matrix, Spectrum, hard_threshold, lanczos, power_law_tail, require_finite


def _facts(found: WeightDifferenceSpectra) -> Facts:
    summary = found.summary
    return {
        "matrices": len(summary), "of roles": ", ".join(dict.fromkeys(map(str, summary["role"]))) or None,
        "singular values": len(found.values), "left out": len(found.excluded) or None, "note": found.note or None,
        "median effective rank": float(summary["effective_rank"].median()) if len(summary) else None,
        "median above the null": float(summary["n_above_null"].median()) if len(summary) else None,
    }  # fmt: skip


@faced(_facts)
@dataclass(frozen=True, eq=False)
class WeightDifferenceSpectra:
    """Tidy tables of one update.

    Attributes:
        values: one row per singular value. matrix, role, block, index (from 1), sigma, null (its expectation
            if the directions were random), null_low, null_high.
        summary: one row per matrix; the columns of `SUMMARY_COLUMNS`.
        excluded: one row per parameter left out: parameter, reason.
        note: what a reader of the numbers must know (a quantised base), or "".
    """

    values: pd.DataFrame
    summary: pd.DataFrame
    excluded: pd.DataFrame
    note: str = ""


SUMMARY_COLUMNS = columns(
    "summary",
    "matrix", "role", "block", "rows", "columns", "factor_rank", "rank", "stable_rank", "effective_rank",
    "participation_ratio", "energy_rank_90", "frobenius_norm", "spectral_norm", "base_frobenius_norm",
    "base_spectral_norm", "relative_frobenius_norm", "relative_spectral_norm", "null_law", "null_edge", "n_above_null",
    "hard_threshold", "n_above_threshold", "tail_exponent", "tail_exponent_error", "tail_start", "tail_points",
    "tail_distance", *(f"null_{name}" for name in NULL_SCALARS), "noise_floor", "storage_noise", "storage",
)  # fmt: skip
"""Column of `WeightDifferenceSpectra.summary` -> what it is, and its unit."""


def weight_difference_spectra(
    delta: Delta,
    phi: torch.Tensor | None = None,
    *,
    confidence: float = 0.95,
    n_null_samples: int = 200,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> WeightDifferenceSpectra:
    """Spectra of every weight matrix a delta changes at φ, from factors where it has them.

    Everything reported is a function of ΔW alone, hence the same for (B, A) and (BG⁻¹, GA), and zero for an untrained
    adapter.

    Args:
        delta: any delta.
        phi: (d,); to be given.
        confidence: of the null's band.
        n_null_samples: draws per product null.
        seed: of these draws.
        device: where dense matrices are decomposed; default where they are.

    Raises:
        TypeError: something else than a delta and a vector.
        ValueError: φ has the wrong length, or a difference is not finite.
    """
    if not isinstance(delta, Delta) or not isinstance(phi, torch.Tensor):
        kinds = ", ".join(type(given).__name__ for given in (delta, phi) if given is not None)
        raise TypeError(
            f"spectra takes a delta and its φ, as in spectra(delta, fit(delta, task, …).phi); got {kinds}. Of a folder "
            'of an adapter: spectra(*load_adapter(plm, "folder")).'
        )
    changes = delta_changes(delta, phi)
    return change_spectra(changes, confidence=confidence, n_null_samples=n_null_samples, seed=seed, device=device)


def change_spectra(
    changes: WeightChanges | Iterable[WeightChange],
    *,
    confidence: float = 0.95,
    n_null_samples: int = 200,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> WeightDifferenceSpectra:
    """Spectra of any weight changes: two folders (`folder_changes`), an adapter (`adapter_changes`), a delta.

    Cost: a dense SVD of values only in float64 per dense (m, n); O((m + n) r²) per product; a few tens of products with
    W₀ for its norm. Wrap `changes` in a progress bar where that is long: any iterable will do.

    Raises:
        ValueError: confidence is not in (0, 1), or a difference is not finite (the message names the matrix).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1); got {confidence}.")
    value_tables, rows = [], []
    for change in changes:
        spectrum = _spectrum(change, device)
        floor = max(spectrum.noise_floor, change.storage_noise)  # the first where the second is not known (nan)
        null = spectrum_null(
            spectrum, change.factor_rank, floor=floor, confidence=confidence, n_samples=n_null_samples, seed=seed
        )
        value_tables.append(_value_table(change, spectrum, null))
        rows.append(_summary(change, spectrum, null, floor))
    excluded, note = (changes.excluded, changes.note) if isinstance(changes, WeightChanges) else ((), "")
    summary = pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS)).astype({"block": "Int64", "factor_rank": "Int64"})
    note = "; ".join(part for part in (note, _unrelated(summary), _unchanged(summary)) if part)
    return WeightDifferenceSpectra(
        values=pd.concat(value_tables, ignore_index=True) if value_tables else _value_table(None, None, None),
        summary=summary,
        excluded=pd.DataFrame(list(excluded), columns=["parameter", "reason"]),
        note=note,
    )


def joined_spectra(runs: Mapping[str, WeightDifferenceSpectra]) -> WeightDifferenceSpectra:
    """Several updates in one set of tables, with a first column `label`."""
    if not runs:
        raise ValueError("joined_spectra needs at least one run.")

    def stacked(table: str) -> pd.DataFrame:
        parts = []
        for label, spectra in runs.items():
            part = getattr(spectra, table).copy()
            part.insert(0, "label", label)
            parts.append(part)
        return pd.concat(parts, ignore_index=True)

    notes = "; ".join(f"{label}: {spectra.note}" for label, spectra in runs.items() if spectra.note)
    return WeightDifferenceSpectra(stacked("values"), stacked("summary"), stacked("excluded"), notes)


def aggregated(summary: pd.DataFrame, by: str | Sequence[str] = "role") -> pd.DataFrame:
    """Medians over matrices of the scalars, per role or per block, or over all.

    Args:
        summary: of `WeightDifferenceSpectra`.
        by: a column of it, or several ("label" and "role" of joined ones); () for one row over all matrices.
    """
    scalars = [
        "stable_rank",
        "effective_rank",
        "participation_ratio",
        "energy_rank_90",
        "frobenius_norm",
        "spectral_norm",
        "relative_frobenius_norm",
        "relative_spectral_norm",
        "n_above_null",
        "n_above_threshold",
        "tail_exponent",
        "tail_distance",
        *(f"null_{name}" for name in NULL_SCALARS),
    ]
    names = named_now(by)
    if not names:
        overall = summary[scalars].median().to_frame().T
        overall.insert(0, "matrices", len(summary))
        return overall
    grouped = summary.groupby(names, sort=True, dropna=False)
    table = grouped[scalars].median()
    table.insert(0, "matrices", grouped.size())
    return table.reset_index()


def _spectrum(change: WeightChange, device: torch.device | str | None) -> Spectrum:
    difference = change.difference
    try:
        if isinstance(difference, LowRank):
            return Spectrum.of(difference)
        return Spectrum.of(difference if device is None else difference.to(device))
    except ValueError as error:
        raise ValueError(f"ΔW of {change.name!r}: {error}") from error


def _value_table(change: WeightChange | None, spectrum: Spectrum | None, null: SpectrumNull | None) -> pd.DataFrame:
    columns = ["matrix", "role", "block", "index", "sigma", "null", "null_low", "null_high"]
    if change is None or spectrum is None or null is None:
        return pd.DataFrame(columns=columns)
    k = len(spectrum.values)
    return pd.DataFrame(
        {
            "matrix": change.name,
            "role": change.role,
            "block": pd.array([change.block] * k, dtype="Int64"),
            "index": np.arange(1, k + 1),
            "sigma": spectrum.values.numpy(),
            "null": null.expected,
            "null_low": null.low,
            "null_high": null.high,
        },
        columns=columns,
    )


def _summary(change: WeightChange, spectrum: Spectrum, null: SpectrumNull, floor: float) -> dict[str, object]:
    values = spectrum.values
    m, n = spectrum.shape
    full = change.factor_rank is None and len(values) >= 10  # below, a median says nothing about a bulk
    threshold = max(hard_threshold(m, n, median=float(values.quantile(0.5))), floor) if full else nan
    tail = power_law_tail(values[values > floor].square().numpy())
    base_frobenius, base_spectral = _base_norms(change)
    return {
        "matrix": change.name,
        "role": change.role,
        "block": change.block,
        "rows": m,
        "columns": n,
        "factor_rank": change.factor_rank,
        "rank": int((values > floor).sum()),
        "stable_rank": spectrum.stable_rank,
        "effective_rank": spectrum.effective_rank,
        "participation_ratio": spectrum.participation_ratio,
        "energy_rank_90": spectrum.energy_rank(0.9),
        "frobenius_norm": spectrum.frobenius_norm,
        "spectral_norm": spectrum.spectral_norm,
        "base_frobenius_norm": base_frobenius,
        "base_spectral_norm": base_spectral,
        "relative_frobenius_norm": _ratio(spectrum.frobenius_norm, base_frobenius),
        "relative_spectral_norm": _ratio(spectrum.spectral_norm, base_spectral),
        "null_law": null.law,
        "null_edge": null.edge,
        "n_above_null": null.n_above,
        "hard_threshold": threshold,
        "n_above_threshold": int((values > threshold).sum()) if full else nan,
        "tail_exponent": tail.alpha if tail else nan,
        "tail_exponent_error": tail.standard_error if tail else nan,
        "tail_start": tail.x_min if tail else nan,
        "tail_points": tail.n_tail if tail else 0,
        "tail_distance": tail.distance if tail else nan,
        **{f"null_{name}": null.scalars[name] for name in NULL_SCALARS},
        "noise_floor": spectrum.noise_floor,
        "storage_noise": change.storage_noise,
        "storage": change.storage,
    }


def _unrelated(summary: pd.DataFrame) -> str:
    """Independent weights of one size differ by √2 times their norm."""
    relative = summary.loc[summary["factor_rank"].isna(), "relative_frobenius_norm"].median()
    if abs(relative - sqrt(2)) < 0.05:
        return f"‖ΔW‖_F/‖W₀‖_F is {relative:.2f} in the median, near √2: these look like two unrelated models"
    return ""


def _unchanged(summary: pd.DataFrame) -> str:
    """The base again, or an adapter that was never trained."""
    if len(summary) and (summary["frobenius_norm"] == 0).all():
        return "every ΔW is 0: the tuned weights are the base's (a LoRA that was not trained has B = 0)"
    return ""


def _ratio(value: float, base: float) -> float:
    return value / base if base > 0 else nan


def _base_norms(change: WeightChange) -> tuple[float, float]:
    """‖W₀‖_F, ‖W₀‖₂; nan without a base. The second by Lanczos on the smaller Gram operator, to 1e-8."""
    if change.base is None:
        return nan, nan
    W0 = change.base.detach().to(torch.float64)
    require_finite(W0, f"W₀ of {change.name!r}")
    frobenius = float(torch.linalg.vector_norm(W0))
    if frobenius == 0.0:
        return 0.0, 0.0
    if min(W0.shape) <= 64:
        return frobenius, float(torch.linalg.matrix_norm(W0, ord=2))
    A = Matrix(W0)
    gram = A.T @ A if W0.shape[0] >= W0.shape[1] else A @ A.T
    return frobenius, sqrt(max(float(lanczos(gram, 1, tol=1e-6, max_iterations=200).ritz_values[0]), 0.0))
