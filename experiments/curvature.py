"""The curvature of the loss in a delta's vector, at the start and after training.

The Gauss-Newton matrix of n sentences and c classes has rank n(c - 1) at most; its whole spectrum, and each block's,
comes from its square root (`lab.geometry.curvature_factor`). Lanczos, Hutch++ and Lanczos quadrature, which need
products only, are run beside it and compared: they are what is left for a language model's vocabulary (`head`: lm),
where no square root fits. The table `curvature_trace` has the trace of the whole and of each block, exact or by
Hutch++; `spectral_density` the density of the Hessian's eigenvalues, of the whole and (first method) of each block.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lab.deltas import Delta
from lab.geometry import FactorSpectrum, factor_spectrum, gauss_newton, gauss_newton_factor, on_block, output_jacobian
from lab.linalg import Layout, LinearOperator, RecordedHessian, hutchpp_trace, lanczos, spectral_density
from lab.runs.record import Scalar
from lab.study import ANY_PLM, Experiment, Lab, Result, Scale, TrainingRun, counts, open_plm, setting


@dataclass(frozen=True, kw_only=True)
class Curvature(TrainingRun):
    """A training run whose loss is taken apart before and after."""

    head: str = setting(
        "lm: the next-token loss of the task's texts, at the start only", "classification",
        choices=("classification", "lm"), keyed=True,
    )  # fmt: skip
    sentences: int = setting("the curvature is of", unit="example", low=1)
    top: int = setting("leading eigenvalues by Lanczos", low=1)
    density_sentences: int = setting("the density is of", unit="example", low=1)
    density_probes: int = setting("random vectors of the density", low=1)
    density_steps: int = setting("Lanczos steps per vector", low=1)
    trace_products: int = setting("products that Hutch++ spends on a trace", low=3)
    products: bool = setting("also by products only, and blocks apart")


@dataclass(frozen=True, kw_only=True)
class Plan(Curvature):
    """One measurement per method, and the null of the first (or of all)."""

    method: dict[str, Any] = setting("unused: `methods`", {})
    methods: tuple[dict[str, Any], ...] = setting("to measure")
    only: str = setting("of the methods only this one; all: every one", "all")
    nulls: str = setting("random weights for the first method, or for all", "first", choices=("first", "all"))
    n_validation: int | None = setting("validation examples to score on", 100, unit="example", low=1)
    by_products: str = setting(
        "which are measured by products only too, and block by block", "first", choices=("first", "all", "none")
    )
    products: bool = setting("unused: `by_products`", False)
    fixed = ("weights", "products")

    def configs(self) -> tuple[Curvature, ...]:
        shared = {entry.name: getattr(self, entry.name) for entry in fields(Curvature)}
        chosen = self.methods[:1] if self.head == "lm" else self.methods
        if self.only not in ("all", *(known := [m["method"] for m in chosen])):
            raise ValueError(f"no measurement with the method {self.only!r}; choose one of: {', '.join(known)}")
        found = []
        for i, method in enumerate(chosen):
            for weights in ("pretrained", "random")[: 1 if i and self.nulls == "first" else 2]:
                first = i == 0 and weights == "pretrained" and self.by_products == "first"
                products = first or self.by_products == "all" or self.head == "lm"
                found.append(Curvature(**shared | {"method": method, "weights": weights, "products": products}))
        return tuple(c for c in found if self.only in ("all", c.method["method"]))


def measure(c: Curvature, lab: Lab) -> Result:
    """The curvature at φ₀ and at the trained φ."""
    found = _Found(c, _label(c))
    if c.head == "lm":
        delta, batch = _language_model(c)
        logits, weights = _next_tokens(delta, batch)
        found.by_products("start", gauss_newton(logits, delta.phi0, weights=weights))
        found.traces("start", _blocks(logits, delta.phi0, delta.layout, weights))
        found.density("start", "all", RecordedHessian(_next_token_loss(logits, batch, weights), delta.phi0))
        return Result({**found.metrics, **counts(delta)}, found.tables())
    delta = c.analysed()
    batch, small = c.batch(delta, c.sentences), c.batch(delta, c.density_sentences)
    _, fit = c.trained()
    for state, phi in (("start", delta.phi0), ("trained", fit.phi)):
        logits_at, J = output_jacobian(delta, phi, batch)
        exact = found.exactly(state, logits_at, J, delta)
        if state == "trained" and c.products:
            found.by_products(state, gauss_newton(lambda x: delta.logits(x, batch), phi), exact)
            found.traces(state, _blocks(lambda x: delta.logits(x, batch), phi, delta.layout))
        loss = _loss(delta, small)
        found.density(state, "all", RecordedHessian(loss, phi))
        if c.products:
            for scope, block in _scopes(delta.layout).items():
                found.density(state, scope, RecordedHessian(*on_block(loss, phi, delta.layout, block)))
        del J
    metrics = {"metric": fit.metric, "score": fit.score, "step_size": fit.lr, **found.metrics, **counts(delta)}
    return Result(metrics, found.tables())


def _label(c: Curvature) -> str:
    loss = ", next token" if c.head == "lm" else ""
    return c.how.title + loss + (", random weights" if c.weights == "random" else "")


class _Found:
    """Rows of the tables and metrics, as they are found."""

    def __init__(self, config: Curvature, label: str):
        self.config, self.label = config, label
        self.metrics: dict[str, Scalar] = {}
        self.eigenvalues: list[pd.DataFrame] = []
        self.densities: list[pd.DataFrame] = []
        self.trace_rows: list[dict[str, Scalar]] = []

    def exactly(self, state: str, logits: Tensor, J: Tensor, delta: Delta) -> FactorSpectrum:
        """All eigenvalues, of the whole and of each block."""
        whole = factor_spectrum(gauss_newton_factor(logits, J))
        values = whole.eigenvalues
        self._add(state, "all", values)
        self._trace(state, "all", "exact", whole.trace)
        for scope, block in _scopes(delta.layout).items():
            part = factor_spectrum(gauss_newton_factor(logits, J[..., delta.layout.indices(block)]))
            self._add(state, scope, part.eigenvalues)
            self._trace(state, scope, "exact", part.trace)
        self.metrics |= {
            f"{state}_largest": float(values[0]),
            f"{state}_trace": whole.trace,
            f"{state}_rank": len(values),
            f"{state}_participation_ratio": float(values.sum() ** 2 / values.square().sum()),
            f"{state}_top_share": float(values[: self.config.top].sum()) / whole.trace,
        }
        return whole

    def by_products(self, state: str, operator: LinearOperator, exact: FactorSpectrum | None = None) -> None:
        """Leading eigenvalues by Lanczos and the trace by Hutch++, with what they cost and how far off they are."""
        began = time.perf_counter()
        found = lanczos(operator, self.config.top)
        seconds = time.perf_counter() - began
        trace = hutchpp_trace(operator, self.config.trace_products)
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
            trace = hutchpp_trace(operator, self.config.trace_products)
            self._trace(state, scope, "Hutch++", trace.value, trace.standard_error)

    def density(self, state: str, scope: str, H: RecordedHessian) -> None:
        """Density of the eigenvalues of the Hessian or of one of its diagonal blocks, negative ones included."""
        c = self.config
        found = spectral_density(H, n_probes=c.density_probes, n_steps=c.density_steps, n_points=256)
        rows = {"eigenvalue": found.grid, "density": found.density, "standard_error": found.standard_error}
        table = pd.DataFrame({name: value.numpy() for name, value in rows.items()})
        self.densities.append(table.assign(label=self.label, state=state, scope=scope))
        if scope != "all":
            return
        mean, _ = found.expectation(lambda x: x.clamp(max=0).abs())
        total, _ = found.expectation(torch.abs)
        self.metrics |= {f"{state}_negative_share": mean / total if total else 0.0, f"{state}_loss": float(H.value)}

    def _add(self, state: str, scope: str, values: Tensor) -> None:
        shown = values.numpy()
        table = pd.DataFrame({"index": np.arange(1, len(shown) + 1), "eigenvalue": shown})
        self.eigenvalues.append(table.assign(label=self.label, state=state, scope=scope))

    def _trace(self, state: str, scope: str, estimator: str, value: float, error: float | None = None) -> None:
        """One row of `curvature_trace` [nats per unit of φ²]; an exact trace has no standard error."""
        self.trace_rows.append(
            {"label": self.label, "state": state, "scope": scope, "estimator": estimator, "trace": value,
             "standard_error": error}
        )  # fmt: skip

    def tables(self) -> dict[str, pd.DataFrame]:
        found = {
            "curvature_spectrum": pd.concat(self.eigenvalues, ignore_index=True),
            "curvature_trace": pd.DataFrame(self.trace_rows).astype({"standard_error": float}),
        }
        return found | {"spectral_density": pd.concat(self.densities, ignore_index=True)}


def _scopes(layout: Layout) -> dict[str, int | None]:
    """Names of the blocks of φ that hold coordinates, and the part outside the blocks."""
    named = {f"block {block}": block for block in layout.blocks} | {"outside the blocks": None}
    return {scope: block for scope, block in named.items() if len(layout.indices(block))}


def _blocks(
    logits: Any, phi: Tensor, layout: Layout, weights: Tensor | None = None
) -> Iterable[tuple[str, LinearOperator]]:
    """The diagonal blocks of Gauss-Newton, one at a time."""
    for scope, block in _scopes(layout).items():
        yield scope, gauss_newton(*on_block(logits, phi, layout, block), weights=weights)


def _loss(delta: Delta, batch: dict[str, Tensor]) -> Any:
    return lambda phi: cross_entropy(delta.logits(phi, batch), batch["labels"])


# the language-model loss


def _language_model(c: Curvature) -> tuple[Delta, dict[str, Tensor]]:
    plm = open_plm(c.model, seed=c.seed, head="lm", weights=c.weights, attention="eager")
    encoded = c.data.encode(plm, max_length=c.max_length).train
    return c.how.on(plm, seed=c.seed), next(encoded.batches(c.density_sentences, size=c.density_sentences))


def _next_tokens(delta: Delta, batch: dict[str, Tensor]) -> tuple[Any, Tensor]:
    """Logits of every token but the last, and the weights of the mean over those whose successor is no padding."""
    follows = batch["attention_mask"][:, 1:].to(delta.phi0)
    return lambda phi: delta.logits(phi, batch)[:, :-1], follows / follows.sum()


def _next_token_loss(logits: Any, batch: dict[str, Tensor], weights: Tensor) -> Any:
    """The weighted mean over tokens of the cross-entropy of the next one [nats]."""
    targets, w = batch["input_ids"][:, 1:].reshape(-1), weights.reshape(-1)
    return lambda phi: w @ cross_entropy(logits(phi).flatten(0, 1), targets, reduction="none")


LORA, BITFIT = {"method": "lora", "rank": 8}, {"method": "bitfit"}
_DEMO = Plan(
    model="minilm", task="bbc-news", seed=0, methods=(LORA, BITFIT, {"method": "adapter", "bottleneck": 16}), steps=40,
    batch_size=16, max_length=16, sentences=64, top=20, density_sentences=8, density_probes=2, density_steps=16,
    trace_products=12,
)  # fmt: skip

EXPERIMENT = Experiment(
    name="curvature",
    question="how many directions of a delta are stiff, before and after training, and is that pre-training's doing?",
    source="Schraudolph 2002 (Gauss-Newton); Ghorbani, Krishnan & Xiao 2019 (density of the Hessian's eigenvalues).",
    varied="the method; pre-trained or random weights (the null).",
    tuned="nothing; step sizes follow the rule for d and D.",
    fixed="PLM, task, steps, the sentences the curvature is of, seed.",
    expected="few eigenvalues far above a bulk: about one per class and output at the start; training flattens most of "
    "them and leaves the largest; random weights are flat, because all sentences look alike to them.",
    cost="demo: 2-4 minutes on two cores (MiniLM), SmolLM2 1-2 minutes. smoke: seconds.",
    view="optimisation",
    config=Curvature,
    scales={
        "smoke": replace(
            _DEMO, model="tiny-bert", methods=({"method": "lora", "rank": 1},), by_products="all", steps=3,
            batch_size=8, max_length=8,
            n_train=64, n_validation=32, sentences=8, top=3, density_sentences=4, density_steps=6, trace_products=6,
        ),
        "demo": Scale(
            (_DEMO,),
            asked=(  # models of a hundred million parameters and more
                replace(
                    _DEMO, model=ANY_PLM, methods=(LORA,), by_products="none", steps=60, batch_size=8, max_length=24,
                    n_validation=32, sentences=12, top=4, density_sentences=4, density_steps=12, trace_products=6,
                ),
            ),
        ),
        "paper": replace(
            _DEMO, methods=(LORA, BITFIT, {"method": "adapter", "bottleneck": 64}), nulls="all", steps=1000,
            batch_size=32, max_length=64, sentences=256, top=50, density_sentences=128, density_probes=10,
            density_steps=80, trace_products=60,
        ),
    },
    measure=measure,
    figures=("curvature_spectrum", "spectral_density"),
)  # fmt: skip
