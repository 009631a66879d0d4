"""One training run as an experiment: the child of every experiment that trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from lab.deltas import Delta, DeltaMethod, method_from_json
from lab.models import PLM
from lab.projections import Fastfood
from lab.runs.record import Scalar
from lab.study.amounts import scored_examples, training_steps
from lab.study.config import Config
from lab.study.experiment import Experiment, Finding, Result
from lab.study.lab import Lab
from lab.study.materials import few_shot, open_plm, open_task, provenance_of
from lab.study.settings import Settings, setting
from lab.tasks import EncodedTask, Task, manual_template
from lab.training import Fit, evaluate, fit_and_prune
from lab.training.evaluation import peak_memory
from lab.training.settings import Precision

KEEP_PHI = 1_000_000
"""φ of at most this many numbers is kept in the record (4 MB): full fine-tuning is not, every restricted delta is."""


@dataclass(frozen=True, kw_only=True)
class Workload(Config):
    """How long an experiment trains, and on how much data."""

    steps: int = training_steps()
    n_train: int | None = setting("most training examples to use; none: all", unit="example", low=1)
    n_validation: int | None = scored_examples("most validation examples to score on; none: all")
    max_length: int = setting("tokens kept per example", unit="token", low=1)
    batch_size: int = setting("examples per step", unit="example", low=1)
    splits: int = setting(
        "3: choose on a part of the training data, report on what was held out; 2: both on the validation data",
        2,
        choices=(2, 3),
    )
    n_test: int | None = scored_examples("with three splits: test examples, or all where there are fewer", None)

    def child(self, **own: Any) -> TrainingRun:
        """A training run of this workload.

        Args:
            own: what the run has of its own, instead of the fields of a `Budget` or beside them.
        """
        return TrainingRun(**(self.shared(Budget) | own))

    def examples(self, task: str) -> Task:
        """A task, cut to size."""
        return open_task(task, self.n_train, self.n_validation, splits=self.splits, n_test=self.n_test)

    @property
    def judged(self) -> str:
        """The split whose score is reported."""
        return "test" if self.splits == 3 else "validation"

    @property
    def resolution(self) -> float:
        """Step of an accuracy on the examples that are scored, 1/n; 0 where all of a task are, however many."""
        n = self.n_test if self.splits == 3 else self.n_validation
        return 0.0 if n is None else 1 / n

    @property
    def scored_on(self) -> str:
        """The same for a verdict."""
        return "scored on test examples" if self.splits == 3 else "two splits: scored where step sizes are chosen"


@dataclass(frozen=True, kw_only=True)
class Budget(Workload):
    """What a scale fixes about its training runs; experiments add what else they fix."""

    model: str = setting("name for load_plm: minilm, smollm2, a hub id, a local folder, tiny-FAMILY", role="model")
    task: str = setting("name or path for load_task", role="task")

    @property
    def data(self) -> Task:
        """The task, cut to size."""
        return self.examples(self.task)

    @property
    def amount(self) -> str:
        """How many examples are trained on, in words: "240 examples", or "all examples" where there are no more."""
        n = self.n_train
        return "all examples" if n is None or len(self.data.train) < n else f"{n} examples"


@dataclass(frozen=True, kw_only=True)
class RunSize(Settings):
    """How large the training runs of a scale are; what is none stays as the scale has it."""

    steps: int | None = training_steps("AdamW steps of the runs; none: the scale's", None)
    n_train: int | None = setting("most training examples; none: the scale's", None, unit="example", low=1)
    n_validation: int | None = scored_examples("most validation examples; none: the scale's", None)
    max_length: int | None = setting("tokens kept per example; none: the scale's", None, unit="token", low=1)
    batch_size: int | None = setting("examples per step; none: the scale's", None, unit="example", low=1)
    splits: int | None = setting("2, or 3 with a test split that nothing is chosen on; none: the scale's", None, low=2)
    n_test: int | None = scored_examples("with three splits: test examples; none: the scale's", None)

    def sizes(self) -> dict[str, Any]:
        """Those that are given, by their names in `Budget`."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(RunSize)}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class TrainingRun(Budget):
    """One run; see `lab.training.fit` for the settings. No steps: the score of φ₀."""

    steps: int = setting("AdamW steps; 0: the score of φ₀", unit="step", low=0)
    method: dict[str, Any] = setting("hyperparameters of the delta method (`DeltaMethod.to_json`)")
    seed: int = setting("of the head, the method's random choices and the order of examples", low=0)
    lr: float | None = setting("step size; none: by the rule for d and D", None, keyed=True)
    batch_size: int = setting("examples per step", 32, unit="example", low=1, keyed=True)
    max_length: int = setting("tokens kept per example", 64, unit="token", low=1, keyed=True)
    n_train: int | None = setting("most training examples to use; none: all", None, unit="example", low=1, keyed=True)
    n_validation: int | None = scored_examples("most validation examples to score on; none: all", None, keyed=True)
    precision: Precision = setting("of the matrix products", "float32", choices=("float32", "bfloat16"), keyed=True)
    weights: str = setting(
        "random: the same architecture freshly initialised", "pretrained", choices=("pretrained", "random"), keyed=True
    )
    evaluations: int = setting("evenly spaced, the last after the last step", 1, low=1, keyed=True)
    head_lr: float | None = setting("step size of a freely trained head; none: that of φ", None)
    train_evaluations: str = setting("whether each scores training examples too", "all", choices=("all", "last"))
    keep_phi: bool = setting("keep φ in the record, where it is small", True)
    n_layers: int | None = setting("keep only the first so many blocks of the PLM", None, low=1)
    shots: int | None = setting("train on so many examples per class", None, low=1)
    template: bool = setting("read the task through its manual template and the language-model head", False)
    subspace: int | None = setting("train in a random subspace of φ of this dimension", None, low=1)
    start: int | None = setting("seed of the method's random choices, where it is another than the run's", None, low=0)

    @property
    def method_seed(self) -> int:
        """Seed of the method's random choices, φ₀ among them."""
        return self.seed if self.start is None else self.start

    @property
    def how(self) -> DeltaMethod:
        """The delta method."""
        return method_from_json(self.method)

    @property
    def data(self) -> Task:
        """The task: few-shot, or cut to size."""
        return (
            super().data
            if self.shots is None
            else few_shot(self.task, self.shots, self.seed, self.n_validation, splits=self.splits, n_test=self.n_test)
        )

    def prepared(self) -> tuple[Delta, EncodedTask]:
        """The delta on its PLM, and the task in that PLM's tokens."""
        template = manual_template(self.data) if self.template else None
        plm = open_plm(
            self.model,
            self.data.num_labels,
            seed=0 if template else self.seed,  # of the head; a language-model head is not drawn
            weights=self.weights,
            n_layers=self.n_layers,
            verbalizer=template.words if template else None,
        )
        encoded = self.data.encode(plm, max_length=self.max_length, template=template.template if template else None)
        return self._restricted(self.on(plm)), encoded

    def on(self, plm: PLM) -> Delta:
        """The method's delta on a PLM, with the random choices of this run: the same φ₀ wherever `start` is."""
        return self.how.on(plm, seed=self.method_seed)

    def opened(self) -> PLM:
        """The PLM under a new classification head."""
        return open_plm(self.model, self.data.num_labels, seed=self.seed, weights=self.weights, n_layers=self.n_layers)

    def analysed(self) -> Delta:
        """The delta on eager attention, which has derivatives of every kind; θ and φ₀ are the same."""
        return self._restricted(self.on(self.opened().with_attention("eager")))

    def batch(self, delta: Delta, n: int, split: str = "train") -> dict[str, Tensor]:
        """n examples of the task as one batch, the same for every method: what an analysis looks at."""
        encoded = getattr(self.data.encode(delta.plm, max_length=self.max_length), split)
        return next(encoded.batches(min(n, len(encoded)), size=min(n, len(encoded))))

    def fitted(self, delta: Delta, encoded: EncodedTask, *, keep_every: int | None = None) -> tuple[Delta, Fit]:
        """What is kept of a delta (all of it, unless its method prunes) and its fit.

        Args:
            delta: to be trained; `prepared`'s, or another one under the same settings.
            encoded: the task.
            keep_every: keep φ after every so many steps (`Fit.trajectory`); it changes nothing else.

        Raises:
            ValueError: the run diverged, as it would again; the message says what to do.
        """
        if self.steps == 0:
            return delta, untrained(delta, encoded, self.n_validation, self.precision)
        kept, result = fit_and_prune(
            delta,
            encoded,
            steps=self.steps,
            lr=self.lr,
            head_lr=self.head_lr,
            batch_size=self.batch_size,
            seed=self.seed,
            evaluate_every=-(-self.steps // self.evaluations),
            evaluation_size=self.n_validation,
            train_evaluations=self.train_evaluations,
            precision=self.precision,
            keep_every=keep_every,
        )
        if result.status != "finished":
            raise ValueError(f"{delta} on {self.task}: {result.message}")
        return kept, result

    def trained(self, *, keep_every: int | None = None) -> tuple[Delta, Fit]:
        """`fitted` of what `prepared` gives."""
        return self.fitted(*self.prepared(), keep_every=keep_every)

    def score_reported(self, delta: Delta, encoded: EncodedTask, fit: Fit) -> float:
        """The score to report of a fit."""
        if self.judged == "validation":
            return fit.score
        return evaluate(delta, encoded, fit.phi, "test", precision=self.precision)[1]

    def score_of(self, plm: PLM, overrides: Mapping[str, Tensor]) -> float:
        """The score to report of any changed parameters of a PLM."""
        encoded = self.data.encode(plm, max_length=self.max_length)
        size = self.n_validation if self.judged == "validation" else None
        with torch.no_grad():
            batches = list(getattr(encoded, self.judged).batches(64, size=size))
            logits = torch.cat([plm.logits(overrides, batch) for batch in batches])
        return float(encoded.task.metric(logits, torch.cat([batch["labels"] for batch in batches])))

    def _restricted(self, delta: Delta) -> Delta:
        """φ₀ + P x with a Fastfood P of as many columns as the subspace has dimensions."""
        if self.subspace is None:
            return delta
        return delta.restrict(Fastfood(delta.size, self.subspace, seed=self.seed))


@dataclass(frozen=True, kw_only=True)
class FirstLook(Budget):
    """What `deltalab run training_run` does: a full fine-tuning and a LoRA run."""

    seed: int = setting("of everything random", 0, low=0)
    evaluations: int = setting("evenly spaced, the last after the last step", 4, low=1)

    def configs(self) -> tuple[TrainingRun, ...]:
        methods: tuple[dict[str, Any], ...] = ({"method": "full"}, {"method": "lora", "rank": 8})
        return tuple(self.child(method=m, seed=self.seed, evaluations=self.evaluations) for m in methods)


def train(run: TrainingRun, lab: Lab) -> Result:
    """Train as the config says."""
    start, encoded = run.prepared()
    delta, result = run.fitted(start, encoded)
    metrics = {
        "metric": result.metric,
        "score": result.score,
        "best_score": result.best_score,
        "train_score": result.history[-2]["score"],
        "step_size": result.lr,
        "train_seconds": result.seconds,
        "peak_memory": result.peak_memory,
        **counts(delta),
    }
    if run.splits == 3:
        loss, score = evaluate(delta, encoded, result.phi, "test", precision=run.precision)
        metrics |= {"test_loss": loss, "test_score": score}
    history = pd.DataFrame(result.history).assign(label=f"{run.method['method']} · {run.model} · {run.task}")
    kept = delta is start and delta.size <= KEEP_PHI and run.keep_phi
    arrays = {"phi": result.phi.cpu().numpy()} if kept else {}
    return Result(metrics, {"history": history}, arrays, provenance_of(delta.plm.device))


def _look(model: str, steps: int, size: int | None) -> FirstLook:
    return FirstLook(
        model=model, task="bbc-news", steps=steps, n_train=None, n_validation=size, max_length=32, batch_size=32
    )


TRAINING_RUN = Experiment(
    name="training_run",
    question="what does one delta method reach on one task with one seed?",
    varied="everything in the config.",
    tuned="nothing here; step sizes are part of the config.",
    fixed="AdamW, linear warm-up and decay, no dropout (lab.training.fit).",
    cost="MiniLM, 32 examples of 32 tokens: 0.2-0.45 s a step on two cores.",
    view="run",
    config=TrainingRun,
    scales={
        "smoke": _look("tiny-bert", 2, 32),
        "demo": _look("minilm", 60, 300),
        "paper": replace(_look("minilm", 500, None), splits=3),
    },
    measure=train,
    figures=("learning_curves",),
)


def final(history: pd.DataFrame, split: str = "validation") -> pd.Series:
    """The last evaluation of a run on one split: its row of the history, with loss [nats] and score."""
    return history[history["split"] == split].iloc[-1]


def merit(history: pd.DataFrame) -> tuple[float, float]:
    """What step sizes are chosen by, higher is better: the last validation score, and where it ties the lower loss."""
    end = final(history)
    return float(end["score"]), -float(end["loss"])


def reported(run: Finding[TrainingRun]) -> float:
    """The score to report: on test data where the run has any, else on validation data."""
    return float(run.metrics.get("test_score", run.metrics["score"]))


def scored_rows(
    places: Sequence[Mapping[str, Any]],
    runs: Sequence[Finding[TrainingRun]],
    names: Sequence[str] = ("train_score", "metric", "tunable", "train_seconds"),
) -> pd.DataFrame:
    """One row per run: its place in a design, the score to report, and metrics by name."""
    pairs = zip(places, runs, strict=True)
    return pd.DataFrame([{**at, "score": reported(run), **{n: run.metrics[n] for n in names}} for at, run in pairs])


def counts(delta: Delta) -> dict[str, Scalar]:
    """Trained, stored, head and native parameter counts, under the names every table uses."""
    c = delta.counts
    return {"tunable": c.trained, "stored": c.stored, "head": c.head, "added": c.added, "native": c.native}


def untrained(delta: Delta, encoded: EncodedTask, size: int | None, precision: Precision = "float32") -> Fit:
    """The fit of no steps: φ₀, scored. Under a pre-trained head this is zero-shot, under a new head it is chance."""
    history: list[dict[str, Any]] = []
    for split in ("train", "validation"):
        loss, score = evaluate(delta, encoded, delta.phi0, split, size=size, precision=precision)
        history.append({"step": 0, "seconds": 0.0, "split": split, "loss": loss, "score": score})
    return Fit(
        phi=delta.phi0, best_phi=delta.phi0, score=score, best_score=score, metric=encoded.task.metric.name,
        history=history, status="finished", message="not trained.", steps=0, seconds=0.0,
        peak_memory=peak_memory(delta.phi0.device), lr=0.0,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Solution:
    """A trained delta: what experiments on weights start from.

    Attributes:
        delta: on the PLM of its run.
        phi: (d,), trained.
        metrics: of the run: metric, score (the one to report), step_size, parameter counts.
    """

    delta: Delta
    phi: Tensor
    metrics: Mapping[str, Scalar]

    @property
    def weights(self) -> dict[str, Tensor]:
        """The trained parameters by name: the delta's overrides at φ."""
        with torch.no_grad():
            return self.delta.overrides(self.phi)


def solution(run: TrainingRun, lab: Lab) -> Solution:
    """The trained delta of a run: a child's record where φ can be kept, else trained in this process.

    What is too large to keep is held until the next such call, so experiments on one full fine-tuning share it.
    """
    (found,) = solutions([run], lab)
    return found


def solutions(runs: Sequence[TrainingRun], lab: Lab) -> list[Solution]:
    """`solution` of each run, in their order; those whose φ can be kept are trained side by side."""
    deltas = [run.on(run.opened()) for run in runs]
    kept = [delta.size <= KEEP_PHI and delta.training().finish is None for delta in deltas]
    small = [run for run, keep in zip(runs, kept, strict=True) if keep]
    found = iter(lab.run(TRAINING_RUN, small, " and ".join(dict.fromkeys(run.how.title for run in small))))
    return [
        _recorded(delta, next(found)) if keep else _large_solution(_Same(run))
        for run, delta, keep in zip(runs, deltas, kept, strict=True)
    ]


def _recorded(delta: Delta, run: Finding[TrainingRun]) -> Solution:
    return Solution(delta, torch.as_tensor(run.arrays["phi"]).to(delta.phi0), {**run.metrics, "score": reported(run)})


@dataclass(frozen=True)
class _Same:
    """A run that equals another by its job; configs hold dicts, which have no hash."""

    run: TrainingRun

    def __hash__(self) -> int:
        return hash(TRAINING_RUN.job(self.run))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and TRAINING_RUN.job(self.run) == TRAINING_RUN.job(other.run)


@lru_cache(maxsize=1)
def _large_solution(same: _Same) -> Solution:
    run = same.run
    start, encoded = run.prepared()
    delta, result = run.fitted(start, encoded)
    score = run.score_reported(delta, encoded, result)
    metrics = {"metric": result.metric, "score": score, "step_size": result.lr, **counts(delta)}
    return Solution(delta, result.phi, metrics)
