"""What a training step costs: peak memory, operations and seconds of every method against the batch size.

Counted: every storage of a step is followed on the meta device, so no model is too large (`lab.training.step_cost`).
Measured: resident memory of real steps, each method in a process of its own (`lab.training.measured_peaks`). Weights
are random in both, and in the timing: neither memory nor time depends on their values.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pandas as pd
import torch

from lab.deltas import (
    IA3,
    Adapter,
    BitFit,
    Delta,
    DeltaMethod,
    FullFineTuning,
    LastLayer,
    LoRA,
    Prefix,
    Prompt,
    method_from_json,
)
from lab.models import MODELS, PLM, load_plm, untrained_plm
from lab.statistics import Verdict, mean_interval
from lab.study import Config, Experiment, Finding, Lab, Result, Settings, device, setting, without_biases
from lab.study.equal_budget import bare_plm
from lab.training import TrainingStep, example_batch, measured_peaks, step_cost

FULL = "full fine-tuning"
LAST = "last layer"
"""No delta method of the source's claims: it is left out of them."""
METHODS: dict[str, DeltaMethod] = {
    FULL: FullFineTuning(),
    LAST: LastLayer(),
    "LoRA": LoRA(rank=8),  # in an encoder-decoder also beside cross-attention's query and value: `methods_of`
    "adapter": Adapter(bottleneck=64),
    "prefix": Prefix(tokens=5),
    "prompt": Prompt(tokens=100),
    "BitFit": BitFit(),
    "IA3": IA3(),
}
MEMORY = ("peak", "parameters", "optimizer", "gradients", "activations")
OPERATIONS = ("forward_flops", "activation_flops", "weight_flops")


@dataclass(frozen=True, kw_only=True)
class Cost(Config):
    """Methods on one PLM, counted, measured or timed."""

    how: str = setting("where the numbers come from", choices=("counted", "measured", "timed"))
    model: str = setting("one with a known configuration, or a name for load_plm", role="model")
    methods: tuple[tuple[str, dict[str, Any]], ...] = setting("label and JSON of each method")
    batch_sizes: tuple[int, ...] = setting("examples of a step", unit="example", low=1)
    tokens: int = setting("length of the texts", unit="token", low=1)
    rounds: int = setting("of a timing, of which the fastest counts", 0, low=0)

    def on(self, plm: PLM) -> Iterator[tuple[str, Delta]]:
        """Label and delta of each method."""
        return ((label, method_from_json(method).on(plm)) for label, method in self.methods)


@dataclass(frozen=True, kw_only=True)
class Plan(Settings):
    """Per model a count of all methods; of small models a measurement of each, and one timing of all."""

    model: str | None = setting("one model instead of those of the scale", None, role="model")
    counted: tuple[str, ...] = setting("models whose steps are counted", role="model")
    measured: tuple[str, ...] = setting("models whose real steps are run, for memory and for time", role="model")
    batch_sizes: tuple[int, ...] = setting("examples of a step", (1, 8, 64), unit="example", low=1)
    timed_batch_sizes: tuple[int, ...] = setting("of a timed step", (1, 8, 64), unit="example", low=1)
    tokens: int = setting("length of the texts", 128, unit="token", low=1)
    methods: tuple[str, ...] = setting("that are counted and timed", tuple(METHODS), choices=tuple(METHODS))
    measured_methods: tuple[str, ...] = setting(
        "that are measured", (FULL, "LoRA", "adapter", "prompt"), choices=tuple(METHODS)
    )
    rounds: int = setting("of a timing, of which the fastest counts", 3, low=1)

    def configs(self) -> list[Cost]:
        counted, measured = (
            (self.model,) if self.model else models for models in (self.counted, self.measured)
        )  # fmt: skip
        found = [self._cost("counted", name, methods_of(name, self.methods)) for name in counted]
        for name in measured:
            each = methods_of(name, self.measured_methods)
            found += [self._cost("measured", name, (method,)) for method in each]
            found.append(self._cost("timed", name, methods_of(name, self.methods), rounds=self.rounds))
        return found

    def _cost(self, how: str, model: str, methods: tuple[tuple[str, dict[str, Any]], ...], rounds: int = 0) -> Cost:
        sizes = self.timed_batch_sizes if how == "timed" else self.batch_sizes
        return Cost(how=how, model=model, methods=methods, batch_sizes=sizes, tokens=self.tokens, rounds=rounds)


