"""The dimension of hidden states, layer by layer, before and after tuning, and how alike the layers stay.

Question: does tuning change the dimension of the representations, and which layers does it change?
Source: Ansuini et al. 2019 (dimension per layer); Kornblith et al. 2019 (CKA).
Varied: the layer; the weights: pre-trained, tuned, random (the null); the estimator.
Tuned: nothing; step sizes follow the rule for d and D.
Fixed: PLM, task, the sentences (mean over tokens), steps, seed.
Expected: dimensions of ten or twenty, far below the hidden size and below the objective's intrinsic dimension, with
    which they have nothing to do; tuning lowers those of the last layers; CKA of a layer with itself falls with depth.
Cost: demo: about 1 minute on two cores (MiniLM), 2 (SmolLM2). smoke: seconds.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from torch import Tensor

from experiments import intrinsic_dimension
from experiments.training_run import analysed, counts, method_label, subset, trained, training_job
from lab.deltas import Delta
from lab.execution import Local
from lab.geometry import ESTIMATORS, linear_cka, representation_dimension, shuffled_cka
from lab.models import hidden_states, pooled
from lab.runs import Job, Record, Store
from lab.runs.record import Scalar

NAME = "representations"
FIGURES = ("representation_dimension", "cka")

METHODS: tuple[dict[str, Any], ...] = ({"method": "lora", "rank": 8},)
SETTINGS: dict[str, dict[str, int]] = {
    "smoke": {"steps": 4, "batch_size": 8, "max_length": 8, "sentences": 60},
    "demo": {"steps": 40, "batch_size": 16, "max_length": 16, "sentences": 300},
    "paper": {"steps": 1000, "batch_size": 32, "max_length": 64, "sentences": 2000},
}
LARGE = {"steps": 60, "batch_size": 8, "max_length": 24, "sentences": 100}
"""A demo of models of a hundred million parameters and more."""

BATCH = 50
BASE, RANDOM = "pre-trained", "random weights"


def jobs(
    scale: str, *, model: str | None = None, task: str = "bbc-news", seed: int = 0, objective: bool | None = None
) -> list[Job]:
    """One job per method.

    Args:
        scale: "smoke", "demo" or "paper".
        model: name for `load_plm`; default: MiniLM (smoke: a tiny BERT).
        task: name for `load_task`.
        seed: of everything.
        objective: also search the objective's intrinsic dimension (`intrinsic_dimension`), or take it from the store.
            Default: except for large models.
    """
    smoke = scale == "smoke"
    model = model or ("tiny-bert" if smoke else "minilm")
    large = scale == "demo" and not model.startswith(("tiny-", "minilm"))
    s = LARGE if large else SETTINGS[scale]
    wanted = not large if objective is None else objective
    search = intrinsic_dimension.jobs(scale, model=model, task=task, seed=seed)[0].config if wanted else None
    found = []
    for method in METHODS:
        small = {**method, "rank": 1} if smoke else {**method, "rank": 4} if large else method
        run = training_job(
            model=model, task=task, method=small, seed=seed, steps=s["steps"], batch_size=s["batch_size"],
            max_length=s["max_length"], n_train=64 if smoke else None, n_validation=32 if smoke or large else 100,
        ).config  # fmt: skip
        found.append(Job(NAME, {**run, "sentences": s["sentences"], "search": search}))
    return found


def measure(job: Job, store: Store) -> Record:
    """Hidden states under the three kinds of weights; their dimensions; CKA with the pre-trained layers."""
    run = {name: value for name, value in job.config.items() if name not in ("sentences", "search")}
    tuned, fit = trained(run)
    name = method_label(run["method"])
    delta = analysed(run)
    null = analysed({**run, "weights": "random"})
    states = {
        BASE: _layers(delta, delta.phi0, job),
        f"after {name}": _layers(delta, fit.phi, job),
        RANDOM: _layers(null, null.phi0, job),
    }
    d90 = _objective(job, store)
    dimensions = _dimensions(states).assign(objective=d90)
    grids = [_alignment(states[BASE], layers, label) for label, layers in states.items() if label != BASE]
    last = dimensions[(dimensions.estimator == "GRIDE") & (dimensions.layer == dimensions.layer.max())]
    end = last.set_index("label").dimension
    cka = pd.concat(grids, ignore_index=True)
    own = cka[(cka.base_layer == cka.layer) & (cka.label == f"after {name}")].sort_values("layer").cka
    metrics: dict[str, Scalar] = {
        "metric": fit.metric, "score": fit.score, "objective_d90": d90, "last_before": float(end[BASE]),
        "last_after": float(end[f"after {name}"]), "last_random": float(end[RANDOM]), "first_cka": float(own.iloc[0]),
        "last_cka": float(own.iloc[-1]), **counts(tuned),
    }  # fmt: skip
    return Record(job, metrics, {"representation_dimension": dimensions, "cka": cka})


def _objective(job: Job, store: Store) -> float | None:
    """d90 of the objective in all weights; None where it was not asked for, or not found."""
    if job.config["search"] is None:
        return None
    search = Job(intrinsic_dimension.NAME, job.config["search"])
    (record,) = Local(store).run([search], intrinsic_dimension.measure, label="the objective's dimension")
    d90 = record.metrics["d90"]
    return None if d90 is None else float(d90)


def _layers(delta: Delta, phi: Tensor, job: Job) -> list[Tensor]:
    """Mean over tokens of h_0 … h_T for every sentence, (sentences, hidden) each; the sentences in one fixed order."""
    c = job.config
    task = subset(c["task"], c["n_train"], c["n_validation"])
    encoded = task.encode(delta.plm, max_length=c["max_length"]).train
    overrides = delta.overrides(phi)
    parts: list[list[Tensor]] = []
    for batch in encoded.batches(BATCH, size=min(c["sentences"], len(encoded))):
        found = hidden_states(delta.plm, overrides, batch)
        parts.append([pooled(h, batch["attention_mask"]) for h in found])
    return [torch.cat(layer) for layer in zip(*parts, strict=True)]


def _dimensions(states: dict[str, list[Tensor]]) -> pd.DataFrame:
    rows = []
    for label, layers in states.items():
        for i, X in enumerate(layers):
            share = _first_share(X)
            for estimator in ESTIMATORS:
                found = representation_dimension(X, estimator)
                rows.append(
                    {"label": label, "layer": i, "estimator": estimator, "dimension": found.dimension,
                     "low": found.low, "high": found.high, "n_points": found.n_points, "hidden": X.shape[1],
                     "first_share": share}
                )  # fmt: skip
    return pd.DataFrame(rows)


def _first_share(X: Tensor) -> float:
    """Share of the variance that the first principal component holds: near 1 where one channel is massive."""
    squares = torch.linalg.svdvals((X - X.mean(dim=0)).double()).square()
    return float(squares[0] / squares.sum())


def _alignment(base: list[Tensor], layers: list[Tensor], label: str) -> pd.DataFrame:
    """CKA of every pair of layers, and the largest value that shuffling the sentences gives."""
    rows = [
        {"label": label, "base_layer": i, "layer": j, "cka": linear_cka(X, Y),
         "shuffled": float(shuffled_cka(X, Y, n_shuffles=5).max())}
        for i, X in enumerate(base)
        for j, Y in enumerate(layers)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def summary(store: Store, records: list[Record]) -> str:
    """Dimension of the last layer under each kind of weights, and CKA of the first and last with themselves."""
    lines = []
    for record in records:
        m, c = dict(record.metrics), record.job.config
        d90 = f"{m['objective_d90']:,.0f}" if m["objective_d90"] else "not measured"
        lines.append(
            f"{c['model']} on {c['task']}, {method_label(c['method'])}: dimension of the last layer (GRIDE) "
            f"{m['last_before']:.1f} before, {m['last_after']:.1f} after tuning, {m['last_random']:.1f} with random "
            f"weights; the objective's d90: {d90}\n  CKA before and after: first layer {m['first_cka']:.3f}, last "
            f"{m['last_cka']:.3f}"
        )
    return "\n".join(lines)
