"""The delta methods side by side: what each reaches on the same tasks with the same budget, and how sure that is.

`convergence` and `generalization_gap` read the same training runs and train nothing more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import pandas as pd

from lab.deltas import DeltaMethod
from lab.statistics import Evidence, Verdict, rank_correlation_interval
from lab.statistics.comparison import HALF_OF_RANK_VARIANCE, metric_name, over_tasks, paired, share_over_tasks, unit_of
from lab.statistics.gaps import gap_verdicts
from lab.study import Experiment, Finding, Lab, Result, scored_rows, setting
from lab.study.amounts import scored_examples
from lab.study.compared_methods import compared_methods
from lab.study.comparison import ComparedRuns, Comparing, Comparison, compared_runs, joined, told

SOURCE = "Ding et al. 2022, performance comparison on T5-base"
RANKING = ("full fine-tuning", "LoRA", "adapter", "prefix", "prompt")
"""The source's order of the average score, best first."""


@dataclass(frozen=True, kw_only=True)
class Plan(Comparing):
    """One comparison per task."""

    model: str = setting("name for load_plm", role="model")
    tasks: tuple[str, ...] = setting("names or paths for load_task", role="task")
    methods: tuple[str, ...] = setting("labels of methods; (none): all", ())
    n_train: int | None = setting("most training examples of every task; none: all", None, unit="example", low=1)
    n_validation: int | None = scored_examples("most validation examples of every task; none: all", None)
    batch_size: int = setting("examples per step", 16, unit="example", low=1)
    evaluations: int = setting("of every run", 6, low=1)
    head_lr: float = setting("step size of a freely trained head", 1e-2)
    tuning_seed: int = setting("of the runs that choose step sizes", 0, low=0)
    smallest_grid: int = setting("step sizes tried first", 3, low=1)
    largest_grid: int = setting("most step sizes tried, while the best is at an edge", 5, low=1)
    prompt_tokens: int = setting("the source's 100 make every sequence longer by 100 positions", 20, low=1)
    dimension: int = setting("of DID's subspace", 1000, low=1)

    def configs(self) -> tuple[Comparison, ...]:
        known = compared(self)
        labels = self.methods or tuple(known)
        if unknown := sorted(set(labels) - set(known)):
            raise ValueError(f"unknown methods {unknown}; choose from {', '.join(known)}.")
        entries = tuple({**known[label][0].to_json(), "label": label, "start": known[label][1]} for label in labels)
        return tuple(self.to(Comparison, task=task, methods=entries) for task in self.tasks)


def compared(plan: Plan) -> dict[str, tuple[DeltaMethod, float]]:
    """Label -> the method and the step size its grid starts from."""
    return compared_methods(
        plan.model, head_lr=plan.head_lr, prompt_tokens=plan.prompt_tokens, dimension=plan.dimension
    )


def measure(c: Comparison, lab: Lab) -> Result:
    """Tune, train every method with every seed, and rank them on this task."""
    runs = compared_runs(c, lab)
    table = scores(runs)
    means = table.groupby("label", sort=False)["score"].mean()
    metrics = {
        "metric": table["metric"].iloc[0], "best": str(means.idxmax()), "best_score": float(means.max()),
        "linear_probe": float(means.get("linear probe", float("nan"))), "runs": len(table),
        "train_seconds": float(table["train_seconds"].sum()),
    }  # fmt: skip
    return Result({k: v for k, v in metrics.items() if v == v}, {"performance": table, "tuning": runs.tuning})


def scores(runs: ComparedRuns) -> pd.DataFrame:
    """The table of the figure: one row per run."""
    names = ("train_score", "stored", "head", "native", "step_size", "train_seconds")
    rows = runs.rows()
    return scored_rows(rows, [row.pop("run") for row in rows], names)


