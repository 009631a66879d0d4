"""Perturbed inputs: open loop against feedback, and what control at test time wins back.

Texts are cut to their first words before they are perturbed, so that words left out of a long text do not make room for
later ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from experiments.planner import SCALES as RUNS
from experiments.planner import Planner, methods_at_one_budget
from lab.control import (
    ActivationSubspace,
    activation_subspaces,
    energy,
    injected_energy,
    layerwise,
    lqr_of_energy,
    lqr_steering,
    output_states,
    pid_of_energy,
    random_of_energy,
    robust_control,
    rollout,
    steering,
)
from lab.deltas import Delta, Prefix, method_from_json
from lab.models import PLM, head_position
from lab.statistics import Interval, Verdict, mean_interval
from lab.study import TRAINING_RUN, Config, Experiment, Finding, Lab, Result, Settings, open_plm, setting
from lab.study.settings import types_of
from lab.tasks import EncodedSplit, Examples, first_words, noisy_embedding, perturbed
from lab.tasks.encoding import encode

FEEDBACK = ("lora", "adapter")
NOISE = "embedding noise"
CLEAN = "clean"


@dataclass(frozen=True, kw_only=True)
class Perturbing(Config):
    """How inputs are perturbed; the training runs are the planner's."""

    runs: Planner = setting("the planner's runs")
    shares: tuple[float, ...] = setting("of words dropped, or misspelt", low=0, high=1)
    noises: tuple[float, ...] = setting("of the embedding, in units of its rms", low=0)
    n_words: int = setting("kept of each text", unit="word", low=1)
    batch_size: int = setting("examples per batch", unit="example", low=1)


@dataclass(frozen=True, kw_only=True)
class Scored(Perturbing):
    """One trained method under every condition."""

    n_examples: int = setting("scored", unit="example", low=1)
    label: str = setting("of the method")
    method: dict[str, Any] = setting("its hyperparameters")
    seed: int = setting("of the run and the perturbations", low=0)


@dataclass(frozen=True, kw_only=True)
class Controlled(Perturbing):
    """The trained methods of one seed under each control at test time."""

    n_activations: int = setting("examples whose activations span the subspaces", unit="example", low=1)
    n_controlled: int = setting("examples under the robust prefix", unit="example", low=1)
    n_steered: int = setting("examples that are steered", unit="example", low=1)
    control_steps: int = setting("of the robust prefix (docs/robustness.md)", low=1)
    control_lr: float = setting("of the robust prefix")
    steered: str = setting("methods that are steered")
    seed: int = setting("of the runs and the perturbations", low=0)


@dataclass(frozen=True, kw_only=True)
class Robustness(Perturbing):
    """All methods and controls on one PLM and task."""

    n_examples: int = setting("scored", unit="example", low=1)
    n_activations: int = setting("examples whose activations span the subspaces", unit="example", low=1)
    n_controlled: int = setting("examples under the robust prefix", unit="example", low=1)
    n_steered: int = setting("examples that are steered", unit="example", low=1)
    controlled_seeds: int = setting("how many of the seeds are controlled", low=1)
    control_steps: int = setting("of the robust prefix (docs/robustness.md)", 5, low=1, keyed=True)
    control_lr: float = setting("of the robust prefix", 0.01, keyed=True)
    steered: str = setting("methods that are steered", "all", choices=("all",), keyed=True)

    def shared(self, kind: type[Perturbing]) -> dict[str, Any]:
        """The settings that a part has in common with the whole."""
        own = ("label", "method", "seed")
        return {name: getattr(self, name) for name in types_of(kind) if name not in own}


@dataclass(frozen=True, kw_only=True)
class Plan(Settings):
    """One comparison per PLM and task."""

    model: str = setting("name for load_plm", role="model")
    task: str = setting("name or path for load_task", "bbc-news", role="task")
    whole: Robustness = setting("what the scale fixes")

    def configs(self) -> tuple[Robustness, ...]:
        return (replace(self.whole, runs=replace(self.whole.runs, model=self.model, task=self.task)),)


