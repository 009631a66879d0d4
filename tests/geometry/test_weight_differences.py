"""Spectra of weight differences: invariance, zeros, known norms, and the right null beside each."""

from __future__ import annotations

from math import isnan, sqrt

import numpy as np
import pytest
import torch

from lab.deltas import BitFit, FullFineTuning, LoRA
from lab.geometry import (
    SUMMARY_COLUMNS,
    WeightChange,
    WeightChanges,
    aggregated,
    change_spectra,
    delta_changes,
    extract,
    joined_spectra,
    weight_difference_spectra,
)
from lab.linalg import LowRank
from lab.models.tiny import tiny_plm


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def change(difference, base=None, name="W", storage="float64") -> WeightChange:
    return WeightChange(name, "query", 0, difference, base, storage)


def test_untrained_lora_is_zero_everywhere():
    delta = LoRA(rank=3).on(tiny_plm("bert"), seed=0)
    spectra = weight_difference_spectra(delta, delta.phi0)
    assert len(spectra.summary) == 4
    assert list(spectra.summary.columns) == list(SUMMARY_COLUMNS)
    assert not spectra.values["sigma"].any()
    zero = ["rank", "stable_rank", "effective_rank", "participation_ratio", "energy_rank_90", "frobenius_norm"]
    zero += ["spectral_norm", "relative_frobenius_norm", "relative_spectral_norm", "n_above_null", "null_edge"]
    assert not spectra.summary[zero].to_numpy().any()
    assert spectra.excluded["reason"].tolist() == ["new head: not pre-trained", "vector"] or len(spectra.excluded) >= 1


def test_lora_equals_its_dense_difference_and_ignores_the_gauge():
    plm = tiny_plm("llama")
    delta = LoRA(rank=3, alpha=6.0, head="frozen").on(plm, seed=0)
    phi = gaussian(delta.size)
    spectra = weight_difference_spectra(delta, phi)
    for row in spectra.summary.itertuples():
        product = delta.weight_difference(phi)[row.matrix]
        values = torch.linalg.svdvals(product.to_dense())
        own = spectra.values.query("matrix == @row.matrix")["sigma"].to_numpy()
        np.testing.assert_allclose(own, values[:3], rtol=1e-10)
        W0 = plm.parameters[row.matrix]
        assert row.relative_frobenius_norm == pytest.approx(float(values.norm() / W0.norm()))
        assert row.relative_spectral_norm == pytest.approx(float(values[0] / torch.linalg.matrix_norm(W0, ord=2)))
        assert (row.factor_rank, row.rank) == (3, 3)
        assert row.block == plm.architecture.block_of(plm.model, row.matrix)
        assert isnan(row.hard_threshold)
    G = gaussian(3, 3, seed=9)
    moved = change_spectra(
        [
            change(LowRank(p.left @ torch.linalg.inv(G), G @ p.right), name=n)
            for n, p in delta.weight_difference(phi).items()
        ]
    )
    np.testing.assert_allclose(moved.values["sigma"], spectra.values["sigma"], rtol=1e-10)
    scalars = ["stable_rank", "effective_rank", "participation_ratio", "frobenius_norm", "n_above_null"]
    np.testing.assert_allclose(moved.summary[scalars], spectra.summary[scalars], rtol=1e-9)


def test_full_fine_tuning_of_gpt2_has_rows_as_outputs():
    """GPT-2 stores Wᵀ; the table must say (outputs, inputs), and the head and vectors are named as excluded."""
    plm = tiny_plm("gpt2")
    delta = FullFineTuning().on(plm)
    changes = delta_changes(delta, delta.phi0 + 0.01 * gaussian(delta.size))
    fused = changes.read("transformer.h.0.attn.c_attn.weight")
    assert tuple(fused.difference.shape) == (48, 16)
    assert tuple(fused.base.shape) == (48, 16)
    assert fused.role == "qkv"
    assert changes.read("transformer.wte.weight").role == "embedding"
    reasons = dict(changes.excluded)
    assert reasons["score.weight"] == "new head: not pre-trained"
    assert reasons["transformer.h.0.ln_1.weight"] == "vector"
    summary = change_spectra(changes).summary
    assert summary["block"].isna().sum() == 2
    assert summary["factor_rank"].isna().all()
    blocks = summary["block"].dropna().to_list()
    assert blocks == sorted(blocks)


def test_bias_only_has_no_matrix():
    delta = BitFit(head="frozen").on(tiny_plm("bert"))
    spectra = weight_difference_spectra(delta, delta.phi0)
    assert spectra.summary.empty
    assert spectra.values.empty
    assert set(spectra.excluded["reason"]) == {"vector"}


def test_gaussian_noise_lies_on_its_null():
    spectra = change_spectra([change(0.01 * gaussian(80, 120, seed=s), name=str(s)) for s in range(20)])
    values = spectra.values
    bulk = values[(values["index"] > 5) & (values["index"] < 75)]
    np.testing.assert_allclose(bulk["sigma"], bulk["null"], atol=0.01)  # ‖ΔW‖₂ is 0.2
    assert spectra.summary["n_above_null"].sum() <= 3  # 2.5 % of 20 each
    assert (spectra.summary["n_above_threshold"] == 0).all()
    assert set(spectra.summary["null_law"]) == {"marchenko-pastur"}


