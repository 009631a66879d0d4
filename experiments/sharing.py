"""One PLM for many users: what a delta takes on disk, and one batch that mixes the deltas of several users.

φ is random: neither sizes nor times depend on its values. That every strategy gives the logits of one user at a time is
checked in each run (`worst_difference`) and, to rounding in float64, by the tests of `lab.deltas.serve`.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lab.deltas import (
    IA3,
    Adapter,
    BitFit,
    Combined,
    Delta,
    DeltaMethod,
    FullFineTuning,
    LoRA,
    Prefix,
    Prompt,
    method_from_json,
    serve,
)
from lab.models import PLM
from lab.statistics import Interval, Verdict, mean_interval
from lab.study import Config, Experiment, Finding, Lab, Result, Settings, open_plm, setting, without_biases
from lab.training import example_batch

SOURCE = "Ding et al. 2022, applications"
METHODS: dict[str, DeltaMethod] = {
    "full fine-tuning": FullFineTuning(),
    "LoRA": LoRA(rank=8),
    "adapter": Adapter(bottleneck=64),
    "prefix": Prefix(tokens=5),
    "prompt": Prompt(tokens=100),
    "BitFit": BitFit(),
    "IA3": IA3(),
}
ONE_BY_ONE, MIXED, GROUPED = "one row at a time", "mixed batch (vmap)", "grouped by user"
SWAPPED, PEFT_SWAPPED, PEFT_MIXED = "users in turn", "users in turn, peft", "mixed batch, peft"

Forward = Callable[[], Tensor]


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
    rounds: int = setting("timings of each", 3, low=1)

    def configs(self) -> list[Sharing]:
        storage = [Sharing(what="storage", model=name, methods=methods_of(name), repeats=5) for name in self.models]
        lora = LoRA(rank=8, head="frozen").to_json()
        serving = Sharing(
            what="serving", model=self.models[0], method=lora, n_users=self.users, rows=self.rows, tokens=self.tokens,
            rounds=self.rounds,
        )  # fmt: skip
        return [*storage, serving]


def methods_of(model: str) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Those that a PLM of this name has a use for."""
    chosen = {label: m for label, m in METHODS.items() if label != "BitFit" or not without_biases(model)}
    return tuple((label, method.to_json()) for label, method in chosen.items())


def measure(c: Sharing, lab: Lab) -> Result:
    """Sizes and load times, or throughput."""
    return _storage(c) if c.what == "storage" else _serving(c)


# storage


def _storage(c: Sharing) -> Result:
    plm = open_plm(c.model)
    native = {name: value for name, value in plm.parameters.items() if name in plm.layout.names}
    rows = [{"label": "the PLM", **_on_disk(native, c.repeats), "stored": plm.size}]
    for label, method in c.methods:
        delta = method_from_json(method).on(plm)
        rows.append({"label": label, **_on_disk(_parts(delta), c.repeats), "stored": delta.counts.stored})
    table = pd.DataFrame(rows)
    table["fraction"] = table.bytes / table.bytes[0]
    return Result({"plm_bytes": int(table.bytes[0])}, {"delta_storage": table})


def _parts(delta: Delta) -> dict[str, Tensor]:
    """φ as it is kept: its parts under the names of what they change."""
    noise = torch.randn(delta.size, generator=torch.Generator().manual_seed(0))
    parts = delta.layout.unflatten(noise.to(device=delta.plm.device, dtype=delta.plm.dtype))
    return {name: value.contiguous() for name, value in parts.items()}


