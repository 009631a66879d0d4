"""Isometry and coverage against dense truth."""

from __future__ import annotations

import math

import pytest
import torch

from lab.linalg import Layout, Part
from lab.projections import PROJECTIONS, Basis, Fastfood, Gaussian, Kronecker, OneHot, Sparse, coverage, isometry


@pytest.mark.parametrize("projection", PROJECTIONS, ids=[P.name for P in PROJECTIONS])
def test_isometry_is_that_of_the_singular_values(projection):
    P = projection(900, 60)
    values = torch.linalg.svdvals(P @ torch.eye(60, dtype=torch.float64))
    exact, estimated = isometry(P), isometry(P, exact_up_to=10)
    assert exact.exact
    assert not estimated.exact
    assert math.isclose(exact.largest, values[0], rel_tol=1e-10)
    assert math.isclose(exact.smallest, values[-1], rel_tol=1e-10)
    assert math.isclose(exact.condition, values[0] / values[-1], rel_tol=1e-9)
    assert math.isclose(exact.defect, max(abs(values[0] ** 2 - 1), abs(values[-1] ** 2 - 1)), abs_tol=1e-10)
    # Lanczos stays inside, and comes within its tolerance
    assert exact.smallest - 1e-9 <= estimated.smallest <= exact.smallest * 1.02 + 1e-9
    assert exact.largest * 0.98 - 1e-9 <= estimated.largest <= exact.largest + 1e-9


def test_gaussian_lies_in_the_marchenko_pastur_interval_and_fastfood_a_little_outside():
    edge = math.sqrt(100 / 32_768)
    gaussian, fastfood = isometry(Gaussian(32_768, 100)), isometry(Fastfood(32_768, 100))
    assert 1 - edge - 0.02 <= gaussian.smallest
    assert gaussian.largest <= 1 + edge + 0.02
    # full blocks: the variance of G² doubles that of the off-diagonal of PᵀP
    assert abs((fastfood.largest - 1) / (math.sqrt(2) * edge) - 1) < 0.2


def test_one_hot_has_no_defect():
    found = isometry(OneHot(1000, 30))
    assert found.defect < 1e-14
    assert found.condition == pytest.approx(1)


def test_a_kernel_gives_an_infinite_condition():
    found = isometry(Basis(torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])))
    assert (found.smallest, found.largest, found.condition) == (0.0, 1.0, math.inf)


def test_coverage_counts_the_rows_that_move():
    P = Sparse(10_000, 20)
    matrix = P @ torch.eye(20, dtype=torch.float64)
    (row,) = coverage(P)
    assert row["part"] == "all"
    assert row["size"] == 10_000
    # rows whose non-zero columns would cancel for a random x have probability 0
    assert row["covered"] == (matrix != 0).any(1).double().mean()


def test_coverage_by_part():
    layout = Layout((Part("a", (60, 50)), Part("b", (2000,))))
    matrix = torch.zeros(5000, 3, dtype=torch.float64)
    matrix[3000:] = torch.eye(3, dtype=torch.float64).repeat(667, 1)[:2000]
    rows = {row["part"]: row for row in coverage(Basis(matrix), layout)}
    assert list(rows) == ["all", "a", "b"]
    assert (rows["a"]["covered"], rows["a"]["energy"]) == (0, 0)
    assert (rows["b"]["covered"], rows["all"]["covered"]) == (1, 0.4)
    assert rows["b"]["energy"] == pytest.approx(2.5)
    even = {row["part"]: row["energy"] for row in coverage(Fastfood(5000, 30), layout)}
    assert even["a"] == pytest.approx(1, abs=0.1)


def test_a_layout_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"layout of 10 coordinates, the length of P's image; got 6"):
        coverage(OneHot(10, 2), Layout((Part("a", (6,)),)))


SHAPES = ((12, 7), (31,), (3, 4, 5), (10,), (1,), (16,), (6, 9))
"""Matrices, one of them with three dimensions, and vectors: two that fill their square, three that do not."""


@pytest.mark.parametrize("d", [1, 10, 16, 50])
def test_the_gram_matrix_of_kronecker_is_the_sum_of_products_of_small_ones(d):
    P = Kronecker(sum(map(math.prod, SHAPES)), d, 3, SHAPES)
    dense, gram = P @ torch.eye(d, dtype=torch.float64), P.gram()
    torch.testing.assert_close(gram.to_dense(), dense.T @ dense, rtol=1e-12, atol=1e-14)
    x = torch.randn(d, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(gram @ x, dense.T @ (dense @ x), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(gram.T @ x, gram @ x)


def test_a_vector_folded_with_whole_rows_behind_its_end_has_its_own_gram_matrix(monkeypatch):
    monkeypatch.setattr("lab.projections.kronecker.folded", lambda shape: (5, 4))
    P = Kronecker(9, 4, 0, ((9,),))
    dense = P @ torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(P.gram().to_dense(), dense.T @ dense, rtol=1e-12, atol=1e-14)


def test_the_isometry_of_kronecker_is_exact_and_takes_no_product_with_weights(monkeypatch):
    """d = 1,000 in the matrices of a small PLM: 2·d products of length D would be minutes."""
    layout = Layout(
        (Part("embedding", (3000, 64)), *(Part(f"query {i}", (64, 64)) for i in range(12)), Part("b", (64,)))
    )
    P = Kronecker.over(layout, 1000)
    for name in ("_product", "_adjoint_product"):
        monkeypatch.setattr(Kronecker, name, None)
    found, near = isometry(P), isometry(P, exact_up_to=10)
    assert found.exact
    assert not near.exact
    assert 0 < found.smallest < 1 < found.largest
    assert near.largest == pytest.approx(found.largest, rel=0.02)
