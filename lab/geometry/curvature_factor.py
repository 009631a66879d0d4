"""Curvatures of few rows by their square root: A = MᵀM with M (rows, d), so that the rows × rows kernel MMᵀ tells all.

A classifier's curvature on n sentences has rank at most n·c, whatever d is. Where n·c is small, every non-zero
eigenvalue, the trace, each block's spectrum and the coordinates of any vector in the eigenvectors are exact and cost
one Jacobian; Lanczos, quadrature and trace estimators (`lab.linalg`) are for what is larger, such as a language
model's vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.func import vjp, vmap

from lab.deltas import Delta
from lab.faces import outlined


def output_jacobian(
    delta: Delta, phi: Tensor, batch: Mapping[str, Tensor], *, chunk_size: int = 8
) -> tuple[Tensor, Tensor]:
    """Logits z (n, c) and the dense J = ∂z/∂φ (n, c, d) of a classifier, example by example.

    An example's logits depend on that example alone, so its c rows need c backward passes through it alone: J costs c
    passes over the batch, where products with the batch's operator would need n·c.

    Args:
        delta: whose PLM has a classification or regression head and attention that `vmap` supports ("eager").
        phi: (d,).
        batch: as for `delta.logits`; "labels" are ignored.
        chunk_size: examples at once; memory grows with it. Default 8: more gained nothing on two cores.

    Raises:
        ValueError: logits of an example are no vector, such as those of a language-model head.
    """
    inputs = {name: value for name, value in batch.items() if name != "labels"}

    def rows(example: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        one = {name: value[None] for name, value in example.items()}
        z, pull = vjp(lambda x: delta.logits(x, one)[0], phi.detach())  # type: ignore[misc]  # two without has_aux
        if z.ndim != 1:
            raise ValueError(
                f"a dense Jacobian needs logits (n, c); those of one example have shape {tuple(z.shape)}. "
                "Use gauss_newton, which never forms logits x parameters."
            )
        return z, vmap(lambda w: pull(w)[0])(torch.eye(len(z), dtype=z.dtype, device=z.device))

    with torch.no_grad():
        logits, J = vmap(rows, chunk_size=chunk_size)(inputs)
    return logits, J


def gauss_newton_factor(logits: Tensor, J: Tensor, weights: Tensor | None = None) -> Tensor:
    """M (n·c, d) with MᵀM = Σ_i w_i J_iᵀ(diag p_i − p_i p_iᵀ)J_i, the Gauss–Newton matrix of the cross-entropy.

    diag p − ppᵀ = S(I − ssᵀ)S with s = √p, S = diag s, and I − ssᵀ is a projection: M_i = √w_i (I − s sᵀ) S J_i.

    Args:
        logits: (n, c).
        J: (n, c, d), or some of its columns.
        weights: w (n,); default 1/n.
    """
    s = logits.softmax(dim=1).sqrt()[:, :, None]  # (n, c, 1)
    scaled = s * J
    M = scaled - s * (s * scaled).sum(dim=1, keepdim=True)
    return (_roots(logits, weights) * M).reshape(-1, J.shape[-1])


def gauss_newton_target(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """t (n·c,) with Mᵀt = −∂loss/∂φ for M of `gauss_newton_factor`: t_i = √w_i (y_i − p_i)/√p_i.

    ½‖M e − t‖² is the Gauss–Newton model of the loss at a step e, up to a constant; its minimum-norm solution M⁺t is
    where the model says the solution lies, found without training. Infinite where the label's own p is 0 in floating
    point.
    """
    p = logits.softmax(dim=1)
    y = torch.nn.functional.one_hot(labels, logits.shape[1]).to(p)
    t = ((y - p) / p.sqrt()).where((p > 0) | (y > 0), 0.0)
    return (_roots(logits, weights)[:, :, 0] * t).reshape(-1)


def kernel_factor(logits: Tensor, J: Tensor, weights: Tensor | None = None) -> Tensor:
    """M (n·c, d) = √w_i J_i: MᵀM = Σ w_i J_iᵀJ_i and MMᵀ is the neural tangent kernel, weighted (Jacot et al. 2018)."""
    return (_roots(logits, weights) * J).reshape(-1, J.shape[-1])


def kernel_target(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """t (n·c,) = √w_i (y_i − p_i), the cross-entropy's residual in the logits: what gradient flow sees at the start."""
    y = torch.nn.functional.one_hot(labels, logits.shape[1]).to(logits)
    return (_roots(logits, weights)[:, :, 0] * (y - logits.softmax(dim=1))).reshape(-1)


