from __future__ import annotations

import pytest
import torch
from torch.func import grad

from lab.deltas import Mask


def test_scores_below_the_threshold_mask_their_weight(plm_of, noise):
    plm = plm_of("gpt2")
    delta = Mask(threshold=0.5, initial_score=0.5, head="frozen").on(plm)
    phi = delta.phi0 + noise(delta.size)
    scores = delta.layout.unflatten(phi)
    overrides = delta.overrides(phi)
    for matrix in delta.matrices:
        m = (scores[f"{matrix.label}.score"] >= 0.5).double()
        assert set(m.unique().tolist()) == {0.0, 1.0}
        assert torch.equal(matrix.of(overrides[matrix.name]), matrix.of(plm.parameters[matrix.name]) * m)


def test_the_gradient_passes_straight_through(plm_of, batch_of):
    """∂L/∂s = W ⊙ ∂L/∂(W ⊙ m)."""
    plm, batch = plm_of(), batch_of(plm_of())
    delta = Mask(targets=("up",), head="frozen").on(plm)
    name = delta.matrices[0].name

    def loss(overrides):
        return plm.logits(overrides, batch).square().sum()

    by_score = delta.layout.unflatten(grad(lambda phi: loss(delta.overrides(phi)))(delta.phi0))[f"{name}.score"]
    by_weight = grad(lambda W: loss({name: W}))(plm.parameters[name])
    torch.testing.assert_close(by_score, plm.parameters[name] * by_weight, rtol=0, atol=1e-13)


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5])
def test_a_target_sparsity_holds_per_matrix_wherever_phi_is(plm_of, noise, sparsity):
    delta = Mask(sparsity=sparsity, head="frozen").on(plm_of(), seed=1)
    assert delta.at_identity == (sparsity == 0)
    tied = torch.zeros(delta.size, dtype=torch.float64)
    for phi in (delta.phi0, noise(delta.size), tied):
        for mask in delta.masks(phi).values():
            assert int((mask == 0).sum()) == round(sparsity * mask.numel())


def test_the_lowest_scores_are_masked(plm_of, noise):
    delta = Mask(sparsity=0.25, targets=("query",), head="frozen").on(plm_of())
    phi = noise(delta.size)
    for name, scores in delta.layout.unflatten(phi).items():
        mask = delta.masks(phi)[name.removesuffix(".score")]
        assert scores[mask == 0].max() < scores[mask == 1].min()


def test_a_mask_is_stored_as_bits(plm_of):
    delta = Mask(targets=("query",), head="frozen").on(plm_of())
    assert (delta.size, delta.stored_size) == (2 * 256, 16)


def test_misuse_is_refused(plm_of):
    with pytest.raises(ValueError, match="0 <= sparsity < 1; got 1"):
        Mask(sparsity=1)
    with pytest.raises(ValueError, match=r"Mask needs targets as a tuple of roles, e\.g\. \(\"query\",\); got 'query'"):
        Mask(targets="query")
    with pytest.raises(ValueError, match=r"initial_score 0\.0 is below threshold 0\.01"):
        Mask(initial_score=0.0)
    with pytest.raises(ValueError, match="has none of the roles"):
        Mask(targets=("gate",)).on(plm_of())
