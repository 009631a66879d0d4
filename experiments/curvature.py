"""The curvature of the loss in a delta's vector, at the start and after training.

The Gauss-Newton matrix of n sentences and c classes has rank n(c - 1) at most; its whole spectrum, and each block's,
comes from its square root (`lab.geometry.curvature_factor`). Lanczos, Hutch++ and Lanczos quadrature, which need
products only, are run beside it and compared: they are what is left for a language model's vocabulary (`head`: lm),
where no square root fits. The table `curvature_trace` has the trace of the whole and of each block, exact or by
Hutch++; `spectral_density` the density of the Hessian's eigenvalues, of the whole and (first method) of each block.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from lab.deltas import Delta
from lab.geometry.curvature_tables import CurvatureTables
from lab.study import ANY_PLM, Experiment, Lab, Result, Scale, TrainingRun, counts, open_plm, setting
from lab.study.amounts import scored_examples, training_steps


@dataclass(frozen=True, kw_only=True)
class Curvature(TrainingRun):
    """A training run whose loss is taken apart before and after."""

    steps: int = training_steps()
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
    n_validation: int | None = scored_examples("most validation examples to score on; none: all", 100)
    by_products: str = setting(
        "which are measured by products only too, and block by block", "first", choices=("first", "all", "none")
    )
    products: bool = setting("unused: `by_products`", False)
    fixed = ("weights", "products")

    def configs(self) -> tuple[Curvature, ...]:
        chosen = self.methods[:1] if self.head == "lm" else self.methods
        if self.only not in ("all", *(known := [m["method"] for m in chosen])):
            raise ValueError(f"no measurement with the method {self.only!r}; choose one of: {', '.join(known)}")
        found = []
        for i, method in enumerate(chosen):
            for weights in ("pretrained", "random")[: 1 if i and self.nulls == "first" else 2]:
                first = i == 0 and weights == "pretrained" and self.by_products == "first"
                products = first or self.by_products == "all" or self.head == "lm"
                found.append(self.to(Curvature, method=method, weights=weights, products=products))
        return tuple(c for c in found if self.only in ("all", c.method["method"]))


def measure(c: Curvature, lab: Lab) -> Result:
    """The curvature at φ₀ and at the trained φ."""
    found = CurvatureTables(
        top=c.top, trace_products=c.trace_products, density_probes=c.density_probes, density_steps=c.density_steps
    )
    trained: dict[str, Any] = {}
    if c.head == "lm":
        delta, batch = language_model(c)
        found.of_next_tokens("start", delta, batch)
    else:
        delta = c.analysed()
        batches = c.batch(delta, c.sentences), c.batch(delta, c.density_sentences)
        _, fit = c.trained()
        found.at("start", delta, delta.phi0, *batches, by_products=False, blocks=c.products)
        found.at("trained", delta, fit.phi, *batches, by_products=c.products, blocks=c.products)
        trained = {"metric": fit.metric, "score": fit.score, "step_size": fit.lr}
    loss, null = ", next token" if c.head == "lm" else "", ", random weights" if c.weights == "random" else ""
    tables = {name: table.assign(label=c.how.title + loss + null) for name, table in found.tables().items()}
    return Result({**trained, **found.metrics, **counts(delta)}, tables)


def language_model(c: Curvature) -> tuple[Delta, dict[str, Tensor]]:
    """The delta under the language-model head, and a batch of the task's texts."""
    plm = open_plm(c.model, seed=c.seed, head="lm", weights=c.weights, attention="eager")
    encoded = c.data.encode(plm, max_length=c.max_length).train
    return c.how.on(plm, seed=c.seed), next(encoded.batches(c.density_sentences, size=c.density_sentences))


LORA, BITFIT = {"method": "lora", "rank": 8}, {"method": "bitfit"}
_DEMO = Plan(
    model="minilm", task="bbc-news", seed=0, methods=(LORA, BITFIT, {"method": "adapter", "bottleneck": 16}), steps=40,
    batch_size=16, max_length=16, sentences=64, top=20, density_sentences=8, density_probes=2, density_steps=16,
    trace_products=12,
)  # fmt: skip

EXPERIMENT = Experiment(
    name="curvature",
    question="how many directions of a delta are stiff, before and after training, and is that due to pre-training?",
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
            density_steps=80, trace_products=60, splits=3,
        ),
    },
    of_classes=True,
    measure=measure,
    figures=("curvature_spectrum", "spectral_density"),
)  # fmt: skip
