"""One PLM for many users: what a delta takes on disk, and one batch that mixes the deltas of several users.

Question: how small is a delta beside its PLM, and does one mixed batch serve many users faster than one after another?
Source: Ding et al. 2022, applications: storage, and in-batch parallel computing.
Varied: the method (storage); the number of users in a batch of fixed size (serving).
Tuned: nothing.
Fixed: PLM, LoRA of rank 8, rows per batch, tokens per row; float32.
Expected: every delta takes a few per cent of the PLM or less; with one user all strategies are alike, and the more
    users a batch holds, the more one pass gains over one pass per user.
Cost: demo: a minute on two quiet cores. smoke: seconds.

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

from experiments.training_run import plm_of, without_biases
from lab.deltas import IA3, Adapter, BitFit, Combined, Delta, DeltaMethod, FullFineTuning, LoRA, Prefix, Prompt, serve
from lab.deltas import method_from_json as read
from lab.models import PLM
from lab.runs import Job, Record, Store
from lab.statistics import Interval, Verdict, mean_interval
from lab.training import example_batch

NAME = "sharing"
FIGURES = ("delta_storage", "serving_throughput")

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


@dataclass(frozen=True)
class Scale:
    """Everything a scale fixes."""

    models: tuple[str, ...]
    users: tuple[int, ...] = (1, 8, 64)
    rows: int = 64
    tokens: int = 16
    rounds: int = 3


SCALES = {
    "smoke": Scale(("tiny-bert",), users=(1, 4), rows=4, tokens=8, rounds=2),
    "demo": Scale(("minilm", "smollm2")),
    "paper": Scale(("minilm", "smollm2"), tokens=128, rounds=21),
}


def jobs(scale: str, *, model: str | None = None) -> list[Job]:
    """Per model the sizes of all methods' deltas; for the first model, serving."""
    s = SCALES[scale]
    models = (model,) if model else s.models
    found = []
    for name in models:
        chosen = [(label, m.to_json()) for label, m in METHODS.items() if label != "BitFit" or not without_biases(name)]
        found.append(Job(NAME, {"what": "storage", "model": name, "methods": chosen, "repeats": 5}))
    lora = LoRA(rank=8, head="frozen").to_json()
    config = {"what": "serving", "model": models[0], "method": lora, "n_users": s.users, "rows": s.rows}
    return [*found, Job(NAME, {**config, "tokens": s.tokens, "rounds": s.rounds})]


def measure(job: Job, store: Store) -> Record:
    """Sizes and load times, or throughput."""
    config = job.config
    plm = plm_of(config["model"], 2, 0, "pretrained")
    return _storage(job, plm) if config["what"] == "storage" else _serving(job, plm)


# storage


def _storage(job: Job, plm: PLM) -> Record:
    native = {name: value for name, value in plm.parameters.items() if name in plm.layout.names}
    rows = [{"label": "the PLM", **_on_disk(native, job.config["repeats"]), "stored": plm.size}]
    for label, method in job.config["methods"]:
        delta = read(method).on(plm)
        rows.append({"label": label, **_on_disk(_parts(delta), job.config["repeats"]), "stored": delta.counts.stored})
    table = pd.DataFrame(rows)
    table["fraction"] = table.bytes / table.bytes[0]
    return Record(job, {"plm_bytes": int(table.bytes[0])}, {"delta_storage": table})


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


