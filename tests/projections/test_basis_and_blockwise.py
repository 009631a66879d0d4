"""Explicit bases, and projections put together part by part."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from lab.linalg import Layout, Part
from lab.projections import PROJECTIONS, Basis, Blockwise, Fastfood, OneHot


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LAYOUT = Layout((Part("embedding", (30, 4)), Part("small", (3,), block=0), Part("matrix", (10, 20), block=1)))


def test_basis_applies_its_matrix():
    matrix = draw(20, 4)
    P, x, Y = Basis(matrix), draw(4), draw(20, 3)
    assert (P.D, P.d, P.shape, P.dtype) == (20, 4, (20, 4), torch.float64)
    assert torch.equal(P @ x, matrix @ x)
    assert torch.equal(P.T @ Y, matrix.T @ Y)
    assert (P @ x.float()).dtype == torch.float32
    assert repr(P) == "Basis(D=20, d=4, dtype=torch.float64)"


def test_basis_knows_whether_it_is_orthonormal():
    P = Basis(draw(200, 40))
    Q = P.orthonormalized()
    assert not P.orthonormal
    assert Q.orthonormal
    assert Basis(Q.matrix.float()).orthonormal
    coordinates = torch.linalg.lstsq(Q.matrix, P.matrix).solution
    assert torch.allclose(Q.matrix @ coordinates, P.matrix)  # the same span
    assert not Basis(Q.matrix * (1 + 1e-9)).orthonormal


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (torch.zeros(3), r"needs a float tensor \(D, d\); got torch\.float32 of shape \(3,\)"),
        (torch.zeros(3, 2, dtype=torch.int64), r"got torch\.int64 of shape \(3, 2\)"),
        ([[1.0]], r"got <class 'list'>"),
        (torch.zeros(2, 3), r"no more columns than rows; got shape \(2, 3\)\. Columns are the directions: transpose"),
        (torch.zeros(2, 0), r"at least one column"),
        (torch.tensor([[1.0], [float("nan")]]), r"finite numbers; got NaN or infinity"),
    ],
)
def test_basis_refuses_what_is_none(matrix, message):
    with pytest.raises(ValueError, match=message):
        Basis(matrix)


@pytest.mark.parametrize("combination", ["stack", "direct_sum"])
@pytest.mark.parametrize("scales", [None, (2.0, 0.5), torch.tensor([3.0, -1.0], dtype=torch.float64)])
def test_blockwise_is_its_dense_truth(combination, scales):
    pieces = (Fastfood(40, 5, seed=1), OneHot(30, 5, seed=2))
    P = Blockwise(pieces, combination, scales)
    default = [(40 / 70) ** 0.5, (30 / 70) ** 0.5] if combination == "stack" else [1.0, 1.0]
    weights = default if scales is None else list(scales)
    parts = [w * (p @ torch.eye(5, dtype=torch.float64)) for w, p in zip(weights, pieces, strict=True)]
    truth = torch.cat(parts) if combination == "stack" else torch.block_diag(*parts)
    assert P.shape == tuple(truth.shape)
    x, y = draw(P.d), draw(P.D)
    assert torch.allclose(P @ x, truth @ x, rtol=0, atol=1e-14)
    assert torch.allclose(P.T @ y, truth.T @ y, rtol=0, atol=1e-14)


def test_blockwise_differentiates_through_its_scales():
    P = Blockwise((Fastfood(40, 5, seed=1), OneHot(30, 5, seed=2)))
    scales, x = draw(2).requires_grad_(), draw(5, seed=1).requires_grad_()
    assert gradcheck(lambda scales, x: P.scaled(scales) @ x, (scales, x), check_forward_ad=True)


@pytest.mark.parametrize("projection", PROJECTIONS, ids=[P.name for P in PROJECTIONS])
def test_over_a_layout_each_part_has_its_own_map_and_the_whole_is_isotropic(projection):
    x = draw(6)
    images = torch.stack([Blockwise.over(LAYOUT, 6, seed=s, projection=projection) @ x for s in range(300)])
    assert images.shape[1] == LAYOUT.size
    for part in (slice(None), *LAYOUT.slices.values()):
        energy = images[:, part].square().sum(1) / x.square().sum()
        share = images[:, part].shape[1] / LAYOUT.size
        assert abs(energy.mean() - share) <= 5 * energy.std() / 300**0.5 + 1e-12
    first, second = (Blockwise.over(LAYOUT, 6, seed=s, projection=projection) @ x for s in (1, 1))
    assert torch.equal(first, second)


def test_equal_parts_get_different_maps():
    twins = Layout((Part("a", (50,)), Part("b", (50,))))
    P, x = Blockwise.over(twins, 5), draw(5)
    a, b = (P @ x).split(50)
    assert not torch.allclose(a, b)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((),), r"at least one piece; got none"),
        (((Fastfood(9, 2), Fastfood(9, 3)),), r"act on one vector and need one width; got widths \[2, 3\]"),
        (((Fastfood(9, 2),), "stack", (1.0, 2.0)), r"one scale per piece, 1; got 2"),
        (((Fastfood(9, 2),), "sum"), r"combination must be 'stack' or 'direct_sum'; got 'sum'"),
    ],
)
def test_blockwise_refuses_what_does_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        Blockwise(*arguments)
