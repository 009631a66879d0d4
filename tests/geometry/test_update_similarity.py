"""Cosine and subspaces of updates: dense truth, invariance under the choice of factors, what counts as an update."""

from __future__ import annotations

from math import isnan, sqrt

import pytest
import torch

from lab.deltas import Adapter, BitFit, LoRA, Prompt
from lab.geometry import update_cosine, update_of, update_subspace_similarity
from lab.geometry.weight_changes import squared_norm
from lab.linalg import LowRank
from lab.models.tiny import tiny_plm


def factors(m, n, r, seed) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    draw = [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((m, r), (r, n))]
    return LowRank(*draw)


def test_cosine_of_factors_is_that_of_all_entries_in_one_vector():
    A, B = ({name: factors(m, 7, 2, seed + m) for name, m in (("a", 5), ("b", 9))} for seed in (0, 1))
    flat = [torch.cat([x.to_dense().reshape(-1) for x in update.values()]) for update in (A, B)]
    expected = torch.nn.functional.cosine_similarity(flat[0], flat[1], dim=0).item()
    assert update_cosine(A, B) == pytest.approx(expected, abs=1e-13)
    mixed = {"a": B["a"].to_dense(), "b": B["b"]}
    assert update_cosine(A, mixed) == pytest.approx(expected, abs=1e-13)
    assert update_cosine(A, A) == pytest.approx(1.0)


def test_it_does_not_depend_on_the_choice_of_factors_or_on_the_scale():
    A, B = {"a": factors(6, 8, 2, 0)}, {"a": factors(6, 8, 2, 1)}
    G = torch.tensor([[2.0, 1.0], [0.0, -3.0]], dtype=torch.float64)
    other = {"a": LowRank(5 * A["a"].left @ torch.linalg.inv(G), G @ A["a"].right)}
    assert update_cosine(other, B) == pytest.approx(update_cosine(A, B), abs=1e-13)
    assert update_subspace_similarity(other, B)[0] == pytest.approx(update_subspace_similarity(A, B)[0], abs=1e-12)


def test_subspaces_by_hand_and_at_random():
    e = torch.eye(4, dtype=torch.float64)
    A = {"a": LowRank(e[:, :2], e[:2])}  # inputs e1, e2
    B = {"a": LowRank(e[:, :2], e[1:3])}  # inputs e2, e3: one of two directions shared
    assert update_subspace_similarity(A, B) == pytest.approx((0.5, 0.5))
    assert update_subspace_similarity(A, B, side="left")[0] == pytest.approx(1.0)
    assert update_subspace_similarity(A, B, rank=1)[1] == pytest.approx(0.25)


def test_factors_whose_parts_cancel_have_the_norm_of_what_is_left():
    A = factors(64, 48, 8, 0)
    for exponent in (-4, -8, -12):
        rest = LowRank(torch.cat([A.left, -A.left], dim=1), torch.cat([A.right * (1 + 10.0**exponent), A.right]))
        expected = 10.0**exponent * float(A.to_dense().norm())
        assert sqrt(squared_norm(rest)) == pytest.approx(expected, rel=1e-2)
        single = LowRank(rest.left.float(), rest.right.float())
        assert squared_norm(single) == pytest.approx(float(single.to_dense().double().norm()) ** 2, rel=1, abs=1e-9)


def test_an_update_of_nothing_but_rounding_has_a_cosine_or_none():
    for seed in range(200):
        A = factors(64, 48, 8, seed)
        rest = LowRank(torch.cat([A.left, -A.left], dim=1), torch.cat([A.right, A.right]))
        assert not abs(update_cosine({"a": rest}, {"a": A})) > 1  # in [−1, 1], or NaN


def test_zero_updates_have_no_direction():
    zero = {"a": torch.zeros(3, 3, dtype=torch.float64)}
    assert isnan(update_cosine(zero, zero))
    assert isnan(update_subspace_similarity(zero, zero)[0])


def test_an_update_is_native_where_there_is_one_and_never_the_head():
    plm = tiny_plm("bert", num_labels=2, seed=0)
    for method, count in ((LoRA(rank=2), 4), (Adapter(bottleneck=3), 8), (Prompt(tokens=3), 1)):
        delta = method.on(plm, seed=0)
        phi = delta.phi0 + torch.randn(delta.size, generator=torch.Generator().manual_seed(1), dtype=delta.phi0.dtype)
        update = update_of(delta, phi)
        assert len(update) == count
        assert not set(update) & plm.new_names
        assert update_cosine(update, update_of(delta, 2 * phi - delta.phi0)) > 0


def test_different_matrices_are_refused():
    plm = tiny_plm("bert", num_labels=2, seed=0)
    delta = BitFit().on(plm)
    with pytest.raises(ValueError, match="matrix by matrix; got 0 and 0"):
        update_cosine(update_of(delta, delta.phi0), {})
    with pytest.raises(ValueError, match=r"of which \['b'\] are in one only"):
        update_subspace_similarity({"a": factors(3, 3, 1, 0)}, {"a": factors(3, 3, 1, 0), "b": factors(3, 3, 1, 0)})
