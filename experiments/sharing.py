"""One PLM for many users: what a delta takes on disk, and one batch that mixes the deltas of several users.

φ is random: neither sizes nor times depend on its values. That every strategy gives the logits of one user at a time is
checked in each run (`worst_difference`) and, to rounding in float64, by the tests of `lab.deltas.serve`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

from lab.deltas import LoRA, method_from_json
from lab.deltas.servers import MIXED, PEFT_MIXED, SWAPPED, served
from lab.deltas.storage import on_disk, random_parts
from lab.statistics import Evidence, Verdict, mean_interval, worst_case
from lab.study import Config, Experiment, Finding, Lab, Result, Settings, open_plm, setting
from lab.study.costed import LAST, METHODS, methods_on
from lab.training import example_batch
from lab.training.timing import seconds_of

SOURCE = "Ding et al. 2022, applications"


@dataclass(frozen=True, kw_only=True)
class Sharing(Config):
    """Sizes of all methods' deltas, or the speed of serving one method's."""

    what: str = setting("sizes on disk, or throughput", choices=("storage", "serving"))
    model: str = setting("name for load_plm", role="model")
    methods: tuple[tuple[str, dict[str, Any]], ...] = setting("storage: label and JSON of each method", ())
    repeats: int = setting("storage: readings of each file", 0, low=0)
    method: dict[str, Any] | None = setting("serving: JSON of the method", None)
    n_users: tuple[int, ...] = setting("serving: users of a batch", (), low=1)
    rows: int = setting("serving: rows of a batch", 0, low=0)
    tokens: int = setting("serving: length of a row", 0, unit="token", low=0)
    rounds: int = setting("serving: timings of each", 0, low=0)


@dataclass(frozen=True, kw_only=True)
class Plan(Settings):
    """Per model the sizes of all methods' deltas; for the first model, serving."""

    models: tuple[str, ...] = setting("names for load_plm", role="model")
    users: tuple[int, ...] = setting("numbers of users in a batch", (1, 8, 64), low=1)
    rows: int = setting("rows of a batch", 64, low=1)
    tokens: int = setting("length of a row", 16, unit="token", low=1)
    rounds: int = setting("timings of each", 5, low=1)

    def configs(self) -> list[Sharing]:
        labels = [label for label in METHODS if label != LAST]
        storage = [Sharing(what="storage", model=m, methods=methods_on(m, labels), repeats=5) for m in self.models]
        lora = LoRA(rank=8, head="frozen").to_json()
        serving = self.to(Sharing, what="serving", model=self.models[0], method=lora, n_users=self.users)
        return [*storage, serving]


def measure(c: Sharing, lab: Lab) -> Result:
    """Sizes and load times, or throughput."""
    return _storage(c) if c.what == "storage" else _serving(c)


def _storage(c: Sharing) -> Result:
    plm = open_plm(c.model)
    native = {name: value for name, value in plm.parameters.items() if name in plm.layout.names}
    rows = [{"label": "the PLM", **on_disk(native, c.repeats), "stored": plm.size}]
    for label, method in c.methods:
        delta = method_from_json(method).on(plm)
        rows.append({"label": label, **on_disk(random_parts(delta), c.repeats), "stored": delta.counts.stored})
    table = pd.DataFrame(rows)
    table["fraction"] = table.bytes / table.bytes[0]
    return Result({"plm_bytes": int(table.bytes[0])}, {"delta_storage": table})


def _serving(c: Sharing) -> Result:
    """Every strategy with every number of users in turn, round after round: a slow moment of the machine meets all."""
    plm = open_plm(c.model)
    found = served(method_from_json(c.method or {}).on(plm), example_batch(plm, c.rows, c.tokens), c.n_users)
    with torch.no_grad():
        rows = [
            {"label": label, "round": i, "users": n, "rows_per_second": c.rows / seconds_of(forward, plm.device)}
            for i in range(c.rounds)
            for (n, label), forward in found.servers.items()
        ]
    peft = any(label == PEFT_MIXED for _, label in found.servers)
    metrics = {"worst_difference": found.worst, "largest_logit": found.largest, "peft": peft}
    return Result(metrics, {"serving_throughput": pd.DataFrame(rows)})


def claims(found: Sequence[Finding[Sharing]]) -> list[Verdict]:
    """Storage beside the PLM, and a mixed batch beside users in turn, where every row has its own user."""
    stored = [_of_storage(f) for f in found if f.config.what == "storage"]
    served = [f for f in found if f.config.what == "serving" and max(f.config.n_users) > 1]  # one shares with nobody
    return [*stored, *map(_of_serving, served)]


def _of_storage(finding: Finding[Sharing]) -> Verdict:
    """File sizes have no sampling error: the interval is the largest of them."""
    table = finding.tables["delta_storage"]
    fractions = table[~table.label.isin(["the PLM", "full fine-tuning"])].fraction
    where = f"{finding.config.model}; float32 safetensors, head included"
    return Evidence(SOURCE, where, "delta_storage", "methods", 14, exact=True).below(
        0.1, worst_case(fractions.tolist()), "A delta takes less than a tenth of the storage of a fine-tuned copy.",
        "largest delta on disk as a fraction of the PLM (of all methods) [1]",
    )  # fmt: skip


def _of_serving(finding: Finding[Sharing]) -> Verdict:
    c, table = finding.config, finding.tables["serving_throughput"]
    most = table[table.users == table.users.max()]
    speed = most.pivot(index="round", columns="label", values="rows_per_second")
    place = f"{most.users.iloc[0]} users in {c.rows} rows of {c.tokens} tokens"
    where = f"{c.model}, {method_from_json(c.method or {}).title}, {place}; the interval is over rounds"
    return Evidence(SOURCE, where, "serving_throughput", "rounds", 14).above(
        0.0, mean_interval([math.log2(x) for x in speed[MIXED] / speed[SWAPPED]]),
        "One mixed batch serves many users faster than one user after another.",
        "log₂ of throughput, mixed batch over users in turn [1]",
    )  # fmt: skip


EXPERIMENT = Experiment(
    name="sharing",
    question="how small is a delta beside its PLM, and does one mixed batch serve many users faster than one after "
    "another?",
    source="Ding et al. 2022, applications: storage, and in-batch parallel computing.",
    varied="the method (storage); the number of users in a batch of fixed size (serving).",
    tuned="nothing.",
    fixed="PLM, LoRA of rank 8, rows per batch, tokens per row; float32.",
    expected="every delta takes a few per cent of the PLM or less; with one user all strategies are alike, and the "
    "more users a batch holds, the more one pass gains over one pass per user.",
    cost="demo: a minute on two quiet cores. smoke: seconds.",
    view="methods",
    config=Sharing,
    scales={
        "smoke": Plan(models=("tiny-bert",), users=(1, 4), rows=4, tokens=8, rounds=2),
        "demo": Plan(models=("minilm", "smollm2")),
        "paper": Plan(models=("minilm", "smollm2"), tokens=128, rounds=21),
    },
    measure=measure,
    figures=("delta_storage", "serving_throughput"),
    claims=claims,
)
