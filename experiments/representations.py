"""The dimension of hidden states, layer by layer, before and after tuning, and how alike the layers stay."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd
import torch
from torch import Tensor

from experiments.intrinsic_dimension import EXPERIMENT as INTRINSIC_DIMENSION
from experiments.intrinsic_dimension import Search
from lab.deltas import Delta
from lab.geometry.layers import calibration_table, layer_alignment, layer_dimensions
from lab.models import hidden_states, pooled
from lab.runs.record import Scalar
from lab.study import ANY_PLM, Experiment, Lab, Result, Scale, TrainingRun, counts, setting
from lab.study.amounts import training_steps

BATCH = 50
BASE, RANDOM = "pre-trained", "random weights"


@dataclass(frozen=True, kw_only=True)
class Representations(TrainingRun):
    """A training run whose hidden states are measured before and after."""

    steps: int = training_steps()
    sentences: int = setting("whose states are measured", unit="example", low=3)
    search: Search | None = setting("the search of the objective's dimension; none: not searched")


@dataclass(frozen=True, kw_only=True)
class Plan(Representations):
    """One measurement."""

    search: Search | None = setting("unused: `objective`", None)
    objective: str | None = setting("scale of the objective's search (intrinsic_dimension); none: not searched", None)

    def configs(self) -> tuple[Representations, ...]:
        if self.objective is None:
            return (self.to(Representations),)
        search = INTRINSIC_DIMENSION.configs(self.objective, model=self.model, task=self.task)[0]
        return (self.to(Representations, search=replace(search, seed=self.seed)),)


def measure(c: Representations, lab: Lab) -> Result:
    """Hidden states under the three kinds of weights; their dimensions; CKA with the pre-trained layers."""
    tuned, fit = c.trained()
    after = f"after {c.how.title}"
    delta, null = c.analysed(), replace(c, weights="random").analysed()
    states = {
        BASE: _layers(delta, delta.phi0, c),
        after: _layers(delta, fit.phi, c),
        RANDOM: _layers(null, null.phi0, c),
    }
    d90 = None
    if c.search is not None:
        d90 = lab.one(INTRINSIC_DIMENSION, c.search, "the objective's dimension").metrics["d90"]
    dimensions = layer_dimensions(states).assign(objective=None if d90 is None else float(d90))
    calibrated = calibration_table(dimensions)
    grids = [layer_alignment(states[BASE], layers, label) for label, layers in states.items() if label != BASE]
    last = dimensions[(dimensions.estimator == "GRIDE") & (dimensions.layer == dimensions.layer.max())]
    end = last.set_index("label").dimension
    cka = pd.concat(grids, ignore_index=True)
    own = cka[(cka.base_layer == cka.layer) & (cka.label == after)].sort_values("layer").cka
    metrics: dict[str, Scalar] = {
        "metric": fit.metric, "score": fit.score, "objective_d90": d90, "last_before": float(end[BASE]),
        "last_after": float(end[after]), "last_random": float(end[RANDOM]), "first_cka": float(own.iloc[0]),
        "last_cka": float(own.iloc[-1]), **counts(tuned),
    }  # fmt: skip
    tables = {"representation_dimension": dimensions, "representation_calibration": calibrated, "cka": cka}
    return Result(metrics, tables)


def _layers(delta: Delta, phi: Tensor, c: Representations) -> list[Tensor]:
    """Mean over tokens of h_0 … h_T for every sentence, (sentences, hidden) each; the sentences in one fixed order."""
    encoded = c.data.encode(delta.plm, max_length=c.max_length).train
    overrides = delta.overrides(phi)
    parts: list[list[Tensor]] = []
    for batch in encoded.batches(BATCH, size=min(c.sentences, len(encoded))):
        found = hidden_states(delta.plm, overrides, batch)
        parts.append([pooled(h, batch["attention_mask"]) for h in found])
    return [torch.cat(layer) for layer in zip(*parts, strict=True)]


LORA = {"method": "lora", "rank": 8}
_DEMO = Plan(
    model="minilm", task="bbc-news", method=LORA, seed=0, steps=40, batch_size=16, max_length=16, n_validation=100,
    sentences=300, objective="demo",
)  # fmt: skip

EXPERIMENT = Experiment(
    name="representations",
    question="does tuning change the dimension of the representations, and which layers does it change?",
    source="Ansuini et al. 2019 (dimension per layer); Kornblith et al. 2019 (CKA).",
    varied="the layer; the weights: pre-trained, tuned, random (the null); the estimator.",
    tuned="nothing; step sizes follow the rule for d and D.",
    fixed="PLM, task, the sentences (mean over tokens), steps, seed.",
    expected="dimensions of ten or twenty, far below the hidden size and below the objective's intrinsic dimension, "
    "with which they have nothing to do; tuning lowers those of the last layers; CKA of a layer with itself falls with "
    "depth.",
    cost="demo: about 1 minute on two cores (MiniLM), 2 (SmolLM2). smoke: seconds.",
    view="optimisation",
    config=Representations,
    scales={
        "smoke": replace(
            _DEMO, model="tiny-bert", method=LORA | {"rank": 1}, steps=4, batch_size=8, max_length=8, n_train=64,
            n_validation=32, sentences=60, objective="smoke",
        ),
        "demo": Scale(
            (_DEMO,),
            asked=(  # models of a hundred million parameters and more
                replace(
                    _DEMO, model=ANY_PLM, method=LORA | {"rank": 4}, steps=60, batch_size=8, max_length=24,
                    n_validation=32, sentences=100, objective=None,
                ),
            ),
        ),
        "paper": replace(
            _DEMO, steps=1000, batch_size=32, max_length=64, sentences=2000, objective="paper", splits=3
        ),
    },
    measure=measure,
    figures=("representation_dimension", "cka"),
)  # fmt: skip
