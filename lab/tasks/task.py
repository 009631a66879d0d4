"""`Task`: labelled examples with a loss and a metric; `EncodedTask`: the same, tokenised for one PLM."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from lab.faces import Facts, faced
from lab.tasks.encoding import EncodedSplit, Encoder, encode
from lab.tasks.examples import Examples
from lab.tasks.metrics import Metric
from lab.tasks.order import split, strata, stratified

Kind = Literal["classification", "regression"]

LEAST = 10
"""Examples a split needs: the standard error of an accuracy on 10 is up to 0.16, on 5 up to 0.22."""


def _facts(task: Task) -> dict[str, object]:
    return {
        "name": task.name, "kind": task.kind, "labels": ", ".join(task.labels) or None, "training": len(task.train),
        "validation": len(task.validation), "test": None if task.test is None else len(task.test),
        "metric": task.metric.name,
    }  # fmt: skip


@faced(_facts)
@dataclass(frozen=True, eq=False)
class Task:
    """A task to adapt a PLM to.

    Attributes:
        name: "bbc-news", a folder's name, …; few-shot tasks append "/16-shot-13".
        kind: "classification" (integer labels) or "regression" (float labels).
        labels: names of the classes, in the order of their numbers; () for regression.
        train: what to fit.
        validation: what to score on; shares no text with `train` where this library made the split.
        metric: the score, higher is better.
        further_metrics: scores reported beside it (accuracy beside F1, Spearman beside Pearson).
        test: examples neither fitted nor selected on: the full validation data of a few-shot task, or what `with_test`
            sets apart.
        label_values: what the source writes for each class, in the order of the class numbers ("-1", "1"); () where it
            writes the number itself, and for regression.
        columns: of the user's file: those of the texts, then that of the labels; () for other sources.

    Raises:
        ValueError: labels of the wrong kind or out of range, one class only, constant regression labels.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    train: Examples
    validation: Examples
    metric: Metric
    further_metrics: tuple[Metric, ...] = ()
    test: Examples | None = None
    label_values: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Examples of all splits together."""
        return sum(map(len, self.splits.values()))

    def __post_init__(self) -> None:
        if self.kind not in ("classification", "regression"):
            raise ValueError(f'kind must be "classification" or "regression"; got {self.kind!r}.')
        if len(set(self.train.labels)) < 2:
            only = self.train.labels[0]
            written = self.label_values[int(only)] if self.label_values else only
            raise ValueError(
                f"{self.name}: every training example has the label {written}; "
                "a task needs at least two different labels."
            )
        for name, examples in self.splits.items():
            if examples.numeric != (self.kind == "regression"):
                got = "floats" if examples.numeric else "integers"
                raise ValueError(f"{self.name}: the {name} labels are {got}, which does not fit {self.kind}.")
            largest = max(examples.labels)
            if self.kind == "classification" and largest >= len(self.labels):
                raise ValueError(
                    f"{self.name}: the {name} data have the label {largest}, "
                    f"out of range for {len(self.labels)} classes {self.labels}."
                )
            if (examples.pairs is None) != (self.train.pairs is None):
                raise ValueError(f"{self.name}: train and {name} must both hold pairs or both single sentences.")

    @property
    def splits(self) -> dict[str, Examples]:
        """The splits by name."""
        named = {"train": self.train, "validation": self.validation}
        return named if self.test is None else {**named, "test": self.test}

    @property
    def num_labels(self) -> int:
        """Width of the logits: the number of classes, 1 for regression."""
        return len(self.labels) if self.kind == "classification" else 1

    @property
    def overlap(self) -> int:
        """Number of validation examples whose text is also a training text."""
        seen = set(self.train.keys)
        return sum(key in seen for key in self.validation.keys)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of name, kind, label names and every example."""
        parts = [self.name, self.kind, *self.labels, *(e.fingerprint for e in self.splits.values())]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of a batch: −(1/n) Σ log p(y_i | x_i) [nats], or (1/n) Σ (ŷ_i − y_i)² for regression.

        The mean squared error is that of transformers' regression head: twice the negative log likelihood of a unit
        Gaussian, up to a constant, in squared units of the label.

        Args:
            logits: (n, num_labels); for regression also (n,).
            labels: (n,), integers or floats.

        Returns:
            A scalar of the logits' dtype, differentiable, usable under `vmap`.

        Raises:
            ValueError: logits of another width.
        """
        if self.kind == "regression":
            if logits.ndim == 2 and logits.shape[1] == 1:
                logits = logits.squeeze(1)
            if logits.shape != labels.shape:
                raise ValueError(
                    f"{self.name}: regression needs logits ({len(labels)}, 1) for {len(labels)} labels; "
                    f"got {tuple(logits.shape)}. Load the PLM with num_labels=1."
                )
            # F.mse_loss has no forward derivative of its gradient on CPU
            return (logits - labels.to(logits.dtype)).square().mean()
        if logits.shape != (len(labels), self.num_labels):
            raise ValueError(
                f"{self.name}: expected logits ({len(labels)}, {self.num_labels}); got {tuple(logits.shape)}. "
                f"Load the PLM with num_labels={self.num_labels}."
            )
        return F.cross_entropy(logits, labels)

    def with_test(self, fraction: float = 0.2, seed: int = 0) -> Task:
        """Three splits: what was held out becomes `test`, and a part of the training data is held out in its place.

        Step sizes and stopping look at `validation`, what is reported at `test`. Published validation data serve as
        test data where the official test labels are secret (GLUE; Gao et al. 2021, §3). A task with test data stays as
        it is.

        Args:
            fraction: share of the training texts that becomes validation. Default a fifth, as where a source has no
                split of its own.
            seed: of the choice: stratified, equal texts on one side.

        Raises:
            ValueError: too few texts to split.
        """
        if self.test is not None:
            return self
        train, validation = split(self.train, fraction, seed)
        return replace(self, train=train, validation=validation, test=self.validation)

    def subset(
        self, n_train: int | None = None, n_validation: int | None = None, seed: int = 0, n_test: int | None = None
    ) -> Task:
        """A smaller task with the classes in the same proportions.

        Subsets of one seed are nested, and hold every class once n >= number of classes.

        Args:
            n_train: training examples to keep; None: all.
            n_validation: validation examples to keep; None: all.
            seed: seed of the choice.
            n_test: test examples to keep, or all where there are fewer; None: all.

        Raises:
            ValueError: fewer than one or more examples asked for than there are.
        """

        def chosen(examples: Examples, n: int | None, split: str) -> Examples:
            if n is None:
                return examples
            if not 1 <= n <= len(examples):
                raise ValueError(f"{self.name} has {len(examples)} {split} examples; cannot keep {n} of them.")
            return examples.take(stratified(examples, seed)[:n])

        return replace(
            self,
            train=chosen(self.train, n_train, "train"),
            validation=chosen(self.validation, n_validation, "validation"),
            test=self.test and chosen(self.test, n_test and min(n_test, len(self.test)), "test"),
        )

    def at_most(
        self, n_train: int | None = None, n_validation: int | None = None, seed: int = 0, n_test: int | None = None
    ) -> Task:
        """`subset` with sizes that are caps: all examples of a split where there are fewer than asked for.

        Args:
            n_train, n_validation, n_test: the most examples to keep; None: all.
            seed: as for `subset`.

        Raises:
            ValueError: a split that has fewer than `LEAST` examples and fewer than asked for; fewer training examples
                than classes asked for; a size below one.
        """
        sizes = {"train": n_train, "validation": n_validation, "test": n_test}
        for name, examples in self.splits.items():
            asked = sizes[name]
            if len(examples) < LEAST and (asked is None or len(examples) < asked):
                raise ValueError(
                    f"{self.name} has {len(examples)} {name} examples; at least {LEAST} are needed, since no interval "
                    "can be had from fewer."
                )
        if self.kind == "classification" and n_train is not None and 1 <= n_train < self.num_labels:
            raise ValueError(
                f"{self.name} has {self.num_labels} classes, and {n_train} training examples cannot hold one of each; "
                f"take {self.num_labels} or more."
            )
        capped = {
            name: asked and min(asked, len(self.splits[name])) for name, asked in sizes.items() if name in self.splits
        }
        return self.subset(capped["train"], capped["validation"], seed, capped.get("test"))

    def few_shot(self, k: int, seed: int) -> Task:
        """k training and k disjoint development examples per class, both drawn from `train` (Gao et al. 2021, §3).

        The old validation data become `test`. Regression is sampled from two bins, cut at the middle of the range.

        Raises:
            ValueError: k < 1, or a class with fewer than 2·k different texts.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1; got {k}.")
        members: dict[int, dict[tuple[str, ...], int]] = defaultdict(dict)
        classes, seen = strata(self.train), set()
        for i in stratified(self.train, seed):
            key = self.train.keys[i]
            if key not in seen:  # the same text twice would leak from train to development
                seen.add(key)
                members[classes[i]][key] = int(i)
        n_classes = self.num_labels if self.kind == "classification" else 2
        for c in range(n_classes):
            if len(members[c]) < 2 * k:
                raise ValueError(
                    f"{self.name}: {k} shots need {2 * k} different training texts per class ({k} to train on, {k} to "
                    f"develop on); class {c} has {len(members[c])}. Choose k <= {len(members[c]) // 2}."
                )
        pools = [list(members[c].values()) for c in range(n_classes)]
        return replace(
            self,
            name=f"{self.name}/{k}-shot-{seed}",
            train=self.train.take(i for pool in pools for i in pool[:k]),
            validation=self.train.take(i for pool in pools for i in pool[k : 2 * k]),
            test=self.validation,
        )

    def encode(self, plm: Encoder, max_length: int = 128, template: str | None = None) -> EncodedTask:
        """Tokenise every split for a PLM; cached in memory by content, so that it happens once.

        Args:
            plm: whose `tokenizer` to use and on whose `device` to put the batches.
            max_length: tokens kept per example, special tokens included.
            template: manual template for a language-model head, e.g. "{sentence} It was {mask}."; see
                `lab.tasks.templating`.

        Raises:
            ValueError: a PLM without tokenizer, or max_length too small for the special tokens (and the template).
        """
        splits = {name: encode(examples, plm, max_length, template) for name, examples in self.splits.items()}
        return EncodedTask(self, splits["train"], splits["validation"], max_length, template, splits.get("test"))


def _encoded_facts(encoded: EncodedTask) -> Facts:
    return _facts(encoded.task) | {"max_length": encoded.max_length, "template": encoded.template}


@faced(_encoded_facts)
@dataclass(frozen=True, eq=False)
class EncodedTask:
    """A task tokenised for one PLM.

    Attributes:
        task: what was encoded.
        train: training batches.
        validation: evaluation batches.
        max_length: tokens kept per example.
        template: the manual template, or None.
        test: batches of `task.test`, if it has any.
    """

    task: Task
    train: EncodedSplit
    validation: EncodedSplit
    max_length: int
    template: str | None = None
    test: EncodedSplit | None = None
