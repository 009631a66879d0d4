"""Curvature of a loss in a delta's vector: its Hessian, and Gauss–Newton, Fisher and kernel, all made of one Jacobian.

With J = ∂logits/∂φ on a fixed batch (rows stacked over samples) and H the Hessian of the loss in the logits,
Gauss–Newton is JᵀHJ (Schraudolph 2002) and the kernel J Jᵀ (Jacot et al. 2018). One block (layer) of any of them, or
of the Hessian, is the same operator of the function that `on_block` makes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from torch import Tensor

from lab.linalg import Hessian, Jacobian, Layout, LinearOperator, RecordedHessian, RecordedJacobian, Structure

Function = Callable[[Tensor], Tensor]
Loss = Literal["cross_entropy", "squared_error"]


class OutputHessian(LinearOperator):
    """H = ∂²(Σ_i w_i ℓ(z_i, y_i))/∂z², block diagonal over the rows z_i of the logits, applied row by row.

    Softmax cross-entropy: w_i (diag(p_i) − p_i p_iᵀ), whatever the label. Mean over outputs of (z − y)²: 2 w_i/c.
    Positive semidefinite, as no weight is negative.
    """

    structure = Structure.POSITIVE_SEMIDEFINITE

    def __init__(self, logits: Tensor, weights: Tensor, loss: Loss):
        """Args: logits (rows, c); weights (rows,); loss: see the class."""
        self.loss, self.weights, self.size = loss, weights, logits.shape
        self.probabilities = logits.softmax(dim=1)
        self.shape, self.dtype, self.device = (logits.numel(), logits.numel()), logits.dtype, logits.device

    def _matmat(self, X: Tensor) -> Tensor:
        rows, c = self.size
        x, w = X.reshape(rows, c, -1), self.weights[:, None, None]
        if self.loss == "squared_error":
            return (2 / c * w * x).reshape(X.shape)
        p = self.probabilities[:, :, None]
        return (w * p * (x - (p * x).sum(dim=1, keepdim=True))).reshape(X.shape)

    def _rmatmat(self, Y: Tensor) -> Tensor:
        return self._matmat(Y)


def hessian(loss: Function, phi: Tensor, *, recorded: bool = True) -> LinearOperator:
    """∂²loss/∂φ² (d, d), symmetric and indefinite away from a minimum: Gauss–Newton plus the logits' own curvature.

    Args:
        loss: closed φ (d,) -> scalar [nats]: fixed batch, no dropout.
        phi: (d,), the point.
        recorded: `RecordedHessian`, whose products are one backward pass; False: `Hessian`, which keeps no graph.

    Raises:
        ValueError: φ is not flat and floating, or the loss is no finite scalar.
    """
    return RecordedHessian(loss, phi) if recorded else Hessian(loss, phi)


def gauss_newton(
    logits: Function, phi: Tensor, *, loss: Loss = "cross_entropy", weights: Tensor | None = None, recorded: bool = True
) -> LinearOperator:
    """G = JᵀHJ (d, d), positive semidefinite: the Hessian of the loss with the logits linearised in φ.

    It equals the Hessian where the logits are linear in φ or the loss gradient in the logits vanishes. Labels do not
    enter. Cost of a product: one jvp and one vjp; memory: the logits and their graph, never logits × parameters.

    Args:
        logits: closed φ (d,) -> (..., c): fixed batch, no dropout; all but the last axis are rows.
        phi: (d,), the point.
        loss: per row, "cross_entropy" [nats] or "squared_error" (the mean over the c outputs of (z − y)²).
        weights: (rows,), or the logits' shape without its last axis; the total loss is Σ_i w_i ℓ_i. Default 1/rows, the
            batch mean. A language model whose positions are ignored gives (labels != -100)/count.
        recorded: replay graphs recorded once (`RecordedJacobian`, about half the time per product, twice the memory);
            False: `Jacobian`.

    Raises:
        ValueError: an unknown loss, logits without a class axis, or weights of another size or negative.
    """
    if loss not in get_args(Loss):
        raise ValueError(f"loss must be one of {get_args(Loss)}; got {loss!r}.")
    J = _jacobian(logits, phi, recorded)
    if len(J.output_shape) < 2:
        raise ValueError(f"logits must have shape (..., c), rows by outputs; got {J.output_shape}.")
    z = J.value.reshape(-1, J.output_shape[-1])
    if weights is None:
        weights = z.new_full((z.shape[0],), 1 / z.shape[0])
    if weights.numel() != z.shape[0] or not bool((weights >= 0).all()):
        raise ValueError(
            f"weights must be {z.shape[0]} numbers >= 0, one per row of logits; got shape {tuple(weights.shape)}."
        )
    return J.T @ (OutputHessian(z, weights.reshape(-1).to(z), loss) @ J)  # v -> Jv -> HJv -> JᵀHJv


def fisher(logits: Function, phi: Tensor, *, weights: Tensor | None = None, recorded: bool = True) -> LinearOperator:
    """F = Σ_i w_i E_{y ~ p_i} ∇log p_i(y) ∇log p_i(y)ᵀ of the softmax model, labels drawn from the model itself.

    Equal to Gauss–Newton of the cross-entropy (Martens 2020, section 9.2), and computed as such. With the *observed*
    labels in place of y ~ p see `empirical_fisher`, which is another matrix.
    """
    return gauss_newton(logits, phi, loss="cross_entropy", weights=weights, recorded=recorded)


def empirical_fisher(losses: Function, phi: Tensor, *, recorded: bool = True) -> LinearOperator:
    """C = 1/N Σ_i g_i g_iᵀ (d, d), g_i = ∂ℓ_i/∂φ: second moment of the per-example gradients, of rank ≤ N.

    Not an estimate of the curvature in general (Kunstner et al. 2019); offered because it is often taken for one.

    Args:
        losses: closed φ -> (N,), the loss of each example.
        phi, recorded: as for `gauss_newton`.

    Raises:
        ValueError: losses are not a vector.
    """
    J = _jacobian(losses, phi, recorded)
    if len(J.output_shape) != 1:
        raise ValueError(f"losses must return one loss per example, shape (N,); got {J.output_shape}.")
    return (J.T @ J) * (1 / J.shape[0])


def ntk(logits: Function, phi: Tensor, *, recorded: bool = True) -> LinearOperator:
    """K = J Jᵀ (rows·c, rows·c): the neural tangent kernel of a delta, outputs stacked sample by sample.

    Its non-zero eigenvalues are those of JᵀJ; under gradient flow on ½‖z − y‖² the residual decays as exp(−Kt).
    """
    J = _jacobian(logits, phi, recorded)
    return J @ J.T


def on_block(f: Function, phi: Tensor, layout: Layout, block: int | None) -> tuple[Function, Tensor]:
    """f as a function of the coordinates of one block, all others held at φ; and that block's part of φ.

    `gauss_newton(*on_block(logits, phi, delta.layout, t))` is the t-th diagonal block of the whole, and
    the kernels of all blocks sum to `ntk(logits, phi)`.

    Args:
        f: closed function of φ.
        phi: (d,).
        layout: names the parts of φ and their blocks (`delta.layout`).
        block: index of the block; None for the parts of no block (head, embeddings).

    Raises:
        ValueError: φ is not of the layout's size, or no part belongs to the block.
    """
    if phi.shape != (layout.size,):
        raise ValueError(f"this layout needs phi of shape ({layout.size},); got {tuple(phi.shape)}.")
    indices = layout.indices(block).to(phi.device)
    if not len(indices):
        raise ValueError(f"no part belongs to block {block}; the layout's blocks are {layout.blocks}.")

    def restricted(x: Tensor) -> Tensor:
        return f(phi.detach().index_copy(0, indices, x))

    return restricted, phi.detach()[indices]


def _jacobian(f: Function, phi: Tensor, recorded: bool) -> Jacobian | RecordedJacobian:
    return RecordedJacobian(f, phi) if recorded else Jacobian(f, phi)