@dataclass(frozen=True)
class Condition:
    """One way of treating the inputs; strength is a share of words, or a noise in units of the embedding's rms."""

    kind: str
    strength: float

    def split(self, examples: Examples, plm: PLM, n_words: int, seed: int) -> EncodedSplit:
        """The examples, cut and perturbed; twice as many tokens as words leave room for typos."""
        cut = Examples(tuple(first_words(text, n_words) for text in examples.texts), examples.labels)
        if self.kind not in (CLEAN, NOISE):
            cut = perturbed(cut, self.kind, self.strength, seed)
        return encode(cut, plm, 3 * n_words, None)

    def delta_overrides(self, delta: Delta, phi: Tensor, seed: int) -> dict[str, Tensor]:
        """The delta's overrides, with a noisy embedding where that is the perturbation."""
        overrides = delta.overrides(phi)
        if self.kind != NOISE:
            return overrides
        plm = delta.plm
        name = f"{plm.architecture.embedding_name(plm.model)}.weight"
        return {**overrides, name: noisy_embedding(overrides.get(name, plm.parameters[name]), self.strength, seed)}


def conditions(c: Perturbing) -> list[Condition]:
    """Clean, then every kind at every strength."""
    texts = [Condition(kind, share) for kind in ("word drops", "typos") for share in c.shares]
    return [Condition(CLEAN, 0.0), *texts, *(Condition(NOISE, strength) for strength in c.noises)]


def measure(c: Robustness, lab: Lab) -> Result:
    """Train (or find) the planner's runs; score each under every condition; control the prefix at test time."""
    methods = methods_at_one_budget(c.runs)
    scored = [
        Scored(**c.shared(Scored), label=label, method=method, seed=seed)
        for seed in c.runs.seeds
        for label, method in methods.items()
    ]
    chosen = c.runs.seeds[: c.controlled_seeds]
    scores = lab.run(SCORES, scored, "methods under perturbed inputs")
    found = lab.run(
        CONTROLS, [Controlled(**c.shared(Controlled), seed=seed) for seed in chosen], "control at test time"
    )
    tables = {
        "robustness": [finding.tables["robustness"] for finding in scores],
        "control_at_test_time": [finding.tables["controls"] for finding in found],
        "subspaces": [finding.tables["subspaces"] for finding in found],
    }
    subject = {"model": c.runs.model, "task": c.runs.task}
    joined = {name: pd.concat(parts, ignore_index=True).assign(**subject) for name, parts in tables.items()}
    return Result(_metrics(joined["robustness"], joined["control_at_test_time"]), joined)


def _scores(c: Scored, lab: Lab) -> Result:
    """One trained method under every condition."""
    trained = _trained(c, c.method, lab)
    loop = "feedback" if c.method["method"] in FEEDBACK else "open loop"
    rows: list[dict[str, Any]] = []
    for condition in conditions(c):
        found = trained.correct(condition, c.n_examples)
        rows.append(
            {"label": c.label, "loop": loop, "seed": c.seed, "kind": condition.kind,
             "strength": condition.strength, "correct": int(found.sum()), "n": len(found),
             "score": float(found.double().mean())}
        )  # fmt: skip
    return Result({"clean": float(rows[0]["score"])}, {"robustness": pd.DataFrame(rows)})


def _controls(c: Controlled, lab: Lab) -> Result:
    """The trained methods of one seed under each control, the prefix first: its LQR sets the energy of all others."""
    methods = methods_at_one_budget(c.runs)
    spent: dict[str, float] = {}
    rows: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for label in sorted(methods, key=lambda name: methods[name]["method"] != "prefix"):
        trained = _trained(c, methods[label], lab)
        n, spaces = trained.subspaces()
        rows += [{"label": label, **row} for row in trained.controls(spaces, spent)]
        found += [
            {"label": label, "seed": c.seed, "block": b, "n": n, "rank": s.basis.shape[1], "hidden": len(s.mean),
             "spread": float(s.spread)}
            for b, s in enumerate(spaces)
        ]  # fmt: skip
    table = pd.DataFrame(rows)
    return Result({"gain": float(table.gain.mean())}, {"controls": table, "subspaces": pd.DataFrame(found)})


