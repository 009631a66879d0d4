from __future__ import annotations

import pytest
import torch

from lab.deltas import DID, SAID, FullFineTuning
from lab.deltas.intrinsic import projection_named
from lab.linalg import Layout, Part
from lab.projections import PROJECTIONS


def test_unknown_projections_are_refused():
    with pytest.raises(ValueError, match="unknown projection 'origami'; choose one of"):
        projection_named("origami", Layout((Part("a", (10,)),)), 2, 0)
    with pytest.raises(ValueError, match="unknown projection 'origami'; choose one of"):
        DID(projection="origami")


@pytest.mark.parametrize("projection", [P.name for P in PROJECTIONS if P.drawn])
def test_did_is_full_fine_tuning_along_p(plm_of, noise, projection):
    plm = plm_of()
    full = FullFineTuning().on(plm)
    delta = DID(dimension=5, projection=projection).on(plm, seed=3)
    P, x = projection_named(projection, full.layout, 5, 3), noise(5)
    expected = full.overrides(P @ x)
    got = delta.overrides(x)
    assert set(got) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=0, atol=1e-13)


def test_did_leaves_the_head_out_when_it_is_not_inside(plm_of):
    plm = plm_of()
    frozen = DID(dimension=5, head="frozen").on(plm)
    assert set(frozen.overrides(frozen.phi0)).isdisjoint(plm.new_names)


def test_said_scales_each_layer_by_its_own_lambda(plm_of, noise):
    """θ_i − θ₀,i = λ_i·(Pφ)_i, groups in the order in which they first occur: no block, block 0, block 1."""
    plm = plm_of()
    delta = SAID(dimension=8).on(plm, seed=3)
    phi, scales = noise(5), torch.tensor([2.0, 3.0, 5.0], dtype=torch.float64)
    assert torch.equal(delta.phi0, torch.tensor([0.0] * 5 + [1.0] * 3, dtype=torch.float64))
    full = FullFineTuning().on(plm)
    step = full.layout.unflatten(projection_named("fastfood", full.layout, 5, 3) @ phi)
    overrides = delta.overrides(torch.cat([phi, scales]))
    for part in full.layout:
        scale = scales[0 if part.block is None else 1 + part.block]
        expected = plm.parameters[part.name] + scale * step[part.name]
        torch.testing.assert_close(overrides[part.name], expected, rtol=0, atol=1e-13)


def test_said_needs_more_dimensions_than_layers(plm_of):
    with pytest.raises(ValueError, match="SAID spends 3 of its dimensions on layer scales; dimension must exceed 3"):
        SAID(dimension=3).on(plm_of())


def test_a_title_names_the_projection():
    named = [DID(dimension=1000), DID(dimension=9, projection="one_hot"), SAID(dimension=9, projection="gaussian")]
    assert [method.title for method in named] == ["Fastfood d = 1,000", "one-hot d = 9", "SAID d = 9, Gaussian"]
