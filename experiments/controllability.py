"""Which changes of a PLM's output each delta method can make, at which price, and whether that ranks the methods.

Nulls: the same method on random weights; a random subspace of all weights with the budget's dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch

from lab.control import reach, rollout
from lab.control.margins import energy_table, least_energy, margins
from lab.control.reach_tables import random_subspace_spectrum, share_table, spectrum_table
from lab.statistics import Evidence, Verdict
from lab.statistics.comparison import HALF_OF_RANK_VARIANCE
from lab.statistics.controllability import ranking_correlations
from lab.study import Config, Experiment, Finding, Lab, Result, Scale, counts, merit, setting
from lab.study.amounts import scored_examples, training_steps
from lab.study.budgeted import ALL_WEIGHTS, METHODS, budgeted, frozen
from lab.study.equal_budget import budget_of
from lab.study.fixed_batch import FixedBatch, fixed_batch_of
from lab.study.reached import reached_everywhere
from lab.training import Fit, fit_and_prune

SUBSPACE = "random subspace"


@dataclass(frozen=True, kw_only=True)
class Measuring(Config):
    """What all measurements of a PLM have alike."""

    model: str = setting("name for load_plm", role="model")
    seed: int = setting("of head, method, batch and order of examples", 0, low=0, keyed=True)
    steps: int = training_steps()
    batch_size: int = setting("examples per step", unit="example", low=1)
    sentences: int = setting("whose logits are to be moved", unit="example", low=1)
    tokens: int = setting("kept of each sentence", unit="token", low=1, also="max_length")
    n_train: int | None = setting("most training examples to use; none: all", None, unit="example", low=1, keyed=True)
    n_validation: int | None = scored_examples("most validation examples to score on; none: all")
    eigenvalues: int = setting("of the Gramian at the end state", low=1)
    precision: str = setting("of the measurements", "float32", choices=("float32", "float64"), keyed=True)
    read_sentences: int | None = setting("of the state that the head reads; none: two", None, low=0)


@dataclass(frozen=True, kw_only=True)
class Controllability(Measuring):
    """One method on one task, or the null of a random subspace."""

    task: str = setting("name or path for load_task", role="task")
    label: str = setting("of the method")
    method: dict[str, Any] = setting("hyperparameters at the budget")
    step_sizes: tuple[float, ...] | None = setting("to try", None)
    thorough: bool | None = setting("also after training, on random weights, and at the last block's state", None)
    dimension: int | None = setting("of the random subspace", None, low=1)


@dataclass(frozen=True, kw_only=True)
class Plan(Measuring):
    """One measurement per method and task, and one random subspace per task.

    The first task is measured thoroughly: after training, on random weights, and at the last block's state, too.
    Methods that move all weights are not: each of their spectra takes as many passes through all weights as there are
    logits.
    """

    tasks: tuple[str, ...] = setting("names or paths for load_task", role="task")
    methods: tuple[str, ...] = setting("labels; (none): all that the PLM has a use for", (), choices=tuple(METHODS))
    tried: int = setting("how many step sizes", 3, low=1, high=3)
    moved: bool = setting("the step sizes of SmolLM2", False)
    fixed = ("moved",)

    def configs(self) -> tuple[Controllability, ...]:
        methods = budgeted(self.model, self.methods, moved=self.moved, tried=self.tried)
        full, budget = frozen({"method": "full"}), budget_of(self.model)
        found = []
        for n, task in enumerate(self.tasks):
            for label, (method, step_sizes) in methods.items():
                own: dict[str, Any] = {"step_sizes": step_sizes, "thorough": n == 0 and label not in ALL_WEIGHTS}
                found.append(self.to(Controllability, task=task, label=label, method=method, **own))
            found.append(self.to(Controllability, task=task, label=SUBSPACE, method=full, dimension=budget))
        return tuple(found)


def measure(c: Controllability, lab: Lab) -> Result:
    """Gramians before and after training, nulls, the least energy that moves the margins, and the trained score."""
    if c.label == SUBSPACE:
        return _random_subspace(c)
    setting = fixed_batch_of(c)
    problem, phi0 = setting.problem, setting.delta.phi0
    stored, trained = _trained(c, setting)
    start = rollout(problem, problem.split(phi0))
    at_start = reach(problem, start, at="logits").spectrum
    least = least_energy(problem, start, setting.batch["labels"])
    spectra = [spectrum_table(at_start, "logits", "at the start")]
    shares = [share_table(problem, start, "at the start", c.seed)]
    if c.thorough:
        found, after = reached_everywhere(
            c, trained.phi, eigenvalues=c.eigenvalues, sentences=c.read_sentences, seed=c.seed
        )
        spectra += found
        shares.append(after)
    norm = float(torch.linalg.vector_norm(trained.phi - stored.delta.phi0))
    before, after_training = (margins(stored.delta, at, stored.batch) for at in (stored.delta.phi0, trained.phi))
    change = float((after_training - before).mean())
    scores = {
        "score": trained.score, "train_loss": trained.history[-2]["loss"], "trace": at_start.frobenius_norm**2,
        "effective_rank": at_start.effective_rank, "energy_rank": at_start.energy_rank(0.9),
        "unit_norm": float(least.energy.sqrt()), "unreachable": float(least.unreachable),
    }  # fmt: skip
    ranks = {
        f"rank_{table.kind[0].replace(' ', '_')}": int((table.sigma > 0).sum())
        for table in spectra
        if table["at"][0] == "read"
    }
    metrics = scores | ranks | {
        "metric": trained.metric, "step_size": trained.lr, "training_norm": norm, "training_change": change,
        "train_seconds": trained.seconds, **counts(stored.delta), "coordinates": setting.delta.size,
    }  # fmt: skip
    energies = energy_table(setting.delta, setting.batch, least)
    tables = {
        "gramian_spectra": pd.concat(spectra, ignore_index=True),
        "trace_shares": pd.concat(shares, ignore_index=True),
        "control_energy": energies.assign(training_norm=norm, training_change=change),
        "controllability_ranking": pd.DataFrame([{**scores, "metric": trained.metric}]),
    }
    return Result(metrics, {name: table.assign(label=c.label) for name, table in tables.items()})


def _trained(c: Controllability, setting: FixedBatch) -> tuple[FixedBatch, Fit]:
    """The method trained with its best step size, in float32 whatever the measurements are in, and what it stores."""
    trainee = setting if c.precision == "float32" else fixed_batch_of(c, precision="float32")
    fits = [
        fit_and_prune(
            trainee.delta, trainee.encoded, steps=c.steps, lr=lr, batch_size=c.batch_size, seed=c.seed,
            evaluation_size=c.n_validation,
        )
        for lr in c.step_sizes or ()
    ]  # fmt: skip
    finished = [tried for tried in fits if tried[1].status == "finished"]
    if not finished:
        raise ValueError(f"{c.label} diverged with every step size of {c.step_sizes}; lower them in METHODS.")
    kept, best = max(finished, key=lambda tried: merit(pd.DataFrame(tried[1].history)))
    return replace(trainee, delta=kept), best


def _random_subspace(c: Controllability) -> Result:
    """J P for full fine-tuning's J at the logits and a random isotropic P: what the budget alone would give."""
    setting = fixed_batch_of(c)
    assert c.dimension is not None
    dimension = min(c.dimension, setting.delta.size)
    spectrum = random_subspace_spectrum(setting.problem, setting.delta.phi0, dimension, c.seed)
    metrics = {"trace": spectrum.frobenius_norm**2, "effective_rank": spectrum.effective_rank, "tunable": dimension}
    table = spectrum_table(spectrum, "logits", "at the start").assign(label=SUBSPACE)
    return Result(metrics, {"gramian_spectra": table})


