"""Robustness without sampling: how far the state entering the first block may be pushed before an answer changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

from experiments.planner import SCALES as RUNS
from experiments.planner import Planner, methods_at_one_budget
from lab.control.certificates import entrance_radii
from lab.statistics import Evidence, Verdict, mean_interval
from lab.statistics.robustness import radius_ratios
from lab.study import TRAINING_RUN, Experiment, Finding, Lab, Result, setting

FEEDBACK = ("lora", "adapter")


@dataclass(frozen=True, kw_only=True)
class CertifiedRadius(Planner):
    """Four methods at one budget, trained by several seeds."""

    n_examples: int = setting("held out, whose radii are taken", unit="example", low=1)


def measure(c: CertifiedRadius, lab: Lab) -> Result:
    """Train every method with every seed; margin, steepness and radius of each held-out example."""
    cells = [(label, method, seed) for label, method in methods_at_one_budget(c).items() for seed in c.seeds]
    runs = lab.run(TRAINING_RUN, [c.run(method, seed) for _, method, seed in cells], "methods at one budget")
    rows = [row for (label, *_), run in zip(cells, runs, strict=True) for row in _rows(c, label, run)]
    table = pd.DataFrame(rows).assign(model=c.model, task=c.task)
    right = table[table.margin > 0].groupby("loop").radius.median().to_dict()
    metrics = {f"radius, {loop}": float(value) for loop, value in right.items()}
    return Result(metrics | {"right": float((table.margin > 0).mean())}, {"certified_radius": table})


def _rows(c: CertifiedRadius, label: str, run: Finding[Any]) -> Iterator[dict[str, Any]]:
    delta = run.config.analysed()
    batch = run.config.batch(delta, c.n_examples, split=c.judged)
    found = entrance_radii(delta, torch.from_numpy(run.arrays["phi"]).to(delta.phi0), batch)
    loop = "feedback" if run.config.method["method"] in FEEDBACK else "open loop"
    relative = zip(
        found.margin.tolist(), (found.radius / found.size).tolist(), (found.boundary / found.size).tolist(), strict=True
    )
    for example, (margin, radius, boundary) in enumerate(relative):
        yield {
            "label": label, "loop": loop, "seed": run.config.seed, "example": example, "margin": margin,
            "radius": radius, "boundary": boundary,
        }  # fmt: skip


def claims(findings: Sequence[Finding[CertifiedRadius]]) -> list[Verdict]:
    """Whether feedback keeps its answers further than open loop."""
    found = []
    for finding in findings:
        c, table = finding.config, finding.tables["certified_radius"]
        where = (
            f"{c.model}, {c.task}, {c.steps} steps, {table.label.nunique()} methods, seeds "
            f"{', '.join(map(str, c.seeds))}; {c.n_examples} held-out examples, those answered rightly"
        )
        further = Evidence("feedback (docs/robustness.md)", where, "certified_radius", "seeds").above(
            0.0, mean_interval(radius_ratios(table)),
            "feedback (adapter, LoRA) keeps its answers under larger pushes of the first state than open loop (BitFit, "
            "prefix), to first order",
            "ln of the median radius of feedback over that of open loop, geometric means over methods, paired by seed "
            "[1]",
        )  # fmt: skip
        found.append(further)
    return found


EXPERIMENT = Experiment(
    name="certified_radius",
    question="do methods that feed the state back (adapter, LoRA) keep their answers under larger pushes than "
    "open-loop ones?",
    source="Tsuzuku, Sato & Sugiyama 2018 (margin over √2 ‖J‖₂); Ding et al. 2022 (delta tuning as control).",
    varied="the method, seeds.",
    tuned="step sizes of training as in experiments/planner.py.",
    fixed="PLM, task, parameter budget, steps, examples; the state that is pushed is the one entering the first block.",
    expected="feedback keeps its answers further, as it loses less accuracy under sampled perturbations.",
    cost="demo: about nine minutes on one core (MiniLM, four methods, twelve seeds). smoke: seconds.",
    view="control",
    config=CertifiedRadius,
    scales={
        "smoke": RUNS["smoke"].to(CertifiedRadius, n_examples=16, splits=3, n_test=16),
        "demo": RUNS["demo"].to(CertifiedRadius, n_examples=64, seeds=tuple(range(12)), splits=3, n_test=200),
        "paper": RUNS["paper"].to(CertifiedRadius, n_examples=500, n_test=1000),
    },
    of_classes=True,
    measure=measure,
    figures=("certified_radius",),
    claims=claims,
)  # fmt: skip