def methods_of(model: str, labels: Sequence[str]) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Those that a PLM of this name has a use for, as `lab.deltas.presets.delta_tuning_study` sets them."""
    chosen = {label: METHODS[label] for label in labels if label != "BitFit" or not without_biases(model)}
    if "LoRA" in chosen and "t5" in model:
        chosen["LoRA"] = LoRA(rank=8, targets=("query", "value", "cross_query", "cross_value"))
    return tuple((label, method.to_json()) for label, method in chosen.items())


def measure(c: Cost, lab: Lab) -> Result:
    """Count, measure or time, as the config says."""
    tables = {"counted": _counted, "measured": _measured, "timed": _timed}[c.how](c)
    return Result({"rows": sum(map(len, tables.values()))}, tables)


def _counted(c: Cost) -> dict[str, pd.DataFrame]:
    """Memory by kind and operations by pass, on the meta device."""
    plm = bare_plm(c.model)
    memory, compute = [], []
    for label, delta in c.on(plm):
        for size in c.batch_sizes:
            cost = step_cost(delta, example_batch(plm, size, c.tokens))
            row = {"label": label, "batch_size": size, "tunable": delta.size}
            memory.append(row | {name: getattr(cost, name) for name in MEMORY} | {"native": plm.size})
            compute.append(row | {name: getattr(cost, name) for name in OPERATIONS})
    return {"training_memory": pd.DataFrame(memory), "training_compute": pd.DataFrame(compute)}


def _measured(c: Cost) -> dict[str, pd.DataFrame]:
    """Peak memory of real steps."""
    rows = []
    for label, method in c.methods:
        peaks = measured_peaks(c.model, method, c.batch_sizes, tokens=c.tokens, device=str(device()))
        rows += [{"label": label, "batch_size": size, "peak": peak} for size, peak in peaks.items()]
    return {"training_memory": pd.DataFrame(rows).assign(**dict.fromkeys(MEMORY[1:], float("nan")))}


def _timed(c: Cost) -> dict[str, pd.DataFrame]:
    """Seconds of a step, all methods in turn in one process, round after round; the fastest round of each.

    A slow moment of the machine meets all methods, and the fastest of a few rounds is the step it did not meet.
    """
    plm = untrained(c.model)
    rows = []
    for size in c.batch_sizes:
        batch = example_batch(plm, size, c.tokens)
        steps = {label: _timeable(delta, batch) for label, delta in c.on(plm)}
        seconds: dict[str, list[float]] = {label: [] for label in steps}
        for round_ in range(c.rounds + 1):
            for label, step in steps.items():
                began = time.perf_counter()
                step()
                if round_ > 0:  # the first is a warm-up
                    seconds[label].append(time.perf_counter() - began)
        rows += [{"label": label, "batch_size": size, "step_seconds": min(times)} for label, times in seconds.items()]
    return {"training_compute": pd.DataFrame(rows).assign(**dict.fromkeys(OPERATIONS, float("nan")))}


def _timeable(delta: Delta, batch: dict[str, torch.Tensor]) -> Callable[[], None]:
    step = TrainingStep(delta)
    optimizer = torch.optim.AdamW(step.leaves, lr=0.0, weight_decay=0.0, fused=True)  # the PLM stays as it is

    def run() -> None:
        step.loss(batch).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if delta.plm.device.type == "cuda":
            torch.cuda.synchronize()

    return run


@lru_cache(maxsize=1)
def untrained(model: str) -> PLM:
    """The model with the formula's attention, on the GPU when there is one; with random weights where its configuration
    is known, loaded where it is not; the last is kept."""
    if model in {known.name for known in MODELS}:
        return untrained_plm(model, device=device())
    return load_plm(model, device=device(), attention="eager")


def claims(found: Sequence[Finding[Cost]]) -> list[Verdict]:
    """The source text's two fractions, over all counted models at its batch sizes, and whether steps are faster."""
    return [*_of_memory(found), *(v for finding in found if finding.config.how == "timed" for v in _of_time(finding))]


