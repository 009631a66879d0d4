"""One training run: the child job of every experiment that trains.

Question: what does one delta method reach on one task with one seed?
Source: –
Varied: everything in the job.
Tuned: nothing here; step sizes are part of the job.
Fixed: AdamW, linear warm-up and decay, no dropout (`lab.training.fit`).
Expected: –
Cost: MiniLM, 32 examples of 32 tokens: 0.2-0.45 s a step on two cores.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor

from lab.deltas import Delta, method_from_json
from lab.execution import Local
from lab.models import PLM, load_plm, random_weights
from lab.models.assemble import HeadKind
from lab.models.tiny import tiny_plm
from lab.projections import Fastfood
from lab.runs import Job, Record, Store, canonical
from lab.runs.record import Scalar
from lab.tasks import TASKS, EncodedTask, Task, load_task, manual_template
from lab.training import Fit, evaluate, fit_and_prune
from lab.training.evaluation import peak_memory
from lab.training.settings import Precision

NAME = "training_run"
FIGURES = ("learning_curves",)

KEEP_PHI = 1_000_000
"""φ of at most this many numbers is kept in the record (4 MB): full fine-tuning is not, every restricted delta is."""

LATER: Mapping[str, Any] = MappingProxyType(
    {
        "head_lr": None,
        "train_evaluations": "all",
        "keep_phi": True,
        "n_layers": None,
        "shots": None,
        "template": False,
        "subspace": None,
        "splits": 2,
        "n_test": None,
    }
)
"""Options that came after the first records, with their defaults; a job holds them only where it departs from these,
so that the keys of earlier records stay."""


@dataclass(frozen=True)
class RunScale:
    """What a scale fixes about its training runs; experiments add what else they fix. Fields: see `training_job`."""

    model: str
    task: str
    steps: int
    n_train: int | None
    n_validation: int | None
    max_length: int
    batch_size: int


def training_job(
    *,
    model: str,
    task: str,
    method: dict[str, Any],
    seed: int,
    steps: int,
    lr: float | None = None,
    batch_size: int = 32,
    max_length: int = 64,
    n_train: int | None = None,
    n_validation: int | None = None,
    precision: str = "float32",
    weights: str = "pretrained",
    evaluations: int = 1,
    head_lr: float | None = None,
    train_evaluations: Literal["all", "last"] = "all",
    keep_phi: bool = True,
    n_layers: int | None = None,
    shots: int | None = None,
    template: bool = False,
    subspace: int | None = None,
    splits: int = 2,
    n_test: int | None = None,
) -> Job:
    """The job of one run; see `lab.training.fit` for the settings. No steps: the score of φ₀.

    Args:
        model: name for `load_plm`, or "tiny-FAMILY" for a random two-layer model.
        task: name or path for `load_task`.
        method: `DeltaMethod.to_json()`.
        seed: of the head, the method's random choices and the order of examples.
        weights: "pretrained", or "random" for the same architecture freshly initialised.
        evaluations: how many times to evaluate, evenly spaced, the last after the last step.
        head_lr: step size of a freely trained head; None: that of φ.
        train_evaluations: whether each evaluation scores the training examples too, or only the last one.
        keep_phi: whether the record keeps φ (where it has at most `KEEP_PHI` numbers).
        n_layers: keep only the first so many blocks of the PLM.
        shots: train on so many examples per class (`few_shot`), score on the task's validation data.
        template: read the task through its manual template and the PLM's language-model head, whose label words are
            the classes; otherwise through a new classification head.
        subspace: train in a random subspace of φ of this dimension (`restricted`); None: all of φ.
        splits: 3 chooses on a part of the training data and scores the trained φ on what was held out, as
            `test_score`; 2 has no test data.
        n_test: test examples to score, or all where there are fewer.
    """
    config = {name: value for name, value in locals().items() if (name, value) not in LATER.items()}
    return Job(NAME, config)


def child_job(config: Mapping[str, Any], **given: Any) -> Job:
    """A training run of an experiment whose config holds what a `RunScale` fixes.

    Args:
        config: of the experiment; only the fields of `RunScale` are read from it.
        given: what the run has of its own, instead of these or beside them; see `training_job`.
    """
    fixed = {field.name: config[field.name] for field in fields(RunScale) if field.name not in given}
    return training_job(**fixed, **given)


def jobs(scale: str, *, model: str = "minilm", task: str = "bbc-news", seed: int = 0) -> list[Job]:
    """A full fine-tuning and a LoRA run, for a first look."""
    steps = {"smoke": 2, "demo": 60, "paper": 500}[scale]
    methods: list[dict[str, Any]] = [{"method": "full"}, {"method": "lora", "rank": 8}]
    size = {"smoke": 32, "demo": 300, "paper": None}[scale]
    return [
        training_job(
            model=model, task=task, method=m, seed=seed, steps=steps, max_length=32, n_validation=size, evaluations=4
        )
        for m in methods
    ]


def measure(job: Job, store: Store) -> Record:
    """Train as the job says."""
    start, encoded = prepared(job.config)
    delta, result = fitted(start, encoded, job.config)
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
    if _option(job.config, "splits") == 3:
        loss, score = evaluate(delta, encoded, result.phi, "test", precision=job.config["precision"])
        metrics |= {"test_loss": loss, "test_score": score}
    label = f"{job.config['method']['method']} · {job.config['model']} · {job.config['task']}"
    history = pd.DataFrame(result.history).assign(label=label)
    kept = delta is start and delta.size <= KEEP_PHI and _option(job.config, "keep_phi")
    arrays = {"phi": result.phi.cpu().numpy()} if kept else {}
    return Record(job, metrics, {"history": history}, arrays, provenance_of(delta.plm.device))


def final(history: pd.DataFrame, split: str = "validation") -> pd.Series:
    """The last evaluation of a run on one split: its row of the history, with loss [nats] and score."""
    return history[history["split"] == split].iloc[-1]


def merit(history: pd.DataFrame) -> tuple[float, float]:
    """What step sizes are chosen by, higher is better: the last validation score, and where it ties the lower loss."""
    end = final(history)
    return float(end["score"]), -float(end["loss"])


def trained(config: dict[str, Any], *, keep_every: int | None = None) -> tuple[Delta, Fit]:
    """The delta of a `training_job`, or what its method keeps of it, and the fit.

    Args:
        config: of the job.
        keep_every: keep φ after every so many steps (`Fit.trajectory`); it changes nothing else.

    Raises:
        RuntimeError: the run diverged; the message says what to do.
    """
    delta, encoded = prepared(config)
    return fitted(delta, encoded, config, keep_every=keep_every)


def prepared(config: Mapping[str, Any]) -> tuple[Delta, EncodedTask]:
    """The delta of a `training_job` on its PLM, and its task in that PLM's tokens."""
    task = task_of(config)
    template = manual_template(task) if _option(config, "template") else None
    plm = plm_of(
        config["model"],
        task.num_labels,
        0 if template else config["seed"],  # of the head; a language-model head is not drawn
        config["weights"],
        _option(config, "n_layers"),
        template.words if template else None,
    )
    delta = restricted(method_from_json(config["method"]).on(plm, seed=config["seed"]), config)
    return delta, task.encode(plm, max_length=config["max_length"], template=template.template if template else None)


