"""A kernel pair that autograd cannot see, made differentiable to any order in every mode."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.autograd import functional, gradcheck, gradgradcheck
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

from lab.linalg import linear_map

A = np.random.default_rng(0).standard_normal((5, 3))
DENSE = torch.from_numpy(A)


def product(X: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(A @ X.detach().numpy())  # numpy: opaque to autograd


def adjoint(Y: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(A.T @ Y.detach().numpy())


def apply(x: torch.Tensor) -> torch.Tensor:
    return linear_map(product, adjoint, x[:, None])[:, 0]


@pytest.fixture(name="x")
def _x() -> torch.Tensor:
    return torch.randn(3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_gradcheck_in_both_modes(x):
    """Batched as well: by torch.autograd's own vmap, which knows no rule of a Function."""
    X = torch.stack([x, 2 * x], dim=1).requires_grad_()
    run = lambda X: linear_map(product, adjoint, X)  # noqa: E731
    batched = {"check_batched_grad": True, "check_batched_forward_grad": True}
    assert gradcheck(run, (X,), check_forward_ad=True, **batched)


def test_autograd_batches_gradients_in_gradients(x):
    """Two levels of that vmap, and a graph through it: ∂/∂x Σ_ij ∂(Ax)_i³/∂x_j = 6 Aᵀ(Ax ⊙ A1)."""
    x = x.clone().requires_grad_()
    first = functional.jacobian(lambda x: apply(x) ** 3, x, vectorize=True, create_graph=True)
    (gradient,) = torch.autograd.grad(first.sum(), x)
    torch.testing.assert_close(gradient, 6 * DENSE.T @ ((DENSE @ x) * DENSE.sum(1)), rtol=1e-12, atol=1e-12)
    inner = lambda x: functional.jacobian(lambda x: apply(x) ** 3, x, vectorize=True, create_graph=True)  # noqa: E731
    third = functional.jacobian(inner, x, vectorize=True)
    expected = torch.einsum("i,ij,ik->ijk", 6 * DENSE @ x, DENSE, DENSE)
    torch.testing.assert_close(third, expected, rtol=1e-12, atol=1e-12)


def test_second_order(x):
    x = x.clone().requires_grad_()
    assert gradgradcheck(lambda x: apply(x) ** 3, (x,))
    assert gradcheck(lambda x: apply(x) ** 3, (x,), check_forward_ad=True)


def test_a_wrong_adjoint_is_rejected(x):
    """The published Walsh–Hadamard backward was off by a factor; gradcheck must see such a thing."""
    x = x.clone().requires_grad_()
    wrong = lambda x: linear_map(product, lambda Y: 0.5 * adjoint(Y), x[:, None])  # noqa: E731
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        gradcheck(wrong, (x,))


def test_func_transforms_agree_with_the_matrix(x):
    f = lambda x: (apply(x) ** 3).sum()  # noqa: E731
    truth = DENSE.T @ torch.diag(6 * DENSE @ x) @ DENSE
    for computed in (hessian(f)(x), jacrev(grad(f))(x), jacfwd(jacfwd(f))(x), jacrev(jacfwd(f))(x)):
        torch.testing.assert_close(computed, truth, rtol=1e-12, atol=1e-12)
    assert torch.equal(jvp(apply, (x,), (x,))[1], apply(x))
    torch.testing.assert_close(vjp(apply, x)[1](apply(x))[0], DENSE.T @ DENSE @ x)


@pytest.mark.parametrize("in_dim", [0, 1, 2])
def test_vmap_over_any_axis_and_nested(in_dim):
    X = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    columns = vmap(lambda X: linear_map(product, adjoint, X), in_dims=in_dim)
    moved = X.movedim(0, in_dim)
    torch.testing.assert_close(columns(moved), DENSE @ X)
    twice = vmap(vmap(apply))(X.movedim(1, 2))
    torch.testing.assert_close(twice, (DENSE @ X).movedim(1, 2))


def test_vmap_of_derivatives(x):
    X = torch.stack([x, -x, 3 * x])
    pull = vjp(apply, x)[1]
    cotangents = torch.eye(5, dtype=torch.float64)
    torch.testing.assert_close(vmap(pull)(cotangents)[0], DENSE)
    gradients = vmap(grad(lambda x: (apply(x) ** 2).sum()))(X)
    torch.testing.assert_close(gradients, 2 * X @ DENSE.T @ DENSE)
    tangents = vmap(lambda v: jvp(lambda x: apply(x) ** 2, (x,), (v,))[1])(X)
    torch.testing.assert_close(tangents, 2 * (DENSE @ x) * (X @ DENSE.T))
