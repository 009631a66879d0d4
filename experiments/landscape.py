"""The loss along lines and planes through trained deltas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lab.geometry.drawn_planes import Drawn, TrainedDelta, around_solution, between_solutions
from lab.study import Config, Experiment, Lab, Result, TrainingRun, setting, with_added_biases
from lab.study.amounts import scored_examples, training_steps

SNAPSHOTS = 20
"""Points of a trajectory."""
Methods = tuple[dict[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class Landscape(Config):
    """The planes of one method, or the plane through the solutions of several."""

    model: str = setting("name for load_plm", role="model")
    task: str = setting("name or path for load_task", "bbc-news", role="task", keyed=True)
    methods: Methods = setting("one method, or several whose vectors are parts of one vector of their sum")
    seed: int = setting("of everything", 0, low=0, keyed=True)
    steps: int = training_steps()
    lr: float | None = setting("step size; none: by the rule for d and D", None, keyed=True)
    batch_size: int = setting("examples per step", unit="example", low=1)
    max_length: int = setting("tokens kept per example", unit="token", low=1)
    n_train: int | None = setting("most training examples to use; none: all", None, unit="example", low=1, keyed=True)
    n_validation: int | None = scored_examples("most validation examples to score on; none: all", 64, keyed=True)
    precision: str = setting("of the matrix products", "float32", keyed=True)
    weights: str = setting("random: freshly initialised", "pretrained", choices=("pretrained", "random"), keyed=True)
    evaluations: int = setting("of each run", 1, low=1, keyed=True)
    sentences: int = setting("whose loss is drawn", unit="example", low=1)
    points: int = setting("along each direction", low=3)

    def run(self, method: dict[str, Any]) -> TrainingRun:
        """The training run of one method."""
        return self.to(TrainingRun, method=method)


@dataclass(frozen=True, kw_only=True)
class Plan(Landscape):
    """One measurement per method, and one of several."""

    methods: Methods = setting("each of which is measured alone")
    together: Methods = setting("whose solutions one plane goes through")
    added_biases: bool | None = setting("AddedBias for BitFit; none: by the PLM's name", None)

    def configs(self) -> tuple[Landscape, ...]:
        groups = [*((method,) for method in self.methods), self.together]
        named = [with_added_biases(group, self.model, self.added_biases) for group in groups]
        return tuple(self.to(Landscape, methods=group) for group in named)


def measure(c: Landscape, lab: Lab) -> Result:
    """Train, choose the planes, evaluate the loss on them."""
    runs = [_trained(c, method) for method in c.methods]
    found = Drawn(c.points)
    if len(runs) == 1:
        around_solution(runs[0], found)
    else:
        between_solutions(runs, found)
    metrics = {"start_loss": runs[0].value(runs[0].delta.phi0), **found.metrics, "tunable": runs[0].delta.size}
    return Result(metrics, found.tables())


def _trained(c: Landscape, method: dict[str, Any]) -> TrainedDelta:
    run = c.run(method)
    delta = run.analysed()
    fit = run.trained(keep_every=max(1, -(-c.steps // SNAPSHOTS)))[1]
    assert fit.trajectory is not None  # keep_every was given
    return TrainedDelta(run.how.title, delta, run.batch(delta, c.sentences), fit.phi, fit.trajectory)


LORA, BITFIT, ADAPTER = {"method": "lora", "rank": 8}, {"method": "bitfit"}, {"method": "adapter", "bottleneck": 16}
DID = {"method": "did", "dimension": 1000}  # each point costs a transform of all weights

EXPERIMENT = Experiment(
    name="landscape",
    question="what does the loss of a delta look like around its start, its training trajectory and its solution?",
    source="Li, Xu, Taylor, Studer & Goldstein 2018 (planes); Goodfellow et al. 2015 (lines); Garipov et al. 2018 "
    "(three solutions).",
    varied="the method, and the plane: filter-normalised random directions, PCA of the trajectory, the two stiffest "
    "directions at the solution, and the plane through the solutions of three methods.",
    tuned="nothing; step sizes follow the rule for d and D.",
    fixed="PLM, task, steps, the batch whose loss is drawn, seed.",
    expected="a smooth basin; the trajectory stays near a plane; the stiff plane rises within a fraction of the "
    "distance trained, the random one is flat over its whole width; a ridge joins the solutions of three methods.",
    cost="demo: 1-2 minutes on two quiet cores (MiniLM), SmolLM2 about 15 minutes. smoke: seconds.",
    view="optimisation",
    config=Landscape,
    scales={
        "smoke": Plan(
            model="tiny-bert", methods=({"method": "lora", "rank": 1}, {"method": "did", "dimension": 20}),
            together=({"method": "lora", "rank": 1}, BITFIT, ADAPTER), steps=6, batch_size=8, max_length=8, n_train=64,
            n_validation=32, sentences=8, points=5,
        ),
        "demo": Plan(
            model="minilm", methods=(LORA, BITFIT), together=(LORA, BITFIT, ADAPTER), steps=30, batch_size=16,
            max_length=16, sentences=10, points=11,
        ),
        "paper": Plan(
            model="minilm", methods=(LORA, BITFIT, DID), together=(LORA, BITFIT, ADAPTER), steps=1000, batch_size=32,
            max_length=64, sentences=256, points=51,
        ),
    },
    measure=measure,
    figures=("loss_plane", "loss_surface", "loss_line"),
)  # fmt: skip
