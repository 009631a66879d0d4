"""How far first order reaches: controls of growing size, and which directions of a state are both driven and seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from lab.control import control_jacobian, rollout
from lab.control.finite_reach import balanced, empirical_gramian
from lab.deltas import method_from_json
from lab.study import Config, Experiment, Lab, Result, counts, setting
from lab.study.equal_budget import at_budget
from lab.study.fixed_batch import fixed_batch_of


@dataclass(frozen=True, kw_only=True)
class FiniteReach(Config):
    """One method, at its start."""

    model: str = setting("name for load_plm", role="model")
    task: str = setting("name or path for load_task: the sentences and the classes", role="task")
    method: dict[str, Any] = setting("hyperparameters of the delta method (`DeltaMethod.to_json`)")
    seed: int = setting("of head, method and choice of the batch", 0, low=0)
    sentences: int = setting("in the batch", 4, unit="example", low=1)
    tokens: int = setting("kept per sentence", 16, unit="token", low=1)
    radii: tuple[float, ...] = setting(
        "‖δφ‖, in multiples of what moves the logits by one, root mean square, to first order",
        (0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0), low=0,
    )  # fmt: skip
    n_samples: int = setting("random directions per radius", 64, low=1)
    precision: str = setting("of the products", "float64", choices=("float32", "float64"))


@dataclass(frozen=True, kw_only=True)
class Plan(FiniteReach):
    """One measurement per method and seed, each method at the budget of a LoRA of rank 1."""

    method: dict[str, Any] = setting("unused: `methods`", {})
    methods: tuple[dict[str, Any], ...] = setting("to measure; sizes are chosen by the budget")
    seeds: tuple[int, ...] = setting("of head, method and choice of the batch", (0,), low=0)
    fixed = ("seed",)

    def configs(self) -> tuple[FiniteReach, ...]:
        sized = [at_budget(method, self.model) for method in self.methods]
        return tuple(self.to(FiniteReach, method=m, seed=seed) for m in sized for seed in self.seeds)


def measure(c: FiniteReach, lab: Lab) -> Result:
    """tr W_ε over tr W along the radius, and the Hankel values at every cut."""
    data = fixed_batch_of(c)
    problem = data.problem
    path = rollout(problem, problem.split(data.delta.phi0))
    J = control_jacobian(problem, path, at="logits")
    first_order = float(J.to_dense().square().sum())
    unit = (problem.size * J.shape[0] / first_order) ** 0.5  # radius at which E‖Δy‖² = n to first order: ε² tr W/d = n
    place: dict[str, Any] = {
        "label": method_from_json(c.method).title,
        "model": c.model,
        "task": c.task,
        "seed": c.seed,
    }
    rows: list[dict[str, Any]] = []
    for multiple in c.radii:
        found = empirical_gramian(problem, path, multiple * unit, at="logits", n_samples=c.n_samples, seed=c.seed)
        rows.append({"kind": "reach", "x": multiple, "index": 0, "value": float(found.trace()) / first_order})
    for cut in range(1, (problem.end or problem.T) + 1):
        values = balanced(problem, path, cut).values.tolist()
        rows += [{"kind": "Hankel", "x": cut, "index": i, "value": value} for i, value in enumerate(values, 1)]
    table = pd.DataFrame(rows).assign(**place)
    reached = table[table.kind == "reach"].set_index("x").value
    metrics = {"first_order_trace": first_order, "unit_norm": unit, **counts(data.delta)}
    metrics |= {f"share_at_{x:g}": float(value) for x, value in reached.items()}
    return Result(metrics, {"finite_reach": table})


METHODS: tuple[dict[str, Any], ...] = (
    {"method": "lora", "rank": 1, "head": "frozen"},
    {"method": "adapter", "placement": "pfeiffer", "head": "frozen"},
    {"method": "prefix", "head": "frozen"},
    {"method": "prompt", "head": "frozen"},
    {"method": "bitfit", "head": "frozen"},
    {"method": "ia3", "head": "frozen"},
)
_DEMO = Plan(model="minilm", task="bbc-news", methods=METHODS)

EXPERIMENT = Experiment(
    name="finite_reach",
    question="up to which size of a control does first order say what it reaches, and where in depth is it lost?",
    source="Lall, Marsden & Glavaški 2002 (empirical Gramians); Moore 1981 (balanced directions, Hankel values).",
    varied="the method at one budget; the size of the control; the cut.",
    tuned="nothing.",
    fixed="PLM, sentences, head (frozen, random), start φ₀.",
    expected="methods that begin at a product of two factors (LoRA, adapter) reach more at finite size than first "
    "order says, additive ones the same until the network saturates.",
    cost="demo: minutes per method on two cores (MiniLM). smoke: seconds.",
    view="control",
    config=FiniteReach,
    scales={
        "smoke": replace(
            _DEMO, model="tiny-bert", methods=METHODS[:1], sentences=2, tokens=8, radii=(0.01, 1.0), n_samples=2
        ),
        "demo": _DEMO,
        "paper": replace(_DEMO, sentences=16, tokens=64, n_samples=512, seeds=(0, 1, 2, 3, 4)),
    },
    measure=measure,
    figures=("finite_reach",),
)  # fmt: skip
