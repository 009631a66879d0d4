"""What controls can reach, to first order: spectrum and rank of ∂y/∂φ, and which layers do the work."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lab.control.gramian import Observed, control_jacobian
from lab.control.problem import ControlProblem, Trajectory
from lab.linalg import LinearOperator, Spectrum, lanczos

_DENSE = 600  # below this many rows or columns, all of J costs less than Lanczos' products
_ENTRIES = 10**8  # of J beyond which only its smaller Gram matrix is held: full fine-tuning has 10⁷ columns
_COLUMNS = 4  # of the Gram matrix at a time; each passes through a vector of J's longer side


@dataclass(frozen=True, eq=False)
class Reach:
    """The leading part of the Gramian's spectrum; σ are the singular values of J = ∂y/∂φ, so W has eigenvalues σ².

    Attributes:
        spectrum: σ_1 ≥ … ≥ σ_k of the (n, d) matrix J.
        residuals: ‖W v − σ²v‖ per value, (k,); zeros when computed densely.
        complete: whether all min(n, d) values are there, so that rank and effective rank are J's, not of its head.
        converged: whether the residuals are small.
        products: products with J and Jᵀ together.
    """

    spectrum: Spectrum
    residuals: Tensor
    complete: bool
    converged: bool
    products: int

    @property
    def eigenvalues(self) -> Tensor:
        """Of the Gramian, (k,), decreasing: the squared reach per unit of control along each direction."""
        return self.spectrum.values.square()


def reach(
    problem: ControlProblem, trajectory: Trajectory, *, at: Observed = "end", k: int = 50, seed: int = 0
) -> Reach:
    """The k leading directions in which the controls move y, dense where J is small and by Lanczos where it is not.

    Where J has few rows (or columns) but too many entries, its spectrum comes from the dense smaller Gram matrix; then
    values below √eps of the largest are rounding.

    Args:
        problem: the control problem.
        trajectory: where to linearise.
        at: which y; see `gramian`.
        k: values wanted; default 50, what a figure shows.
        seed: of the Lanczos start.

    Returns:
        Reach. Lanczos works on the smaller of J Jᵀ and JᵀJ, which share their nonzero eigenvalues.
    """
    J = control_jacobian(problem, trajectory, at=at)
    n, d = J.shape
    if min(n, d) <= max(_DENSE, k) and n * d > _ENTRIES:
        gram = _dense(J @ J.T if n <= d else J.T @ J)
        values = torch.linalg.eigvalsh(gram.double()).flip(0).clamp_min(0).sqrt().cpu()
        return Reach(Spectrum(values, J.shape), torch.zeros_like(values), True, True, 2 * min(n, d))
    if min(n, d) <= max(_DENSE, k):
        spectrum = Spectrum.of(J.to_dense())
        return Reach(spectrum, torch.zeros_like(spectrum.values), True, True, min(n, d))
    smaller = J @ J.T if n <= d else J.T @ J
    found = lanczos(smaller, k, generator=seed)
    spectrum = Spectrum(found.ritz_values.clamp_min(0).sqrt(), J.shape)
    return Reach(spectrum, found.residuals, False, found.converged, 2 * found.iterations)


def _dense(operator: LinearOperator) -> Tensor:
    eye = torch.eye(operator.shape[1], dtype=operator.dtype, device=operator.device)
    return torch.cat([operator @ columns.contiguous() for columns in eye.split(_COLUMNS, dim=1)], dim=1)


@dataclass(frozen=True, eq=False)
class TraceShare:
    """How much of tr W = Σ_t tr W_t each stage contributes.

    Attributes:
        traces: tr W_t = ‖Φ_t B_t‖_F², (T,); 0 for stages after y.
        standard_errors: of the traces, (T,); 0 when exact.
    """

    traces: Tensor
    standard_errors: Tensor

    @property
    def shares(self) -> Tensor:
        """traces / Σ traces, (T,)."""
        return self.traces / self.traces.sum().clamp_min(torch.finfo(self.traces.dtype).tiny)


def trace_share(
    problem: ControlProblem, trajectory: Trajectory, *, at: Observed = "end", n_samples: int | None = 32, seed: int = 0
) -> TraceShare:
    """tr W_t for all stages at once: E‖(Jᵀv)_t‖² over random v with E vvᵀ = I; one vjp gives every stage's share.

    Args:
        problem: the control problem.
        trajectory: where to linearise.
        at: which y; see `gramian`.
        n_samples: vjps; default 32. None: exact, one vjp per entry of y.
        seed: of the random signs v.
    """
    J = control_jacobian(problem, trajectory, at=at)
    n = J.shape[0]
    if n_samples is None:
        V = torch.eye(n, dtype=J.dtype, device=J.device)
    else:
        generator = torch.Generator().manual_seed(seed)
        V = (torch.randint(0, 2, (n, n_samples), generator=generator) * 2 - 1).to(dtype=J.dtype, device=J.device)
    squares = torch.stack([_squares(problem, J.T @ v) for v in V.unbind(1)])  # (samples, T)
    if n_samples is None:
        return TraceShare(squares.sum(0), torch.zeros_like(squares[0]))
    errors = squares.std(0) / n_samples**0.5 if n_samples > 1 else torch.full_like(squares[0], torch.nan)
    return TraceShare(squares.mean(0), errors)


def _squares(problem: ControlProblem, phi: Tensor) -> Tensor:
    return torch.stack([u.square().sum() for u in problem.split(phi)])
