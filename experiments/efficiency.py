"""What a training step costs: peak memory, operations and seconds of every method against the batch size.

Question: how much memory and work does a delta method save, on which models and at which batch size?
Source: Ding et al. 2022, GPU memory of T5 at batch sizes 1, 8 and 64.
Varied: the method, the PLM (MiniLM to T5-XL and Llama-2-7B), the batch size.
Tuned: nothing.
Fixed: AdamW in float32, attention by its formula, texts of one length without padding, no recomputation of activations.
Expected: θ itself stays, so at most 3/4 of full fine-tuning's 4·D numbers can go; the share falls as activations grow
    with the batch, and a long prompt may cost more than it saves.
Cost: demo: 20 minutes on one quiet core, a third of it MiniLM's real steps. smoke: seconds.

Counted: every storage of a step is followed on the meta device, so no model is too large (`lab.training.step_cost`).
Measured: resident memory of real steps, each method in a process of its own (`lab.training.measured_peaks`). Weights
are random in both, and in the timing: neither memory nor time depends on their values.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pandas as pd
import torch

from experiments.equal_budget import bare_plm
from experiments.training_run import device, without_biases
from lab.deltas import IA3, Adapter, BitFit, DeltaMethod, FullFineTuning, LastLayer, LoRA, Prefix, Prompt
from lab.deltas import method_from_json as read
from lab.models import PLM, untrained_plm
from lab.models.tiny import tiny_plm
from lab.runs import Job, Record, Store, tabulate
from lab.statistics import Verdict, mean_interval
from lab.training import TrainingStep, example_batch, measured_peaks, step_cost

NAME = "efficiency"
FIGURES = ("memory_saved", "training_memory", "training_compute")

SOURCE = "Ding et al. 2022, GPU memory of T5 at batch sizes 1, 8 and 64"
FULL = "full fine-tuning"
LAST = "last layer"
"""No delta method of the source's claims: it is left out of them."""
METHODS: dict[str, DeltaMethod] = {
    FULL: FullFineTuning(),
    LAST: LastLayer(),
    "LoRA": LoRA(rank=8),  # in an encoder-decoder also beside cross-attention's query and value: `_methods`
    "adapter": Adapter(bottleneck=64),
    "prefix": Prefix(tokens=5),
    "prompt": Prompt(tokens=100),
    "BitFit": BitFit(),
    "IA3": IA3(),
}


@dataclass(frozen=True)
class Scale:
    """Everything a scale fixes. `measured`: models whose real steps are run, for memory and (smaller) for time."""

    counted: tuple[str, ...]
    measured: tuple[str, ...]
    batch_sizes: tuple[int, ...] = (1, 8, 64)
    tokens: int = 128
    methods: tuple[str, ...] = tuple(METHODS)
    measured_methods: tuple[str, ...] = (FULL, "LoRA", "adapter", "prompt")
    timed_batch_sizes: tuple[int, ...] = (1, 8, 64)
    rounds: int = 3


_T5 = ("t5-v1.1-base", "t5-v1.1-large", "t5-v1.1-xl")
SCALES = {
    "smoke": Scale(
        ("tiny-bert",), ("tiny-bert",), batch_sizes=(1, 4), tokens=16, methods=(FULL, "LoRA", "prompt"),
        measured_methods=("LoRA",), timed_batch_sizes=(1, 4), rounds=1,
    ),
    "demo": Scale(("minilm", "smollm2", *_T5, "llama-2-7b"), ("minilm",)),
    "paper": Scale(
        ("minilm", "smollm2", "roberta-large", "t5-v1.1-small", *_T5, "t5-v1.1-xxl", "llama-2-7b"),
        ("minilm", "smollm2", "t5-v1.1-base"), measured_methods=tuple(METHODS), rounds=9,
    ),
}  # fmt: skip


def jobs(scale: str, *, model: str | None = None, tokens: int | None = None) -> list[Job]:
    """Per model a count of all methods; of small models a measurement of each, and one timing of all."""
    s = SCALES[scale]
    length = tokens or s.tokens
    found = []
    for name in (model,) if model else s.counted:
        found.append(_job("counted", name, _methods(s.methods, name), s.batch_sizes, length))
    for name in (model,) if model else s.measured:
        for label, method in _methods(s.measured_methods, name).items():
            found.append(_job("measured", name, {label: method}, s.batch_sizes, length))
        found.append(_job("timed", name, _methods(s.methods, name), s.timed_batch_sizes, length, rounds=s.rounds))
    return found


