"""Krylov methods that need only products A v: Lanczos for extreme eigenpairs, conjugate gradients for A x = b."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Literal

import torch
from torch import Tensor

from lab.faces import outlined
from lab.linalg.draws import Seed, draw, generator_of, require_positive, require_symmetric
from lab.linalg.operator import LinearOperator
from lab.linalg.powers_of_two import exponent, scaled

Which = Literal["largest", "smallest", "magnitude"]
SolveStatus = Literal["converged", "max_iterations", "indefinite", "non_finite"]


@dataclass(frozen=True)
class Tridiagonalization:
    """Qᵀ A Q = T, tridiagonal, and A Q = Q T + β_j q_{j+1} e_jᵀ.

    Attributes:
        alphas: diagonal of T, (j,), float64 on the CPU.
        betas: off-diagonal of T, (j − 1,); an exact 0 marks a restart in a new invariant subspace.
        last_beta: β_j ≥ 0, the norm of the remainder; 0 when the basis spans an invariant subspace.
        basis: Q, (n, j), orthonormal, in the operator's dtype and device.
    """

    alphas: Tensor
    betas: Tensor
    last_beta: float
    basis: Tensor

    def eigenpairs(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues of T ascending, (j,), and its eigenvectors as columns, (j, j)."""
        return torch.linalg.eigh(torch.diag(self.alphas) + torch.diag(self.betas, 1) + torch.diag(self.betas, -1))


@outlined
@dataclass(frozen=True)
class Lanczos:
    """The result of `lanczos`.

    Attributes:
        ritz_values: approximate eigenvalues, (k,), the most extreme first, float64 on the CPU.
        ritz_vectors: approximate eigenvectors as columns, (n, k).
        residuals: ‖A y − θ y‖₂ per pair, (k,): an eigenvalue of A lies within it of θ.
        converged: whether every residual is at most tol·max|θ|. It speaks of the pairs returned, not of copies left out
            (see the warning of `lanczos`).
        iterations: products with A.
        alphas, betas: the tridiagonal matrix T.
        basis: the Lanczos vectors (n, iterations).
        message: one sentence on the outcome, with the warning about copies where one may be missing.
    """

    ritz_values: Tensor
    ritz_vectors: Tensor
    residuals: Tensor
    converged: bool
    iterations: int
    alphas: Tensor
    betas: Tensor
    basis: Tensor
    message: str