def _trained(c: Scored | Controlled, method: dict[str, Any], lab: Lab) -> _Trained:
    run = lab.one(TRAINING_RUN, c.runs.run(method, c.seed), method["method"])
    return _Trained(c, method, torch.from_numpy(run.arrays["phi"]))


class _Trained:
    """One trained delta and the examples to score it on."""

    def __init__(self, c: Any, method: dict[str, Any], phi: Tensor):
        self.task = c.runs.data
        self.plm = open_plm(c.runs.model, self.task.num_labels, seed=c.seed)
        self.method, self.seed, self.c = method_from_json(method), c.seed, c
        self.delta = self.method.on(self.plm, seed=c.seed)
        self.phi = phi.to(self.delta.phi0)

    def batches(self, condition: Condition, n: int) -> Iterator[dict[str, Tensor]]:
        split = condition.split(self.task.validation, self.plm, self.c.n_words, self.seed)
        return split.batches(self.c.batch_size, size=min(n, len(split)))

    @torch.no_grad()
    def correct(self, condition: Condition, n: int) -> Tensor:
        """Whether each example is classified correctly."""
        overrides = condition.delta_overrides(self.delta, self.phi, self.seed)
        return torch.cat(
            [self.delta.plm.logits(overrides, b).argmax(-1) == b["labels"] for b in self.batches(condition, n)]
        )

    @torch.no_grad()
    def subspaces(self) -> tuple[int, tuple[ActivationSubspace, ...]]:
        """How many training examples are classified correctly, and the PCA of their activations."""
        split = Condition(CLEAN, 0.0).split(self.task.train, self.plm, self.c.n_words, self.seed)
        overrides, kept = self.delta.overrides(self.phi), []
        for batch in split.batches(self.c.batch_size, size=min(self.c.n_activations, len(split))):
            states, logits = output_states(self.delta.plm, overrides, batch)
            kept.append(states[:, logits.argmax(-1) == batch["labels"]])
        states = torch.cat(kept, dim=1).transpose(0, 1)
        return len(states), activation_subspaces(states)

    def controls(self, spaces: Sequence[ActivationSubspace], spent: dict[str, float]) -> list[dict[str, Any]]:
        """Accuracy without and with each control, on clean inputs and under the most of each perturbation.

        Args:
            spaces: the activations' subspaces, one per block.
            spent: kind of condition -> energy per example that steering spends; filled in where it is missing.
        """
        strongest = {condition.kind: condition for condition in conditions(self.c)}
        rows = []
        for condition in strongest.values():
            if isinstance(self.method, Prefix):
                rows.append(self._robust(condition, spaces))
            rows += self._steered(condition, spaces, spent)
        return rows

    def _robust(self, condition: Condition, spaces: Sequence[ActivationSubspace]) -> dict[str, Any]:
        before, after, costs = [], [], []
        under = _Perturbed(self.delta, condition, self.seed)
        for batch in self.batches(condition, self.c.n_controlled):
            with torch.no_grad():
                before.append(under.logits(self.phi, batch).argmax(-1) == batch["labels"])
            found = robust_control(under, self.phi, batch, spaces, steps=self.c.control_steps, lr=self.c.control_lr)
            after.append(found.logits.argmax(-1) == batch["labels"])
            costs.append((found.before, found.after))
        off = torch.tensor(costs, dtype=torch.float64).mean(0).tolist()
        return self._row(condition, "robust prefix", torch.cat(before), torch.cat(after), off[0], off[1])

    def _steered(
        self, condition: Condition, spaces: Sequence[ActivationSubspace], spent: dict[str, float]
    ) -> list[dict[str, Any]]:
        eager = self.method.on(self.plm.with_attention("eager"), seed=self.seed)
        under = _Perturbed(eager, condition, self.seed)
        batch = next(iter(self.batches(condition, self.c.n_steered)))
        problem = layerwise(under, batch, self.task.loss)
        own, start = problem.split(self.phi), problem.split(self.delta.phi0)
        found = steering(problem, own, spaces, position=head_position(self.plm, batch))
        nothing, n = found.problem.zero_controls(), len(batch["labels"])
        if condition.kind not in spent:
            spent[condition.kind] = energy(lqr_steering(found, iterations=6)) / n
        wanted = n * spent[condition.kind]
        choices = {
            "LQR steering": lqr_of_energy(found, wanted, iterations=6),
            "PID steering": pid_of_energy(found, wanted),
            "random steering": random_of_energy(found, wanted, self.seed),
        }
        injected = injected_energy(problem, own, start, found.position) / n
        rows = []
        with torch.no_grad():
            before = found.logits(nothing).argmax(-1) == batch["labels"]
            off = 2 * float(rollout(found.problem, nothing).cost) / n
            for name, controls in choices.items():
                after = found.logits(controls).argmax(-1) == batch["labels"]
                cost = (2 * rollout(found.problem, controls).cost - energy(controls)) / n
                row = self._row(condition, name, before, after, off, float(cost), controls)
                rows.append(row | {"injected": injected})
        return rows

    def _row(
        self, condition: Condition, control: str, before: Tensor, after: Tensor, off_before: float, off_after: float,
        steered: Sequence[Tensor] = (),
    ) -> dict[str, Any]:  # fmt: skip
        spent = [energy([u]) / len(after) for u in steered]
        return {
            "control": control, "seed": self.seed, "kind": condition.kind, "strength": condition.strength,
            "n": len(after), "score": float(after.double().mean()), "uncontrolled": float(before.double().mean()),
            "gain": float(after.double().mean() - before.double().mean()),
            "off_before": off_before, "off_after": off_after,
            "energy": sum(spent) if spent else None, "last_energy": spent[-1] if spent else None,
        }  # fmt: skip


