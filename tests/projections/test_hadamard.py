"""The fast Hadamard transform against its matrix and its algebra."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hadamard
from torch.autograd import gradcheck, gradgradcheck

from lab.projections.hadamard import hadamard_transform, reference_transform, transform_


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def matrix(n: int) -> torch.Tensor:
    return torch.from_numpy(hadamard(n)).double()


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32, torch.float64])
def test_known_answer(dtype):
    x = torch.tensor([1, 0, 1, 0, 0, 1, 1, 0], dtype=dtype)
    y = hadamard_transform(x)
    assert y.dtype == dtype
    assert y.tolist() == [4, 2, 0, -2, 0, 2, 0, 2]


@pytest.mark.parametrize("n", [1, 2, 8, 16, 64, 512])
def test_equals_the_matrix(n):
    x = draw(n, 3)
    assert torch.allclose(hadamard_transform(x), matrix(n) @ x, rtol=0, atol=1e-12 * n)


@pytest.mark.parametrize("log2_n", range(4, 19))
def test_kernel_is_the_reference_bit_for_bit(log2_n):
    # Both add the same pairs in the same order, so there is no rounding to differ by.
    x = draw(1 << log2_n, 2, seed=log2_n)
    assert torch.equal(hadamard_transform(x), reference_transform(x))
    assert torch.equal(hadamard_transform(x.float()), reference_transform(x.float()))


@pytest.mark.parametrize("n", [16, 1024, 1 << 16])
def test_its_square_is_n(n):
    x = torch.randint(-9, 9, (n,), generator=torch.Generator().manual_seed(n)).double()  # integers: no rounding
    assert torch.equal(hadamard_transform(hadamard_transform(x)), n * x)


@given(a=st.integers(0, 5), b=st.integers(0, 5), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_kronecker_product(a, b, seed):
    X = draw(1 << a, 1 << b, seed=seed)
    both = hadamard_transform(hadamard_transform(X, dim=0), dim=1)
    assert torch.allclose(hadamard_transform(X.reshape(-1)).reshape(X.shape), both, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_any_axis(dim):
    X = draw(4, 32, 2)
    expected = torch.tensordot(X, matrix(X.shape[dim]), dims=([dim], [0])).movedim(-1, dim)
    assert torch.allclose(hadamard_transform(X, dim), expected, rtol=0, atol=1e-12 * 32)


def test_the_argument_is_left_alone():
    x = draw(64)
    kept = x.clone()
    hadamard_transform(x)
    assert torch.equal(x, kept)


def test_in_place():
    for n in (8, 64):
        x = draw(n)
        expected = reference_transform(x)
        transform_(x)
        assert torch.equal(x, expected)


def test_derivatives():
    x = draw(16, 2).requires_grad_()
    assert gradcheck(hadamard_transform, (x,), check_forward_ad=True)
    assert gradgradcheck(lambda x: hadamard_transform(x) ** 2, (x,))


def test_under_vmap_and_jvp():
    X, V = draw(5, 32), draw(5, 32, seed=1)
    assert torch.equal(torch.vmap(hadamard_transform)(X), hadamard_transform(X, dim=1))
    _, tangent = torch.func.jvp(hadamard_transform, (X[0],), (V[0],))
    assert torch.equal(tangent, hadamard_transform(V[0]))


@pytest.mark.parametrize("n", [3, 12, 1000])
def test_other_lengths_are_refused(n):
    with pytest.raises(ValueError, match=rf"power of two; got {n}\. Pad with zeros to {1 << n.bit_length()}"):
        hadamard_transform(torch.zeros(n))
