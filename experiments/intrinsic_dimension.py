"""The intrinsic dimension d90 of adapting a PLM to a task.

Rows beside the curve: the linear probe (what the head alone reaches on frozen features) and random weights (the null of
pre-training), without which d90 says nothing about the PLM.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from statistics import fmean
from typing import Any

from lab.deltas import method_from_json
from lab.geometry import intrinsic_dimension
from lab.models.tiny import built_in
from lab.statistics import LEVEL, Evidence, Interval, Verdict, crossing_interval
from lab.study import Budget, Experiment, Finding, Lab, Result, setting
from lab.study.search_runs import SearchRuns
from lab.tasks.constant import constant_score
from lab.training import default_step_size

METHODS, HEADS = ("did", "said"), ("inside", "free", "frozen")
LOW_SHARE = 0.01
"""Share of all weights below which we call a dimension low; the papers report less than a thousandth."""


@dataclass(frozen=True, kw_only=True)
class Search(Budget):
    """One search of d90."""

    method: str = setting("did: one random subspace of all weights; said: a scale per layer too", choices=METHODS)
    projection: str = setting("fastfood, one_hot, kronecker, gaussian or sparse", "fastfood", keyed=True)
    head: str = setting("the new head: in the subspace, trained freely, or frozen", "inside", choices=HEADS, keyed=True)
    seed: int = setting("added to every seed", 0, low=0, keyed=True)
    lr: float | None = setting("step size in the subspaces; none: by the rule for d and D", None, keyed=True)
    baseline: float | None = setting("score that d90 is measured against; none: full fine-tuning's", None, keyed=True)
    full_lrs: tuple[float, ...] = setting("step sizes of full fine-tuning to try on the first seed", keyed=True)
    baseline_seeds: tuple[int, ...] = setting("of full fine-tuning and the probe", (0, 1), low=0, keyed=True)
    seeds: tuple[int, ...] = setting("at every dimension", (0, 1), low=0, keyed=True)
    extra_seeds: tuple[int, ...] = setting("to narrow the interval with", (), low=0, keyed=True)
    start: int = setting(
        "first dimension, or all weights where there are fewer", 1000, unit="dimension", low=2, keyed=True
    )
    max_dimension: int = setting(
        "largest dimension, or all weights where there are fewer", 100_000, unit="dimension", low=3, keyed=True
    )
    tolerance: float = setting("largest ratio of d90 to either end of its interval", 1.5, low=1, keyed=True)
    max_evaluations: int = setting("most runs in subspaces", 16, unit="run", low=1, keyed=True)
    precision: str = setting("of the matrix products", "float32", choices=("float32", "bfloat16"), keyed=True)
    multiples: tuple[float, ...] = setting(
        "of the rule's step size, tried on the first seed for the probe, for subspaces at the first dimension (kept at "
        "all others) and for random weights; (none): the rule",
        (),
        low=0,
    )
    only_learned: bool = setting("search only where the baseline beats the majority share and the probe", True)

    @property
    def smallest(self) -> int:
        """SAID spends one dimension on each layer's scale."""
        return 32 if self.method == "said" else 2

    def within(self, counts: Mapping[str, Any]) -> Search:
        """The search in no more dimensions than there are weights, so that a small PLM needs no options of its own.

        Args:
            counts: metrics of a run that trains all weights: native, head.
        """
        weights = int(counts["native"]) - (0 if self.head == "inside" else int(counts["head"]))
        largest = min(self.max_dimension, weights)
        return replace(self, max_dimension=largest, start=min(self.start, largest))

    def subspace(self, d: int) -> dict[str, Any]:
        return {"method": self.method, "projection": self.projection, "head": self.head, "dimension": d}


def measure(c: Search, lab: Lab) -> Result:
    """Baselines, linear probe, the search, and random weights at the found dimension."""
    method_from_json(c.subspace(c.start))  # a projection that there is not is said before anything is trained
    shared = c.child(method={"method": "full"}, seed=c.seed, evaluations=2, precision=c.precision)
    runs = SearchRuns(shared, lab)
    full = runs.baselines(c.baseline_seeds, c.full_lrs, c.multiples)
    reference = max(constant_score(c.data, c.judged), runs.mean("linear_probe") if c.head != "frozen" else 0.0)
    c = c.within(runs.found[0][1].metrics)
    lr_at = _step_sizes(c, runs)
    found = intrinsic_dimension(
        lambda d, seeds: runs.scores("subspace", c.subspace(d), seeds, lr=lr_at(d)),
        full if c.baseline is None else [c.baseline], max_dimension=c.max_dimension, min_dimension=c.smallest,
        start=c.start, reference=reference if c.only_learned and c.baseline is None else None,
        n_examples=len(c.data.splits[c.judged]) if c.data.metric.name == "accuracy" else None, seeds=c.seeds,
        extra_seeds=c.extra_seeds, tolerance=c.tolerance, max_evaluations=c.max_evaluations,
    )  # fmt: skip
    null_at = found.d if found.d is not None else c.max_dimension
    null = runs.child(c.subspace(null_at), c.seeds[0], weights="random", lr=c.lr)
    null_lr = runs.tuned("random weights", null, c.multiples)
    runs.scores("random_weights", c.subspace(null_at), c.seeds, weights="random", lr=null_lr)
    table = runs.table(found).assign(label=f"{c.method.upper()} {c.projection}", model=c.model, task=c.task)
    metrics = runs.metrics(found) | {"full": fmean(full), "reference": reference}
    return Result(metrics, {"runs": table, "history": runs.histories()})