class _Recurrence:
    """One Lanczos run, step by step, with full reorthogonalisation against all earlier vectors.

    Every product is scaled by a power of two before anything is squared: exact, and safe at any size of A.
    """

    def __init__(self, A: LinearOperator, start: Tensor, steps: int, generator: torch.Generator):
        self.A, self.generator = A, generator
        n = A.shape[0]
        self.basis = torch.empty(n, steps, dtype=A.dtype, device=A.device)
        self.alphas: list[float] = []
        self.betas: list[float] = []  # betas[i] joins vectors i and i + 1; the last one is the remainder's norm
        self.scale = 0.0
        start = scaled(start, -exponent(start))
        self.basis[:, 0] = start / start.norm()
        self.next = None

    @property
    def steps(self) -> int:
        return len(self.alphas)

    def step(self) -> None:
        j = self.steps
        if j > 0:
            self.basis[:, j] = self._restart(j) if self.next is None else self.next
        Q, q = self.basis[:, : j + 1], self.basis[:, j]
        w = self.A @ q
        if not bool(torch.isfinite(w).all()):
            raise ValueError(f"{self.A!r} returned a non-finite product at Lanczos step {j + 1}.")
        e = exponent(w)
        w = scaled(w, -e)
        self.scale = max(self.scale, scaled(float(w.norm()), e))
        h = Q.T @ w
        self._require_symmetric(h, j, e)
        w = w - Q @ h
        w = w - Q @ (Q.T @ w)  # "twice is enough" (Kahan; Parlett 1998, section 6.9)
        norm = float(w.norm())
        beta = scaled(norm, e)
        eps = torch.finfo(w.dtype).eps
        broke = beta <= 10 * sqrt(w.shape[0]) * eps * self.scale  # the remainder is rounding noise
        self.alphas.append(scaled(float(h[j]), e))
        self.betas.append(0.0 if broke else beta)
        self.next = None if broke else w / norm

    def _require_symmetric(self, h: Tensor, j: int, e: int) -> None:
        """For a symmetric A, q_iᵀ A q_j vanishes for i < j − 1: a check of the promise that costs nothing."""
        far = scaled(float(h[: max(j - 1, 0)].abs().max()), e) if j > 1 else 0.0
        if far > torch.finfo(h.dtype).eps ** 0.25 * self.scale:  # eps^¼: above the noise of float32 autodiff
            raise ValueError(
                f"{self.A!r} is tagged as symmetric and is not: step {j + 1} found q_iᵀ A q_j = {far:.3g} where "
                f"symmetry gives 0 (‖A q‖ up to {self.scale:.3g}). Use A.T @ A or randomized_svd."
            )

    def _restart(self, j: int) -> Tensor:
        """A random unit vector orthogonal to the invariant subspace found so far: it holds the other eigenvectors."""
        Q = self.basis[:, :j]
        v = draw(self.basis.shape[0], 1, self.A, self.generator)[:, 0]
        for _ in range(3):  # when few directions are left, the first projection cancels most of v
            v = v - Q @ (Q.T @ v)
            v = v / v.norm()
        return v

    def result(self) -> Tridiagonalization:
        j = self.steps
        alphas = torch.tensor(self.alphas, dtype=torch.float64)
        betas = torch.tensor(self.betas[: j - 1], dtype=torch.float64)
        return Tridiagonalization(alphas, betas, self.betas[j - 1], self.basis[:, :j])


def tridiagonalize(A: LinearOperator, start: Tensor, steps: int, *, generator: Seed = 0) -> Tridiagonalization:
    """`steps` Lanczos steps from `start` (Golub & Van Loan 2013, section 10.1), fully reorthogonalised.

    Cost: `steps` products, n·steps numbers, 4·n·steps² flops. A start inside an invariant subspace ends the run early:
    the basis then spans that subspace and `last_beta` is 0.

    Args:
        A: symmetric (n, n).
        start: (n,), non-zero.
        steps: at most n.
        generator: unused unless the operator must be restarted.

    Raises:
        ValueError: A is not known to be symmetric, or turns out not to be, or is non-finite; start is zero or has
            another shape.
    """
    n = require_symmetric(A, "Lanczos")
    require_positive(steps=steps)
    _require_start(start, n)
    run = _Recurrence(A, start, min(steps, n), generator_of(generator))
    while run.steps < min(steps, n) and (run.steps == 0 or run.next is not None):
        run.step()
    return run.result()


