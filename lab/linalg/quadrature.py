"""Spectral density of a symmetric operator by stochastic Lanczos quadrature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log, pi, sqrt

import torch
from torch import Tensor

from lab.faces import outlined
from lab.linalg.draws import Seed, draw, generator_of, require_positive, require_symmetric
from lab.linalg.krylov import tridiagonalize
from lab.linalg.operator import LinearOperator


@outlined
@dataclass(frozen=True)
class SpectralDensity:
    """An estimate of p(λ) = 1/n Σ_i δ(λ − λ_i), smoothed by a Gaussian.

    Attributes:
        grid: λ, (n_points,), ascending.
        density: the mean over probes, (n_points,), per unit of λ; integrates to 1.
        standard_error: of that mean over probes, (n_points,); zeros with one probe.
        width: standard deviation of the Gaussian kernel, in units of λ.
        nodes, weights: the quadrature of each probe, (n_probes, n_steps); weights of a probe sum to 1 (a probe whose
            Krylov space ended early is filled up with weight 0).
        products: products with A.
    """

    grid: Tensor
    density: Tensor
    standard_error: Tensor
    width: float
    nodes: Tensor
    weights: Tensor
    products: int

    def expectation(self, f: Callable[[Tensor], Tensor]) -> tuple[float, float]:
        """1/n tr f(A) and its standard error over probes: Σ_j w_j f(θ_j), unsmoothed (Ubaru, Chen & Saad 2017)."""
        each = (self.weights * f(self.nodes)).sum(dim=1)
        error = float(each.std()) / sqrt(len(each)) if len(each) > 1 else float("nan")
        return float(each.mean()), error


def spectral_density(
    A: LinearOperator,
    *,
    n_probes: int = 10,
    n_steps: int = 80,
    width: float | None = None,
    grid: Tensor | None = None,
    n_points: int = 512,
    generator: Seed = 0,
) -> SpectralDensity:
    """p(λ) ≈ mean over random unit v of Σ_j (e_1ᵀ s_j)² g(λ − θ_j), with (θ_j, s_j) of the Lanczos matrix of v.

    Gauss quadrature of the measure of v (Golub & Meurant 1994); the mean over v is Hutchinson's trace estimator.

    Cost: n_probes·n_steps products; memory n·n_steps numbers.

    Args:
        A: symmetric (n, n).
        n_probes: random vectors; 10, so that the standard error has a meaning. One is Papyan's (2020) choice.
        n_steps: Lanczos steps per probe, at most n. 80, found by tuning: more sharpens the bulk, the outliers are
            exact long before.
        width: standard deviation of the Gaussian kernel. Default: the one at which neighbouring nodes of a spectrum
            of the found range blend, (λ_max − λ_min)/((n_steps − 1)·√(8 ln κ)) with κ = 3 (Papyan 2020, section D.2;
            formula of Lin, Saad & Yang 2016, section 3.2.2).
        grid: λ to evaluate at; default n_points over the found range and three widths beyond it.
        n_points: length of the default grid.
        generator: int or CPU torch.Generator.

    Raises:
        ValueError: A is not known to be symmetric; a count is below 1; width is not positive.
    """
    n = require_symmetric(A, "a spectral density")
    require_positive(n_probes=n_probes, n_steps=n_steps, n_points=n_points)
    if width is not None and not width > 0:
        raise ValueError(f"width must be > 0, in units of the eigenvalues; got {width}.")
    generator = generator_of(generator)
    steps = min(n_steps, n)
    nodes = torch.zeros(n_probes, steps, dtype=torch.float64)
    weights = torch.zeros(n_probes, steps, dtype=torch.float64)
    products = 0
    for probe in range(n_probes):
        T = tridiagonalize(A, draw(n, 1, A, generator)[:, 0], steps, generator=generator)
        values, S = T.eigenpairs()
        found = len(values)
        nodes[probe], weights[probe, :found] = values[0], S[0].square()  # fill with a node that has weight 0
        nodes[probe, :found] = values
        products += found

    low, high = float(nodes.min()), float(nodes.max())
    if width is None:
        spread = (high - low) or max(abs(high), 1.0) * 1e-3  # one distinct eigenvalue: any narrow bump
        width = spread / (max(steps - 1, 1) * sqrt(8 * log(3)))
    if grid is None:
        grid = torch.linspace(low - 3 * width, high + 3 * width, n_points, dtype=torch.float64)
    each = torch.stack([_smoothed(grid, *pair, width) for pair in zip(nodes, weights, strict=True)])
    error = each.std(dim=0) / sqrt(n_probes) if n_probes > 1 else torch.zeros_like(each[0])
    return SpectralDensity(grid, each.mean(dim=0), error, width, nodes, weights, products)


def _smoothed(grid: Tensor, nodes: Tensor, weights: Tensor, width: float) -> Tensor:
    z = (grid[:, None] - nodes[None, :]) / width  # (n_points, steps)
    return torch.exp(-0.5 * z.square()) @ weights / (width * sqrt(2 * pi))
