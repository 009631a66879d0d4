"""Prompt, BitFit and adapter together: at once in every combination, and one after the other in every order.

The head. Without a template a new classification head is trained in all eight cells, with one step size, so the empty
cell is the linear probe. With a template the pre-trained language-model head reads the label words and does not move,
so the empty cell is the untouched PLM. In a sequence the new head goes on training in every stage from where it stands,
and the deltas of earlier stages are part of the PLM by then (`lab.models.settled`): they cannot move.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pandas as pd

from lab.deltas import Adapter, AddedBias, BitFit, Combination, Prompt, method_from_json
from lab.statistics import Evidence, Verdict, greatest_of, mean_interval
from lab.statistics.combination import FACTORS, contrasts, gains_of_orders, gaps_over_single, order_scores
from lab.study import (
    TRAINING_RUN,
    Budget,
    Experiment,
    Finding,
    Lab,
    Result,
    RunSize,
    TrainingRun,
    open_task,
    scored_rows,
    setting,
    without_biases,
)
from lab.study.stages import every_order, stage
from lab.study.step_sizes import StepSizeGrids
from lab.tasks import manual_template
from lab.tasks.fingerprint import fingerprint

SOURCE = "Ding et al. 2022, section on combinations; Ding et al. 2023, Table 2"
STEP_SIZES = {"prompt": 1e-2, "BitFit": 3e-3, "adapter": 3e-3}  # of `performance`, for each alone (MiniLM)
ADDED_BIAS_STEP_SIZE = 1e-3
HEAD_STEP_SIZE = 1e-2
SEEDS = (13, 21, 42, 87, 100)
"""The few-shot splits of Gao et al. 2021; here every seed of a split is also the seed of its run."""


@dataclass(frozen=True, kw_only=True)
class Design(StepSizeGrids, Budget):
    """Which PLM is read how, on how much data: a 2³ grid, or the tree of orders of one seed."""

    kind: str = setting("at once, or one after the other", choices=("simultaneous", "sequential"))
    seeds: tuple[int, ...] = setting("of a grid's runs", (), low=0)
    seed: int | None = setting("of a tree of orders", None, low=0)
    shots: int | None = setting("examples per class; none: n_train of the task", None, low=1, keyed=True)
    template: bool = setting("read through the manual template and the language-model head", False, keyed=True)
    added_biases: bool = setting("added biases instead of BitFit, for families without", False, keyed=True)
    tokens: int = setting("of the prompt (Ding et al. 2023, Table 2: 10)", 10, unit="token", low=1, keyed=True)
    bottleneck: int = setting("of the adapter (64 there)", 64, low=1, keyed=True)
    precision: str = setting("of the matrix products", "float32", choices=("float32", "bfloat16"), keyed=True)
    parts: tuple[dict[str, Any], ...] = setting("JSON of prompt, biases, adapter")
    step_sizes: tuple[float, ...] = setting("of prompt, biases, adapter")
    head_step_size: float = setting("of a new head, in every cell and stage")
    tuning_seed: int | None = setting(
        "with which each part's step size is chosen, trained alone, by one rule; none: the given ones", None, low=0
    )
    setting: str = setting("its name; the last field, as it hides the function of this name")

    def combined(self, chosen: Sequence[int]) -> Combination:
        """Those parts, each with its own step size: the smallest is the run's, the others multiples of it."""
        parts = tuple(method_from_json(self.parts[i]) for i in chosen)
        return Combination(parts, tuple(self.step_sizes[i] / min(self.step_sizes) for i in chosen))

    def run(self, chosen: Sequence[int], seed: int, steps: int) -> TrainingRun:
        """The run that trains those parts."""
        return self.child(
            method=self.combined(chosen).to_json(), seed=seed, steps=steps, lr=min(self.step_sizes),
            head_lr=self.head_step_size, precision=self.precision, shots=self.shots, template=self.template,
            train_evaluations="last", keep_phi=False,
        )  # fmt: skip

    def cell(self, seed: int, on: Sequence[bool]) -> TrainingRun:
        """One cell of the grid; under a template nothing is trained in the empty one."""
        untouched = self.template and not any(on)
        return self.run([i for i, used in enumerate(on) if used], seed, 0 if untouched else self.steps)

    def with_step_sizes(self, lab: Lab) -> Design:
        """The design with the step sizes to use: as given, or of each part alone the best of half-decades about it, by
        validation data and a seed of its own."""
        if self.tuning_seed is None:
            return self
        places, seed = {str(i): i for i in range(len(self.parts))}, self.tuning_seed

        def alone(tried: Sequence[tuple[str, float]]) -> list[Finding[TrainingRun]]:
            children = []
            for place, lr in tried:
                sizes = tuple(lr if i == places[place] else size for i, size in enumerate(self.step_sizes))
                children.append(
                    replace(self, step_sizes=sizes, tuning_seed=None).run([places[place]], seed, self.steps)
                )
            return lab.run(TRAINING_RUN, children, "step sizes")

        starts = dict(zip(places, self.step_sizes, strict=True))
        found = self.best(starts, alone)
        return replace(self, step_sizes=tuple(found[place] for place in places), tuning_seed=None)

    @property
    def label(self) -> str:
        """What a figure calls it."""
        data = f"{self.shots} examples a class" if self.shots else self.amount
        return f"{self.model} · {self.task} · {data} · {'template' if self.template else 'no template'}"

    def told(self, label: str, seeds: Sequence[int]) -> str:
        return (
            f"{label}; seeds {', '.join(map(str, seeds))}; {self.steps} steps of {self.batch_size}; interval over "
            f"seeds; {self.scored_on}"
        )