def test_random_product_lies_on_the_product_law_and_a_planted_direction_does_not():
    products = [change(LowRank(gaussian(80, 6, seed=s), gaussian(6, 60, seed=100 + s)), name=str(s)) for s in range(20)]
    spectra = change_spectra(products, n_null_samples=400)
    inside = (spectra.values["sigma"] >= spectra.values["null_low"]) & (
        spectra.values["sigma"] <= spectra.values["null_high"]
    )
    assert inside.mean() > 0.9
    assert set(spectra.summary["null_law"]) == {"gaussian product"}
    spiked = LowRank(torch.cat([gaussian(80, 5), 20 * gaussian(80, 1, seed=5)], dim=1), gaussian(6, 60, seed=1))
    assert change_spectra([change(spiked)]).summary["n_above_null"].item() == 1


def test_planted_spikes_pass_the_threshold_and_the_edge():
    noise = 0.1 * gaussian(100, 100)
    planted = noise + 30 * torch.outer(gaussian(100, seed=1), gaussian(100, seed=2)) / 100
    row = change_spectra([change(planted)]).summary.iloc[0]
    assert row["n_above_threshold"] == 1
    assert row["n_above_null"] == 1
    assert row["hard_threshold"] == pytest.approx(2.858 * float(torch.linalg.svdvals(planted).quantile(0.5)), rel=1e-3)


def planted(noise: torch.Tensor, *edges: float) -> torch.Tensor:
    """Orthogonal directions so many times the edge of the noise."""
    n = len(noise)
    U, V = (torch.linalg.qr(gaussian(n, len(edges), seed=s))[0] for s in (1, 2))
    return noise + 2 * sqrt(n) * (U * torch.tensor(edges, dtype=torch.float64)) @ V.T


@pytest.mark.parametrize("edges", [(3.0, 2.0, 1.5, 1.3), (30.0, 2.0, 1.5, 1.3), (1000.0, 10.0, 3.0, 2.0)])
def test_a_strong_direction_does_not_hide_weaker_ones(edges):
    difference = planted(gaussian(384, 384), *edges)
    spectra = change_spectra([change(difference)])
    row = spectra.summary.iloc[0]
    assert row["n_above_null"] == row["n_above_threshold"] == extract(difference, rule="null").rank == 4
    assert (spectra.values["sigma"] > row["null_edge"]).sum() == 4


def test_strong_factors_do_not_hide_weaker_ones():
    A = torch.linalg.qr(gaussian(384, 8, seed=1))[0].T
    strong = torch.tensor([100.0, 30.0, 10.0, 1, 1, 1, 1, 1], dtype=torch.float64)
    assert change_spectra([change(LowRank(gaussian(384, 8) * strong, A))]).summary["n_above_null"].item() == 3


def test_rounding_noise_is_neither_rank_nor_tail():
    """An exact product stored dense, and float32 weights before and after a merge of rank 2."""
    exact = change(gaussian(100, 8) @ gaussian(8, 120, seed=1))
    W0 = 0.05 * gaussian(96, 96).float()
    tuned = W0 + (0.002 * gaussian(96, 2, seed=1) @ gaussian(2, 96, seed=2)).float()
    merged = change(tuned.double() - W0.double(), W0, storage="float32")
    for case, rank in ((exact, 8), (merged, 2)):
        row = change_spectra([case]).summary.iloc[0]
        assert row["rank"] == row["n_above_threshold"] == row["n_above_null"] == rank
        assert isnan(row["tail_exponent"])
        assert row["tail_points"] == 0
    assert row["hard_threshold"] >= row["storage_noise"] > 0


@pytest.mark.parametrize("shape", [(50, 1), (1, 50), (50, 2), (3, 400)])
def test_narrow_noise_does_not_stand_out(shape):
    """The one value of a column is its norm: certain, not significant; the limits for large matrices fail here."""
    summary = change_spectra([change(gaussian(*shape, seed=s), name=str(s)) for s in range(60)]).summary
    assert (summary["n_above_null"] > 0).sum() <= 5  # 2.5 % of 60 are 1.5
    assert summary["hard_threshold"].isna().all()
    assert summary["n_above_threshold"].isna().all()


def test_a_planted_direction_of_a_narrow_matrix_stands_out():
    first = torch.tensor([30.0, 1.0, 1.0], dtype=torch.float64)
    summary = change_spectra([change(gaussian(400, 3, seed=s) * first, name=str(s)) for s in range(20)]).summary
    assert summary["n_above_null"].min() == 1
    assert (summary["n_above_null"] == 1).sum() >= 17


