"""What a training step costs: peak memory, operations and seconds of every method against the batch size.

Counted: every storage of a step is followed on the meta device, so no model is too large (`lab.training.step_cost`).
Measured: resident memory of real steps, each method in a process of its own (`lab.training.measured_peaks`). Weights
are random in both, and in the timing: neither memory nor time depends on their values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lab.deltas import Delta, method_from_json
from lab.models import PLM
from lab.statistics import Evidence, Verdict, least_of, mean_interval, worst_case
from lab.statistics.memory import FULL, memory_saved
from lab.study import Config, Experiment, Finding, Lab, Result, Settings, device, setting
from lab.study.costed import LAST, METHODS, methods_on, untrained
from lab.study.equal_budget import bare_plm
from lab.training import example_batch, measured_peaks, step_cost
from lab.training.timing import in_turn, timeable_step

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
    rounds: int = setting("of a timing", 0, low=0)

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
    rounds: int = setting("of a timing", 5, low=1)

    def configs(self) -> list[Cost]:
        counted, measured = ((self.model,) if self.model else models for models in (self.counted, self.measured))
        found = [self._cost("counted", name, methods_on(name, self.methods)) for name in counted]
        for name in measured:
            each = methods_on(name, self.measured_methods)
            found += [self._cost("measured", name, (method,)) for method in each]
            found.append(self._cost("timed", name, methods_on(name, self.methods), rounds=self.rounds))
        return found

    def _cost(self, how: str, model: str, methods: tuple[tuple[str, dict[str, Any]], ...], rounds: int = 0) -> Cost:
        sizes = self.timed_batch_sizes if how == "timed" else self.batch_sizes
        return Cost(how=how, model=model, methods=methods, batch_sizes=sizes, tokens=self.tokens, rounds=rounds)


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
    """Seconds of a step, all methods in turn in one process: of every round, and of each method's fastest."""
    plm, rows, every = untrained(c.model), [], []
    for size in c.batch_sizes:
        batch = example_batch(plm, size, c.tokens)
        steps = {label: timeable_step(delta, batch) for label, delta in c.on(plm)}
        for label, seconds in in_turn(steps, c.rounds, plm.device).items():
            row = {"label": label, "batch_size": size}
            rows.append(row | {"step_seconds": min(seconds)})
            every += [row | {"round": i, "step_seconds": value} for i, value in enumerate(seconds)]
    fastest = pd.DataFrame(rows).assign(**dict.fromkeys(OPERATIONS, float("nan")))
    return {"training_compute": fastest, "training_rounds": pd.DataFrame(every)}


def claims(found: Sequence[Finding[Cost]]) -> list[Verdict]:
    """The source text's two fractions, over all counted models at its batch sizes, and whether steps are faster."""
    return [*_of_memory(found), *(v for finding in found if finding.config.how == "timed" for v in _of_time(finding))]


def _of_memory(found: Sequence[Finding[Cost]]) -> list[Verdict]:
    counted = [f.tables["training_memory"].assign(model=f.config.model) for f in found if f.config.how == "counted"]
    if not counted:
        return []
    table = memory_saved(pd.concat(counted, ignore_index=True).query("label != @LAST"))
    best = table[table.batch_size.isin([1, 8])].groupby("model").saved.max()
    worst = table[table.batch_size == 64].groupby("model").saved.min()
    if best.empty or worst.empty:
        return []
    where = (
        f"{', '.join(best.index)}, with random weights, on which memory does not depend; float32, AdamW, "
        f"{found[0].config.tokens} tokens; counted, nothing is random"
    )
    source = "Ding et al. 2022, GPU memory of T5 at batch sizes 1, 8 and 64"
    evidence = Evidence(source, where, "memory_saved", "models", 5, exact=True)
    return [
        evidence.above(
            5 / 8, worst_case(best.tolist(), side="above"),
            "At small batches (1, 8) delta tuning saves up to 3/4 of the memory (nearest quarter: above 5/8).",
            "largest fraction saved by any method, on the model where it is smallest [1]",
        ),
        evidence.above(
            1 / 3, worst_case(worst.tolist(), side="above"),
            "At batch 64 every delta method saves at least 1/3 of the memory.",
            "smallest fraction saved by any method, on the model where it is smallest [1]",
        ),
    ]  # fmt: skip


def _of_time(finding: Finding[Cost]) -> list[Verdict]:
    """Seconds of a step beside full fine-tuning's of the same round, per batch size. What is random is the round."""
    c = finding.config
    if "training_rounds" not in finding.tables:  # an older record holds the fastest round alone
        return []
    keys = ["batch_size", "round"]
    seconds = finding.tables["training_rounds"].pivot(index=keys, columns="label", values="step_seconds")
    if FULL not in seconds:
        return []
    saved = 1 - seconds.drop(columns=[FULL, LAST], errors="ignore").div(seconds[FULL], axis=0)
    where = (
        f"{c.model}, with random weights, on which time does not depend; {c.tokens} tokens; "
        f"{', '.join(saved.columns)}; the interval is over rounds"
    )
    evidence = Evidence("Ding et al. 2022, applications", where, "training_compute", "rounds", 14)
    return [
        evidence.above(
            0.0, least_of({str(label): mean_interval(column.tolist()) for label, column in of_size.items()}),
            "A training step of every delta method is faster than one of full fine-tuning.",
            f"batch {size}: share of full fine-tuning's seconds that a step saves, of the method that saves least [1]",
        )
        for size, of_size in saved.groupby("batch_size")
    ]  # fmt: skip


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
            rounds=2,
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