@dataclass(frozen=True, kw_only=True)
class Plan(RunSize):
    """One 2³ grid per setting, and one tree of orders per seed."""

    designs: Mapping[str, Mapping[str, Any]]
    settings: tuple[str, ...] = setting(
        "full, few-shot, few-shot-template, …, sequential; (none): all of the scale, and of a file whose classes "
        "are no words those without a template",
        (),
    )
    model: str | None = setting("name for load_plm; none: each setting's", None, role="model")
    task: str | None = setting(
        "for load_task; a folder brings its few-shot splits; none: each setting's", None, role="task"
    )
    seeds: tuple[int, ...] | None = setting("none: each setting's", None, low=0)
    added_biases: bool | None = setting("added biases in BitFit's place; none: by the model's name, if given", None)
    tuning_seed: int | None = setting(
        "with which each part's step size is chosen, by one rule; none: each setting's", None, low=0
    )

    def configs(self) -> list[Design]:
        if unknown := sorted(set(self.settings) - set(self.designs)):
            raise ValueError(f"unknown settings {unknown}; the scale has {', '.join(self.designs)}.")
        added = self.added_biases
        if self.model is not None and added is None:
            added = without_biases(self.model)
        given: dict[str, Any] = {"model": self.model, "task": self.task, "seeds": self.seeds, "added_biases": added}
        given["tuning_seed"] = self.tuning_seed
        changes = self.sizes() | {name: value for name, value in given.items() if value is not None}
        readable = self.settings or self.task is None or _has_words(self.task)
        names = self.settings or [
            name for name, design in self.designs.items() if readable or not design.get("template")
        ]
        found = []
        for name in names:
            design = dict(self.designs[name]) | changes
            few = {"n_train": None} if "shots" in design else {}  # of few-shot, the shots say how many
            found += _designs(name, **(design | few))
        return found


def _has_words(task: str) -> bool:
    """Whether label words are known for a local task; of others it is found out when they are loaded."""
    if fingerprint(task) is None:
        return True
    try:
        manual_template(open_task(task))
    except ValueError:
        return False
    return True


def _designs(
    setting: str,
    seeds: Sequence[int],
    *,
    added_biases: bool = False,
    tokens: int = 10,
    bottleneck: int = 64,
    **fixed: Any,
) -> list[Design]:
    biases = AddedBias() if added_biases else BitFit()
    parts = (Prompt(tokens=tokens), biases, Adapter(bottleneck=bottleneck))
    step_sizes = STEP_SIZES | ({"BitFit": ADDED_BIAS_STEP_SIZE} if added_biases else {})
    fixed |= {
        "setting": setting, "added_biases": added_biases, "tokens": tokens, "bottleneck": bottleneck,
        "parts": tuple(part.to_json() for part in parts), "step_sizes": tuple(step_sizes.values()),
        "head_step_size": HEAD_STEP_SIZE,
    }  # fmt: skip
    if setting == "sequential":
        return [Design(kind="sequential", seed=seed, **fixed) for seed in seeds]
    return [Design(kind="simultaneous", seeds=tuple(seeds), **fixed)]


def measure(c: Design, lab: Lab) -> Result:
    """The cells of a grid, or the stages of all orders."""
    c = c.with_step_sizes(lab)
    return _simultaneous(c, lab) if c.kind == "simultaneous" else _sequential(c)


