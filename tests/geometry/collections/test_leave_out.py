"""What others explain of a task: dense truth, a planted subspace, isotropic members, units, the curve against N."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lab.geometry.collections import (
    Member,
    beyond_chance,
    explained_shares,
    from_updates,
    gram,
    leave_out,
    left_out_table,
    same_spaces,
    same_spectra,
    share_against_size,
    units_of,
)
from lab.linalg import LowRank


def planted(n: int, *, dimension=3, noise=0.05, offset=0.0, seed=0):
    """ΔW_i = offset·M + Σ_j x_ij E_j + noise: members around a subspace of that dimension."""
    generator = np.random.default_rng(seed)
    m, d = 20, 20
    directions = np.linalg.qr(generator.standard_normal((m * d, dimension + 1)))[0]
    updates = {}
    for i in range(n):
        x = generator.standard_normal(dimension)
        point = directions[:, :dimension] @ x + offset * directions[:, dimension]
        point = point + noise * generator.standard_normal(m * d) / 20
        updates[Member(f"t{i}", task=f"t{i // 2}", type="even" if i % 4 < 2 else "odd", seed=i % 2)] = {
            "w": torch.from_numpy(point.reshape(m, d))
        }
    return from_updates(updates)


def test_shares_are_those_of_a_dense_projection():
    collection = planted(7, noise=0.5, offset=1.0)
    X = torch.stack([collection.change(i, "w").reshape(-1) for i in range(7)]).numpy()
    train, test = [0, 2, 3, 5], [1, 6]
    mean = X[train].mean(axis=0)
    E = np.linalg.svd(X[train] - mean, full_matrices=False)[2]
    found = explained_shares(gram(collection), train, test)
    assert found.shape == (2, 4)
    for row, i in zip(found, test, strict=True):
        for k, share in enumerate(row):
            left = X[i] - mean - E[:k].T @ (E[:k] @ (X[i] - mean))
            assert share == pytest.approx(1 - left @ left / (X[i] @ X[i]), abs=1e-10)


def test_another_seed_explains_the_squared_cosine_and_several_their_span():
    inner = gram(planted(8, noise=0.5, offset=0.3))
    found = leave_out(inner, "seed")
    assert found.groupby("member")["k"].max().eq(1).all()
    for i, member in enumerate(inner.members):
        other = i + 1 if i % 2 == 0 else i - 1
        own = found[found.member == member.name].set_index("k")["share"]
        assert own[0] == 0
        assert own[1] == pytest.approx(inner.cosines[i, other] ** 2, abs=1e-12)
    collection = planted(6, noise=0.5)
    X = torch.stack([collection.change(i, "w").reshape(-1) for i in range(6)]).numpy()
    E = np.linalg.qr(X[:3].T)[0]
    shares = explained_shares(gram(collection), [0, 1, 2], [4], centre=False)
    assert shares[0, -1] == pytest.approx(float(np.sum((E.T @ X[4]) ** 2) / (X[4] @ X[4])), abs=1e-10)


def test_a_planted_subspace_has_its_elbow_where_it_ends():
    curve = leave_out(gram(planted(16))).groupby("k")["share"].mean()
    gains = curve.diff()
    assert curve[3] > 0.98
    assert gains[3] > 0.02
    assert gains[4:].abs().max() < 1e-3


def test_the_mean_alone_is_the_row_of_no_direction():
    """N − 1 isotropic members: their mean is farther from the last than 0 is, by 1/(N − 1) of its squared norm."""
    isotropic = planted(9, dimension=0, noise=1.0)
    assert leave_out(gram(isotropic), k=0)["share"].mean() == pytest.approx(-1 / 8, abs=0.03)
    same = planted(9, dimension=0, noise=0.0, offset=2.0)
    assert leave_out(gram(same))["share"].to_numpy() == pytest.approx(np.ones(9 * 8))


def test_units_leave_out_what_they_say():
    inner = gram(planted(8))
    assert set(leave_out(inner, "member")["n_train"]) == {7}
    assert set(leave_out(inner, "task")["n_train"]) == {6}
    assert set(leave_out(inner, "type")["n_train"]) == {4}
    assert set(leave_out(inner, "seed")["n_train"]) == {1}
    table = leave_out(inner, "task")
    assert table.groupby("member")["k"].max().eq(5).all()
    only = table[(table.member == "t0") & (table.k == 3)]["share"].item()
    assert only == pytest.approx(explained_shares(inner, list(range(2, 8)), [0], 3)[0, 3])


def test_units_that_leave_nobody_have_no_row():
    inner = gram(planted(8))
    assert units_of(inner.members) == ("member", "task", "type", "seed")
    table = left_out_table(inner, 2)
    assert len(table) == 4 * 8
    only = leave_out(inner, "task", 2)
    expected = only[only.k == 2].set_index("member")["share"]
    found = table[table["left_out"] == "task"].set_index("member")
    assert found["share"].to_dict() == pytest.approx(expected.to_dict())
    alone = from_updates({name: {"w": torch.eye(2)} for name in "abc"})
    assert units_of(alone.members) == ("member",)
    assert set(left_out_table(gram(alone), 0)["left_out"]) == {"member"}


def test_the_curve_rises_to_its_plateau_when_the_tasks_span_the_subspace():
    curve = share_against_size(gram(planted(24)), 3, sizes=[2, 4, 8], n_draws=40)
    assert curve["share"].iloc[0] < 0.9  # two tasks span one direction
    assert (curve["share"].iloc[1:] > 0.98).all()  # four span all three
    assert (curve["low"] <= curve["share"]).all()
    assert (curve["high"] >= curve["share"]).all()


def test_nothing_shared_is_nothing_beyond_chance_and_a_planted_subspace_is_counted():
    shared = planted(12, noise=0.1)
    (found,) = beyond_chance(shared, {"same spectra": lambda seed: same_spectra(shared, seed=seed)}, k=6)
    assert found.n_directions == 3
    assert found.table().shape[0] == 7
    assert not found.mean_is_shared
    apart = planted(8, dimension=0, noise=1.0, offset=1.5)
    (found,) = beyond_chance(apart, {"same spectra": lambda seed: same_spectra(apart, seed=seed)}, k=2)
    assert found.mean_is_shared


def test_the_test_has_its_level():
    """Of 100 collections that share nothing, each beside 19 nulls, about 5 have a first direction 'beyond chance'."""
    hits = 0
    for seed in range(100):
        generator = torch.Generator().manual_seed(seed)
        updates = {
            f"{i}": {
                "w": LowRank(
                    torch.randn(8, 2, generator=generator, dtype=torch.float64),
                    torch.randn(2, 8, generator=generator, dtype=torch.float64),
                )
            }
            for i in range(5)
        }
        collection = from_updates(updates).in_memory()
        (found,) = beyond_chance(collection, {"null": lambda s, c=collection: same_spectra(c, seed=s)}, k=1)
        hits += found.n_directions > 0
    assert hits <= 11  # P(Binomial(100, 0.05) > 11) = 0.004


def test_members_that_share_spaces_only_are_not_beyond_that():
    generator = torch.Generator().manual_seed(3)
    U, V = (torch.linalg.qr(torch.randn(d, 3, generator=generator, dtype=torch.float64)).Q for d in (20, 18))
    updates = {
        f"{i}": {"w": LowRank(U @ torch.randn(3, 3, generator=generator, dtype=torch.float64), V.T)} for i in range(14)
    }
    collection = from_updates(updates).in_memory()
    spectra, spaces = beyond_chance(
        collection,
        {
            "same spectra": lambda seed: same_spectra(collection, seed=seed),
            "same spaces": lambda seed: same_spaces(collection, seed=seed),
        },
        k=6,
    )
    assert spectra.n_directions >= 5
    assert spaces.n_directions <= 1


def test_misuse_is_answered():
    inner = gram(planted(4))
    with pytest.raises(ValueError, match=r"unit must be one of .*; got 'block'"):
        leave_out(inner, "block")  # type: ignore[arg-type]
    nameless = gram(from_updates({"a": {"w": torch.ones(2, 2)}, "b": {"w": torch.eye(2)}}))
    with pytest.raises(ValueError, match=r"needs the type of every member; 'a' has none"):
        leave_out(nameless, "type")
    with pytest.raises(ValueError, match="no member has others left when its seed is left out"):
        leave_out(nameless, "seed")
    with pytest.raises(ValueError, match="needs three tasks or more; got 2"):
        share_against_size(nameless, 1)
    with pytest.raises(ValueError, match="sizes must be in 1 … 3"):
        share_against_size(gram(planted(8)), 1, sizes=[4])
    with pytest.raises(ValueError, match=r"with 9 draws no p-value is below 0\.1"):
        beyond_chance(planted(4), {}, n_draws=9)