def covariance_factor(logits: Tensor, J: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """M (n, d) = √w_i g_iᵀ, g_i = J_iᵀ(p_i − y_i): MᵀM is the second moment of the gradients (`empirical_fisher`)."""
    y = torch.nn.functional.one_hot(labels, logits.shape[1]).to(logits)
    residual = (logits.softmax(dim=1) - y)[:, :, None]
    return _roots(logits, weights)[:, :, 0] * (residual * J).sum(dim=1)


@outlined
@dataclass(frozen=True, eq=False)
class FactorSpectrum:
    """The spectrum of A = MᵀM, by the eigenvectors of the kernel MMᵀ; all in float64.

    Attributes:
        eigenvalues: the non-zero ones of A, (k,), decreasing; those below rows·eps·λ_max (eps of M's dtype) are noise
            of the Jacobian and left out.
        left: eigenvectors of MMᵀ, (rows, k).
        factor: M, (rows, d).
    """

    eigenvalues: Tensor
    left: Tensor
    factor: Tensor

    @cached_property
    def trace(self) -> float:
        """tr A = ‖M‖_F²."""
        return float(self.factor.to(torch.float64).square().sum())

    def eigenvectors(self, k: int) -> Tensor:
        """v_i = Mᵀu_i/√λ_i of the k largest eigenvalues, (d, k), in M's dtype."""
        scaled = self.left[:, :k] / self.eigenvalues[:k].sqrt()
        return self.factor.T @ scaled.to(self.factor)

    def coordinates(self, e: Tensor) -> Tensor:
        """v_iᵀe = u_iᵀMe/√λ_i of a vector e (d,), (k,)."""
        return self.left.T @ (self.factor @ e.to(self.factor)).to(torch.float64).cpu() / self.eigenvalues.sqrt()

    def solution_coordinates(self, target: Tensor) -> Tensor:
        """v_iᵀM⁺t = u_iᵀt/√λ_i, (k,): the least-squares solution of M e = t in the eigenvectors."""
        return self.left.T @ target.to(torch.float64).cpu() / self.eigenvalues.sqrt()


def factor_spectrum(M: Tensor) -> FactorSpectrum:
    """Every non-zero eigenvalue of MᵀM. Cost: rows²·d flops.

    Raises:
        ValueError: M is no finite matrix, or is 0.
    """
    if M.ndim != 2 or not bool(torch.isfinite(M).all()):
        raise ValueError(f"a factor must be a finite matrix (rows, d); got shape {tuple(M.shape)}.")
    wide = M.to(torch.float64)
    values, vectors = torch.linalg.eigh((wide @ wide.T).cpu())
    values, vectors = values.flip(0), vectors.flip(1)
    kept = values > len(M) * torch.finfo(M.dtype).eps * values[0]
    if not float(values[0]) > 0:
        raise ValueError("the factor is 0: there is no curvature, as where every logit is constant in phi.")
    return FactorSpectrum(values[kept], vectors[:, kept], M)


def _roots(logits: Tensor, weights: Tensor | None) -> Tensor:
    """√w_i, (n, 1, 1)."""
    w = logits.new_full((len(logits),), 1 / len(logits)) if weights is None else weights.to(logits)
    if w.shape != (len(logits),) or not bool((w >= 0).all()):
        raise ValueError(f"weights must be {len(logits)} numbers >= 0, one per example; got shape {tuple(w.shape)}.")
    return w.sqrt()[:, None, None]