def _simultaneous(c: Design, lab: Lab) -> Result:
    cells = [(seed, on) for seed in c.seeds for on in product((False, True), repeat=len(FACTORS))]
    runs = lab.run(TRAINING_RUN, [c.cell(seed, on) for seed, on in cells], f"combination {c.setting}")
    places = [{"label": c.label, "seed": seed, **dict(zip(FACTORS, map(int, on), strict=True))} for seed, on in cells]
    table = scored_rows(places, runs)
    empty, full = (table[table[list(FACTORS)].sum(axis=1) == n] for n in (0, len(FACTORS)))
    metrics = {
        "metric": table["metric"].iloc[0],
        "none": float(empty.score.mean()),
        "all": float(full.score.mean()),
        "runs": len(table),
        "train_seconds": float(table.train_seconds.sum()),
    }
    return Result(metrics, {"combination": table})


def _sequential(c: Design) -> Result:
    seed, parts = c.seed or 0, range(len(FACTORS))
    start = c.run(parts, seed, c.steps).opened()
    together, _ = stage(c.run(parts, seed, len(parts) * c.steps), start)  # the reference: as many steps as three stages
    rows = every_order(FACTORS, start, lambda plm, new: stage(c.run([new], seed, c.steps), plm))
    rows.append({"order": "all at once", "stage": len(parts), **together})
    table = pd.DataFrame(rows).assign(label=c.label, seed=c.seed)
    last = table[table.stage == len(parts)].set_index("order").score.astype(float)
    metrics = {"metric": table["metric"].iloc[0], "best_order": str(last.idxmax()), "best": float(last.max())}
    return Result(metrics | {"worst": float(last.min())}, {"sequential_combination": table})


def claims(found: Sequence[Finding[Design]]) -> list[Verdict]:
    """What each factor does beside another, the gap of combinations, and whether an order is best."""
    verdicts = [verdict for grid in found if grid.config.kind == "simultaneous" for verdict in _of_grid(grid)]
    sequences: dict[str, list[Finding[Design]]] = {}
    for finding in found:
        if finding.config.kind == "sequential":
            sequences.setdefault(str(replace(finding.config, seed=None)), []).append(finding)
    for same in sequences.values():  # one record per seed
        table = pd.concat([finding.tables["sequential_combination"] for finding in same], ignore_index=True)
        verdicts += _of_orders(table, same[0].config)
    return verdicts


CLAIMS: tuple[tuple[str, str, Callable[..., Verdict]], ...] = (
    ("adapter", "An adapter in a combination helps.", Evidence.above),
    ("prompt", "A prompt in a combination hurts.", Evidence.below),
    ("BitFit", "BitFit in a combination helps.", Evidence.above),
)
BEYOND_NOISE = 0.01
"""A gain of one point of accuracy: what the choice of an order should bring, to be worth making."""


def _of_grid(grid: Finding[Design]) -> list[Verdict]:
    c, table, metric = grid.config, grid.tables["combination"], grid.metrics["metric"]
    evidence = Evidence(SOURCE, c.told(table.label.iloc[0], c.seeds), "combination", "seeds", 6)
    by_term = contrasts(table).set_index("term")["values"].to_dict()
    helps = [
        judged(
            evidence, 0.0, mean_interval(by_term[f"{factor} beside another"], resolution=c.resolution / 3), claim,
            f"score with {factor} minus without, mean of the three cells with another delta [{metric}]",
        )
        for factor, claim, judged in CLAIMS
    ]  # fmt: skip
    gaps = evidence.above(
        0.0, mean_interval(gaps_over_single(table)),
        "Combinations have a larger generalisation gap than single deltas.",
        f"training minus held-out score: combinations of two or three minus single deltas [{metric}]",
        source="Ding et al. 2022, generalisation gap", number=8,
    )  # fmt: skip
    return [*helps, gaps]


def _of_orders(table: pd.DataFrame, c: Design) -> list[Verdict]:
    seeds = sorted(int(seed) for seed in table.seed.unique())
    evidence = Evidence(SOURCE, c.told(table.label.iloc[0], seeds), "sequential_combination", "seeds", 6)
    metric, wide = table["metric"].iloc[0], order_scores(table)
    stage = table[table.order.isin(wide.columns)].pivot_table(index="seed", columns="stage", values="score")
    goes_on = evidence.above(
        0.0, mean_interval(list(stage[3] - stage[1])),
        "Going on with another delta improves what the deltas before it reached.",
        f"score after stage 3 minus after stage 1, mean over orders [{metric}]",
    )  # fmt: skip
    if len(wide) < 2:
        return [goes_on]
    none_best = evidence.below(
        BEYOND_NOISE, greatest_of(gains_of_orders(wide)), "No order of the three is always the best.",
        f"gain over the average order with the same seed, the largest of {wide.shape[1]} orders [{metric}]",
    )  # fmt: skip
    return [goes_on, none_best]


