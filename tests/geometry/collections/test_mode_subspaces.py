"""Truncated HOSVD of a collection: dense truth, the error bound, exactness, gauge, large unfoldings."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from lab.geometry.collections import (
    from_updates,
    gram,
    interference,
    leave_out_modes,
    mode_shares,
    mode_subspaces,
    subspace_overlaps,
    survey,
    task_map,
    task_maps,
)
from lab.linalg import LowRank, principal_angles

N, SHAPES = 5, {"a": (12, 9), "b": (8, 14)}


def changes(*, dense=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    updates = {}
    for i in range(N):
        own = {}
        for name, (m, n) in SHAPES.items():
            left, right = (
                torch.randn(*shape, generator=generator, dtype=torch.float64)
                for shape in ((m, 2 + i % 2), (2 + i % 2, n))
            )
            own[name] = left @ right if dense else LowRank(left, right)
        updates[f"t{i}"] = own
    return updates


def dense(change):
    return change.to_dense() if isinstance(change, LowRank) else change


@pytest.mark.parametrize("kept_dense", [False, True])
@pytest.mark.parametrize("k", [1, 3, 6])
def test_bases_are_those_of_the_unfoldings_and_the_error_is_below_its_bound(k, kept_dense):
    updates = changes(dense=kept_dense)
    modes = mode_subspaces(from_updates(updates), k)
    errors = np.zeros(N)
    for name in SHAPES:
        members = [dense(own[name]) for own in updates.values()]
        for side, found, unfolding in (
            ("left", modes.left[name], torch.cat(members, dim=1)),
            ("right", modes.right[name], torch.cat([dw.T for dw in members], dim=1)),
        ):
            U, S, _ = torch.linalg.svd(unfolding, full_matrices=False)
            assert float(principal_angles(found.basis, U[:, :k]).max()) < 1e-7, side
            assert found.discarded == pytest.approx(float(S[k:].square().sum()), rel=1e-9, abs=1e-9)
        P, Q = (x @ x.T for x in (modes.left[name].basis, modes.right[name].basis))
        errors += [float((dw - P @ dw @ Q).square().sum()) for dw in members]
    np.testing.assert_allclose(modes.errors, np.sqrt(errors), rtol=1e-7, atol=1e-6)
    assert np.sqrt(errors.sum()) <= modes.error_bound + 1e-6
    rebuilt = modes.reconstruction()
    for i, own in enumerate(updates.values()):
        left = sum(float((dense(rebuilt.change(i, n)) - dense(own[n])).square().sum()) for n in SHAPES)
        assert np.sqrt(left) == pytest.approx(modes.errors[i], rel=1e-6, abs=1e-6)


def test_wide_enough_subspaces_hold_everything_and_no_direction_that_nobody_has():
    modes = mode_subspaces(from_updates(changes()), 50)
    assert modes.error_bound < 1e-6
    assert modes.left["b"].basis.shape == (8, 8)
    few = {
        f"t{i}": {"a": LowRank(own["a"].left, changes()["t0"]["a"].right)}
        for i, own in enumerate(changes().values())
        if own["a"].left.shape[1] == 2
    }
    assert mode_subspaces(from_updates(few), 50).right["a"].basis.shape == (9, 2)


def test_the_basis_operator_has_orthonormal_columns_and_reaches_every_reconstruction():
    modes = mode_subspaces(from_updates(changes()), 2)
    operator = modes.basis
    dense_basis = operator.to_dense()
    assert dense_basis.shape == (12 * 9 + 8 * 14, 2 * 2 * 2)
    torch.testing.assert_close(dense_basis.T @ dense_basis, torch.eye(8, dtype=torch.float64), rtol=0, atol=1e-12)
    y = torch.randn(operator.shape[0], 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(operator.T @ y, dense_basis.T @ y, rtol=0, atol=1e-12)
    cores = torch.cat([modes.cores[name][1].reshape(-1) for name in SHAPES])
    expected = torch.cat([dense(modes.reconstruction().change(1, name)).reshape(-1) for name in SHAPES])
    torch.testing.assert_close(operator @ cores, expected, rtol=0, atol=1e-12)


def test_nothing_depends_on_the_choice_of_factors():
    updates, other = changes(), changes()
    generator = torch.Generator().manual_seed(9)
    for own in other.values():
        for name, dw in own.items():
            r = dw.left.shape[1]
            M = torch.randn(r, r, generator=generator, dtype=torch.float64) + 2 * torch.eye(r, dtype=torch.float64)
            own[name] = LowRank(dw.left @ torch.linalg.inv(M), M @ dw.right)
    one, two = (mode_subspaces(from_updates(x), 3) for x in (updates, other))
    for name in SHAPES:
        for a, b in ((one.left, two.left), (one.right, two.right)):
            torch.testing.assert_close(
                a[name].basis @ a[name].basis.T, b[name].basis @ b[name].basis.T, rtol=0, atol=1e-10
            )
    np.testing.assert_allclose(one.errors, two.errors, rtol=1e-9)


def test_large_unfoldings_take_the_randomised_path_to_the_same_subspace(monkeypatch):
    collection = from_updates(changes())
    exact, inner = mode_subspaces(collection, 3), gram(collection)
    monkeypatch.setattr(sys.modules[mode_subspaces.__module__], "EXACT", 0)
    same_gram, quick = survey(collection, 3)
    np.testing.assert_allclose(same_gram.total, inner.total, atol=1e-12)
    for name in SHAPES:
        assert float(principal_angles(quick.left[name].basis, exact.left[name].basis).max()) < 1e-6
    # the bound is of the basis in use, whichever it is
    assert quick.error_bound == pytest.approx(exact.error_bound, rel=1e-6)


def test_shares_of_given_bases_and_of_the_others():
    updates = changes()
    collection = from_updates(updates)
    bases = {name: torch.linalg.qr(torch.eye(n, 4, dtype=torch.float64)).Q for name, (_, n) in SHAPES.items()}
    found = mode_shares(collection, bases, "right")
    for i, own in enumerate(updates.values()):
        inside = sum(float((dense(own[name]) @ bases[name]).square().sum()) for name in SHAPES)
        total = sum(float(dense(own[name]).square().sum()) for name in SHAPES)
        assert found[i, -1] == pytest.approx(inside / total, rel=1e-12)
    left_out = leave_out_modes(collection, 3)
    others = mode_subspaces(collection.subset([1, 2, 3, 4]), 3)
    expected = mode_shares(collection.subset([0]), {name: others.right[name].basis for name in SHAPES}, "right")
    np.testing.assert_allclose(left_out[0], expected[0], atol=1e-9)
    with pytest.raises(ValueError, match=r"matrix 'b' needs a right basis with 14 rows.*got nothing"):
        mode_shares(collection, {"a": bases["a"]}, "right")
    with pytest.raises(ValueError, match="leaving one out needs two members and k >= 1; got 1 members"):
        leave_out_modes(collection.subset([0]), 3)
    with pytest.raises(ValueError, match="mode subspaces need k >= 1; got 0"):
        mode_subspaces(collection, 0)


def test_random_column_spaces_overlap_by_k_of_n():
    """E‖QᵀV‖²/k = k/n for a fixed k-dimensional Q and a random k-dimensional V."""
    from lab.geometry.collections import same_spectra

    generator = torch.Generator().manual_seed(0)
    shared = torch.linalg.qr(torch.randn(40, 4, generator=generator, dtype=torch.float64)).Q
    updates = {
        f"t{i}": {"w": LowRank(torch.randn(30, 4, generator=generator, dtype=torch.float64), shared.T)}
        for i in range(8)
    }
    collection = from_updates(updates)
    assert subspace_overlaps(collection, "right") == pytest.approx(np.ones((8, 8)))
    off = []
    for seed in range(10):
        overlaps = subspace_overlaps(same_spectra(collection, seed=seed), "right")
        off.append(overlaps[~np.eye(8, dtype=bool)].mean())
    assert np.mean(off) == pytest.approx(4 / 40, abs=0.005)  # ten means over 28 pairs: standard error 0.002


def test_interference_is_what_others_do_on_the_inputs_a_member_reads():
    updates = changes()
    found = interference(from_updates(updates))
    members = list(updates.values())
    for i, own in enumerate(members):
        for j, other in enumerate(members):
            acts = total = 0.0
            for name in SHAPES:
                Q = torch.linalg.qr(own[name].right.T).Q
                acts += float((dense(other[name]) @ Q).square().sum())
                total += float(dense(own[name]).square().sum())
            assert found[i, j] == pytest.approx(acts / total, rel=1e-10)
    np.testing.assert_allclose(np.diagonal(found), 1.0, rtol=1e-12)
    e = torch.eye(4, dtype=torch.float64)
    apart = {"a": {"w": LowRank(e[:, :1], e[:1])}, "b": {"w": LowRank(e[:, :1], e[1:2])}}
    np.testing.assert_allclose(interference(from_updates(apart)), np.eye(2), atol=1e-15)
    with pytest.raises(ValueError, match="member 'zero' is zero"):
        interference(from_updates(apart | {"zero": {"w": torch.zeros(4, 4)}}))


def test_the_map_keeps_distances_that_fit_into_a_plane():
    points = np.array([[0.0, 0.0], [0.6, 0.0], [0.0, 0.5], [0.3, 0.4]])
    squared = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    found = task_map(1 - squared, ["a", "b", "c", "d"])
    xy = found[["x", "y"]].to_numpy()
    np.testing.assert_allclose(((xy[:, None] - xy[None]) ** 2).sum(axis=2), squared, atol=1e-12)
    assert found["share"].iloc[0] == pytest.approx(1.0)


def test_a_map_of_equal_spaces_is_left_out_and_not_drawn_from_rounding_errors():
    """Prompts of three tokens in R^9: outputs are all of R^3 for every member, inputs differ."""
    generator = torch.Generator().manual_seed(2)
    wide = {f"{i}": {"w": torch.randn(3, 9, generator=generator, dtype=torch.float64)} for i in range(5)}
    found = task_maps(from_updates(wide))
    assert set(found["side"]) == {"inputs"}
    assert float(found[["x", "y"]].abs().max().max()) > 0.1
    square = {f"{i}": {"w": torch.randn(4, 4, generator=generator, dtype=torch.float64)} for i in range(5)}
    assert task_maps(from_updates(square)).empty