def _on_disk(tensors: Mapping[str, Tensor], repeats: int) -> dict[str, float]:
    """Bytes of the safetensors file, and the median seconds to read it into memory (from the page cache)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "delta.safetensors"
        save_file({name: value.contiguous() for name, value in tensors.items()}, path)
        seconds = []
        for _ in range(repeats):
            began = time.perf_counter()
            held = [value.clone() for value in load_file(path).values()]
            seconds.append(time.perf_counter() - began)
            del held
        return {"bytes": path.stat().st_size, "load_seconds": median(seconds)}


# serving


def _serving(c: Sharing) -> Result:
    """Every strategy with every number of users in turn, round after round: a slow moment of the machine meets all."""
    plm = open_plm(c.model)
    delta = method_from_json(c.method or {}).on(plm)
    batch = example_batch(plm, c.rows, c.tokens)
    generator = torch.Generator().manual_seed(0)
    servers: dict[tuple[int, str], Forward] = {}
    worst, largest = 0.0, 0.0
    for n in c.n_users:
        phis = delta.phi0 + 0.05 * torch.randn(n, delta.size, generator=generator).to(delta.phi0)
        users = torch.arange(c.rows, device=plm.device) % n  # as they come: neighbours belong to different users
        strategies = {**_ours(delta, phis, batch, users), **_peft(plm, delta, phis, batch, users)}
        with torch.no_grad():
            expected = strategies[ONE_BY_ONE]()
            for label, forward in strategies.items():
                worst = max(worst, float((forward() - expected).abs().max()))
                servers[n, label] = forward
        largest = max(largest, float(expected.abs().max()))
    rows = [
        {"label": label, "round": round_, "users": n, "rows_per_second": c.rows / _seconds(forward, plm.device)}
        for round_ in range(c.rounds)
        for (n, label), forward in servers.items()
    ]
    metrics = {"worst_difference": worst, "largest_logit": largest, "peft": any(PEFT_MIXED in key for key in servers)}
    return Result(metrics, {"serving_throughput": pd.DataFrame(rows)})


@torch.no_grad()
def _seconds(forward: Forward, place: torch.device) -> float:
    began = time.perf_counter()
    forward()
    if place.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _ours(delta: Delta, phis: Tensor, batch: Mapping[str, Tensor], users: Tensor) -> dict[str, Forward]:
    inputs = {name: value for name, value in batch.items() if name != "labels"}

    def rows_of(chosen: Tensor) -> dict[str, Tensor]:
        return {name: value[chosen] for name, value in inputs.items()}

    def one_by_one() -> Tensor:
        each = [delta.unmerged.logits(phis[user], rows_of(torch.tensor([i]))) for i, user in enumerate(users.tolist())]
        return torch.cat(each)

    def in_turn() -> Tensor:
        """The usual server: a user's change is added to the weights, their rows are run, the next user's turn comes."""
        logits = torch.empty(len(users), delta.plm.num_labels).to(phis)
        for user in range(len(phis)):
            own = (users == user).nonzero()[:, 0]
            logits[own] = delta.logits(phis[user], rows_of(own))
        return logits

    return {
        ONE_BY_ONE: one_by_one,
        SWAPPED: in_turn,
        GROUPED: lambda: serve(delta, phis, inputs, users, strategy="grouped"),
        MIXED: lambda: serve(delta, phis, inputs, users, strategy="vmap"),
    }


def _peft(plm: PLM, delta: Delta, phis: Tensor, batch: Mapping[str, Tensor], users: Tensor) -> dict[str, Forward]:
    """The peft library on the same weights and adapters: `set_adapter` per user, and `adapter_names` per row.

    Empty where peft is not installed; the record's `peft` says so.
    """
    if importlib.util.find_spec("peft") is None:
        return {}
    model = peft_users(plm, delta, phis)
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    names = [f"user{user}" for user in users.tolist()]

    def in_turn() -> Tensor:
        logits = torch.empty(len(users), plm.num_labels).to(phis)
        for user in range(len(phis)):
            own = (users == user).nonzero()[:, 0]
            model.set_adapter(f"user{user}")
            logits[own] = model(**{name: value[own] for name, value in inputs.items()}).logits
        return logits

    return {PEFT_SWAPPED: in_turn, PEFT_MIXED: lambda: model(**inputs, adapter_names=names).logits}


def peft_users(plm: PLM, delta: Delta, phis: Tensor) -> Any:
    """A peft model of the PLM that holds every user's LoRA as an adapter of its own, "user0", "user1", …"""
    peft: Any = importlib.import_module("peft")
    peft_layers = importlib.import_module("lab.deltas.peft_layers")
    body: Any = delta.first if isinstance(delta, Combined) else delta
    rank = next(iter(body.ranks.values()))
    modules = [matrix.name.removesuffix(".weight") for matrix in body.matrices]
    config = peft.LoraConfig(r=rank, lora_alpha=rank * next(iter(body.scales.values())), target_modules=modules)
    model = peft_layers.peft_model(plm, config, peft, seed=0)
    model.add_adapter("user0", config)
    for user in range(1, len(phis)):
        model.add_adapter(f"user{user}", config)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for user, phi in enumerate(phis):
            for label, (B, A) in body.factors(phi).items():
                path = f"base_model.model.{label.removesuffix('.weight')}"
                parameters[f"{path}.lora_A.user{user}.weight"].copy_(A)
                parameters[f"{path}.lora_B.user{user}.weight"].copy_(B)
    return model.eval()


# what it says


def claims(found: Sequence[Finding[Sharing]]) -> list[Verdict]:
    """Storage beside the PLM, and a mixed batch beside users in turn, where every row has its own user."""
    stored = [_of_storage(finding) for finding in found if finding.config.what == "storage"]
    served = [finding for finding in found if finding.config.what == "serving"]
    many = [f for f in served if f.tables["serving_throughput"].users.max() > 1]  # a single user shares with nobody
    return [*stored, *map(_of_serving, many)]


def _of_storage(finding: Finding[Sharing]) -> Verdict:
    """File sizes have no sampling error: the interval is the largest of them."""
    table = finding.tables["delta_storage"]
    fractions = table[~table.label.isin(["the PLM", "full fine-tuning"])].fraction
    worst = float(fractions.max())
    return Verdict(
        claim="A delta takes less than a tenth of the storage of a fine-tuned copy.",
        source=SOURCE,
        quantity="largest delta on disk as a fraction of the PLM (a maximum over methods, not a mean)",
        measured=Interval(worst, worst, worst, len(fractions)),
        threshold=0.1,
        side="below",
        setting=f"{finding.config.model}; float32 safetensors, head included",
        figure="delta_storage",
        number=12,
    )


def _of_serving(finding: Finding[Sharing]) -> Verdict:
    c, table = finding.config, finding.tables["serving_throughput"]
    most = table[table.users == table.users.max()]
    speed = most.pivot(index="round", columns="label", values="rows_per_second")
    return Verdict(
        claim="One mixed batch serves many users faster than one user after another.",
        source=SOURCE,
        quantity="log₂ of throughput, mixed batch over users in turn",
        measured=mean_interval([math.log2(x) for x in speed[MIXED] / speed[SWAPPED]]),
        threshold=0.0,
        side="above",
        setting=f"{c.model}, {method_from_json(c.method or {}).title}, {most.users.iloc[0]} users in {c.rows} rows of "
        f"{c.tokens} tokens; the interval is over rounds",
        figure="serving_throughput",
        number=12,
    )


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