_SMOKE = {
    "model": "tiny-bert", "task": "rotten-tomatoes", "steps": 2, "batch_size": 4, "max_length": 12, "n_train": 16,
    "n_validation": 16, "seeds": (13, 21), "tokens": 2, "bottleneck": 2, "tuning_seed": 0, "smallest_grid": 1,
    "largest_grid": 1,
}  # fmt: skip
_SMOKE_DECODER = _SMOKE | {
    "model": "tiny-llama", "template": True, "added_biases": True, "seeds": (13,), "max_length": 24
}  # fmt: skip
_DEMO = {
    "model": "minilm", "task": "bbc-news", "steps": 30, "batch_size": 8, "max_length": 32, "n_train": 240,
    "n_validation": 160, "seeds": (0, 1, 2, 3, 4), "precision": "bfloat16", "splits": 3, "n_test": 400,
}  # fmt: skip
_DECODER = _DEMO | {
    "model": "smollm2", "template": True, "added_biases": True, "steps": 16, "max_length": 24, "n_validation": 100,
    "n_test": 200, "seeds": (0, 1, 2, 3, 4), "tuning_seed": 5,
}  # fmt: skip
_PAPER = _DEMO | {
    "task": "rotten-tomatoes", "steps": 1000, "batch_size": 32, "max_length": 128, "n_train": None,
    "n_validation": None, "seeds": SEEDS, "precision": "float32", "splits": 3, "tuning_seed": 0,
}  # fmt: skip
_PAPER_DECODER = _PAPER | {"model": "smollm2", "template": True, "added_biases": True}
_FEW, _LONG_FEW = {"shots": 16, "n_train": None, "seeds": SEEDS}, {"shots": 16, "steps": 200}


def _designs_of(
    encoder: Mapping[str, Any], decoder: Mapping[str, Any], few: Mapping[str, Any]
) -> dict[str, Mapping[str, Any]]:
    """An encoder read without a template, and a decoder with one; on all data and on a few examples."""
    return {
        "full": encoder, "few-shot": {**encoder, **few}, "full-template": decoder,
        "few-shot-template": {**decoder, **few},
    }  # fmt: skip


EXPERIMENT = Experiment(
    name="combination",
    question="which of prompt, BitFit and adapter helps alongside the others, and does the order matter when they are "
    "trained in turn?",
    source="Ding et al. 2022 and 2023 (Table 2): simultaneous and sequential combinations on GLUE and SST-2.",
    varied="which of the three are on (2³ cells), or their order (six orders of three stages); data (a few hundred "
    "examples, 16 per class); with and without a manual template; seeds (head, split, order of examples).",
    tuned="nothing in the grid: each part keeps one step size in every cell; with --tuning-seed the best of the same "
    "half-decades for it alone, without that of `performance` for it alone (added biases: the best of 1e-4, 3e-4, 1e-3 "
    "for them alone on one seed, SmolLM2, bbc-news, template).",
    fixed="steps, batch size, sequence length, and the step size of the new head, which trains in every cell and "
    "stage.",
    expected="the adapter helps, BitFit helps a little, the prompt hurts beside another delta; no order is always "
    "best.",
    cost="demo: about 50 minutes on one quiet core (MiniLM; the templates on SmolLM2 take most). smoke: seconds.",
    view="methods",
    config=Design,
    scales={
        "smoke": Plan(
            designs={
                "full": _SMOKE, "full-template": _SMOKE_DECODER,
                "few-shot-template": _SMOKE_DECODER | {"shots": 2, "n_train": None},
                "sequential": _SMOKE | {"seeds": (13,)},
            }
        ),
        "demo": Plan(designs=_designs_of(_DEMO, _DECODER, _FEW) | {"sequential": _DEMO | {"steps": 24}}),
        "paper": Plan(designs=_designs_of(_PAPER, _PAPER_DECODER, _LONG_FEW) | {"sequential": _PAPER}),
    },
    measure=measure,
    figures=("combination", "sequential_combination"),
    claims=claims,
    replicates=("seed",),
)  # fmt: skip
