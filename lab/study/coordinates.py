"""What k trained coordinates are worth on a task: in the subspace that other tasks share, and in those beside it.

Every row trains a head of its own. Coordinates are counted in spreads of the members along their direction, so that one
step size means alike in every row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lab.deltas import Delta, LinearProbe
from lab.deltas.additive import Additive
from lab.deltas.method import head_names
from lab.geometry.collections import Collection, Gram, Subspace, subspace_of, task_subspace
from lab.linalg import LinearOperator, Matrix
from lab.models import PLM, settled
from lab.projections import Fastfood
from lab.statistics.shared_subspace import ACROSS, MEAN, NEAREST, PROBE, RANDOM, SEEN, SHARED, SPECTRA, WRONG
from lab.study.training_run import TrainingRun
from lab.training import Fit, evaluate, fit


@dataclass(frozen=True, eq=False)
class Place:
    """{origin + basis·x}: where coordinates are trained, or a fixed body where there are none.

    Attributes:
        row: what it is called.
        origin: (D,), a point of the collection's space.
        largest: most coordinates; 0 for a fixed body.
        columns: k -> the first k directions (D, k), each as long as the members' spread along it.
    """

    row: str
    origin: Tensor
    largest: int = 0
    columns: Callable[[int], LinearOperator] | None = None


def places(
    collection: Collection,
    gram: Gram,
    target: int,
    nulls: Callable[[Collection], Mapping[str, Callable[[int], Collection]]],
    *,
    seed: int = 0,
) -> Iterator[Place]:
    """The rows of the score table of one task, from the members of all others.

    Null subspaces and the random one start at the mean of the others, as the shared one does: they differ in their
    directions alone. A wrong type has its own mean, and so has the subspace of all members, the target's among them:
    the row of a seen task.

    Args:
        collection: all members, the target's among them; of these only the nearest neighbour's cosine is taken, and
            the row of the seen task.
        gram: of all.
        target: index of a member of the unseen task.
        nulls: members of the other tasks -> their nulls, by name (`lab.geometry.collections.nulls_of`).
        seed: of draws.
    """
    own = collection.members[target]
    kept = [i for i, member in enumerate(collection.members) if member.task != own.task]
    others, inner = collection.subset(kept), _subset(gram, kept)
    shared = subspace_of(others, inner)
    mean = shared.origin
    nearest = int(np.argmax(gram.cosines[target, kept]))
    yield Place(PROBE, torch.zeros_like(mean))
    yield Place(MEAN, mean)
    yield Place(NEAREST, others.vectors() @ torch.eye(len(kept), dtype=mean.dtype)[nearest])
    yield _place(SHARED, shared, mean)
    seen = subspace_of(collection, gram)
    yield _place(SEEN, seen, seen.origin)
    across = [i for i, member in enumerate(others.members) if member.type != own.type]
    if 2 < len(across) < len(kept):
        subspace = subspace_of(others.subset(across), _subset(inner, across))
        yield _place(ACROSS, subspace, subspace.origin)
    yield Place(
        RANDOM, mean, shared.k,
        lambda k: float(np.sqrt(shared.variances[:k].mean() / len(kept))) * Fastfood(len(mean), k, seed=seed),
    )  # fmt: skip
    for name, drawn in nulls(others).items():
        if name != SPECTRA:  # directions that nothing fixes: Fastfood's
            yield _place(name, task_subspace(drawn(seed).in_memory()), mean)
    types = Counter(others.members[i].type for i in across).most_common(1)
    if types and types[0][1] > 1:
        of_type = [i for i in across if others.members[i].type == types[0][0]]
        subspace = subspace_of(others.subset(of_type), _subset(inner, of_type))
        yield _place(WRONG, subspace, subspace.origin)


def _place(row: str, subspace: Subspace, origin: Tensor) -> Place:
    spread = np.sqrt(subspace.variances[: subspace.k] / len(subspace.collection))
    basis = (subspace.basis @ torch.from_numpy(np.diag(spread))).float()
    return Place(row, origin, subspace.k, lambda k: Matrix(basis[:, :k]))


def _subset(gram: Gram, kept: Sequence[int]) -> Gram:
    index = np.asarray(kept)
    return Gram(tuple(gram.members[i] for i in kept), gram.names, gram.values[:, index[:, None], index], gram.eps)


Reach = Callable[[PLM], tuple[Delta, Tensor]]


@dataclass(frozen=True, eq=False)
class Trainer:
    """How every row is trained on a task.

    Attributes:
        run: the task's own run: model, data, batches, seed of the head.
        steps: AdamW steps.
        lrs: step sizes of the coordinates, in spreads of the members.
        head_lr: step size of the head.
    """

    run: TrainingRun
    steps: int
    lrs: tuple[float, ...]
    head_lr: float

    def scores(self, place: Place, ks: Sequence[int], reach: Reach) -> pd.DataFrame:
        """row, k, score, loss [nats] and lr: on test data, at the step size that was best on validation data.

        Args:
            place: the row.
            ks: numbers of coordinates; those that the row does not have are left out.
            reach: PLM -> the delta that reaches the collection's points, and its φ at p = 0.
        """
        plm = self.run.opened()
        body, start = reach(plm)
        origin = start + place.origin.to(start)
        if place.columns is None:
            with torch.no_grad():
                fixed = LinearProbe().on(settled(body.plm, body.overrides(origin)))
            found = {0: self.best(fixed, fixed=True)}
        else:
            head = Additive(plm, head_names(plm))
            restricted = {k: body.restrict(place.columns(k), origin=origin) for k in ks if k <= place.largest}
            found = {k: self.best(delta + head) for k, delta in restricted.items()}
        return pd.DataFrame(
            [{"row": place.row, "k": k, "score": b.score, "loss": b.loss, "lr": b.lr} for k, b in found.items()],
            columns=["row", "k", "score", "loss", "lr"],
        )  # fmt: skip

    def best(self, delta: Delta, *, fixed: bool = False) -> Best:
        """The fit of a delta, its head included, at the step size that is best on validation data.

        Args:
            delta: on the PLM of the task.
            fixed: only the head moves: its own step size is tried at as many values.
        """
        encoded = self.run.data.encode(delta.plm, max_length=self.run.max_length)
        lrs = tuple(self.head_lr * lr / max(self.lrs) for lr in self.lrs) if fixed else self.lrs
        judged = self.run.n_validation if len(lrs) > 1 else self.run.batch_size  # one step size: nothing to choose
        fits = [
            fit(
                delta, encoded, steps=self.steps, lr=lr, head_lr=None if fixed else self.head_lr,
                batch_size=self.run.batch_size, seed=self.run.seed, evaluation_size=judged, train_evaluations="last",
            )
            for lr in lrs
        ]  # fmt: skip
        chosen = max(fits, key=_merit)
        loss, score = evaluate(delta, encoded, chosen.phi, "test")
        return Best(score, loss, chosen.lr, chosen.phi)


@dataclass(frozen=True, eq=False)
class Best:
    """The fit that was chosen: score and loss [nats] on test data, its step size, its φ."""

    score: float
    loss: float
    lr: float
    phi: Tensor


def _merit(found: Fit) -> tuple[float, float]:
    """Validation score, then the lower loss; runs that diverged come last."""
    if found.status != "finished":
        return -np.inf, -np.inf
    return found.score, -float(found.history[-1]["loss"])
