"""The two operators of the lab that come from autodiff: the Jacobian of a map and the Hessian of a scalar function."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from math import prod

import torch
from torch import Tensor
from torch.func import grad, jvp, vjp, vmap

from lab.linalg.differentiable import linear_map
from lab.linalg.operator import LinearOperator
from lab.linalg.structure import Structure

Function = Callable[[Tensor], Tensor]

# Two runs of one deterministic function may differ by the order of sums (GPU atomics), never by as much as dropout.
_PROBE_ROUNDOFFS = 100


class Jacobian(LinearOperator):
    """J = ∂f/∂x at a point, R^n -> R^m, known by jvp (J v) and vjp (Jᵀ y); nothing of size m·n is stored.

    Products are exact derivatives, differentiable in the vector they are applied to and usable under `vmap`. The
    adjoint keeps the graph of one forward pass of f alive from its first use on; a jvp costs about two more passes.

    Example:
        >>> x = torch.tensor([1.0, 2.0], dtype=torch.float64)
        >>> J = Jacobian(lambda x: torch.stack([x.prod(), x.sum()]), x)
        >>> J.to_dense().tolist()
        [[2.0, 1.0], [1.0, 1.0]]

    Attributes:
        value: f(x), flat (m,).
        output_shape: the shape of f(x) before flattening, row-major.
    """

    def __init__(self, f: Function, x: Tensor, *, chunk_size: int | None = 32, probe: bool = True):
        """Linearise f at x.

        Args:
            f: closed function of one flat tensor: fixed batch, no dropout, pure. Its output, of any shape, is
                flattened.
            x: (n,), floating.
            chunk_size: how many columns one `vmap` carries; bounds memory at chunk_size × one pass. None: all at once;
                1: a plain loop, for functions that `vmap` cannot trace. Default 32: larger gained nothing on 2 cores.
            probe: evaluate f twice more, plainly and in forward mode, and compare. Switch off in inner loops that
                build many operators of one probed function.

        Raises:
            ValueError: x is not flat and floating; f is not deterministic, not finite at x, or gives no tensor.
            RuntimeError: an operation inside f has no forward-mode derivative.
        """
        self.x = _checked_point(x, chunk_size, "Jacobian")
        self._f, self._chunk_size = f, chunk_size
        with torch.no_grad():
            value = _checked_value(f(self.x), "f")
        if probe:
            _require_deterministic(f, self.x, value)
        self.output_shape = tuple(value.shape)
        self.value = value.reshape(-1)
        self.shape = (prod(self.output_shape), self.x.shape[0])
        self.dtype, self.device = self.x.dtype, self.x.device

    @cached_property
    def _pull_back(self) -> Callable[[Tensor], tuple[Tensor]]:
        return vjp(lambda x: self._f(x).reshape(-1), self.x)[1]

    def _push(self, v: Tensor) -> Tensor:
        return _forward(lambda x: self._f(x).reshape(-1), self.x, v)[1]

    def _jvp_columns(self, X: Tensor) -> Tensor:
        return _by_columns(self._push, X, self.shape[0], self._chunk_size)

    def _vjp_columns(self, Y: Tensor) -> Tensor:
        return _by_columns(lambda y: self._pull_back(y)[0], Y, self.shape[1], self._chunk_size)

    def _matmat(self, X: Tensor) -> Tensor:
        return linear_map(self._jvp_columns, self._vjp_columns, X)

    def _rmatmat(self, Y: Tensor) -> Tensor:
        return linear_map(self._vjp_columns, self._jvp_columns, Y)


class Hessian(LinearOperator):
    """H = ∂²f/∂x² at a point: H v by forward over reverse, jvp of grad (Pearlmutter 1994); symmetric.

    Forward over reverse needs no second graph: memory is that of one gradient plus its tangents.

    Example:
        >>> H = Hessian(lambda x: x[0] ** 2 * x[1], torch.tensor([1.0, 3.0], dtype=torch.float64))
        >>> H.to_dense().tolist()
        [[6.0, 2.0], [2.0, 0.0]]

    Attributes:
        value: f(x), a scalar.
    """

    structure = Structure.SYMMETRIC

    def __init__(self, f: Function, x: Tensor, *, chunk_size: int | None = 32, probe: bool = True):
        """The Hessian of the closed scalar function f at x; arguments and errors as for `Jacobian`.

        Raises:
            ValueError: also when f(x) is not a scalar, shape ().
        """
        self.x = _checked_point(x, chunk_size, "Hessian")
        with torch.no_grad():
            self.value = _checked_value(f(self.x), "f")
        if self.value.shape != ():
            raise ValueError(
                f"Hessian needs a scalar function, output shape (); got shape {tuple(self.value.shape)}. "
                "Reduce the output, e.g. by .mean(), or use Jacobian."
            )
        if probe:
            _require_deterministic(f, self.x, self.value)
        self._gradient, self._chunk_size = grad(f), chunk_size
        n = self.x.shape[0]
        self.shape, self.dtype, self.device = (n, n), self.x.dtype, self.x.device

    def _columns(self, X: Tensor) -> Tensor:
        return _by_columns(lambda v: _forward(self._gradient, self.x, v)[1], X, self.shape[0], self._chunk_size)

    def _matmat(self, X: Tensor) -> Tensor:
        return linear_map(self._columns, self._columns, X)

    def _rmatmat(self, Y: Tensor) -> Tensor:
        return self._matmat(Y)


def _checked_point(x: Tensor, chunk_size: int | None, owner: str) -> Tensor:
    if x.ndim != 1 or not x.is_floating_point():
        raise ValueError(
            f"{owner} needs a flat floating point (n,); got shape {tuple(x.shape)}, {x.dtype}. "
            "Flatten named parameters with Layout.flatten."
        )
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size must be None or >= 1; got {chunk_size}.")
    return x.detach()


def _checked_value(value: Tensor, name: str) -> Tensor:
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} must return one tensor; got {type(value).__name__}.")
    finite = torch.isfinite(value)
    if not bool(finite.all()):
        raise ValueError(f"{name}(x) has {int((~finite).sum())} non-finite of {value.numel()} entries; check x.")
    return value.detach()


def _require_deterministic(f: Function, x: Tensor, value: Tensor) -> None:
    """A second plain evaluation must agree; a forward-mode one must exist."""
    with torch.no_grad():
        again = f(x)
    scale = value.abs().max() if value.numel() else value.new_zeros(())
    tolerance = _PROBE_ROUNDOFFS * torch.finfo(value.dtype).eps * scale
    error = (again - value).abs().max() if value.numel() else scale
    if not bool(error <= tolerance):
        raise ValueError(
            f"f is not deterministic: two evaluations at one x differ by {float(error):.3g} (values up to "
            f"{float(scale):.3g}). Put the model in eval mode (no dropout) and fix the batch."
        )
    _forward(f, x, torch.zeros_like(x))


def _forward(f: Function, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    try:
        value, tangent = jvp(f, (x,), (v,))  # type: ignore[misc]  # two values without has_aux
    except NotImplementedError as error:
        if "forward" not in str(error):
            raise
        raise RuntimeError(
            "an operation inside f has no forward-mode derivative (the usual one: scaled dot-product attention on the "
            'CPU). Load the model with load_plm(..., attention="eager"); training may keep "sdpa".'
        ) from error
    return value, tangent


def _by_columns(product: Function, X: Tensor, n_rows: int, chunk_size: int | None) -> Tensor:
    """product applied to every column of X (n, k), as columns (n_rows, k)."""
    k = X.shape[1]
    if k == 0:
        return X.new_zeros(n_rows, 0)
    if k == 1 or chunk_size == 1:
        return torch.stack([product(X[:, j]) for j in range(k)], dim=1)
    return vmap(product, in_dims=1, out_dims=1, chunk_size=chunk_size)(X)