def _saved(found: Sequence[Finding[Cost]]) -> pd.DataFrame:
    """Fraction of full fine-tuning's counted peak that each other method saves, per model and batch size."""
    rows = [f.tables["training_memory"].assign(model=f.config.model) for f in found if f.config.how == "counted"]
    if not rows:
        return pd.DataFrame(columns=["model", "batch_size", "label", "saved"])
    table = pd.concat(rows, ignore_index=True)
    full = table[table.label == FULL].set_index(["model", "batch_size"]).peak
    table = table[table.label != FULL].join(full.rename("full"), on=["model", "batch_size"])
    return table.assign(saved=1 - table.peak / table.full).dropna(subset=["saved"])


def _of_memory(found: Sequence[Finding[Cost]]) -> list[Verdict]:
    table = _saved(found)
    table = table[table.label != LAST]
    best = table[table.batch_size.isin([1, 8])].groupby("model").saved.max()
    worst = table[table.batch_size == 64].groupby("model").saved.min()
    if best.empty or worst.empty:
        return []
    common: dict[str, Any] = {
        "source": "Ding et al. 2022, GPU memory of T5 at batch sizes 1, 8 and 64",
        "side": "above",
        "setting": f"{', '.join(best.index)}, with random weights, on which memory does not depend; float32, AdamW, "
        f"{found[0].config.tokens} tokens; counted, the interval is over models",
        "figure": "memory_saved",
        "number": 5,
    }
    return [
        Verdict(
            claim="At small batches (1, 8) delta tuning saves up to 3/4 of the memory (nearest quarter: above 5/8).",
            quantity="largest fraction saved by any method, per model",
            measured=mean_interval(best.tolist()),
            threshold=5 / 8,
            **common,
        ),
        Verdict(
            claim="At batch 64 every delta method saves at least 1/3 of the memory.",
            quantity="smallest fraction saved by any method, per model",
            measured=mean_interval(worst.tolist()),
            threshold=1 / 3,
            **common,
        ),
    ]


def _of_time(finding: Finding[Cost]) -> list[Verdict]:
    """Seconds of a step beside full fine-tuning's, per batch size."""
    c = finding.config
    seconds = finding.tables["training_compute"].pivot(index="batch_size", columns="label", values="step_seconds")
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
            setting=f"{c.model}, with random weights, on which time does not depend; {c.tokens} tokens; "
            f"{', '.join(ratios.columns)}; the fastest of {c.rounds} rounds, the interval is over methods",
            figure="training_compute",
            number=12,
        )
        for size in ratios.index
    ]


_T5 = ("t5-v1.1-base", "t5-v1.1-large", "t5-v1.1-xl")

EXPERIMENT = Experiment(
    name="efficiency",
    question="how much memory and work does a delta method save, on which models and at which batch size?",
    source="Ding et al. 2022, GPU memory of T5 at batch sizes 1, 8 and 64.",
    varied="the method, the PLM (MiniLM to T5-XL and Llama-2-7B), the batch size.",
    tuned="nothing.",
    fixed="AdamW in float32, attention by its formula, texts of one length without padding, no recomputation of "
    "activations.",
    expected="θ itself stays, so at most 3/4 of full fine-tuning's 4·D numbers can go; the share falls as activations "
    "grow with the batch, and a long prompt may cost more than it saves.",
    cost="demo: 20 minutes on one quiet core, a third of it MiniLM's real steps. smoke: seconds.",
    view="methods",
    config=Cost,
    scales={
        "smoke": Plan(
            counted=("tiny-bert",),
            measured=("tiny-bert",),
            batch_sizes=(1, 4),
            timed_batch_sizes=(1, 4),
            tokens=16,
            methods=(FULL, "LoRA", "prompt"),
            measured_methods=("LoRA",),
            rounds=1,
        ),
        "demo": Plan(counted=("minilm", "smollm2", *_T5, "llama-2-7b"), measured=("minilm",)),
        "paper": Plan(
            counted=("minilm", "smollm2", "roberta-large", "t5-v1.1-small", *_T5, "t5-v1.1-xxl", "llama-2-7b"),
            measured=("minilm", "smollm2", "t5-v1.1-base"),
            measured_methods=tuple(METHODS),
            rounds=9,
        ),
    },
    measure=measure,
    figures=("memory_saved", "training_memory", "training_compute"),
    claims=claims,
    replicates=("how", "model", "methods"),
)
