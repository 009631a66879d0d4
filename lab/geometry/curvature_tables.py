"""The curvature of a loss in a delta's vector as tables: eigenvalues, traces, densities, of the whole and of blocks."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lab.deltas import Delta
from lab.geometry.batch_losses import batch_loss, next_token_logits, next_token_loss
from lab.geometry.curvature import gauss_newton, on_block
from lab.geometry.curvature_factor import FactorSpectrum, factor_spectrum, gauss_newton_factor, output_jacobian
from lab.linalg import Layout, LinearOperator, RecordedHessian, hutchpp_trace, lanczos, spectral_density
from lab.runs.record import Scalar

Batch = dict[str, Tensor]


class CurvatureTables:
    """Rows of the tables and metrics, as they are found.

    Args:
        top: leading eigenvalues by Lanczos.
        trace_products: products that Hutch++ spends on a trace.
        density_probes: random vectors of a density.
        density_steps: Lanczos steps per vector.
    """

    def __init__(self, *, top: int, trace_products: int, density_probes: int, density_steps: int):
        self.top, self.trace_products = top, trace_products
        self.density_probes, self.density_steps = density_probes, density_steps
        self.metrics: dict[str, Scalar] = {}
        self.eigenvalues: list[pd.DataFrame] = []
        self.densities: list[pd.DataFrame] = []
        self.trace_rows: list[dict[str, Scalar]] = []

    def at(
        self, state: str, delta: Delta, phi: Tensor, batch: Batch, small: Batch, *, by_products: bool, blocks: bool
    ) -> None:
        """A classifier's curvature at one φ.

        Args:
            state: what φ is called.
            delta: on attention with derivatives of every kind.
            phi: (d,).
            batch: the curvature is of.
            small: the density is of.
            by_products: also by products only, to be compared.
            blocks: a density of each block too.
        """
        exact = self.exactly(state, *output_jacobian(delta, phi, batch), delta)
        if by_products:

            def logits(x: Tensor) -> Tensor:
                return delta.logits(x, batch)

            self.by_products(state, gauss_newton(logits, phi), exact)
            self.traces(state, diagonal_blocks(logits, phi, delta.layout))
        loss = batch_loss(delta, small)
        self.density(state, "all", RecordedHessian(loss, phi))
        for scope, block in scopes(delta.layout).items() if blocks else ():
            self.density(state, scope, RecordedHessian(*on_block(loss, phi, delta.layout, block)))

    def of_next_tokens(self, state: str, delta: Delta, batch: Batch) -> None:
        """A language model's curvature at φ₀, by products only: no square root fits its vocabulary."""
        logits, weights = next_token_logits(delta, batch)
        self.by_products(state, gauss_newton(logits, delta.phi0, weights=weights))
        self.traces(state, diagonal_blocks(logits, delta.phi0, delta.layout, weights))
        self.density(state, "all", RecordedHessian(next_token_loss(logits, batch, weights), delta.phi0))

    def exactly(self, state: str, logits: Tensor, J: Tensor, delta: Delta) -> FactorSpectrum:
        """All eigenvalues, of the whole and of each block."""
        whole = factor_spectrum(gauss_newton_factor(logits, J))
        values = whole.eigenvalues
        self._add(state, "all", values)
        self._trace(state, "all", "exact", whole.trace)
        for scope, block in scopes(delta.layout).items():
            part = factor_spectrum(gauss_newton_factor(logits, J[..., delta.layout.indices(block)]))
            self._add(state, scope, part.eigenvalues)
            self._trace(state, scope, "exact", part.trace)
        self.metrics |= {
            f"{state}_largest": float(values[0]),
            f"{state}_trace": whole.trace,
            f"{state}_rank": len(values),
            f"{state}_participation_ratio": float(values.sum() ** 2 / values.square().sum()),
            f"{state}_top_share": float(values[: self.top].sum()) / whole.trace,
        }
        return whole

    def by_products(self, state: str, operator: LinearOperator, exact: FactorSpectrum | None = None) -> None:
        """Leading eigenvalues by Lanczos and the trace by Hutch++, with what they cost and how far off they are."""
        began = time.perf_counter()
        found = lanczos(operator, self.top)
        seconds = time.perf_counter() - began
        trace = hutchpp_trace(operator, self.trace_products)
        self._trace(state, "all", "Hutch++", trace.value, trace.standard_error)
        self.metrics |= {
            "lanczos_seconds": seconds,
            "lanczos_products": found.iterations,
            "lanczos_converged": found.converged,
            "hutchpp_trace": trace.value,
            "hutchpp_error": trace.standard_error,
        }
        if exact is None:
            self._add(state, "all", found.ritz_values)
            self.metrics |= {f"{state}_largest": float(found.ritz_values[0]), f"{state}_trace": trace.value}
            return
        known = exact.eigenvalues[: len(found.ritz_values)]
        difference = (found.ritz_values[: len(known)] - known).abs().max() / known[0]
        self.metrics |= {"lanczos_error": float(difference), "hutchpp_off": trace.value / exact.trace - 1}

    def traces(self, state: str, blocks: Iterable[tuple[str, LinearOperator]]) -> None:
        """The trace of each block by Hutch++; each operator is let go before the next is made."""
        for scope, operator in blocks:
            trace = hutchpp_trace(operator, self.trace_products)
            self._trace(state, scope, "Hutch++", trace.value, trace.standard_error)

    def density(self, state: str, scope: str, H: RecordedHessian) -> None:
        """Density of the eigenvalues of the Hessian or of one of its diagonal blocks, negative ones included."""
        found = spectral_density(H, n_probes=self.density_probes, n_steps=self.density_steps, n_points=256)
        rows = {"eigenvalue": found.grid, "density": found.density, "standard_error": found.standard_error}
        table = pd.DataFrame({name: value.numpy() for name, value in rows.items()})
        self.densities.append(table.assign(state=state, scope=scope))
        if scope != "all":
            return
        mean, _ = found.expectation(lambda x: x.clamp(max=0).abs())
        total, _ = found.expectation(torch.abs)
        self.metrics |= {f"{state}_negative_share": mean / total if total else 0.0, f"{state}_loss": float(H.value)}

    def _add(self, state: str, scope: str, values: Tensor) -> None:
        shown = values.numpy()
        table = pd.DataFrame({"index": np.arange(1, len(shown) + 1), "eigenvalue": shown})
        self.eigenvalues.append(table.assign(state=state, scope=scope))

    def _trace(self, state: str, scope: str, estimator: str, value: float, error: float | None = None) -> None:
        """One row of `curvature_trace` [nats per unit of φ²]; an exact trace has no standard error."""
        row: dict[str, Scalar] = {
            "state": state,
            "scope": scope,
            "estimator": estimator,
            "trace": value,
            "standard_error": error,
        }
        self.trace_rows.append(row)

    def tables(self) -> dict[str, pd.DataFrame]:
        """`curvature_spectrum`, `curvature_trace` and `spectral_density`."""
        return {
            "curvature_spectrum": pd.concat(self.eigenvalues, ignore_index=True),
            "curvature_trace": pd.DataFrame(self.trace_rows).astype({"standard_error": float}),
            "spectral_density": pd.concat(self.densities, ignore_index=True),
        }


def scopes(layout: Layout) -> dict[str, int | None]:
    """Names of the blocks of φ that hold coordinates, and the part outside the blocks."""
    named = {f"block {block}": block for block in layout.blocks} | {"outside the blocks": None}
    return {scope: block for scope, block in named.items() if len(layout.indices(block))}


def diagonal_blocks(
    logits: Any, phi: Tensor, layout: Layout, weights: Tensor | None = None
) -> Iterable[tuple[str, LinearOperator]]:
    """The diagonal blocks of Gauss-Newton, one at a time."""
    for scope, block in scopes(layout).items():
        yield scope, gauss_newton(*on_block(logits, phi, layout, block), weights=weights)
