"""Merging: identities, dense truths, and peft's own merges where it has them."""

from __future__ import annotations

import pytest
import torch

from lab.deltas import LoRA, save_adapter
from lab.geometry.collections import from_updates, merging, read_collection
from lab.linalg import LowRank
from lab.models.tiny import tiny_plm

M, D = 6, 5


def collection(n=3, *, dense=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    updates = {}
    for i in range(n):
        own = LowRank(
            torch.randn(M, 2, generator=generator, dtype=torch.float64),
            torch.randn(2, D, generator=generator, dtype=torch.float64),
        )
        updates[f"t{i}"] = {"w": own.to_dense() if dense else own}
    return from_updates(updates)


def dense(merged, member=0):
    change = merged.change(member, "w")
    return change.to_dense() if isinstance(change, LowRank) else change


def moments(n=3):
    generator = torch.Generator().manual_seed(7)
    X = [torch.randn(D, 20, generator=generator, dtype=torch.float64) for _ in range(n)]
    return X, lambda i, name: X[i] @ X[i].T


MERGES = {
    "mean": lambda c: merging.mean(c),
    "task arithmetic": lambda c: merging.task_arithmetic(c),
    "ties": lambda c: merging.ties(c, density=1.0),
    "dare": lambda c: merging.dare(c, drop=0.0),
    "subspace": lambda c: merging.in_subspace(c, 1),
    "least squares": lambda c: merging.least_squares(c, moments()[1]),
}


@pytest.mark.parametrize("kept_dense", [False, True])
@pytest.mark.parametrize("name", MERGES)
def test_one_member_comes_back(name, kept_dense):
    alone = collection(1, dense=kept_dense)
    torch.testing.assert_close(dense(MERGES[name](alone)), dense(alone), rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", ["task arithmetic", "ties", "dare", "subspace"])
def test_lambda_zero_is_the_base(name):
    merge = {
        "task arithmetic": lambda c: merging.task_arithmetic(c, 0.0),
        "ties": lambda c: merging.ties(c, scale=0.0),
        "dare": lambda c: merging.dare(c, scale=0.0),
        "subspace": lambda c: merging.in_subspace(c, 2, 0.0),
    }[name]
    assert float(dense(merge(collection())).abs().max()) < 1e-14


def test_sums_and_means_are_those_of_the_dense_changes():
    own = collection()
    members = [dense(own, i) for i in range(3)]
    torch.testing.assert_close(dense(merging.mean(own)), sum(members) / 3)
    torch.testing.assert_close(dense(merging.task_arithmetic(own, 0.4)), 0.4 * sum(members))
    torch.testing.assert_close(dense(merging.in_subspace(own, 3, 0.4)), 0.4 * sum(members))  # k = N: all of it
    X = torch.stack([m.reshape(-1) for m in members])
    V = torch.linalg.svd(X, full_matrices=False)[2][:1]
    torch.testing.assert_close(dense(merging.in_subspace(own, 1)).reshape(-1), (X @ V.T @ V).sum(dim=0))


def test_ties_by_hand():
    """Entries (4, −1, 1) and (−2, −3, 1); density 2/3 leaves (4, −1, 0), (−2, −3, 0): 4 stands alone, −1, −3 agree.

    The third entries tie with nothing that stays: 0.
    """
    rows = {"a": {"w": torch.tensor([[4.0, -1.0, 0.5]])}, "b": {"w": torch.tensor([[-2.0, -3.0, 1.0]])}}
    merged = dense(merging.ties(from_updates(rows), density=0.67))
    torch.testing.assert_close(merged, torch.tensor([[4.0, -2.0, 0.0]], dtype=torch.float64))


def test_dare_is_task_arithmetic_on_average():
    own = collection()
    mean = sum(dense(merging.dare(own, drop=0.5, seed=seed)) for seed in range(2000)) / 2000
    expected = dense(merging.task_arithmetic(own))
    # the variance of an entry is Σ ΔW²·p/(1 − p), here Σ ΔW²
    error = torch.sqrt(sum(dense(own, i).square() for i in range(3)) / 2000)
    assert float(((mean - expected) / error).abs().max()) < 4.5
    assert torch.equal(dense(merging.dare(own, seed=1)), dense(merging.dare(own, seed=1)))


@pytest.mark.parametrize("kept_dense", [False, True])
def test_least_squares_is_the_minimiser(kept_dense):
    own, (X, moment) = collection(dense=kept_dense), moments()
    members = [dense(own, i) for i in range(3)]
    merged = dense(merging.least_squares(own, moment, ridge=1e-12))
    stacked, targets = torch.cat(X, dim=1), torch.cat([dw @ x for dw, x in zip(members, X, strict=True)], dim=1)
    truth = torch.linalg.lstsq(stacked.T, targets.T).solution.T
    torch.testing.assert_close(merged, truth, rtol=0, atol=1e-9)

    def loss(dw):
        return sum(float(((dw - own_dw) @ x).square().sum()) for own_dw, x in zip(members, X, strict=True))

    assert loss(merged) < loss(dense(merging.mean(own)))
    # without inputs in a direction, the mean: moments of one input direction, the same for all
    axis = torch.diag(torch.tensor([1.0, 0, 0, 0, 0], dtype=torch.float64))
    torch.testing.assert_close(dense(merging.least_squares(own, lambda i, name: axis)), sum(members) / 3)


def test_misuse_is_answered():
    with pytest.raises(ValueError, match=r"density must be in \(0, 1\]; got 0"):
        merging.ties(collection(), density=0)
    with pytest.raises(ValueError, match=r"drop must be in \[0, 1\); got 1"):
        merging.dare(collection(), drop=1)
    with pytest.raises(ValueError, match="ridge must be positive"):
        merging.least_squares(collection(), moments()[1], ridge=0)
    with pytest.raises(ValueError, match="member 't0': the second moment of the inputs of 'w' must be"):
        dense(merging.least_squares(collection(), lambda i, name: torch.zeros(D, D)))


@pytest.fixture(scope="module")
def beside_peft(tmp_path_factory):
    """Three adapters on disk, our collection of them, and a peft model that holds all three."""
    import copy

    peft = pytest.importorskip("peft")
    folder, plm = tmp_path_factory.mktemp("adapters"), tiny_plm("bert", seed=0)
    delta = LoRA(rank=2, alpha=3, head="frozen").on(plm, seed=0)
    paths = {}
    for i in range(3):
        phi = torch.randn(delta.size, generator=torch.Generator().manual_seed(i), dtype=plm.dtype)
        paths[f"t{i}"] = save_adapter(delta, phi, folder / f"t{i}")
    model = peft.PeftModel.from_pretrained(copy.deepcopy(plm.model), paths["t0"], adapter_name="t0")
    for name in ("t1", "t2"):
        model.load_adapter(paths[name], adapter_name=name)
    return read_collection(paths), model


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("combination", "ours", "options"),
    [
        ("cat", lambda c: merging.task_arithmetic(c, 0.7), {}),
        ("svd", lambda c: merging.task_arithmetic(c, 0.7), {"svd_rank": 16}),
        ("ties_svd", lambda c: merging.ties(c, density=0.3, scale=0.7), {"svd_rank": 16, "density": 0.3}),
    ],
)
def test_equals_pefts_own_merge_of_weight_changes(beside_peft, combination, ours, options):
    collection, model = beside_peft
    model.add_weighted_adapter(
        ["t0", "t1", "t2"], [0.7, 0.7, 0.7], f"merged {combination}", combination_type=combination, **options
    )
    merged = ours(collection)
    for name in collection.names:
        layer = model.base_model.model.get_submodule(name.removesuffix(".weight"))
        theirs = layer.get_delta_weight(f"merged {combination}").detach().double()
        change = merged.change(0, name)
        mine = change.to_dense() if isinstance(change, LowRank) else change
        torch.testing.assert_close(mine, theirs, rtol=0, atol=2e-5)  # peft works in float32


@pytest.mark.filterwarnings("ignore")
def test_pefts_linear_merge_is_no_merge_of_weight_changes(beside_peft):
    """It averages A and B one by one: (ΣB)(ΣA) has cross terms B_iA_j that no task has, and depends on the factors."""
    collection, model = beside_peft
    model.add_weighted_adapter(["t0", "t1", "t2"], [1 / 3] * 3, "linear", combination_type="linear")
    name = collection.names[0]
    theirs = model.base_model.model.get_submodule(name.removesuffix(".weight")).get_delta_weight("linear").detach()
    mine = merging.mean(collection).change(0, name).to_dense()
    assert float((mine - theirs.double()).norm()) > 0.5 * float(mine.norm())