def lanczos(
    A: LinearOperator,
    k: int,
    *,
    which: Which = "largest",
    start: Tensor | None = None,
    generator: Seed = 0,
    tol: float | None = None,
    max_iterations: int | None = None,
) -> Lanczos:
    """The k extreme eigenpairs of a symmetric operator.

    Runs until k Ritz pairs satisfy |β_j s_{ji}| ≤ tol·max|θ| (that number is the residual ‖A y − θ y‖ itself:
    Parlett 1998, section 13.2), restarting in the orthogonal complement when an invariant subspace is exhausted.

    Cost: one product per iteration, n·iterations numbers of memory, 4·n·iterations² flops.

    Warning:
        Copies of a multiple eigenvalue appear only after an invariant subspace is exhausted: it may be reported once
        while smaller eigenvalues take the other places.

    Args:
        A: symmetric (n, n).
        k: wanted pairs, 1 ≤ k ≤ n.
        which: "largest" or "smallest" in value, or "magnitude".
        start: (n,); default a Gaussian vector of `generator`.
        generator: int or CPU torch.Generator, for the start and restarts.
        tol: relative residual; default √eps of A's dtype, so eigenvalues (their error is quadratic in it: Parlett,
            section 11.7) are at rounding level.
        max_iterations: default min(n, 10·k + 40), found by tuning on Gauss–Newton spectra; bounds the memory.

    Returns:
        A status value: look at `converged` and `residuals`.

    Raises:
        ValueError: A is not known to be symmetric, or turns out not to be, or is non-finite; k, start or which is
            invalid.
    """
    n = require_symmetric(A, "Lanczos")
    require_positive(k=k)
    if k > n:
        raise ValueError(f"k must be at most n = {n}; got {k}.")
    if which not in ("largest", "smallest", "magnitude"):
        raise ValueError(f'which must be "largest", "smallest" or "magnitude"; got {which!r}.')
    generator = generator_of(generator)
    start = draw(n, 1, A, generator)[:, 0] if start is None else start
    _require_start(start, n)
    tol = sqrt(torch.finfo(A.dtype).eps) if tol is None else tol
    limit = min(n, 10 * k + 40 if max_iterations is None else max(max_iterations, k))

    run = _Recurrence(A, start, limit, generator)
    while True:
        run.step()
        j = run.steps
        exhausted = j == limit
        if j < k or (not exhausted and j > 3 * k + 20 and j % 5):  # the small eigenproblem is O(j³)
            continue
        T = run.result()
        values, S = T.eigenpairs()
        chosen = _extreme(values, k, which)
        residuals = T.last_beta * S[-1, chosen].abs() if j < n else torch.zeros(k, dtype=torch.float64)
        tolerance = tol * float(values.abs().max())
        small = bool((residuals <= tolerance).all())
        converged = small and (j == n or _settled(run, values[chosen[-1]], which, tolerance))
        if converged or exhausted:
            break
    worst = float(residuals.max())
    looked = k == 1 or j == n or 0.0 in run.betas[:-1]  # past an invariant subspace, where copies appear
    message = (
        f"{k} eigenpairs to residual {worst:.2g} in {j} iterations{'' if looked else _COPIES}"
        if converged
        else f"residuals up to {worst:.2g} after {j} iterations; raise max_iterations or tol"
    )
    vectors = T.basis @ S[:, chosen].to(T.basis)
    return Lanczos(values[chosen], vectors, residuals, converged, j, T.alphas, T.betas, T.basis, message)


_COPIES = "; a further copy of a multiple eigenvalue may be missing"


def _settled(run: _Recurrence, least: Tensor, which: Which, tolerance: float) -> bool:
    """Whether no unexplored direction can hold a pair more extreme than `least`, the least extreme chosen value.

    Before any restart: taken for granted. A block started at random has a component in every eigenspace of what is
    left, so once the extreme Ritz value of the current block has converged, it bounds all that is left.
    """
    zeros = [i + 1 for i, beta in enumerate(run.betas[:-1]) if beta == 0.0]
    if not zeros and run.betas[-1] > 0:
        return True
    first = zeros[-1] if zeros else 0
    betas = torch.tensor(run.betas[first:], dtype=torch.float64)
    alphas = torch.tensor(run.alphas[first:], dtype=torch.float64)
    values, S = Tridiagonalization(alphas, betas[:-1], float(betas[-1]), torch.empty(0)).eigenpairs()
    top = _extreme(values, 1, which)
    if float(betas[-1] * S[-1, top].abs()) > tolerance:
        return False
    return float(_key(values[top], which)) <= float(_key(least, which)) + tolerance


def _key(values: Tensor, which: Which) -> Tensor:
    return {"largest": values, "smallest": -values, "magnitude": values.abs()}[which]


def _extreme(values: Tensor, k: int, which: Which) -> Tensor:
    return torch.argsort(_key(values, which), descending=True)[:k]


def _require_start(start: Tensor, n: int) -> None:
    if start.shape != (n,) or not bool(start.any()):
        raise ValueError(f"start must be a non-zero vector ({n},); got shape {tuple(start.shape)}.")