def claims(found: Sequence[Finding[Comparison]]) -> list[Verdict]:
    """The source's order pair by pair, BitFit's 95 %, whether the number of tunable parameters decides; the gaps."""
    table, where = joined(found, "performance"), told(found)
    evidence = Evidence(SOURCE, where, "performance", unit_of(table), 3)
    verdicts = [
        evidence.above(
            0.0, over_tasks(differences), f"{better[0].upper()}{better[1:]} scores higher than {worse} on average.",
            f"mean score of {better} minus that of {worse} [{metric_name(table)}]",
        )
        for better, worse in pairwise(RANKING)
        if (differences := paired(table, better, worse))
    ]  # fmt: skip
    if (share := share_over_tasks(table, "BitFit", "full fine-tuning")) is not None:
        kept = evidence.above(
            0.95, share, "BitFit keeps more than 95 % of full fine-tuning's score.",
            "mean score of BitFit / mean score of full fine-tuning [1]",
            source="Ben Zaken et al. 2022, as Ding et al. 2022 cite it", number=1,
        )  # fmt: skip
        verdicts.append(kept)
    deltas = table[table.kind == "delta"]
    by_method = deltas.groupby("label").agg(tunable=("tunable", "mean"), score=("score", "mean"))
    if len(by_method) > 3:
        decided = evidence.below(
            HALF_OF_RANK_VARIANCE, rank_correlation_interval(list(by_method.tunable), list(by_method.score)),
            "Among delta methods, the number of tunable parameters does not decide the score.",
            "Spearman's ρ between tunable parameters and mean score over the delta methods [1]; below 0.71 the number "
            "explains less than half of the variance of the ranks",
            setting=f"{len(by_method)} delta methods; {where}", unit="methods",
        )  # fmt: skip
        verdicts.append(decided)
    if found[0].config.splits == 3:  # of two splits, `generalization_gap` reads the same runs and says the same
        of_gaps = Evidence("Ding et al. 2022, generalisation gap", where, "performance", unit_of(table), 8)
        verdicts += gap_verdicts(table.assign(gap=table.train_score - table.score), of_gaps)
    return verdicts


SCALES = {
    "smoke": Plan(
        model="tiny-bert", tasks=("rotten-tomatoes", "bbc-news"), tuning_task="rotten-tomatoes", seeds=(0,), steps=2,
        n_train=32, n_validation=16, max_length=8, batch_size=4, evaluations=2, smallest_grid=1, largest_grid=1,
        prompt_tokens=4, dimension=16, splits=3, n_test=16,
    ),
    "demo": Plan(
        model="minilm", tasks=("rotten-tomatoes", "bbc-news", "sentence-length"), tuning_task="rotten-tomatoes",
        seeds=(0, 1, 2), steps=64, n_train=512, n_validation=200, max_length=32, splits=3, n_test=400,
    ),
    "paper": Plan(
        model="minilm", tasks=("rotten-tomatoes", "bbc-news", "drug-reviews", "imdb", "bigram-shift", "same-topic"),
        tuning_task="rotten-tomatoes", seeds=(13, 21, 42, 87, 100), steps=2000, max_length=128, batch_size=32,
        evaluations=20, smallest_grid=5, largest_grid=9, prompt_tokens=100, splits=3,
    ),
}  # fmt: skip

EXPERIMENT = Experiment(
    name="performance",
    question="which delta methods score higher at one budget, and does the number of tunable parameters decide it?",
    source="Ding et al. 2022, performance comparison on T5-base: FT > LoRA > adapter > prefix > prompt on average.",
    varied="the method, the task, the seed (head, method's random choices, order of examples).",
    tuned="each method's step size, on one task with one seed, over half-decades: the start and its neighbours, and "
    "further while the best is at an edge and the grid is smaller than `largest_grid`. The same rule for every method.",
    fixed="steps, batch size, examples, sequence length, schedule; the head is trained freely with one step size for "
    "all.",
    expected="full fine-tuning first, prompt last, the linear probe (the null: no delta at all) below all that work.",
    cost="demo: about an hour on two quiet cores (MiniLM, 13 methods, 3 tasks, 3 seeds), a third of it for DID and "
    "diff pruning; 15-30 s a run otherwise. smoke: seconds.",
    view="methods",
    config=Comparison,
    scales=SCALES,
    measure=measure,
    figures=("performance",),
    claims=claims,
    replicates=("task", "seeds"),
)
