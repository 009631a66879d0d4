"""What controls can reach, to first order: spectrum and rank of ∂y/∂φ, and which layers do the work."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lab.control.gramian import Observed, control_jacobian
from lab.control.problem import ControlProblem, Trajectory
from lab.faces import outlined
from lab.linalg import LinearOperator, Spectrum, lanczos

_DENSE = 600  # below this many rows or columns, all of J costs less than Lanczos' products
_LARGEST = 5000  # rows or columns up to which a whole spectrum is computed when asked for: minutes on a small PLM
_ENTRIES = 10**8  # of J beyond which only its smaller Gram matrix is held: full fine-tuning has 10⁷ columns
_COLUMNS = 4  # of the Gram matrix at a time; each passes through a vector of J's longer side


@outlined
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
    problem: ControlProblem, trajectory: Trajectory, *, at: Observed = "end", k: int | None = 50, seed: int = 0
) -> Reach:
    """The k leading directions in which the controls move y, all where J is small and by Lanczos where it is not.

    Args:
        problem: the control problem.
        trajectory: where to linearise.
        at: which y; see `gramian`.
        k: values wanted; default 50, what a figure shows. None: all, for the rank; at min(n, d) products or twice as
            many, up to 5,000 rows or columns.
        seed: of the Lanczos start.

    Returns:
        Reach. Lanczos works on the smaller of J Jᵀ and JᵀJ, which share their nonzero eigenvalues.

    Raises:
        ValueError: all values are wanted of a J with more than 5,000 rows and columns.
    """
    J = control_jacobian(problem, trajectory, at=at)
    n, d = J.shape
    if min(n, d) <= (_LARGEST if k is None else max(_DENSE, k)):
        spectrum = whole_spectrum(J)
        products = min(n, d) * (1 if n * d <= _ENTRIES else 2)
        return Reach(spectrum, torch.zeros_like(spectrum.values), True, True, products)
    if k is None:
        raise ValueError(
            f"all singular values are computed up to {_LARGEST:,} rows or columns; J is {n:,} × {d:,}. Ask for the k "
            "leading ones, or observe fewer numbers."
        )
    smaller = J @ J.T if n <= d else J.T @ J
    found = lanczos(smaller, k, generator=seed)
    spectrum = Spectrum(found.ritz_values.clamp_min(0).sqrt(), J.shape)
    return Reach(spectrum, found.residuals, False, found.converged, 2 * found.iterations)


def whole_spectrum(J: LinearOperator) -> Spectrum:
    """All singular values of J (n, d): by SVD where it is small, else by the smaller of J Jᵀ and JᵀJ.

    A Gram matrix squares the values. Those below √(min(n, d)·eps) of the largest, eps that of J's dtype, are rounding
    then and are set to 0, so that no rank counts them: 4e-7 for 768 rows in float64.

    Args:
        J: min(n, d) products (twice as many where J has more than 10⁸ entries) and O(max(n, d)·min(n, d)²) flops.
    """
    n, d = J.shape
    few = n * d <= _ENTRIES
    if few and min(n, d) <= _DENSE:
        return Spectrum.of(J.to_dense())
    if few:
        A = J.to_dense().double()
        gram = A @ A.T if n <= d else A.T @ A
    else:
        gram = _dense(J @ J.T if n <= d else J.T @ J).double()
    eigenvalues = torch.linalg.eigvalsh(gram).flip(0).cpu()
    floor = min(n, d) * torch.finfo(J.dtype).eps * eigenvalues[0].clamp_min(0)
    return Spectrum(torch.where(eigenvalues > floor, eigenvalues, 0.0).sqrt(), (n, d))


def _dense(operator: LinearOperator) -> Tensor:
    eye = torch.eye(operator.shape[1], dtype=operator.dtype, device=operator.device)
    return torch.cat([operator @ columns.contiguous() for columns in eye.split(_COLUMNS, dim=1)], dim=1)


@outlined
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
