"""Gram matrices, principal directions and reconstructions of a collection: dense truths, known answers, gauge."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lab.deltas import LoRA
from lab.geometry.collections import (
    Collection,
    Member,
    from_coordinates,
    from_phis,
    from_updates,
    gram,
    overlaps,
    task_subspace,
    update_on,
)
from lab.linalg import LowRank
from lab.models.tiny import tiny_plm

SHAPES = {"a": (7, 5), "b": (4, 9)}


def factors(m, n, r, seed) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    return LowRank(*(torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((m, r), (r, n))))


def drawn(n_members: int, *, rank=2, dense=False, seed=0) -> Collection:
    """Random members; ranks differ between them."""
    updates = {}
    for i in range(n_members):
        own = {name: factors(m, n, rank + i % 2, seed + 100 * i + k) for k, (name, (m, n)) in enumerate(SHAPES.items())}
        updates[f"task {i}"] = {name: x.to_dense() for name, x in own.items()} if dense else own
    return from_updates(updates)


def points(collection: Collection) -> torch.Tensor:
    """The dense truth: (N, D)."""
    rows = []
    for i in range(len(collection)):
        changes = [collection.change(i, name) for name in collection.names]
        rows.append(torch.cat([(x.to_dense() if isinstance(x, LowRank) else x).reshape(-1) for x in changes]))
    return torch.stack(rows)


def regauged(collection: Collection) -> Collection:
    """(B, A) ↦ (BM⁻¹, MA), M of its own for each member and matrix."""
    updates = {}
    for i, member in enumerate(collection.members):
        updates[member] = {}
        for k, name in enumerate(collection.names):
            change = collection.change(i, name)
            generator = torch.Generator().manual_seed(1000 + 10 * i + k)
            r = change.left.shape[1]
            M = torch.randn(r, r, generator=generator, dtype=torch.float64) + 2 * torch.eye(r, dtype=torch.float64)
            updates[member][name] = LowRank(change.left @ torch.linalg.inv(M), M @ change.right)
    return from_updates(updates)


@pytest.mark.parametrize("dense", [False, True])
def test_gram_is_that_of_all_entries_in_one_vector(dense):
    collection = drawn(6, dense=dense)
    X = points(collection)
    np.testing.assert_allclose(gram(collection).total, X @ X.T, atol=1e-12)
    np.testing.assert_allclose(gram(collection).norms, X.norm(dim=1), atol=1e-12)


def test_vectors_are_the_operator_of_the_members_and_their_adjoint():
    collection = drawn(5)
    X, operator = points(collection), collection.vectors()
    torch.testing.assert_close(operator.to_dense(), X.T, rtol=0, atol=1e-13)
    y = torch.randn(X.shape[1], 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    torch.testing.assert_close(operator.T @ y, X @ y, rtol=0, atol=1e-12)
    mixed = from_updates(
        {
            "factors": {"a": factors(7, 5, 2, 0), "b": factors(4, 9, 2, 1)},
            "dense": {"a": factors(7, 5, 2, 2).to_dense(), "b": factors(4, 9, 2, 3).to_dense()},
        }
    )
    np.testing.assert_allclose(overlaps(mixed, collection), points(mixed) @ X.T, atol=1e-12)
    np.testing.assert_allclose(overlaps(collection, mixed), X @ points(mixed).T, atol=1e-12)


@pytest.mark.parametrize("centre", [True, False])
def test_it_is_the_principal_component_analysis_of_the_dense_points(centre):
    collection = drawn(6)
    X = points(collection)
    origin = X.mean(dim=0) if centre else torch.zeros(X.shape[1], dtype=torch.float64)
    _, S, Vh = torch.linalg.svd(X - origin, full_matrices=False)
    subspace = task_subspace(collection, 3, centre=centre)
    assert len(subspace.variances) == (5 if centre else 6)
    np.testing.assert_allclose(subspace.variances, S.square()[: len(subspace.variances)], rtol=1e-11)
    basis = subspace.basis.to_dense()
    torch.testing.assert_close(basis.T @ basis, torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-11)
    torch.testing.assert_close(basis @ basis.T, Vh[:3].T @ Vh[:3], rtol=0, atol=1e-10)
    torch.testing.assert_close(subspace.origin, origin, rtol=0, atol=1e-13)
    # the error of the reconstruction is the root of the eigenvalues that were cut off
    left = points(subspace.reconstruction()) - X
    assert float(left.norm()) == pytest.approx(subspace.error, rel=1e-10)
    assert subspace.error == pytest.approx(float(S[3:].norm()), rel=1e-10)
    np.testing.assert_allclose(subspace.coordinates(), (X - origin) @ basis, atol=1e-11)


def test_all_directions_give_the_members_back_and_any_number_gives_their_mean():
    collection = drawn(6)
    X = points(collection)
    torch.testing.assert_close(points(task_subspace(collection).reconstruction()), X, rtol=0, atol=1e-11)
    for k in range(6):
        rebuilt = points(task_subspace(collection, k).reconstruction())
        torch.testing.assert_close(rebuilt.mean(dim=0), X.mean(dim=0), rtol=0, atol=1e-12)
    assert task_subspace(collection, 0).basis.to_dense().shape == (X.shape[1], 0)
    assert (collection.vectors().T @ X.T[:, :0]).shape == (6, 0)


def test_no_number_depends_on_the_choice_of_factors():
    collection, other = drawn(6), regauged(drawn(6))
    np.testing.assert_allclose(gram(other).values, gram(collection).values, rtol=0, atol=1e-10)
    one, two = task_subspace(collection, 3), task_subspace(other, 3)
    np.testing.assert_allclose(two.variances, one.variances, rtol=0, atol=1e-10)
    torch.testing.assert_close(points(two.reconstruction()), points(one.reconstruction()), rtol=0, atol=1e-10)


def test_coordinates_of_a_new_member_are_those_of_its_projection():
    collection, new = drawn(6), drawn(2, seed=5000)
    subspace = task_subspace(collection, 4)
    basis = subspace.basis.to_dense()
    expected = (points(new) - subspace.origin) @ basis
    np.testing.assert_allclose(subspace.coordinates(new), expected, atol=1e-11)
    projected = subspace.points(subspace.coordinates(new), new.members)
    torch.testing.assert_close(points(projected), subspace.origin + expected @ basis.T, rtol=0, atol=1e-11)
    with pytest.raises(ValueError, match=r"4-dimensional subspace need coordinates of shape \(2, 4\)"):
        subspace.points(np.zeros((2, 3)), new.members)


def test_isotropic_members_share_k_of_n_minus_one():
    generator = np.random.default_rng(0)
    updates = {f"{i}": {"w": torch.from_numpy(generator.standard_normal((200, 200)))} for i in range(9)}
    explained = task_subspace(from_updates(updates)).explained
    limit = np.arange(1, 9) / 8
    # the largest are taken first: above k/(N − 1), but below Marchenko and Pastur's edge (1 + √(8/D))² of it
    assert (explained > limit - 1e-12).all()
    assert (explained < limit * (1 + np.sqrt(8 / 40_000)) ** 2).all()
    assert explained[-1] == pytest.approx(1.0)


def test_float32_products_stay_right_to_six_digits():
    from dataclasses import replace

    collection = drawn(6)
    single = replace(collection, dtype=torch.float32)
    np.testing.assert_allclose(gram(single).total, gram(collection).total, atol=1e-5)
    assert len(task_subspace(single).variances) == 5


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_delta_trains_in_it(family):
    plm = tiny_plm(family, num_labels=2, seed=0)
    delta = LoRA(rank=2, targets=("query", "value"), head="frozen").on(plm, seed=0)
    generator = torch.Generator().manual_seed(1)
    phis = [torch.randn(delta.size, generator=generator, dtype=plm.dtype) for _ in range(4)]
    collection = from_phis({Member(f"t{i}", seed=i): (delta, phi) for i, phi in enumerate(phis)})
    subspace = task_subspace(collection.in_memory(), 3)
    restricted = update_on(plm, collection).restrict(subspace.basis, origin=subspace.origin)
    assert restricted.size == 3
    batch = {"input_ids": torch.arange(12).reshape(2, 6), "attention_mask": torch.ones(2, 6, dtype=torch.int64)}
    for phi, x in zip(phis, torch.from_numpy(subspace.coordinates()).to(plm.dtype), strict=True):
        torch.testing.assert_close(restricted.logits(x, batch), delta.logits(phi, batch), rtol=0, atol=1e-5)
    x = restricted.phi0.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(restricted.logits(x, batch), torch.tensor([0, 1]))
    (gradient,) = torch.autograd.grad(loss, x)
    assert gradient.shape == (3,)
    with torch.no_grad():
        after = torch.nn.functional.cross_entropy(
            restricted.logits(x - 1e-3 * gradient / gradient.norm(), batch), torch.tensor([0, 1])
        )
    assert float(after) < float(loss.detach())


def test_prompts_are_compared_in_their_own_coordinates():
    from lab.deltas import Prompt

    plm = tiny_plm("bert", num_labels=2, seed=0)
    delta = Prompt(tokens=3).on(plm, seed=0)
    generator = torch.Generator().manual_seed(1)
    phis = {f"t{i}": delta.phi0 + torch.randn(delta.size, generator=generator, dtype=plm.dtype) for i in range(4)}
    collection = from_coordinates(delta, phis)
    body = sum(part.size for part in delta.layout if part.name not in plm.new_names)
    assert collection.layout.size == body < delta.size
    moved = torch.stack([(phi - delta.phi0)[:body] for phi in phis.values()]).double()
    np.testing.assert_allclose(gram(collection).total, moved @ moved.T, rtol=1e-12)
    with pytest.raises(ValueError, match="'t0' changes no matrix of the PLM"):
        from_phis({"t0": (delta, phis["t0"])})
    with pytest.raises(ValueError, match=r"member 't0': φ has shape \(2,\)"):
        from_phis({"t0": (delta, torch.zeros(2))})
    with pytest.raises(ValueError, match=r"member 'x': φ has shape \(2,\)"):
        from_coordinates(delta, {"x": torch.zeros(2)})


def test_who_does_not_fit_is_named():
    good = {"a": factors(7, 5, 2, 0)}
    with pytest.raises(ValueError, match=r"member 'two': shape|member 'two', matrix 'a': shape \(6, 5\)"):
        from_updates({"one": good, "two": {"a": factors(6, 5, 2, 0)}})
    with pytest.raises(ValueError, match=r"member 'two' changes 1 matrices.*in one of them only: \['a', 'b'\]"):
        from_updates({"one": good, "two": {"b": factors(6, 5, 2, 0)}})
    bad = LowRank(torch.full((7, 1), float("nan"), dtype=torch.float64), torch.ones(1, 5, dtype=torch.float64))
    with pytest.raises(ValueError, match="member 'two', matrix 'a' is not finite"):
        from_updates({"one": good, "two": {"a": bad}})
    with pytest.raises(ValueError, match="needs members and matrices; got 0 members"):
        from_updates({})
    with pytest.raises(ValueError, match=r"members need names of their own; more than once: \['x'\]"):
        Collection((Member("x"), Member("x")), {"a": (7, 5)}, lambda i, name: good[name])
    with pytest.raises(ValueError, match=r"k must be in 0 … 1, what 2 members span around their mean; got 2"):
        task_subspace(from_updates({"one": good, "two": {"a": factors(7, 5, 2, 1)}}), 2)
    with pytest.raises(ValueError, match=r"has shape .* in the collection and .* in the other"):
        overlaps(from_updates({"one": good}), from_updates({"one": {"a": factors(7, 6, 2, 0)}}))
    plm = tiny_plm("bert", num_labels=2, seed=0)
    with pytest.raises(ValueError, match="has no block matrix 'a'; it is not the PLM of this collection"):
        update_on(plm, from_updates({"one": good}))


def test_equal_members_have_no_direction():
    same = from_updates({name: {"a": factors(7, 5, 2, 0)} for name in ("one", "two", "three")})
    assert task_subspace(same).k == 0
    assert task_subspace(same, centre=False).k == 1