def fitted(
    delta: Delta, encoded: EncodedTask, config: Mapping[str, Any], *, keep_every: int | None = None
) -> tuple[Delta, Fit]:
    """What is kept of a delta (all of it, unless its method prunes) and its fit, as a `training_job` says.

    Raises:
        RuntimeError: the run diverged; the message says what to do.
    """
    if config["steps"] == 0:
        return delta, untrained(delta, encoded, config["n_validation"], config["precision"])
    kept, result = fit_and_prune(
        delta,
        encoded,
        steps=config["steps"],
        lr=config["lr"],
        head_lr=_option(config, "head_lr"),
        batch_size=config["batch_size"],
        seed=config["seed"],
        evaluate_every=-(-config["steps"] // config.get("evaluations", 1)),
        evaluation_size=config["n_validation"],
        train_evaluations=_option(config, "train_evaluations"),
        precision=config["precision"],
        keep_every=keep_every,
    )
    if result.status != "finished":
        raise RuntimeError(f"{delta} on {config['task']}: {result.message}")
    return kept, result


def restricted(delta: Delta, config: Mapping[str, Any]) -> Delta:
    """φ₀ + P x with a Fastfood P of `config["subspace"]` columns; the delta itself where that is None."""
    d = _option(config, "subspace")
    return delta if d is None else delta.restrict(Fastfood(delta.size, d, seed=config["seed"]))


def analysed(config: Mapping[str, Any]) -> Delta:
    """The delta of a `training_job` on eager attention, which has derivatives of every kind; θ and φ₀ are the same."""
    num_labels = task_of(config).num_labels
    plm = plm_of(config["model"], num_labels, config["seed"], config["weights"], _option(config, "n_layers"))
    return restricted(method_from_json(config["method"]).on(plm.with_attention("eager"), seed=config["seed"]), config)


def fixed_batch(config: Mapping[str, Any], delta: Delta, n: int, split: str = "train") -> dict[str, Tensor]:
    """n examples of a job's task as one batch, the same for every method: what an analysis looks at."""
    encoded = getattr(task_of(config).encode(delta.plm, max_length=config["max_length"]), split)
    return next(encoded.batches(min(n, len(encoded)), size=min(n, len(encoded))))


def method_label(method: Mapping[str, Any]) -> str:
    """A method as a figure calls it: "LoRA r = 8", "BitFit", "adapter 16"."""
    names = {
        "lora": "LoRA", "bitfit": "BitFit", "added-bias": "added biases", "full": "full fine-tuning",
        "did": "Fastfood", "said": "SAID",
    }  # fmt: skip
    sizes = {"rank": "r = {}", "bottleneck": "{}", "dimension": "d = {:,}", "length": "{}", "tokens": "{}"}
    name = names.get(method["method"], method["method"])
    return " ".join([name, *(form.format(method[key]) for key, form in sizes.items() if method.get(key) is not None)])


WITHOUT_BIASES = ("llama", "smollm", "t5", "gemma")
"""Families without biases, as the names of their PLMs say them."""


def without_biases(model: str) -> bool:
    """Whether a PLM's name is of a family without biases, where BitFit has nothing to move.

    Example:
        >>> without_biases("smollm2"), without_biases("google/t5-v1_1-base"), without_biases("minilm")
        (True, True, False)
    """
    return any(family in model.lower() for family in WITHOUT_BIASES)


def with_added_biases(
    methods: Iterable[dict[str, Any]], model: str, added: bool | None = None
) -> tuple[dict[str, Any], ...]:
    """Methods with `AddedBias` in BitFit's place, for PLMs without biases; by default those of such a family."""
    if not (without_biases(model) if added is None else added):
        return tuple(methods)
    return tuple({"method": "added-bias"} if m["method"] == "bitfit" else m for m in methods)


def _option(config: Mapping[str, Any], name: str) -> Any:
    return config.get(name, LATER[name])


@dataclass(frozen=True, eq=False)
class Solution:
    """A trained delta: what experiments on weights start from.

    Attributes:
        delta: on the PLM of its job.
        phi: (d,), trained.
        metrics: of the run: metric, score, step_size, parameter counts.
    """

    delta: Delta
    phi: Tensor
    metrics: Mapping[str, Scalar]


def solution(job: Job, store: Store) -> Solution:
    """The trained delta of a `training_job`: a child record where φ can be kept, else trained in this process.

    What is too large to keep is held until the next such call, so experiments on one full fine-tuning share it.
    """
    c = job.config
    plm = plm_of(c["model"], subset(c["task"], c["n_train"], c["n_validation"]).num_labels, c["seed"], c["weights"])
    delta = method_from_json(c["method"]).on(plm, seed=c["seed"])
    if delta.size > KEEP_PHI or delta.training().finish is not None:
        return _large_solution(canonical(job))
    (record,) = Local(store).run([job], measure, label=f"{c['method']['method']} seed={c['seed']}")
    return Solution(delta, torch.as_tensor(record.arrays["phi"]).to(delta.phi0), record.metrics)


@lru_cache(maxsize=1)
def _large_solution(text: str) -> Solution:
    delta, result = trained(json.loads(text)["config"])
    metrics = {"metric": result.metric, "score": result.score, "step_size": result.lr, **counts(delta)}
    return Solution(delta, result.phi, metrics)


def validation_score(job: Job, plm: PLM, overrides: Mapping[str, Tensor]) -> float:
    """The score of any changed parameters of a PLM on the validation examples of a `training_job`."""
    c = job.config
    names = ("model", "task", "n_train", "n_validation", "max_length", "seed", "weights")
    encoded = _encoded(*(c[name] for name in names))
    with torch.no_grad():
        batches = list(encoded.validation.batches(64, size=c["n_validation"]))
        logits = torch.cat([plm.logits(overrides, batch) for batch in batches])
    return float(encoded.task.metric(logits, torch.cat([batch["labels"] for batch in batches])))


@lru_cache(maxsize=2)
def _encoded(
    model: str, task: str, n_train: int | None, n_validation: int | None, max_length: int, seed: int, weights: str
) -> EncodedTask:
    chosen = subset(task, n_train, n_validation)
    return chosen.encode(plm_of(model, chosen.num_labels, seed, weights), max_length=max_length)


def counts(delta: Delta) -> dict[str, Scalar]:
    """Trained, stored, head and native parameter counts, under the names every table uses."""
    c = delta.counts
    return {"tunable": c.trained, "stored": c.stored, "head": c.head, "added": c.added, "native": c.native}


def provenance_of(device: torch.device) -> dict[str, str]:
    """The GPU's name where one did the work; on a CPU the engine writes the processor's."""
    return {"device": torch.cuda.get_device_name(device)} if device.type == "cuda" else {}


def device() -> torch.device:
    """The GPU when there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


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


@lru_cache(maxsize=2)
def plm_of(
    model: str,
    num_labels: int,
    seed: int,
    weights: str,
    n_layers: int | None = None,
    verbalizer: tuple[str, ...] | None = None,
) -> PLM:
    """The PLM of a job, kept between jobs that share it; with a verbaliser, under its language-model head."""
    head: HeadKind = "classification" if verbalizer is None else "lm"
    if model.startswith("tiny-"):
        plm = tiny_plm(
            model.removeprefix("tiny-"), num_labels=num_labels, head=head, verbalizer=verbalizer, n_layers=n_layers,
            seed=seed, dtype=torch.float32,
        )  # fmt: skip
    else:
        plm = load_plm(
            model, num_labels=num_labels, head=head, verbalizer=verbalizer, n_layers=n_layers, seed=seed,
            device=device(), attention="sdpa",
        )  # fmt: skip
    return random_weights(plm, seed=seed) if weights == "random" else plm


def task_of(config: Mapping[str, Any]) -> Task:
    """The task of a job: few-shot, or cut to size with a fixed seed so that all jobs see the same examples."""
    shots = _option(config, "shots")
    if shots is None:
        sizes = config["n_train"], config["n_validation"]
        return subset(config["task"], *sizes, _option(config, "splits"), _option(config, "n_test"))
    return few_shot(config["task"], shots, config["seed"], config["n_validation"])


@lru_cache(maxsize=4)
def subset(
    task: str, n_train: int | None, n_validation: int | None, splits: int = 2, n_test: int | None = None
) -> Task:
    """A task cut to size with a fixed seed, with test data of its own where it is to have three splits."""
    loaded = load_task(task)
    return (loaded.with_test() if splits == 3 else loaded).subset(n_train, n_validation, seed=0, n_test=n_test)


@lru_cache(maxsize=8)
def few_shot(task: str, shots: int, seed: int, n_validation: int | None) -> Task:
    """`shots` examples per class to train on, the whole task's validation data to score on.

    A task folder brings its published splits ("16-shot-13", …), and another seed is an error that lists them; of tasks
    without a folder they are drawn from the training data.
    """
    whole = load_task(task)
    if task.startswith("glue/") or any(source.name == task for source in TASKS):
        drawn = whole.few_shot(shots, seed)
    else:
        drawn = load_task(task, few_shot_split=f"{shots}-shot-{seed}")
    return replace(drawn, validation=whole.validation).subset(None, n_validation, seed=0)
