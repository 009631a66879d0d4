"""A full fine-tuning as a LoRA: the best factors of its difference, and what they cost in score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from lab.geometry.extracted_rows import block_matrices, extracted_rows
from lab.runs.record import Scalar
from lab.statistics import Evidence, Verdict, ratio_interval
from lab.study import Budget, Experiment, Finding, Lab, Result, Solution, TrainingRun, setting, solution

RANK = 8
"""Of the LoRA that is trained beside, and of the claim."""


@dataclass(frozen=True, kw_only=True)
class Extraction(Budget):
    """One full fine-tuning."""

    ranks: tuple[int, ...] = setting("r of every matrix", (1, 2, 4, 8, 16, 32, 64), low=1, keyed=True)
    energies: tuple[float, ...] = setting("parts of the energy to keep", (0.5, 0.9), low=0, high=1, keyed=True)
    rules: tuple[str, ...] = setting(
        "that choose r by the spectrum", ("null", "hard threshold"), choices=("null", "hard threshold"), keyed=True
    )
    full_lr: float = setting("step size of full fine-tuning", 1e-4, keyed=True)
    seed: int = setting("of head and order of examples", 0, low=0, keyed=True)

    @property
    def full(self) -> TrainingRun:
        return self.child(method={"method": "full"}, seed=self.seed, lr=self.full_lr)

    @property
    def lora(self) -> TrainingRun:
        """A LoRA trained on the same task, steps and seed."""
        return self.child(method={"method": "lora", "rank": RANK}, seed=self.seed)

    def choices(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every rule by name, as `extract_lora` takes it."""
        yield from ((f"rank {r}", {"rank": r}) for r in self.ranks)
        yield from ((f"{100 * e:g} % of the energy", {"energy": e}) for e in self.energies)
        yield from ((rule, {"rule": rule}) for rule in self.rules)


def measure(c: Extraction, lab: Lab) -> Result:
    """Train in full, then write, read and evaluate one LoRA per rule."""
    run = solution(c.full, lab)
    extracted = extracted_rows(run.delta, run.phi, dict(c.choices()), c.full.score_of)
    references = _references(c, run, lab)
    table = pd.DataFrame([*extracted, *references]).assign(
        model=c.model, task=c.task, label="LoRA of the difference", seed=c.seed, metric=run.metrics["metric"]
    )
    metrics: dict[str, Scalar] = {
        **{name: run.metrics[name] for name in ("metric", "score", "tunable")},
        "score_blocks": references[1]["score"],
        "score_head": references[2]["score"],
        **{f"score_{r['rule'].replace(' ', '_').replace('%', 'percent')}": r["score"] for r in extracted},
    }
    return Result(metrics, {"extraction": table})


def _references(c: Extraction, run: Solution, lab: Lab) -> list[dict[str, Any]]:
    """What the extracted are seen beside."""
    plm, in_blocks = run.delta.plm, block_matrices(run.delta.plm)
    head = {name: value for name, value in run.weights.items() if name in plm.new_names}
    exact = {name: value for name, value in run.weights.items() if name in in_blocks} | head
    trained = solution(c.lora, lab)
    scores = {
        "full fine-tuning": float(run.metrics["score"] or 0),
        "block matrices exactly, no vector or embedding": c.full.score_of(plm, exact),
        "trained head alone": c.full.score_of(plm, head),
        f"{c.lora.how.title}, trained (query and value)": c.full.score_of(trained.delta.plm, trained.weights),
    }
    rows = [{"kind": kind, "rule": "", "mean_rank": float("nan"), "score": score} for kind, score in scores.items()]
    rows[-1]["mean_rank"] = float(RANK)
    return rows


def claims(found: Sequence[Finding[Extraction]]) -> list[Verdict]:
    """Whether rank 8 of the difference keeps full fine-tuning's score."""
    c = found[0].config
    if RANK not in c.ranks:
        return []
    kept, whole = ([finding.metrics[name] for finding in found] for name in (f"score_rank_{RANK}", "score"))
    source = "Hu et al. 2021 (premise: the update has a low intrinsic rank)"
    evidence = Evidence(source, f"{c.model} on {c.task}; seeds", "extraction", "seeds")
    claim = f"The best rank-{RANK} LoRA of a full fine-tuning keeps at least 95 % of its score."
    quantity = "mean score of the extracted LoRA over that of full fine-tuning [1]"
    return [evidence.above(0.95, ratio_interval(kept, whole), claim, quantity)]


_DEMO = Extraction(
    model="minilm", task="bbc-news", steps=60, n_train=None, n_validation=300, max_length=32, batch_size=16
)
_PAPER = replace(_DEMO, steps=1000, n_validation=None, max_length=128, batch_size=32, splits=3)

EXPERIMENT = Experiment(
    name="extraction",
    question="how much of full fine-tuning's score does the best rank-r LoRA of its ΔW keep, and which r should one "
    "choose?",
    source="Eckart & Young 1936; Gavish & Donoho 2014 (hard threshold); Hu et al. 2021 (the premise of low rank).",
    varied="the rule that chooses the rank of each matrix: a fixed r, a part of the energy, a threshold, the null.",
    tuned="full fine-tuning's step size (docs/intrinsic_dimension.md).",
    fixed="PLM, task, steps, seeds; every candidate is written as a peft checkpoint, read back and evaluated.",
    expected="a few directions per matrix keep the score; vectors and embeddings, which a LoRA cannot hold, cost "
    "little.",
    cost="demo: 2 minutes on two cores (MiniLM). smoke: seconds.",
    view="optimisation",
    config=Extraction,
    scales={
        "smoke": Extraction(
            model="tiny-bert", task="bbc-news", steps=3, n_train=64, n_validation=32, max_length=16, batch_size=8,
            ranks=(1, 4), energies=(0.9,), rules=(),
        ),
        "demo": _DEMO,
        "paper": tuple(replace(_PAPER, seed=seed) for seed in range(5)),
    },
    measure=measure,
    figures=("extraction",),
    claims=claims,
    replicates=("seed",),
)  # fmt: skip
