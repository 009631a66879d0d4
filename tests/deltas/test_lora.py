from __future__ import annotations

import json
from math import sqrt

import pytest
import torch

from lab.deltas import Adapter, LoRA, method_from_json
from lab.deltas.lora import LowRankUpdate


def test_scale_is_alpha_over_rank_or_its_root():
    assert LoRA(rank=8).scale_of(8) == 1.0
    assert LoRA(rank=8, alpha=16).scale_of(8) == 2.0
    assert LoRA(rank=8, alpha=16, rslora=True).scale_of(8) == 16 / sqrt(8)


@pytest.mark.parametrize("rank", [0, -1])
def test_rank_must_be_positive(rank):
    with pytest.raises(ValueError, match=f"LoRA needs rank >= 1; got {rank}"):
        LoRA(rank=rank)


@pytest.mark.parametrize("alpha", [0, 0.0, float("nan"), float("inf")])
def test_alpha_must_be_finite_and_not_zero(alpha):
    with pytest.raises(ValueError, match=f"LoRA needs a finite alpha other than 0.*got {alpha}"):
        LoRA(alpha=alpha)


def test_every_matrix_may_have_its_own_rank(plm_of):
    """Tiny BERT has query and value in two blocks of width 16: 16 + 16 numbers per rank."""
    method = LoRA(rank=(1, 0, 2, 3), alpha=6, head="frozen")
    delta = method.on(plm_of(), seed=0)
    assert delta.size == (1 + 2 + 3) * 32
    assert [A.shape[0] for _, A in delta.factors(delta.phi0).values()] == [1, 2, 3]
    assert list(delta.scales.values()) == [6, 3, 2]
    assert method_from_json(json.loads(json.dumps(method.to_json()))) == method


def test_equal_ranks_are_one_rank(plm_of, noise):
    one, many = (LoRA(rank=rank, head="frozen").on(plm_of(), seed=1) for rank in (2, (2, 2, 2, 2)))
    assert torch.equal(one.phi0, many.phi0)
    phi = noise(one.size)
    assert all(torch.equal(one.overrides(phi)[name], W) for name, W in many.overrides(phi).items())


@pytest.mark.parametrize("ranks", [(0, 0), (2, -1), ()])
def test_ranks_must_not_be_negative_or_all_zero(ranks):
    with pytest.raises(ValueError, match="LoRA needs ranks >= 0, at least one of them above"):
        LoRA(rank=ranks)


def test_as_many_ranks_as_matrices(plm_of):
    with pytest.raises(ValueError, match="LoRA needs one rank per matrix; got 3 ranks for the 4 matrices"):
        LoRA(rank=(1, 2, 3)).on(plm_of())


@pytest.mark.parametrize(("targets", "message"), [((), "at least one role"), ("query", "targets as a tuple of roles")])
def test_targets_must_be_a_tuple_of_roles(targets, message):
    with pytest.raises(ValueError, match=f"LoRA needs {message}"):
        LoRA(targets=targets)


def test_rank_above_the_matrix_is_refused(plm_of):
    with pytest.raises(ValueError, match=r"rank 17 exceeds min\(16, 16\)"):
        LoRA(rank=17).on(plm_of())


def test_an_unknown_role_is_refused(plm_of):
    with pytest.raises(ValueError, match=r"no weight matrix of role \['gate'\]"):
        LoRA(targets=("gate",)).on(plm_of())


def test_the_update_is_s_b_a(plm_of, noise):
    plm = plm_of()
    delta = LoRA(rank=2, alpha=6, head="frozen").on(plm, seed=3)
    phi = noise(delta.size)
    for label, (B, A) in delta.factors(phi).items():
        assert (B.shape, A.shape) == ((16, 2), (2, 16))
        expected = plm.parameters[label] + 3 * B @ A
        torch.testing.assert_close(delta.overrides(phi)[label], expected, rtol=0, atol=1e-14)
        torch.testing.assert_close(delta.weight_difference(phi)[label].to_dense(), 3 * B @ A, rtol=0, atol=1e-14)


def test_a_starts_kaiming_uniform_and_b_at_zero(plm_of):
    delta = LoRA(rank=8, head="frozen").on(plm_of(), seed=0)
    for B, A in delta.factors(delta.phi0).values():
        assert not B.any()
        assert A.abs().max() <= 1 / 4  # 1/√16
        assert A.std() == pytest.approx(1 / 4 / sqrt(3), rel=0.15)


def test_gpt2s_fused_weight_takes_query_value_or_all(plm_of, noise):
    """A rank-2r update of c_attn with block-sparse B is the pair of rank-r updates of query and value."""
    plm = plm_of("gpt2")
    apart = LoRA(rank=2, head="frozen").on(plm)
    fused = LoRA(rank=4, targets=("qkv",), head="frozen").on(plm)
    phi = noise(apart.size)
    parts = {}
    for block in range(2):
        name = f"transformer.h.{block}.attn.c_attn.weight"
        (Bq, Aq), (Bv, Av) = (apart.factors(phi)[f"{name}[{role}]"] for role in ("query", "value"))
        zero = torch.zeros(16, 2, dtype=torch.float64)
        B = torch.cat([torch.cat([Bq, zero], 1), torch.cat([zero, zero], 1), torch.cat([zero, Bv], 1)])
        parts |= {f"{name}.lora_A": torch.cat([Aq, Av]), f"{name}.lora_B": B}
    psi = fused.layout.flatten(parts)
    for name, value in apart.overrides(phi).items():
        torch.testing.assert_close(fused.overrides(psi)[name], value, rtol=0, atol=1e-14)


def test_ranks_and_scales_may_differ_between_matrices(plm_of, noise):
    plm = plm_of()
    matrices = plm.matrices(("query",))
    ranks, scales = {m.label: 1 + m.block for m in matrices}, {m.label: 2.0 + m.block for m in matrices}
    delta = LowRankUpdate(plm, matrices, ranks, scales, seed=0)
    assert delta.size == (1 + 2) * 32
    phi = noise(delta.size)
    B, A = delta.factors(phi)[matrices[1].label]
    assert A.shape == (2, 16)
    torch.testing.assert_close(delta.weight_difference(phi)[matrices[1].label].to_dense(), 3 * B @ A)


@pytest.mark.parametrize("order", [1, -1])
def test_beside_an_adapter_on_the_same_layer(plm_of, batch_of, noise, order):
    """The adapter reads what the layer gives with its update, whichever of the two was added first."""
    plm, batch = plm_of("bert"), batch_of(plm_of("bert"))
    pair = [LoRA(rank=2, targets=("output",), head="frozen"), Adapter(bottleneck=2, head="frozen")][::order]
    both = pair[0].on(plm) + pair[1].on(plm)
    phi = both.phi0 + 0.3 * noise(both.size)
    torch.testing.assert_close(both.unmerged.logits(phi, batch), both.logits(phi, batch), rtol=0, atol=1e-12)