def _methods(labels: Sequence[str], model: str) -> dict[str, DeltaMethod]:
    """Those that a PLM of this name has a use for, as `lab.deltas.presets.delta_tuning_study` sets them."""
    chosen = {label: METHODS[label] for label in labels if label != "BitFit" or not without_biases(model)}
    if "LoRA" in chosen and "t5" in model:
        chosen["LoRA"] = LoRA(rank=8, targets=("query", "value", "cross_query", "cross_value"))
    return chosen


def _job(
    how: str, model: str, methods: dict[str, DeltaMethod], batch_sizes: Sequence[int], tokens: int, **more: Any
) -> Job:
    chosen = [(label, method.to_json()) for label, method in methods.items()]
    return Job(
        NAME, {"how": how, "model": model, "methods": chosen, "batch_sizes": batch_sizes, "tokens": tokens, **more}
    )


def measure(job: Job, store: Store) -> Record:
    """Count, measure or time, as the job says."""
    tables: dict[str, Callable[[dict[str, Any]], dict[str, pd.DataFrame]]]
    tables = {"counted": _counted, "measured": _measured, "timed": _timed}
    found = tables[job.config["how"]](job.config)
    return Record(job, {"rows": sum(map(len, found.values()))}, found)


def _counted(config: dict[str, Any]) -> dict[str, pd.DataFrame]:
    """Memory by kind and operations by pass, on the meta device."""
    plm = bare_plm(config["model"])
    memory, compute = [], []
    for label, method in config["methods"]:
        delta = read(method).on(plm)
        for size in config["batch_sizes"]:
            cost = step_cost(delta, example_batch(plm, size, config["tokens"]))
            row = {"label": label, "batch_size": size, "tunable": delta.size}
            memory.append(
                row
                | {
                    "peak": cost.peak, "parameters": cost.parameters, "optimizer": cost.optimizer,
                    "gradients": cost.gradients, "activations": cost.activations, "native": plm.size,
                }
            )  # fmt: skip
            compute.append(
                row
                | {
                    "forward_flops": cost.forward_flops, "activation_flops": cost.activation_flops,
                    "weight_flops": cost.weight_flops,
                }
            )  # fmt: skip
    return {"training_memory": pd.DataFrame(memory), "training_compute": pd.DataFrame(compute)}


def _measured(config: dict[str, Any]) -> dict[str, pd.DataFrame]:
    """Peak memory of real steps."""
    rows = []
    for label, method in config["methods"]:
        peaks = measured_peaks(
            config["model"], method, config["batch_sizes"], tokens=config["tokens"], device=str(device())
        )
        rows += [{"label": label, "batch_size": size, "peak": peak} for size, peak in peaks.items()]
    parts = dict.fromkeys(("parameters", "optimizer", "gradients", "activations"), float("nan"))
    return {"training_memory": pd.DataFrame(rows).assign(**parts)}


def _timed(config: dict[str, Any]) -> dict[str, pd.DataFrame]:
    """Seconds of a step, all methods in turn in one process, round after round; the fastest round of each.

    A slow moment of the machine meets all methods, and the fastest of a few rounds is the step it did not meet.
    """
    plm = untrained(config["model"])
    rows = []
    for size in config["batch_sizes"]:
        batch = example_batch(plm, size, config["tokens"])
        steps = {label: _timeable(read(method), plm, batch) for label, method in config["methods"]}
        seconds: dict[str, list[float]] = {label: [] for label in steps}
        for round_ in range(config["rounds"] + 1):
            for label, step in steps.items():
                began = time.perf_counter()
                step()
                if round_ > 0:  # the first is a warm-up
                    seconds[label].append(time.perf_counter() - began)
        rows += [{"label": label, "batch_size": size, "step_seconds": min(times)} for label, times in seconds.items()]
    parts = dict.fromkeys(("forward_flops", "activation_flops", "weight_flops"), float("nan"))
    return {"training_compute": pd.DataFrame(rows).assign(**parts)}


def _timeable(method: DeltaMethod, plm: PLM, batch: dict[str, torch.Tensor]) -> Callable[[], None]:
    step = TrainingStep(method.on(plm))
    optimizer = torch.optim.AdamW(step.leaves, lr=0.0, weight_decay=0.0, fused=True)  # the PLM stays as it is

    def run() -> None:
        step.loss(batch).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if plm.device.type == "cuda":
            torch.cuda.synchronize()

    return run


@lru_cache(maxsize=1)
@lru_cache(maxsize=1)
def untrained(model: str) -> PLM:
    """The model with random weights and the formula's attention, on the GPU when there is one."""
    if model.startswith("tiny-"):
        return tiny_plm(model.removeprefix("tiny-"), dtype=torch.float32, device=device())
    return untrained_plm(model, device=device())


