"""A bound on the true error from how few bits a trained subspace needs, beside the error that is measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log
from typing import Any

import pandas as pd

from lab.geometry.quantised import quantised
from lab.geometry.risk_bounds import catoni_bound, description_cost, kl_bound, occam_bound
from lab.runs.record import Scalar
from lab.statistics import Evidence, Verdict, mean_interval, worst_case
from lab.study import Budget, Experiment, Finding, Lab, Result, Solution, TrainingRun, setting, subjects
from lab.study.training_run import solutions
from lab.training import evaluate

SOURCE = "Lotfi et al. 2022"
FLOAT_BITS = 32


@dataclass(frozen=True, kw_only=True)
class Compression(Budget):
    """Subspaces of one PLM on one task, every one written with every number of levels."""

    dimensions: tuple[int, ...] = setting("of the random subspaces", unit="dimension", low=1)
    levels: tuple[int, ...] = setting("values that a coordinate can have", (2, 3, 5, 7, 11), low=1)
    seed: int = setting("of subspace, head and order of examples", 0, low=0)

    @property
    def runs(self) -> list[TrainingRun]:
        """One per dimension; the head moves in the subspace like everything else."""
        methods: list[dict[str, Any]] = [{"method": "did", "dimension": d, "head": "inside"} for d in self.dimensions]
        return [self.child(method=method, seed=self.seed) for method in methods]

    @property
    def tried(self) -> int:
        """Descriptions among which the best is chosen."""
        return len(self.dimensions) * len(self.levels)


def measure(c: Compression, lab: Lab) -> Result:
    """Train in every subspace, quantise, and bound the true error by the training error of what is decoded.

    Raises:
        ValueError: a task that is not scored by accuracy.
    """
    if c.data.metric.name != "accuracy":
        raise ValueError(
            f"the bound is about the share of wrong answers; the metric of {c.task} is {c.data.metric.name}. "
            "Give a --task that is scored by accuracy."
        )
    trained = solutions(c.runs, lab)
    rows = [row for run, found in zip(c.runs, trained, strict=True) for row in _rows(c, run, found)]
    table = pd.DataFrame(rows).assign(model=c.model, task=c.task, seed=c.seed)
    best = table[table["levels"] > 0].sort_values("kl", kind="stable").iloc[0]
    n, wrong = len(c.data.train), _majority_error(c)
    metrics: dict[str, Scalar] = {
        "metric": "accuracy", "score": 1 - float(best.held_out_error), "tunable": int(best.dimension),
        **{f"best_{name}": float(best[name]) for name in ("dimension", "levels", "bits", "kl", "held_out_error")},
        "majority_bound": kl_bound(wrong, n, log(c.data.num_labels)), "examples": n,
    }  # fmt: skip
    return Result(metrics, {"compression": table})


def _rows(c: Compression, run: TrainingRun, found: Solution) -> list[dict[str, Any]]:
    """One per number of levels, and one of φ as it is (levels 0)."""
    _, encoded = run.prepared()
    n, start = len(c.data.train), found.delta.phi0
    written = {0: (found.phi, FLOAT_BITS * found.delta.size)}
    for n_levels in c.levels:
        code = quantised(found.phi - start, n_levels)
        written[n_levels] = start + code.values, code.bits
    rows = []
    for n_levels, (phi, bits) in written.items():
        wrong = 1 - evaluate(found.delta, encoded, phi, "train")[1]
        held_out = 1 - evaluate(found.delta, encoded, phi, run.judged)[1]
        cost = description_cost(bits) + log(c.tried)
        bounds = {"kl": kl_bound, "occam": occam_bound, "catoni": catoni_bound}
        rows.append(
            {"label": f"{n_levels} levels" if n_levels else "float32", "dimension": found.delta.size,
             "levels": n_levels, "bits": bits, "examples": n, "train_error": wrong, "held_out_error": held_out,
             "majority_error": _majority_error(c),
             **{name: bound(wrong, n, cost) for name, bound in bounds.items()}}
        )  # fmt: skip
    return rows


def _majority_error(c: Compression) -> float:
    """Of the answer that is right most often on the training examples."""
    labels = c.data.train.labels
    return 1 - max(Counter(labels).values()) / len(labels)


def claims(found: Sequence[Finding[Compression]]) -> list[Verdict]:
    """That the bound says more than the majority class, and that what is measured lies below it."""
    evidence = Evidence(SOURCE, f"{subjects(found)}; subspaces of all weights, head inside", "compression", "seeds")
    gains = [f.metrics["majority_bound"] - f.metrics["best_kl"] for f in found]
    tables = pd.concat([f.tables["compression"] for f in found])
    return [
        evidence.above(
            0.0, mean_interval(gains), "The compression bound says more than the majority class does.",
            "bound of a majority vote minus the best bound of a quantised subspace [accuracy]",
        ),
        evidence.below(
            0.0, worst_case((tables.held_out_error - tables.kl).tolist()), "No held-out error lies above its bound.",
            "held-out error minus bound, the largest [accuracy]", unit="descriptions", exact=True,
        ),
    ]  # fmt: skip


_DEMO = Compression(
    model="minilm", task="bbc-news", steps=200, n_train=None, n_validation=None, max_length=32, batch_size=16,
    splits=3, dimensions=(25, 100, 400, 1600),
)  # fmt: skip

EXPERIMENT = Experiment(
    name="compression",
    question="how much does the few bits of a low-dimensional solution say about its error on new examples?",
    source="Lotfi et al. 2022 (PAC-Bayes compression bounds); Aghajanyan et al. 2020 (dimension and generalisation).",
    varied="the dimension of the subspace, the number of levels of its coordinates, the bound.",
    tuned="nothing: step sizes follow `lab.training.default_step_size`; choosing dimension and levels is paid for in "
    "the bound, by ln of the number tried.",
    fixed="PLM, task, steps, seed; the head moves in the subspace. Three splits: the error is that on test data.",
    expected="a bound well below chance at some middle dimension: fewer dimensions learn less, more cost more bits.",
    cost="demo: five minutes on one core (MiniLM). smoke: seconds.",
    view="optimisation",
    config=Compression,
    scales={
        "smoke": Compression(
            model="tiny-bert", task="bbc-news", steps=3, n_train=64, n_validation=32, max_length=16, batch_size=8,
            splits=3, n_test=32, dimensions=(2, 8), levels=(1, 3),
        ),
        "demo": _DEMO,
        "paper": tuple(
            replace(
                _DEMO, task="rotten-tomatoes", steps=3000, max_length=128, batch_size=32,
                dimensions=(50, 100, 200, 400, 800, 1600, 3200), seed=seed,
            )
            for seed in range(5)
        ),
    },
    measure=measure,
    figures=("compression",),
    claims=claims,
    replicates=("seed",),
)  # fmt: skip
