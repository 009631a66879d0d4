"""Intruders beside their nulls: random directions for every ΔW, random signs for dense ones."""

from __future__ import annotations

from math import inf, isnan

import pandas as pd
import torch

from lab.geometry.intruder_tables import ChangedMatrix, count_sweep, onset_metrics, onset_row, overlap_table
from lab.geometry.sign_flip_null import random_signs, sign_flip_spectra
from lab.linalg import Spectrum
from lab.models.tiny import tiny_plm


def changed(change, W0=None):
    """A Gaussian W₀ and a ΔW, in the place of some matrix of a PLM."""
    drawn = torch.randn(*change.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    W0 = drawn if W0 is None else W0
    plm = tiny_plm("bert")
    at = plm.matrices(("query",))[0]
    return ChangedMatrix(at, W0, change, Spectrum.of(W0, vectors=True), Spectrum.of(change, vectors=True))


def test_random_signs_keep_every_size_and_are_a_draw_of_the_null():
    W = torch.randn(9, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = random_signs(W, seed=3)
    assert torch.equal(drawn.abs(), W.abs())
    assert not torch.equal(drawn, W)
    spectra = sign_flip_spectra(W, n_samples=1, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(torch.linalg.svdvals(drawn), spectra[0])


def test_a_shared_direction_intrudes_before_the_same_entries_with_random_signs():
    """ΔW = 11ᵀ/n has ‖ΔW‖₂ = 1, with random signs about 2/√n; but then all directions mix with W₀'s, not one alone."""
    matrix = changed(torch.ones(64, 64, dtype=torch.float64) / 64)
    row = onset_row(matrix, k=10, epsilon=0.5, dense=[matrix.at.label])
    assert row["seen_signs"] > 1.5 * row["seen"]


def test_factors_have_no_null_of_signs():
    matrix = changed(torch.eye(32, dtype=torch.float64))
    of_factors = overlap_table([matrix], (1.0,), k=2, epsilon=0.5)
    assert set(of_factors.kind) == {"tuned", "random"}
    assert isnan(onset_row(matrix, k=2, epsilon=0.5)["seen_signs"])
    of_dense = overlap_table([matrix], (1.0,), k=2, epsilon=0.5, dense=[matrix.at.label])
    assert set(of_dense.kind) == {"tuned", "random", "signs"}
    assert set(count_sweep(of_dense).kind) == {"tuned", "random", "signs"}


def test_a_matrix_that_did_not_change_has_no_onset():
    matrix = changed(torch.zeros(12, 8, dtype=torch.float64))
    row = onset_row(matrix, k=4, epsilon=0.5, dense=[matrix.at.label])
    assert set(row) == set(onset_row(changed(torch.eye(12, 8, dtype=torch.float64)), k=4, epsilon=0.5))
    assert (row["seen"], row["seen_random"], row["seen_signs"], row["forecast"], row["tried_up_to"]) == (
        *[inf] * 4,
        0.0,
    )
    assert isnan(onset_row(matrix, k=4, epsilon=0.5)["seen_signs"])
    assert onset_metrics(pd.DataFrame([row]))["matrices_that_intrude"] == 0
    assert onset_metrics(pd.DataFrame([row]))["median_onset_relative"] is None


def test_a_base_of_zeros_has_no_directions_to_intrude_among():
    matrix = changed(torch.eye(6, dtype=torch.float64), W0=torch.zeros(6, 6, dtype=torch.float64))
    row = onset_row(matrix, k=4, epsilon=0.5)
    assert row["seen"] == row["forecast"] == inf
    assert isnan(row["relative_frobenius_norm"])


def test_a_base_of_low_rank_is_looked_at_from_its_smallest_direction_on():
    W0 = torch.diag(torch.tensor([4.0, 2.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64))
    change = torch.ones(6, 6, dtype=torch.float64)  # as far from every direction of W₀
    assert 0 < onset_row(changed(change, W0=W0), k=2, epsilon=0.5)["seen"] < inf
    assert 0 < onset_row(changed(change, W0=W0), k=4, epsilon=0.5)["seen"] < inf