def _saved(records: Sequence[Record], how: str) -> pd.DataFrame:
    """Fraction of full fine-tuning's peak that each other method saves, per model and batch size."""
    rows = [
        record.tables["training_memory"].assign(model=record.job.config["model"])
        for record in records
        if record.job.config["how"] == how
    ]
    if not rows:
        return pd.DataFrame(columns=["model", "batch_size", "label", "saved"])
    table = pd.concat(rows, ignore_index=True)
    full = table[table.label == FULL].set_index(["model", "batch_size"]).peak
    table = table[table.label != FULL].join(full.rename("full"), on=["model", "batch_size"])
    return table.assign(saved=1 - table.peak / table.full).dropna(subset=["saved"])


REPLICATES = ("how", "model", "methods")
"""What differs between records that are judged together."""


def verdicts(records: Sequence[Record]) -> list[Verdict]:
    """The source text's two fractions, over all counted models at its batch sizes, and whether steps are faster."""
    return [*_of_memory(records), *(v for r in records if r.job.config["how"] == "timed" for v in _of_time(r))]


def _of_memory(records: Sequence[Record]) -> list[Verdict]:
    table = _saved(records, "counted")
    table = table[table.label != LAST]
    best = table[table.batch_size.isin([1, 8])].groupby("model").saved.max()
    worst = table[table.batch_size == 64].groupby("model").saved.min()
    if best.empty or worst.empty:
        return []
    tokens = records[0].job.config["tokens"]
    common: dict[str, Any] = {
        "source": SOURCE,
        "figure": "memory_saved",
        "number": 5,
        "setting": f"{', '.join(best.index)}, with random weights, on which memory does not depend; float32, AdamW, "
        f"{tokens} tokens; counted, the interval is over models",
    }
    return [
        Verdict(
            claim="At small batches (1, 8) delta tuning saves up to 3/4 of the memory (nearest quarter: above 5/8).",
            quantity="largest fraction saved by any method, per model",
            measured=mean_interval(best.tolist()),
            threshold=5 / 8,
            side="above",
            **common,
        ),
        Verdict(
            claim="At batch 64 every delta method saves at least 1/3 of the memory.",
            quantity="smallest fraction saved by any method, per model",
            measured=mean_interval(worst.tolist()),
            threshold=1 / 3,
            side="above",
            **common,
        ),
    ]


def _of_time(record: Record) -> list[Verdict]:
    """Seconds of a step beside full fine-tuning's, per batch size."""
    c = record.job.config
    seconds = record.tables["training_compute"].pivot(index="batch_size", columns="label", values="step_seconds")
    if FULL not in seconds:
        return []
    ratios = seconds.drop(columns=[FULL, LAST], errors="ignore").div(seconds[FULL], axis=0)
    return [
        Verdict(
            claim="A training step of a delta method is faster than one of full fine-tuning.",
            source="Ding et al. 2022, applications",
            quantity=f"batch {size}: seconds of a step over full fine-tuning's, mean over methods [1]",
            measured=mean_interval(ratios.loc[size].tolist()),
            threshold=1.0,
            side="below",
            setting=f"{c['model']}, with random weights, on which time does not depend; {c['tokens']} tokens; "
            f"{', '.join(ratios.columns)}; the fastest of {c['rounds']} rounds, the interval is over methods",
            figure="training_compute",
            number=12,
        )
        for size in ratios.index
    ]


def summary(store: Store, records: list[Record]) -> str:
    """Fractions saved, and how far the count is from what was measured."""
    table = _saved(records, "counted")
    lines = ["fraction of full fine-tuning's peak memory saved (counted), per batch size:"]
    for (model, label), part in table.groupby(["model", "label"], sort=False):
        cells = "  ".join(f"{row.batch_size:3.0f}: {row.saved:5.0%}" for _, row in part.iterrows())
        lines.append(f"  {model:16s} {label:12s} {cells}")
    memory = tabulate([store.manifest(r.job) for r in records if r.job.config["how"] != "timed"], "training_memory")
    pairs = memory.pivot_table(index=["model", "label", "batch_size"], columns="how", values="peak").dropna()
    if len(pairs) and {"measured", "counted"} <= set(pairs):
        ratio = pairs.measured / pairs.counted
        lines.append(f"measured / counted peak: {ratio.min():.2f} to {ratio.max():.2f} over {len(ratio)} steps")
    return "\n".join(lines)