def _step_sizes(c: Search, runs: SearchRuns) -> Callable[[int], float | None]:
    """d -> step size in a subspace: the rule's, times what did best at the first dimension; None: the rule's."""
    lr = runs.tuned("step sizes of subspaces", runs.child(c.subspace(c.start), c.seeds[0], lr=c.lr), c.multiples)
    if not c.multiples or lr is None:
        return lambda d: lr
    native = int(runs.found[0][1].metrics["native"])
    factor = lr / default_step_size(c.start, native)
    return lambda d: factor * default_step_size(d, native)


def _interval(finding: Finding[Search]) -> Interval:
    """Of d90, from the scores in the record: how sure they make us is no part of what was measured."""
    c, runs = finding.config, finding.tables["runs"]
    own = runs[runs.kind == "subspace"]
    scores = {d: own.score[own.d == d].tolist() for d in sorted(set(own.d.astype(int).tolist()))}
    baseline = runs.score[runs.kind == "full"].tolist() if c.baseline is None else [c.baseline]

    def at(level: float) -> Interval:
        low, high = crossing_interval(scores, baseline, fraction=0.9, level=level)
        return Interval(float(finding.metrics["d90"]), low, high, len(c.seeds))

    return replace(at(LEVEL), at=at)


def claims(found: Sequence[Finding[Search]]) -> list[Verdict]:
    """One per search: is d90 a small share of all weights, whole interval included?"""
    verdicts = []
    for finding in found:
        c, m = finding.config, finding.metrics
        if m["d90"] is None or built_in(c.model):
            continue
        place = f"{c.method.upper()}, {c.projection}, {c.model} on {c.task}"
        where = f"{place}, {m['evaluations']} runs, floor 0; {c.scored_on}"
        source = "Aghajanyan et al. 2020; Ding et al. 2022, section on the optimisation view"
        evidence = Evidence(source, where, "intrinsic_dimension", "seeds", 11)
        claim = "Fine-tuning can be done in a subspace whose dimension is a small share of all weights."
        share = _interval(finding).scaled(1 / m["native"])
        verdicts.append(evidence.below(LOW_SHARE, share, claim, "d90 / D [1]"))
    return verdicts


_SMOKE = Search(
    model="tiny-bert", task="bbc-news", method="did", steps=4, n_train=64, n_validation=32, max_length=16, batch_size=8,
    full_lrs=(1e-3,), baseline_seeds=(0,), seeds=(0,), start=64, max_dimension=256, max_evaluations=4,
    only_learned=False,  # four steps teach nothing
)  # fmt: skip
_DEMO = Search(
    model="minilm", task="bbc-news", method="did", steps=60, n_train=None, n_validation=300, max_length=32,
    batch_size=16, splits=3, n_test=1000, full_lrs=(1e-4,),  # the best of four: docs/intrinsic_dimension.md
    baseline_seeds=(0, 1, 2), seeds=(0, 1, 2), max_evaluations=24,  # two seeds bound d90 from below only
)  # fmt: skip
_PAPER = replace(
    _DEMO, steps=1000, n_validation=None, n_test=None, max_length=128, batch_size=32, full_lrs=(2e-5, 5e-5, 1e-4, 2e-4),
    baseline_seeds=(0, 1, 2, 3, 4), seeds=(0, 1, 2), extra_seeds=(3, 4, 5, 6, 7), max_dimension=1_000_000,
    tolerance=1.25, max_evaluations=80, splits=3, multiples=(0.25, 1.0, 4.0, 16.0),
)  # fmt: skip

EXPERIMENT = Experiment(
    name="intrinsic_dimension",
    question="how many dimensions of a random subspace of all weights suffice for 90 % of full fine-tuning's score?",
    source="Li et al. 2018 (d_int90); Aghajanyan et al. 2020, table 1 (DID and SAID on BERT and RoBERTa).",
    varied="the subspace dimension d (searched), seeds (head, projection, order of examples).",
    tuned="full fine-tuning's step size, on the first seed, over `full_lrs`. The other rows by the rule of "
    "lab.training.default_step_size; with `multiples` (the scale paper) the probe, the subspaces at the first "
    "dimension and random weights each have the best of as many step sizes on the first seed.",
    fixed="steps, batch size, examples, sequence length; the same for every row of the figure.",
    expected="pre-trained PLMs need hundreds to thousands of dimensions; the same architecture with random weights "
    "stays far below the line at the same d; SAID needs no more than DID.",
    cost="demo: 6-8 minutes on two cores (MiniLM, bbc-news). smoke: < 20 s. paper: hours on a GPU.",
    view="optimisation",
    config=Search,
    scales={
        "smoke": _SMOKE,
        "demo": _DEMO,
        "paper": tuple(
            replace(_PAPER, model=model, task=task, method=method)
            for model, task, method in product(
                ("minilm", "smollm2"), ("bbc-news", "rotten-tomatoes", "drug-reviews"), METHODS
            )
        ),
    },
    measure=measure,
    figures=("intrinsic_dimension", "learning_curves"),
    claims=claims,
)