@outlined
@dataclass(frozen=True)
class LinearSolve:
    """The result of `conjugate_gradients`.

    Attributes:
        solution: x, (n,).
        residuals: ‖b − (A + λI) x‖₂ after each iteration, the first at the start.
        iterations: products with A.
        status: "converged"; "max_iterations"; "indefinite" (a direction with pᵀ(A + λI)p ≤ 0 was met: the solution
            before it is returned, as in Steihaug 1983); "non_finite" (a product was not finite).
        curvature: pᵀ(A + λI)p / pᵀp of the last direction.
    """

    solution: Tensor
    residuals: tuple[float, ...]
    iterations: int
    status: SolveStatus
    curvature: float

    @property
    def converged(self) -> bool:
        return self.status == "converged"


def conjugate_gradients(
    A: LinearOperator,
    b: Tensor,
    *,
    damping: float = 0.0,
    preconditioner: LinearOperator | None = None,
    start: Tensor | None = None,
    tol: float | None = None,
    max_iterations: int | None = None,
) -> LinearSolve:
    """x with (A + λI) x = b for a symmetric positive definite A + λI (Hestenes & Stiefel 1952).

    Args:
        A: symmetric (n, n).
        b: (n,).
        damping: λ ≥ 0.
        preconditioner: M ≈ (A + λI)⁻¹, symmetric positive definite (n, n).
        start: first x; default 0.
        tol: stop at ‖residual‖ ≤ tol·‖b‖; default √eps of b's dtype.
        max_iterations: default 10n, as in scipy (n in exact arithmetic; rounding asks for more).

    Returns:
        A status value: look at `converged`.

    Raises:
        ValueError: shapes disagree, A or the preconditioner is not known to be symmetric, or damping < 0.
    """
    n = require_symmetric(A, "conjugate gradients")
    if b.shape != (n,):
        raise ValueError(f"b must be a vector ({n},); got shape {tuple(b.shape)}.")
    if damping < 0:
        raise ValueError(f"damping must be >= 0; got {damping}.")
    if preconditioner is not None and preconditioner.shape != A.shape:
        raise ValueError(f"preconditioner must have shape {A.shape}; got {preconditioner.shape}.")
    if preconditioner is not None:
        require_symmetric(preconditioner, "preconditioning")
    tol = sqrt(torch.finfo(b.dtype).eps) if tol is None else tol
    limit = 10 * n if max_iterations is None else max_iterations

    # solved for y with x = 2^(e_b − e_A)·y: what is squared is of the order of 1, whatever the size of A and b
    e_b, e_A = exponent(b), 0
    r = scaled(b if start is None else b - (A @ start + damping * start), -e_b)
    e_M = 0 if preconditioner is None else exponent(preconditioner @ r) - exponent(r)
    conditioned = (lambda r: r) if preconditioner is None else (lambda r: scaled(preconditioner @ r, -e_M))
    y = torch.zeros_like(b)
    z = conditioned(r)
    p, rz = z, r @ z
    target = tol * float(scaled(b, -e_b).norm())
    residuals, curvature = [float(r.norm())], float("nan")
    status: SolveStatus = "max_iterations"
    if residuals[0] <= target:
        status, limit = "converged", 0
    iterations = 0
    while iterations < limit:
        Ap = A @ p + damping * p
        iterations += 1
        if not bool(torch.isfinite(Ap).all()):
            status = "non_finite"
            break
        e_A = exponent(Ap) - exponent(p) if iterations == 1 else e_A
        Ap = scaled(Ap, -e_A)
        pAp = p @ Ap
        curvature = float(pAp / (p @ p))
        if curvature <= 0:
            status = "indefinite"
            break
        step = rz / pAp
        y = y + step * p
        r = r - step * Ap
        residuals.append(float(r.norm()))
        if residuals[-1] <= target:
            status = "converged"
            break
        z = conditioned(r)
        rz, previous = r @ z, rz
        p = z + (rz / previous) * p
    x = scaled(y, e_b - e_A)
    x = x if start is None else start + x
    return LinearSolve(x, tuple(scaled(norm, e_b) for norm in residuals), iterations, status, scaled(curvature, e_A))