CANDIDATES = {
    "trace": "trace of the Gramian at the logits",
    "effective_rank": "effective rank of ∂logits/∂φ",
    "cheapness": "cheapness, one over the norm that raises every margin by one logit",
}


def claims(findings: Sequence[Finding[Controllability]]) -> list[Verdict]:
    """Do the candidates for a controllability score rank the methods as their trained scores do?"""
    rows = [{**f.record.job.config, **f.metrics} for f in findings if "score" in f.metrics]
    if not rows:
        return []
    table = pd.DataFrame(rows).assign(cheapness=lambda t: 1 / t.unit_norm)
    found = ranking_correlations(table, tuple(CANDIDATES))
    per_plm = (f"{model} on {', '.join(part.task.unique())}" for model, part in table.groupby("model", sort=False))
    steps = " or ".join(map(str, sorted(table.steps.unique())))
    where = (
        f"{'; '.join(per_plm)}; {', '.join(table.label.unique())}; "
        f"seeds {', '.join(map(str, sorted(table.seed.unique())))}, {steps} steps, frozen head"
    )
    evidence = Evidence("controllability (docs/controllability.md)", where, "controllability_ranking", "methods")
    quantity = "Spearman's ρ between score and candidate, ranked within each PLM and task; interval over methods"
    claim = "Controllability explains the ranking of the methods: the {} orders them as their scores do."
    return [
        evidence.above(HALF_OF_RANK_VARIANCE, found[name], claim.format(words), quantity)
        for name, words in CANDIDATES.items()
    ]


