"""Jacobian and Hessian operators against autograd's dense ones and against curvlinops."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call

from lab.linalg import Hessian, Jacobian, Layout


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


W = gaussian(6, 4)
X0 = gaussian(4, seed=1)


def f(x: torch.Tensor) -> torch.Tensor:
    return torch.tanh(W @ x).reshape(2, 3) * x.sum()


def g(x: torch.Tensor) -> torch.Tensor:
    return f(x).square().sum().sin()


@pytest.mark.parametrize("chunk_size", [None, 1, 3])
def test_equal_autograd(chunk_size):
    J = Jacobian(f, X0, chunk_size=chunk_size)
    dense = torch.autograd.functional.jacobian(f, X0).reshape(6, 4)
    torch.testing.assert_close(J.to_dense(), dense)
    torch.testing.assert_close(J.T.to_dense(), dense.T)
    torch.testing.assert_close(J.T @ gaussian(6, 5), dense.T @ gaussian(6, 5))
    assert J.output_shape == (2, 3)
    assert torch.equal(J.value, f(X0).reshape(-1))
    H = Hessian(g, X0, chunk_size=chunk_size)
    torch.testing.assert_close(H.to_dense(), torch.autograd.functional.hessian(g, X0))
    assert torch.equal(H.value, g(X0))


def test_products_are_differentiable():
    J = Jacobian(f, X0)
    v = gaussian(4, 2, seed=2).requires_grad_()
    assert gradcheck(lambda v: J @ v, (v,), check_batched_grad=True)
    assert gradgradcheck(lambda v: (J @ v) ** 3, (v,))
    y = gaussian(6, seed=3).requires_grad_()
    assert gradcheck(lambda y: J.T @ y, (y,), check_batched_grad=True)


def test_gauss_newton_is_a_composition():
    """Hessian of ½‖f‖² = JᵀJ + Σ f_i ∇²f_i; for a linear f the second term vanishes."""
    linear = lambda x: W @ x  # noqa: E731
    J = Jacobian(linear, X0)
    H = Hessian(lambda x: 0.5 * linear(x).square().sum(), X0)
    torch.testing.assert_close((J.T @ J).to_dense(), H.to_dense())


def test_against_curvlinops():
    """The Hessian of a small network's mean loss, as curvlinops computes it."""
    curvlinops = pytest.importorskip("curvlinops")
    torch_generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=torch_generator, dtype=torch.float64))
    inputs, targets = gaussian(7, 3), torch.tensor([0, 1, 1, 0, 1, 0, 0])
    loss = nn.CrossEntropyLoss()
    parameters = dict(model.named_parameters())
    layout = Layout.of(parameters)
    point = layout.flatten(parameters).detach()

    theirs = curvlinops.HessianLinearOperator(model, loss, list(parameters.values()), [(inputs, targets)])
    ours = Hessian(lambda x: loss(functional_call(model, layout.unflatten(x), (inputs,)), targets), point)
    eye = torch.eye(layout.size, dtype=torch.float64)
    torch.testing.assert_close(ours.to_dense(), theirs @ eye, rtol=1e-10, atol=1e-12)


def test_empty_sides():
    assert Jacobian(lambda x: x[:0], X0).to_dense().shape == (0, 4)
    assert Hessian(lambda x: x.sum(), X0[:0]).to_dense().shape == (0, 0)


def attention(x: torch.Tensor) -> torch.Tensor:
    q = x.reshape(1, 2, 3, 4)
    return nn.functional.scaled_dot_product_attention(q, q, q).sum()


@pytest.mark.parametrize("operator", [Jacobian, Hessian])
def test_missing_forward_mode_says_eager(operator):
    with pytest.raises(RuntimeError, match=r'forward-mode derivative.*attention="eager"'):
        operator(attention, torch.ones(24))


def test_unsupported_operations_inside_f_are_not_renamed():
    def unfinished(x):
        raise NotImplementedError("to do")

    with pytest.raises(NotImplementedError, match="to do"):
        Jacobian(unfinished, X0)


def test_misuse_is_named():
    with pytest.raises(ValueError, match="f is not deterministic: two evaluations"):
        Jacobian(lambda x: nn.functional.dropout(x, 0.5), gaussian(50))
    with pytest.raises(ValueError, match=r"needs a flat floating point \(n,\); got shape \(2, 2\)"):
        Jacobian(f, X0.reshape(2, 2))
    with pytest.raises(ValueError, match="Hessian needs a flat floating point"):
        Hessian(g, torch.arange(4))
    with pytest.raises(ValueError, match=r"needs a scalar function.*got shape \(2, 3\)"):
        Hessian(f, X0)
    with pytest.raises(ValueError, match=r"f\(x\) has 4 non-finite of 4 entries"):
        Jacobian(lambda x: x / 0, X0)
    with pytest.raises(ValueError, match="f must return one tensor; got tuple"):
        Jacobian(lambda x: (x, x), X0)
    with pytest.raises(ValueError, match="chunk_size must be None or >= 1; got 0"):
        Jacobian(f, X0, chunk_size=0)
