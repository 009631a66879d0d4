"""A full fine-tuning as a LoRA: the best factors of its difference, and what they cost in score.

Question: how much of full fine-tuning's score does the best rank-r LoRA of its ΔW keep, and which r should one choose?
Source: Eckart & Young 1936; Gavish & Donoho 2014 (hard threshold); Hu et al. 2021 (the premise of low rank).
Varied: the rule that chooses the rank of each matrix: a fixed r, a part of the energy, a threshold, the null.
Tuned: full fine-tuning's step size (docs/intrinsic_dimension.md).
Fixed: PLM, task, steps, seeds; every candidate is written as a peft checkpoint, read back and evaluated.
Expected: a few directions a matrix keep the score; vectors and embeddings, which a LoRA cannot hold, cost little.
Cost: demo: 2 minutes on two cores (MiniLM). smoke: seconds.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from experiments.training_run import RunScale, child_job, solution, training_job, validation_score
from lab.deltas import load_adapter
from lab.geometry import delta_changes, extract_lora
from lab.linalg import Spectrum
from lab.models import PLM
from lab.runs import Job, Record, Store
from lab.runs.record import Scalar
from lab.statistics import Verdict, mean_interval

NAME = "extraction"
FIGURES = ("extraction",)


@dataclass(frozen=True)
class Scale(RunScale):
    """Everything a scale fixes."""

    seeds: tuple[int, ...] = (0,)
    ranks: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    energies: tuple[float, ...] = (0.5, 0.9)
    rules: tuple[str, ...] = ("null", "hard threshold")
    full_lr: float = 1e-4


SCALES = {
    "smoke": Scale("tiny-bert", "bbc-news", 3, 64, 32, 16, 8, ranks=(1, 4), energies=(0.9,), rules=()),
    "demo": Scale("minilm", "bbc-news", 60, None, 300, 32, 16),
    "paper": Scale("minilm", "bbc-news", 1000, None, None, 128, 32, seeds=(0, 1, 2, 3, 4)),
}


def jobs(scale: str, *, model: str | None = None, task: str | None = None, seed: int = 0) -> list[Job]:
    """One full fine-tuning per seed.

    Args:
        scale: "smoke", "demo" or "paper".
        model: name for `load_plm`; default: the scale's.
        task: name for `load_task`; default: the scale's.
        seed: shifts all seeds.
    """
    s = SCALES[scale]
    config = asdict(replace(s, model=model or s.model, task=task or s.task))
    seeds = config.pop("seeds")
    return [Job(NAME, config | {"seed": seed + n}) for n in seeds]


def measure(job: Job, store: Store) -> Record:
    """Train in full, then write, read and evaluate one LoRA per rule."""
    c = job.config
    child = child_job(c, method={"method": "full"}, seed=c["seed"], lr=c["full_lr"])
    run = solution(child, store)
    plm = run.delta.plm
    with torch.no_grad():
        overrides = run.delta.overrides(run.phi)
    changes = delta_changes(run.delta, run.phi)
    head = {name: value for name, value in overrides.items() if name in plm.new_names}
    rules: list[tuple[str, dict[str, Any]]] = [(f"rank {r}", {"rank": r}) for r in c["ranks"]]
    rules += [(f"{100 * e:g} % of the energy", {"energy": e}) for e in c["energies"]]
    rules += [(rule, {"rule": rule}) for rule in c["rules"]]
    in_blocks = {m.name for m in plm.matrices(plm.architecture.roles(plm.model))}
    spectra = {
        name: Spectrum.of(changes.read(name).difference, vectors=True) for name in changes.names if name in in_blocks
    }
    rows: list[dict[str, Any]] = []
    for rule, choice in rules:
        made = extract_lora(changes, **choice, saved=head, spectra=spectra)
        rows.append(
            {"kind": "extracted", "rule": rule, "mean_rank": float(made.table["rank"].mean()),
             "max_rank": int(made.table["rank"].max()), "stored": made.size,
             "relative_error": made.relative_error, "score": _read_back(child, plm, made)}
        )  # fmt: skip
    exact = {name: value for name, value in overrides.items() if name in in_blocks or name in head}
    rows += [
        _reference("full fine-tuning", float(run.metrics["score"])),  # type: ignore[arg-type]
        _reference("block matrices exactly, no vector or embedding", validation_score(child, plm, exact)),
        _reference("trained head alone", validation_score(child, plm, head)),
    ]
    rows.append(_trained_lora(c, store, child))
    table = pd.DataFrame(rows).assign(model=c["model"], task=c["task"], label="LoRA of the difference", seed=c["seed"])
    metrics: dict[str, Scalar] = {
        "metric": run.metrics["metric"],
        "score": run.metrics["score"],
        "tunable": run.metrics["tunable"],
        "score_blocks": rows[-3]["score"],
        "score_head": rows[-2]["score"],
        **{f"score_{r['rule'].replace(' ', '_').replace('%', 'percent')}": r["score"] for r in rows[: len(rules)]},
    }
    return Record(job, metrics, {"extraction": table.assign(metric=run.metrics["metric"])})


def _read_back(child: Job, plm: PLM, made: Any) -> float:
    """The score of the checkpoint as somebody else would load it."""
    with tempfile.TemporaryDirectory() as folder:
        delta, phi = load_adapter(plm, made.write(Path(folder) / "adapter"))
    with torch.no_grad():
        return validation_score(child, delta.plm, delta.overrides(phi))


def _reference(kind: str, score: float) -> dict[str, Any]:
    return {"kind": kind, "rule": "", "mean_rank": float("nan"), "score": score}


def _trained_lora(c: Mapping[str, Any], store: Store, child: Job) -> dict[str, Any]:
    """A LoRA of rank 8 trained on the same task, steps and seed."""
    config: dict[str, Any] = dict(child.config) | {"method": {"method": "lora", "rank": 8}, "lr": None}
    run = solution(training_job(**config), store)
    with torch.no_grad():
        weights: dict[str, Tensor] = run.delta.overrides(run.phi)
    score = validation_score(child, run.delta.plm, weights)
    return _reference("LoRA r = 8, trained (query and value)", score) | {"mean_rank": 8.0}


REPLICATES = ("seed",)
"""What differs between records that are judged together."""


def verdicts(records: Sequence[Record]) -> list[Verdict]:
    """Whether rank 8 of the difference keeps full fine-tuning's score."""
    c = records[0].job.config
    if 8 not in c["ranks"]:
        return []
    kept = [float(r.metrics["score_rank_8"]) / float(r.metrics["score"]) for r in records]  # type: ignore[arg-type]
    return [
        Verdict(
            claim="The best rank-8 LoRA of a full fine-tuning keeps at least 95 % of its score.",
            source="Hu et al. 2021 (premise: the update has a low intrinsic rank)",
            quantity="score of the extracted LoRA over that of full fine-tuning [1]",
            measured=mean_interval(kept), threshold=0.95, side="above",
            setting=f"{c['model']} on {c['task']}; seeds", figure="extraction",
        )
    ]  # fmt: skip


def summary(store: Store, records: list[Record]) -> str:
    """Score per rule."""
    lines = []
    for record in records:
        c, table = record.job.config, record.tables["extraction"]
        lines.append(f"{c['model']} on {c['task']}, seed {c['seed']}:")
        for row in table.to_dict("records"):
            name = str(row["rule"] or row["kind"])
            rank = " " * 16 if isnan(row["mean_rank"]) else f"mean rank {row['mean_rank']:6.1f}"
            lines.append(f"  {name:48s} {rank}  {row['metric']} {row['score']:.3f}")
    return "\n".join(lines)