def _serving(job: Job, plm: PLM) -> Record:
    """Every strategy with every number of users in turn, round after round: a slow moment of the machine meets all."""
    config = job.config
    delta = read(config["method"]).on(plm)
    batch = example_batch(plm, config["rows"], config["tokens"])
    generator = torch.Generator().manual_seed(0)
    servers: dict[tuple[int, str], Forward] = {}
    worst, largest = 0.0, 0.0
    for n in config["n_users"]:
        phis = delta.phi0 + 0.05 * torch.randn(n, delta.size, generator=generator).to(delta.phi0)
        users = (
            torch.arange(config["rows"], device=plm.device) % n
        )  # as they come: neighbours belong to different users
        strategies = {**_ours(delta, phis, batch, users), **_peft(plm, delta, phis, batch, users)}
        with torch.no_grad():
            expected = strategies[ONE_BY_ONE]()
            for label, forward in strategies.items():
                worst = max(worst, float((forward() - expected).abs().max()))
                servers[n, label] = forward
        largest = max(largest, float(expected.abs().max()))
    rows = []
    for round_ in range(config["rounds"]):
        for (n, label), forward in servers.items():
            seconds = _seconds(forward, plm.device)
            rows.append({"label": label, "round": round_, "users": n, "rows_per_second": config["rows"] / seconds})
    metrics = {"worst_difference": worst, "largest_logit": largest, "peft": any(PEFT_MIXED in key for key in servers)}
    return Record(job, metrics, {"serving_throughput": pd.DataFrame(rows)})


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


def verdicts(records: Sequence[Record]) -> list[Verdict]:
    """Storage beside the PLM, and a mixed batch beside users in turn, where every row has its own user."""
    stored = [_of_storage(r) for r in records if r.job.config["what"] == "storage"]
    served = [r for r in records if r.job.config["what"] == "serving"]
    many = [r for r in served if r.tables["serving_throughput"].users.max() > 1]  # a single user shares with nobody
    return [*stored, *map(_of_serving, many)]


SOURCE = "Ding et al. 2022, applications"


def _of_storage(record: Record) -> Verdict:
    """File sizes have no sampling error: the interval is the largest of them."""
    fractions = _deltas(record).fraction
    worst = float(fractions.max())
    return Verdict(
        claim="A delta takes less than a tenth of the storage of a fine-tuned copy.",
        source=SOURCE,
        quantity="largest delta on disk as a fraction of the PLM (a maximum over methods, not a mean)",
        measured=Interval(worst, worst, worst, len(fractions)),
        threshold=0.1,
        side="below",
        setting=f"{record.job.config['model']}; float32 safetensors, head included",
        figure="delta_storage",
        number=12,
    )


def _of_serving(record: Record) -> Verdict:
    config, table = record.job.config, record.tables["serving_throughput"]
    most = table[table.users == table.users.max()]
    speed = most.pivot(index="round", columns="label", values="rows_per_second")
    return Verdict(
        claim="One mixed batch serves many users faster than one user after another.",
        source=SOURCE,
        quantity="log₂ of throughput, mixed batch over users in turn",
        measured=mean_interval([math.log2(x) for x in speed[MIXED] / speed[SWAPPED]]),
        threshold=0.0,
        side="above",
        setting=f"{config['model']}, LoRA r = 8, {most.users.iloc[0]} users in {config['rows']} rows of "
        f"{config['tokens']} tokens; the interval is over rounds",
        figure="serving_throughput",
        number=12,
    )


def _deltas(record: Record) -> pd.DataFrame:
    table = record.tables["delta_storage"]
    return table[~table.label.isin(["the PLM", "full fine-tuning"])]


def summary(store: Store, records: Sequence[Record]) -> str:
    """Sizes, and rows per second by strategy and number of users."""
    lines = []
    for record in records:
        config = record.job.config
        if config["what"] == "storage":
            lines.append(f"{config['model']}: on disk, and seconds to read")
            for _, row in record.tables["delta_storage"].iterrows():
                size, read_in = f"{row.bytes / 1e6:8.2f} MB", f"{1e3 * row.load_seconds:8.2f} ms"
                lines.append(f"  {row.label:18s} {size}  {row.fraction:8.3%}  {read_in}")
        else:
            lines.append(f"{config['model']}, rows per second by number of users in a batch of {config['rows']} rows")
            lines.append(f"  (logits differ by at most {record.metrics['worst_difference']:.1e})")
            table = record.tables["serving_throughput"]
            for label, part in table.groupby("label", sort=False):
                speed = part.groupby("users").rows_per_second.median()
                lines.append(f"  {label:22s} " + "  ".join(f"{n}: {value:.1f}" for n, value in speed.items()))
    return "\n".join(lines)
