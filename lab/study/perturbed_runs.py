"""A trained delta under perturbed inputs: what it scores, and what control at test time wins back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lab.control import (
    ActivationSubspace,
    activation_subspaces,
    balanced_steering,
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
from lab.deltas import Delta
from lab.models import PLM, head_position
from lab.statistics.robustness import CLEAN
from lab.study.training_run import TrainingRun
from lab.tasks import EncodedSplit, Examples, first_words, noisy_embedding, perturbed
from lab.tasks.encoding import encode

NOISE = "embedding noise"


@dataclass(frozen=True)
class Condition:
    """One way of treating the inputs; strength is a share of words, or a noise in units of the embedding's rms."""

    kind: str
    strength: float

    def split(self, examples: Examples, plm: PLM, n_words: int, seed: int) -> EncodedSplit:
        """The examples, cut and perturbed; three tokens for each word leave room for typos."""
        texts = tuple(first_words(text, n_words) for text in examples.texts)
        pairs = examples.pairs and tuple(first_words(text, n_words) for text in examples.pairs)
        cut = Examples(texts, examples.labels, pairs)
        if self.kind not in (CLEAN, NOISE):
            cut = perturbed(cut, self.kind, self.strength, seed)
        return encode(cut, plm, 3 * n_words * (1 if pairs is None else 2), None)

    def delta_overrides(self, delta: Delta, phi: Tensor, seed: int) -> dict[str, Tensor]:
        """The delta's overrides, with a noisy embedding where that is the perturbation."""
        overrides = delta.overrides(phi)
        if self.kind != NOISE:
            return overrides
        plm = delta.plm
        name = plm.word_table
        return {**overrides, name: noisy_embedding(overrides.get(name, plm.parameters[name]), self.strength, seed)}


class PerturbedRun:
    """One trained delta and the examples to score it on.

    Args:
        run: that trained it; its seed is that of the perturbations too.
        phi: (d,), trained.
        n_words: kept of each text.
        batch_size: examples per batch.
    """

    def __init__(self, run: TrainingRun, phi: Tensor, *, n_words: int, batch_size: int):
        self.task, self.plm, self.method, self.seed = run.data, run.opened(), run.how, run.seed
        self.delta = run.on(self.plm)
        self.phi = phi.to(self.delta.phi0)
        self.n_words, self.batch_size, self.judged = n_words, batch_size, run.judged

    def batches(self, condition: Condition, n: int, split: str | None = None) -> Iterator[dict[str, Tensor]]:
        """The first n examples of a split under a condition; without one, of that whose score is reported."""
        encoded = condition.split(self.task.splits[split or self.judged], self.plm, self.n_words, self.seed)
        return encoded.batches(self.batch_size, size=min(n, len(encoded)))

    @torch.no_grad()
    def correct(self, condition: Condition, n: int) -> Tensor:
        """Whether each example is classified correctly."""
        overrides = condition.delta_overrides(self.delta, self.phi, self.seed)
        return torch.cat(
            [self.delta.plm.logits(overrides, b).argmax(-1) == b["labels"] for b in self.batches(condition, n)]
        )

    @torch.no_grad()
    def subspaces(self, n: int) -> tuple[int, tuple[ActivationSubspace, ...]]:
        """How many of n training examples are classified correctly, and the PCA of their activations."""
        overrides, kept = self.delta.overrides(self.phi), []
        for batch in self.batches(Condition(CLEAN, 0.0), n, "train"):
            states, logits = output_states(self.delta.plm, overrides, batch)
            kept.append(states[:, logits.argmax(-1) == batch["labels"]])
        states = torch.cat(kept, dim=1).transpose(0, 1)
        return len(states), activation_subspaces(states)

    def robust(
        self, condition: Condition, spaces: Sequence[ActivationSubspace], n: int, *, steps: int, lr: float
    ) -> dict[str, Any]:
        """Accuracy of a prefix without and with robust control of it."""
        before, after, costs = [], [], []
        under = PerturbedDelta(self.delta, condition, self.seed)
        for batch in self.batches(condition, n):
            with torch.no_grad():
                before.append(under.logits(self.phi, batch).argmax(-1) == batch["labels"])
            found = robust_control(under, self.phi, batch, spaces, steps=steps, lr=lr)
            after.append(found.logits.argmax(-1) == batch["labels"])
            costs.append((found.before, found.after))
        sizes = torch.tensor([len(part) for part in after], dtype=torch.float64)  # the last batch may be smaller
        off = (sizes / sizes.sum() @ torch.tensor(costs, dtype=torch.float64)).tolist()
        return self._row(condition, "robust prefix", torch.cat(before), torch.cat(after), off[0], off[1])

    def steered(
        self, condition: Condition, spaces: Sequence[ActivationSubspace], n_steered: int, spent: dict[str, float],
        *, balanced: bool = False,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Accuracy without and with each way of steering, all at one energy.

        Args:
            condition: of the inputs.
            spaces: the activations' subspaces, one per block.
            n_steered: examples.
            spent: kind of condition -> energy per example; filled in by LQR where it is missing.
            balanced: LQR too that looks only at deviations which can be driven and which the logits see.
        """
        eager = self.method.on(self.plm.with_attention("eager"), seed=self.seed)
        under = PerturbedDelta(eager, condition, self.seed)
        batch = next(iter(self.batches(condition, n_steered)))
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
        if balanced:
            seen = balanced_steering(problem, own, found)
            choices["LQR steering, balanced"] = lqr_of_energy(seen, wanted, iterations=6)
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


class PerturbedDelta(Delta):
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
