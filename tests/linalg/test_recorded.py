"""`RecordedJacobian` is `Jacobian`, and `RecordedHessian` is `Hessian`, product for product."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from lab.linalg import Hessian, Jacobian, RecordedHessian, RecordedJacobian, lanczos


def network(x: torch.Tensor) -> torch.Tensor:
    W, b = x[:12].reshape(3, 4), x[12:15]
    inputs = torch.arange(8.0, dtype=x.dtype).reshape(2, 4) / 8
    return torch.softmax(inputs @ W.T + b, -1)


@pytest.fixture
def x():
    return torch.randn(15, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_both_products_equal_jvp_and_vjp(x):
    ours, theirs = RecordedJacobian(network, x), Jacobian(network, x)
    assert ours.shape == theirs.shape == (6, 15)
    assert ours.output_shape == (2, 3)
    torch.testing.assert_close(ours.value, theirs.value)
    generator = torch.Generator().manual_seed(1)
    for k in (1, 3, 20):  # fewer and more columns than a chunk
        X = torch.randn(15, k, generator=generator, dtype=torch.float64)
        Y = torch.randn(6, k, generator=generator, dtype=torch.float64)
        torch.testing.assert_close(ours @ X, theirs @ X, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(ours.T @ Y, theirs.T @ Y, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(ours.to_dense(), theirs.to_dense(), rtol=1e-12, atol=1e-14)


def test_products_are_differentiable_in_the_vector(x):
    J = RecordedJacobian(network, x)
    v = torch.ones(15, dtype=torch.float64, requires_grad=True)
    (J @ v).square().sum().backward()
    dense = J.to_dense()
    torch.testing.assert_close(v.grad, 2 * dense.T @ dense @ torch.ones(15, dtype=torch.float64))


def test_linear_and_constant_maps(x):
    A = torch.randn(4, 15, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    torch.testing.assert_close(RecordedJacobian(lambda x: A @ x, x).to_dense(), A)
    constant = RecordedJacobian(lambda x: torch.ones(4, dtype=torch.float64), x)
    assert not constant.to_dense().any()
    assert not (constant.T @ torch.ones(4, dtype=torch.float64)).any()


def test_serves_lanczos(x):
    J = RecordedJacobian(network, x)
    found = lanczos(J @ J.T, 2)
    expected = torch.linalg.svdvals(J.to_dense())[:2].square()
    torch.testing.assert_close(found.ritz_values, expected, rtol=1e-10, atol=0)


def test_point_is_copied_and_grad_mode_does_not_matter(x):
    with torch.no_grad():
        J = RecordedJacobian(lambda x: cross_entropy(network(x), torch.tensor([0, 1])).reshape(1), x)
        first = J.to_dense()
        x.zero_()
        torch.testing.assert_close(J.to_dense(), first)


def test_misuse(x):
    with pytest.raises(ValueError, match=r"flat floating point \(n,\); got \(3, 5\)"):
        RecordedJacobian(network, x.reshape(3, 5))
    with pytest.raises(ValueError, match="non-finite entries; check x"):
        RecordedJacobian(torch.log, -x.abs())


def loss(x: torch.Tensor) -> torch.Tensor:
    return cross_entropy(network(x).log(), torch.tensor([0, 2])) + 0.01 * x.square().sum()


def test_hessian_products_equal_jvp_of_grad(x):
    ours, theirs = RecordedHessian(loss, x), Hessian(loss, x)
    assert ours.shape == (15, 15)
    torch.testing.assert_close(ours.value, loss(x))
    torch.testing.assert_close(ours.gradient, torch.func.grad(loss)(x))
    for k in (1, 3, 20):
        X = torch.randn(15, k, generator=torch.Generator().manual_seed(k), dtype=torch.float64)
        torch.testing.assert_close(ours @ X, theirs @ X, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(ours.T @ X, theirs @ X, rtol=1e-12, atol=1e-14)


def test_hessian_of_linear_and_constant_functions_is_zero(x):
    with torch.no_grad():  # recording needs its own grad mode
        assert not RecordedHessian(lambda x: x.sum(), x).to_dense().any()
        assert not RecordedHessian(lambda x: torch.ones((), dtype=torch.float64), x).to_dense().any()


def test_hessian_refusals(x):
    with pytest.raises(ValueError, match="RecordedHessian needs a flat floating point"):
        RecordedHessian(loss, x[None])
    with pytest.raises(ValueError, match=r"scalar function; got output shape \(2, 3\)"):
        RecordedHessian(network, x)
    with pytest.raises(ValueError, match=r"f\(x\) is not finite"):
        RecordedHessian(lambda x: (x - x).sum().log(), x)
