"""The curvature of the loss in a delta's vector, at the start and after training.

Question: how many directions of a delta are stiff, before and after training, and is that pre-training's doing?
Source: Schraudolph 2002 (Gauss-Newton); Ghorbani, Krishnan & Xiao 2019 (density of the Hessian's eigenvalues).
Varied: the method; pre-trained or random weights (the null).
Tuned: nothing; step sizes follow the rule for d and D.
Fixed: PLM, task, steps, the sentences the curvature is of, seed.
Expected: few eigenvalues far above a bulk: about one per class and output at the start; training flattens most of them
    and leaves the largest; random weights are flat, because all sentences look alike to them.
Cost: demo: 2-4 minutes on two cores (MiniLM), SmolLM2 1-2 minutes. smoke: seconds.

The Gauss-Newton matrix of n sentences and c classes has rank n(c - 1) at most; its whole spectrum, and each block's,
comes from its square root (`lab.geometry.curvature_factor`). Lanczos, Hutch++ and Lanczos quadrature, which need
products only, are run beside it and compared: they are what is left for a language model's vocabulary (`head`: lm),
where no square root fits. The table `curvature_trace` has the trace of the whole and of each block, exact or by
Hutch++; `spectral_density` the density of the Hessian's eigenvalues, of the whole and (first method) of each block.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from experiments.training_run import (
    analysed,
    counts,
    device,
    fixed_batch,
    method_label,
    subset,
    trained,
    training_job,
)
from lab.deltas import Delta, method_from_json
from lab.geometry import FactorSpectrum, factor_spectrum, gauss_newton, gauss_newton_factor, on_block, output_jacobian
from lab.linalg import Layout, LinearOperator, RecordedHessian, hutchpp_trace, lanczos, spectral_density
from lab.models import PLM, load_plm, random_weights
from lab.models.tiny import tiny_plm
from lab.runs import Job, Record, Store
from lab.runs.record import Scalar

NAME = "curvature"
FIGURES = ("curvature_spectrum", "spectral_density")

METHODS: dict[str, tuple[dict[str, Any], ...]] = {
    "smoke": ({"method": "lora", "rank": 1},),
    "demo": ({"method": "lora", "rank": 8}, {"method": "bitfit"}, {"method": "adapter", "bottleneck": 16}),
    "paper": ({"method": "lora", "rank": 8}, {"method": "bitfit"}, {"method": "adapter", "bottleneck": 64}),
}
WEIGHTS = ("pretrained", "random")

SETTINGS: dict[str, dict[str, int]] = {
    "smoke": {"steps": 3, "batch_size": 8, "max_length": 8, "sentences": 8, "top": 3, "density_sentences": 4,
              "density_probes": 2, "density_steps": 6, "trace_products": 6},
    "demo": {"steps": 40, "batch_size": 16, "max_length": 16, "sentences": 64, "top": 20, "density_sentences": 8,
             "density_probes": 2, "density_steps": 16, "trace_products": 12},
    "paper": {"steps": 1000, "batch_size": 32, "max_length": 64, "sentences": 256, "top": 50, "density_sentences": 128,
              "density_probes": 10, "density_steps": 80, "trace_products": 60},
}  # fmt: skip
LARGE: dict[str, int] = {
    "steps": 60, "batch_size": 8, "max_length": 24, "sentences": 12, "top": 4, "density_sentences": 4,
    "density_probes": 2, "density_steps": 12, "trace_products": 6,
}  # fmt: skip
"""A demo of models of a hundred million parameters and more."""


def jobs(
    scale: str,
    *,
    model: str | None = None,
    task: str = "bbc-news",
    method: str | None = None,
    head: str = "classification",
    seed: int = 0,
) -> list[Job]:
    """One job per method, and the null of the first (paper: of all).

    Args:
        scale: "smoke", "demo" or "paper".
        model: name for `load_plm`; default: MiniLM (smoke: a tiny BERT).
        task: name for `load_task`.
        method: only this one of the scale's methods: "lora", "bitfit" or "adapter".
        head: "classification", or "lm": the language-model loss of the task's texts, at the start only.
        seed: of everything.
    """
    smoke = scale == "smoke"
    model = model or ("tiny-bert" if smoke else "minilm")
    large = scale == "demo" and not model.startswith(("tiny-", "minilm"))
    settings = LARGE if large else SETTINGS[scale]
    methods = METHODS[scale][:1] if large or head == "lm" else METHODS[scale]
    found = []
    for i, chosen in enumerate(methods):
        for weights in WEIGHTS:
            if method not in (None, chosen["method"]):
                continue
            if i and weights == "random" and scale != "paper":
                continue
            run = training_job(
                model=model, task=task, method=chosen, seed=seed, weights=weights, steps=settings["steps"],
                batch_size=settings["batch_size"], max_length=settings["max_length"],
                n_train=64 if smoke else None, n_validation=32 if smoke or large else 100,
            ).config  # fmt: skip
            products = head == "lm" or smoke or (i == 0 and weights == "pretrained" and not large)
            found.append(Job(NAME, {**run, **settings, "head": head, "products": products}))
    return found


def measure(job: Job, store: Store) -> Record:
    """The curvature at φ₀ and at the trained φ."""
    c = job.config
    found = _Found(c, _label(c))
    if c["head"] == "lm":
        delta, batch = _language_model(c)
        logits, weights = _next_tokens(delta, batch)
        found.by_products("start", gauss_newton(logits, delta.phi0, weights=weights))
        found.traces("start", _blocks(logits, delta.phi0, delta.layout, weights))
        found.density("start", "all", RecordedHessian(_next_token_loss(logits, batch, weights), delta.phi0))
        return Record(job, {**found.metrics, **counts(delta)}, found.tables())
    delta = analysed(c)
    batch = fixed_batch(c, delta, c["sentences"])
    small = fixed_batch(c, delta, c["density_sentences"])
    _, fit = trained({name: c[name] for name in training_fields(c)})
    for state, phi in (("start", delta.phi0), ("trained", fit.phi)):
        logits_at, J = output_jacobian(delta, phi, batch)
        exact = found.exactly(state, logits_at, J, delta)
        if state == "trained" and c["products"]:
            found.by_products(state, gauss_newton(lambda x: delta.logits(x, batch), phi), exact)
            found.traces(state, _blocks(lambda x: delta.logits(x, batch), phi, delta.layout))
        loss = _loss(delta, small)
        found.density(state, "all", RecordedHessian(loss, phi))
        if c["products"]:
            for scope, block in _scopes(delta.layout).items():
                found.density(state, scope, RecordedHessian(*on_block(loss, phi, delta.layout, block)))
        del J
    metrics = {"metric": fit.metric, "score": fit.score, "step_size": fit.lr, **found.metrics, **counts(delta)}
    return Record(job, metrics, found.tables())


def _label(c: dict[str, Any]) -> str:
    loss = ", next token" if c["head"] == "lm" else ""
    return method_label(c["method"]) + loss + (", random weights" if c["weights"] == "random" else "")


def training_fields(config: dict[str, Any]) -> list[str]:
    """The fields of a job that belong to its training run."""
    own = {*SETTINGS["demo"], "head", "products"} - {"steps", "batch_size", "max_length"}
    return [name for name in config if name not in own]


class _Found:
    """Rows of the tables and metrics, as they are found."""

    def __init__(self, config: dict[str, Any], label: str):
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
            f"{state}_effective_rank": float(values.sum() ** 2 / values.square().sum()),
            f"{state}_top_share": float(values[: self.config["top"]].sum()) / whole.trace,
        }
        return whole

    def by_products(self, state: str, operator: LinearOperator, exact: FactorSpectrum | None = None) -> None:
        """Leading eigenvalues by Lanczos and the trace by Hutch++, with what they cost and how far off they are."""
        began = time.perf_counter()
        found = lanczos(operator, self.config["top"])
        seconds = time.perf_counter() - began
        trace = hutchpp_trace(operator, self.config["trace_products"])
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
            trace = hutchpp_trace(operator, self.config["trace_products"])
            self._trace(state, scope, "Hutch++", trace.value, trace.standard_error)

    def density(self, state: str, scope: str, H: RecordedHessian) -> None:
        """Density of the eigenvalues of the Hessian or of one of its diagonal blocks, negative ones included."""
        c = self.config
        found = spectral_density(H, n_probes=c["density_probes"], n_steps=c["density_steps"], n_points=256)
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


def _language_model(c: dict[str, Any]) -> tuple[Delta, dict[str, Tensor]]:
    plm = _lm(c["model"], c["seed"])
    plm = random_weights(plm, seed=c["seed"]) if c["weights"] == "random" else plm
    delta = method_from_json(c["method"]).on(plm, seed=c["seed"])
    encoded = subset(c["task"], c["n_train"], c["n_validation"]).encode(plm, max_length=c["max_length"]).train
    return delta, next(encoded.batches(c["density_sentences"], size=c["density_sentences"]))


def _lm(model: str, seed: int) -> PLM:
    if model.startswith("tiny-"):
        return tiny_plm(model.removeprefix("tiny-"), head="lm", seed=seed, dtype=torch.float32)
    return load_plm(model, head="lm", seed=seed, device=device(), attention="eager")


def _next_tokens(delta: Delta, batch: dict[str, Tensor]) -> tuple[Any, Tensor]:
    """Logits of every token but the last, and the weights of the mean over those whose successor is no padding."""
    follows = batch["attention_mask"][:, 1:].to(delta.phi0)
    return lambda phi: delta.logits(phi, batch)[:, :-1], follows / follows.sum()


def _next_token_loss(logits: Any, batch: dict[str, Tensor], weights: Tensor) -> Any:
    """The weighted mean over tokens of the cross-entropy of the next one [nats]."""
    targets, w = batch["input_ids"][:, 1:].reshape(-1), weights.reshape(-1)
    return lambda phi: w @ cross_entropy(logits(phi).flatten(0, 1), targets, reduction="none")


def summary(store: Store, records: list[Record]) -> str:
    """Largest eigenvalue, trace and effective rank, before and after."""
    lines = [f"Gauss-Newton of {records[0].job.config['model']} (eigenvalues in nats per unit of φ²):"]
    for record in records:
        m, label = dict(record.metrics), _label(record.job.config)
        for state in ("start", "trained"):
            if f"{state}_largest" in m:
                rank = m.get(f"{state}_effective_rank")
                told = f"effective rank {rank:6.1f} of {m[f'{state}_rank']}" if rank is not None else "by products only"
                largest, trace = m[f"{state}_largest"], m[f"{state}_trace"]
                lines.append(f"  {label:30s} {state:8s} largest {largest:9.3g}   trace {trace:9.3g}   {told}")
        if "lanczos_products" not in m:
            continue
        off = f", off by {m['lanczos_error']:.1e} of the largest" if "lanczos_error" in m else ""
        lines.append(
            f"  {'':30s} Lanczos: {m['lanczos_products']} products, {m['lanczos_seconds']:.1f} s{off}; Hutch++ trace "
            f"{m['hutchpp_trace']:.3g} ± {m['hutchpp_error']:.1g}"
        )
    return "\n".join(lines)