class _Perturbed(Delta):
    """A delta whose overrides carry the condition's embedding noise: the perturbation as part of the plant."""

    def __init__(self, delta: Delta, condition: Condition, seed: int):
        self.inner = delta
        self.plm, self.layout, self.phi0, self.at_identity = delta.plm, delta.layout, delta.phi0, False
        clean = delta.overrides(delta.phi0)
        noisy = condition.delta_overrides(delta, delta.phi0, seed)
        self.noisy = {name: value for name, value in noisy.items() if name not in clean}  # drawn once: it is large

    def overrides(self, phi: Tensor) -> dict[str, Tensor]:
        return self.inner.overrides(phi) | self.noisy

    def overrides_of(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self.inner.overrides_of(parts) | self.noisy  # for the stage before the blocks; no block has it


def _metrics(table: pd.DataFrame, controls: pd.DataFrame) -> dict[str, Any]:
    gaps = loop_gaps(table)
    robust = controls[controls.control == "robust prefix"]
    return {
        "clean_accuracy": float(table[table.kind == CLEAN].score.mean()),
        "loss_open_loop": float(losses(table, "open loop").mean()),
        "loss_feedback": float(losses(table, "feedback").mean()),
        "feedback_advantage": float(pd.Series(gaps).mean()),
        "robust_prefix_gain": float(robust[robust.kind != CLEAN].gain.mean()),
        "robust_prefix_gain_clean": float(robust[robust.kind == CLEAN].gain.mean()),
    }


def losses(table: pd.DataFrame, loop: str) -> pd.Series:
    """Accuracy lost to perturbations, mean over methods, kinds and strengths; one value per seed."""
    chosen = table[table.loop == loop]
    clean = chosen[chosen.kind == CLEAN].set_index(["label", "seed"]).score
    perturbed_rows = chosen[chosen.kind != CLEAN]
    index = pd.MultiIndex.from_frame(perturbed_rows[["label", "seed"]])
    lost = clean.reindex(index).to_numpy() - perturbed_rows.score.to_numpy()
    return pd.Series(lost, index=perturbed_rows.seed.to_numpy()).groupby(level=0).mean()


def loop_gaps(table: pd.DataFrame) -> list[float]:
    """Per seed: what open loop loses more than feedback."""
    gap = losses(table, "open loop") - losses(table, "feedback")
    return [float(value) for value in gap.sort_index()]


def _gains(controls: pd.DataFrame, control: str, *, clean: bool) -> Interval:
    chosen = controls[(controls.control == control) & ((controls.kind == CLEAN) == clean)]
    return mean_interval(chosen.groupby("seed").gain.mean().tolist())


def claims(findings: Sequence[Finding[Robustness]]) -> list[Verdict]:
    """Feedback against open loop, and what the robust prefix and LQR win back."""
    found = []
    for finding in findings:
        runs = finding.config.runs
        table, controls = finding.tables["robustness"], finding.tables["control_at_test_time"]
        shared: dict[str, Any] = {
            "setting": f"{runs.model}, {runs.task}, {runs.steps} steps, {table.label.nunique()} methods, "
            f"seeds {', '.join(map(str, runs.seeds))}",
        }
        found.append(
            Verdict(
                claim="feedback (adapter, LoRA) loses less under perturbed inputs than open loop (BitFit, prefix)",
                source="Ding et al. 2022, optimal-control view",
                quantity="accuracy lost by open loop beyond feedback, mean over perturbations, paired by seed",
                measured=mean_interval(loop_gaps(table)), threshold=0.0, side="above", figure="robustness", number=11,
                **shared,
            )
        )  # fmt: skip
        found.append(
            Verdict(
                claim="the robust prefix wins accuracy back on perturbed inputs",
                source="Yang & Liu 2022",
                quantity="accuracy with control − without, mean over perturbations, paired by seed",
                measured=_gains(controls, "robust prefix", clean=False), threshold=0.0, side="above",
                figure="control_at_test_time", **shared,
            )
        )  # fmt: skip
    return found


SCORES = Experiment(
    name="robustness_scores",
    question="what does one trained method score under perturbed inputs?",
    view="control",
    config=Scored,
    measure=_scores,
)
CONTROLS = Experiment(
    name="robustness_controls",
    question="what does control at test time win back for the trained methods of one seed?",
    view="control",
    config=Controlled,
    measure=_controls,
)


def _scale(name: str, **own: Any) -> Plan:
    return Plan(model=RUNS[name].model, whole=Robustness(runs=RUNS[name], n_words=20, **own))


EXPERIMENT = Experiment(
    name="robustness",
    question="do methods that feed the state back (adapter, LoRA) lose less under perturbed inputs than "
    "open-loop ones?",
    source="Yang & Liu 2022 (robust prefix); Ding et al. 2022 (delta tuning as control); PID and LQR as references.",
    varied="the method, the perturbation and its strength, seeds; the control at test time (none, LQR, PID, "
    "random, all of one energy; for the trained prefix also the robust prefix).",
    tuned="step sizes of training as in experiments/planner.py, and the robust prefix's, on a seed that is not "
    "reported.",
    fixed="PLM, task, parameter budget, steps, examples; the same training runs as the planner's.",
    expected="feedback loses less than open loop; the robust prefix wins some accuracy back and costs little on "
    "clean data; LQR does more than PID at equal energy and in the same metric, random controls do nothing.",
    cost="demo: about 20 minutes on one core (MiniLM), the planner's runs included. smoke: seconds.",
    view="control",
    config=Robustness,
    scales={
        "smoke": Plan(
            model="tiny-bert",
            whole=Robustness(
                runs=RUNS["smoke"], shares=(0.5,), noises=(1.0,), n_words=12, n_examples=16, n_controlled=8,
                n_steered=4,
                batch_size=8, n_activations=32, controlled_seeds=1,
            ),
        ),
        "demo": _scale(
            "demo", shares=(0.3, 0.6), noises=(1.5, 3.0), n_examples=64, n_controlled=64, n_steered=64, batch_size=64,
            n_activations=1536, controlled_seeds=3,
        ),
        "paper": _scale(
            "paper", shares=(0.1, 0.2, 0.4, 0.6, 0.8), noises=(0.5, 1.0, 2.0, 3.0, 4.0), n_examples=400,
            n_controlled=400, n_steered=400, batch_size=50, n_activations=1700, controlled_seeds=10,
        ),
    },
    measure=measure,
    figures=("robustness", "control_at_test_time"),
    claims=claims,
)  # fmt: skip