_DEMO = Plan(
    model="minilm", tasks=("bbc-news", "rotten-tomatoes", "sentence-length"), steps=80, batch_size=16, sentences=6,
    tokens=16, n_validation=200, eigenvalues=6,
)  # fmt: skip
SMALLER = ("steps", "batch_size", "n_validation", "read_sentences")
"""What has settings of its own on SmolLM2, where the 1,152 products of two read states take eight minutes."""

EXPERIMENT = Experiment(
    name="controllability",
    question="what can each method reach at an equal parameter budget, at what price, and does that rank the methods?",
    source="Ding et al. 2022 (FT > LoRA > adapter > prefix > prompt; delta tuning as control); docs/control.md, "
    "section 7.",
    varied="the method at one parameter budget; the task; pre-trained or random weights; before or after training.",
    tuned="each method's step size, over three half-decades, by the validation score of that same run.",
    fixed="PLM, head (frozen, so that what is measured is the method alone), batch, steps, batch size, seed.",
    expected="a method with a larger Gramian moves the logits at a smaller norm; whether that ranks trained "
    "scores is open.",
    cost="demo: an hour and a half on one quiet core (MiniLM, 10 methods, 3 tasks), half of it for full "
    "fine-tuning and diff pruning. smoke: 5 s. `--model smollm2`: seven minutes of one core a method and task, a "
    "prompt half an hour; full fine-tuning needs 15 GB.",
    view="control",
    config=Controllability,
    scales={
        "smoke": replace(
            _DEMO, model="tiny-bert", tasks=("bbc-news",), methods=("LoRA", "prompt"), steps=3, batch_size=8,
            sentences=4, tokens=8, n_train=64, n_validation=32, eigenvalues=3, precision="float64", tried=2,
        ),
        "demo": Scale(
            (_DEMO,),
            asked=(
                replace(
                    _DEMO, model="smollm2", steps=40, batch_size=8, n_validation=100, read_sentences=0, moved=True
                ),
            ),
        ),
        "paper": replace(
            _DEMO, tasks=("bbc-news", "rotten-tomatoes", "drug-reviews", "imdb"), steps=1000, batch_size=32,
            sentences=64, tokens=64, n_validation=None, eigenvalues=50,
        ),
    },
    of_classes=True,
    measure=measure,
    figures=("gramian_spectra", "trace_shares", "control_energy", "controllability_ranking"),
    claims=claims,
    replicates=("model", *SMALLER, "task", "label", "method", "step_sizes", "thorough", "dimension", "seed"),
)  # fmt: skip
