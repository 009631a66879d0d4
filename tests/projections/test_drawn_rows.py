"""Rows of a projection drawn without the others: those of the whole map, also of vectors that lie in parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from lab.projections import Fastfood, OneHot, Sparse
from lab.projections.drawn_rows import DrawnRows


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(
    ("D", "d", "kept"),
    [
        (640, 10, np.uint16),
        (64_017, 1000, np.uint16),
        (40_000, 64, np.uint16),
        (400_001, 5000, np.uint16),  # columns drawn in pieces
        (2_560_017, 40_000, np.uint32),  # more than two bytes hold
    ],
)
def test_rows_of_one_hot_are_those_of_the_whole_map(D, d, kept, signed):
    P, X = OneHot(D, d, seed=3, signed=signed), draw(d, 2)
    image = P @ X
    for places in (slice(0, D), slice(D // 3, D // 3 + 1), slice(d - 1, 3 * d + 2), torch.arange(5, D, 7), [D - 1]):
        if isinstance(places, list):
            places = torch.tensor(places)
        rows = P.rows(places)
        assert isinstance(rows, DrawnRows)
        assert rows.codes.dtype == kept
        assert torch.equal(rows @ X, image[places])
        part, whole = draw(*image[places].shape), torch.zeros_like(image)
        whole[places] = part
        assert torch.allclose(rows.T @ part, P.T @ whole, rtol=0, atol=1e-12)
        assert torch.allclose((rows @ X.float()).double(), image[places], rtol=0, atol=1e-5)


def test_rows_of_one_hot_are_differentiable_and_vectorised():
    P = OneHot(640, 5, seed=1)
    rows, X = P.rows(slice(100, 130)), draw(4, 5)
    assert gradcheck(lambda x: rows @ x, X[0].requires_grad_(), check_forward_ad=True)
    assert gradcheck(lambda y: rows.T @ y, draw(30).requires_grad_(), check_forward_ad=True)
    gradients = torch.func.vmap(torch.func.grad(lambda x: (rows @ x).square().sum()))(X.detach())
    assert torch.allclose(
        gradients, 2 * X.detach() @ (P @ torch.eye(5, dtype=torch.float64))[100:130].square().sum(0).diag()
    )


def test_few_stretches_and_maps_without_a_law_of_rows_take_the_whole_product():
    assert not OneHot(6399, 100).has_cheap_rows
    assert OneHot(6400, 100).has_cheap_rows
    assert not isinstance(OneHot(6399, 100).rows(slice(0, 5)), DrawnRows)
    assert not Sparse(6400, 100).has_cheap_rows


@pytest.mark.parametrize("make", [Fastfood, OneHot])
def test_vectors_in_parts_are_read_where_they_lie(make):
    P, generator = make(40_000, 100, seed=1), torch.Generator().manual_seed(0)
    shapes = [(7,), (150, 150), (1,), (300, 40), (300,)]
    parts = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    parts[1] = parts[1].T  # not contiguous
    flat = torch.cat([part.reshape(-1) for part in parts])
    x = torch.randn(100, generator=generator, dtype=torch.float64)
    places = slice(1234, 1234 + len(flat))
    rows = P.rows(places)
    assert torch.equal(rows.added_to(parts, x), flat + (P @ x)[places])
    image = torch.zeros(40_000, dtype=torch.float64)
    image[places] = flat
    assert torch.allclose(rows.adjoint_of(parts), P.T @ image, rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match="vector of 34808 numbers"):
        rows.adjoint_of(parts[1:])