def test_scalars_of_the_null_are_those_of_noise():
    names = ["stable_rank", "effective_rank", "participation_ratio", "energy_rank_90"]
    dense = [change(gaussian(90, 130, seed=s), name=str(s)) for s in range(10)]
    products = [change(LowRank(gaussian(60, 6, seed=s), gaussian(6, 60, seed=50 + s)), name=str(s)) for s in range(40)]
    for changes, tolerance in ((dense, 0.06), (products, 0.1)):
        summary = change_spectra(changes).summary
        for name in names:
            assert summary[name].median() == pytest.approx(summary[f"null_{name}"].iloc[0], rel=tolerance)
    tails = change_spectra(dense).summary
    assert tails["null_tail_exponent"].iloc[0] == pytest.approx(tails["tail_exponent"].median(), rel=0.2)
    assert 0 < tails["null_tail_distance"].iloc[0] < 0.3
    assert summary["null_tail_exponent"].isna().all()


def test_power_law_tail_is_reported_where_there_are_enough_values():
    heavy = torch.diag(torch.arange(1, 201, dtype=torch.float64) ** -0.5)
    row = change_spectra([change(heavy)]).summary.iloc[0]
    assert row["tail_exponent"] == pytest.approx(2.0, abs=0.25)  # σ² = i^−1 has density x^−2
    assert row["tail_points"] >= 50
    assert isnan(change_spectra([change(heavy[:40, :40])]).summary.iloc[0]["tail_exponent"])


def test_bfloat16_rounding_is_announced():
    """A difference that is rounding alone has its largest value near storage_noise."""
    W0 = gaussian(150, 100)
    rounded = W0.bfloat16().double()
    row = change_spectra([change(rounded - W0, W0, storage="bfloat16")]).summary.iloc[0]
    assert 0.4 < row["spectral_norm"] / row["storage_noise"] < 1.1
    assert change_spectra([change(LowRank(W0[:, :1], W0[:1, :]), W0)]).summary["storage_noise"].item() == 0


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (1, 7), (7, 1)])
def test_degenerate_shapes(shape):
    spectra = change_spectra([change(torch.ones(shape, dtype=torch.float64), torch.ones(shape))])
    row = spectra.summary.iloc[0]
    assert row["frobenius_norm"] == pytest.approx(sqrt(shape[0] * shape[1]))
    assert row["rank"] == min(1, *shape)
    assert len(spectra.values) == min(shape)


def test_spectral_norm_of_a_large_base():
    W0 = gaussian(90, 130)
    row = change_spectra([change(W0, W0)]).summary.iloc[0]
    assert row["relative_spectral_norm"] == pytest.approx(1.0, abs=1e-9)
    assert isnan(change_spectra([change(W0)]).summary["relative_spectral_norm"].item())
    assert isnan(change_spectra([change(W0, 0 * W0)]).summary["relative_spectral_norm"].item())


def test_runs_join_and_aggregate():
    delta = LoRA(rank=2, head="frozen").on(tiny_plm("bert"), seed=0)
    runs = {f"seed {s}": weight_difference_spectra(delta, gaussian(delta.size, seed=s)) for s in range(2)}
    both = joined_spectra(runs)
    assert both.summary["label"].tolist() == ["seed 0"] * 4 + ["seed 1"] * 4
    table = aggregated(both.summary)
    assert table["role"].tolist() == ["query", "value"]
    assert table["matrices"].tolist() == [4, 4]
    (overall,) = aggregated(both.summary, ()).to_dict("records")
    assert overall["matrices"] == 8
    assert overall["spectral_norm"] == pytest.approx(both.summary["spectral_norm"].median())
    assert table["stable_rank"][0] == pytest.approx(both.summary.query("role == 'query'")["stable_rank"].median())


def test_misuse_is_named():
    plm = tiny_plm("bert")
    delta = LoRA(rank=2).on(plm, seed=0)
    with pytest.raises(ValueError, match=r"this delta's φ has shape"):
        delta_changes(delta, delta.phi0[:-1])
    phi = delta.phi0.clone()
    phi[7] = float("inf")
    with pytest.raises(ValueError, match=r"φ has 1 non-finite entries .* at index \(7,\)"):
        weight_difference_spectra(delta, phi)
    bad = gaussian(4, 4)
    bad[2, 1] = float("nan")
    with pytest.raises(ValueError, match=r"ΔW of 'W': the matrix has 1 non-finite .* \(2, 1\)"):
        change_spectra([change(bad)])
    with pytest.raises(ValueError, match=r"W₀ of 'W' has 1 non-finite"):
        change_spectra([change(gaussian(4, 4), bad)])
    with pytest.raises(ValueError, match=r"confidence must lie in \(0, 1\)"):
        change_spectra([], confidence=0.0)
    with pytest.raises(ValueError, match="at least one run"):
        joined_spectra({})


def test_any_iterable_of_changes_will_do():
    changes = WeightChanges(
        ("a",), lambda name: change(gaussian(4, 3), name=name), (("b", "vector"),), "quantised base"
    )
    assert len(changes) == 1
    spectra = change_spectra(changes)
    assert spectra.note == "quantised base"
    assert spectra.excluded.to_dict("records") == [{"parameter": "b", "reason": "vector"}]
    assert joined_spectra({"x": spectra}).note == "x: quantised base"
    assert change_spectra(iter(changes)).summary["matrix"].tolist() == ["a"]
