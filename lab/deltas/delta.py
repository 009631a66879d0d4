"""`Delta`: a smooth map φ ∈ R^d ↦ parameter overrides of a frozen PLM, closed under composition and addition."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from lab.faces import Facts, faced
from lab.linalg import Layout, LinearOperator, LowRank, Part
from lab.models import PLM, graft
from lab.models.plm import Batch

WeightDifference = dict[str, Tensor | LowRank]


@dataclass(frozen=True)
class Counts:
    """How many numbers a delta trains, stores and adds, with the percentage the field reports.

    Attributes:
        trained: d, the coordinates the optimiser moves, head included.
        stored: numbers to keep after training (fewer than `trained` where training reparameterises, as prefix MLPs do).
        head: how many of `trained` belong to a newly initialised head.
        added: parameters the delta adds to the PLM (grafts, low-rank factors); 0 for changes of native weights.
        native: D, the PLM's own parameters.
    """

    trained: int
    stored: int
    head: int
    added: int
    native: int

    @property
    def percent(self) -> float:
        """100·d / (D + added), the convention of Ding et al. 2023, Table 2."""
        return 100 * self.trained / (self.native + self.added)

    @property
    def percent_without_head(self) -> float:
        """The same without the newly initialised head in the numerator."""
        return 100 * (self.trained - self.head) / (self.native + self.added)


def no_penalty(phi: Tensor) -> Tensor | float:
    """0, for every φ."""
    return 0.0


@dataclass(frozen=True, eq=False)
class StreamedForm:
    """A step whose gradients are projected as they appear: one forward and backward pass, under no transform.

    Attributes:
        plm: the host whose parameters are overridden.
        begun: φ -> (the overrides of one step; a function that gives the gradient in φ after the backward pass).
    """

    plm: PLM
    begun: Callable[[Tensor], tuple[dict[str, Tensor], Callable[[], Tensor]]]


@dataclass(frozen=True, eq=False)
class TrainingForm:
    """A delta as a trainer sees it: minimise loss(plm.logits(sampled(φ, noise), batch)) + penalty(φ), then finish.

    Attributes:
        plm: the host whose parameters are overridden.
        sampled: (φ, noise) -> the overrides of one step; smooth in φ. Without noise, `Delta.overrides`.
        penalty: φ -> what training adds to the loss [nats], a scalar; 0 for all but diff pruning (its expected L0).
        finish: φ -> the delta that is stored after training and its own φ; None where all of φ is stored as it is.
        noise: seed -> the random numbers of one step, shape (n_noise,), a pure function of the seed. It is an argument
            of `sampled`, so that many φ can be trained under one `vmap`, each with its own.
        n_noise: 0 for all but diff pruning.
        streamed: the same step for one φ at a time, in less memory or time; None where there is no such form.
    """

    plm: PLM
    sampled: Callable[[Tensor, Tensor], dict[str, Tensor]]
    noise: Callable[[int], Tensor]
    n_noise: int = 0
    penalty: Callable[[Tensor], Tensor | float] = no_penalty
    finish: Callable[[Tensor], tuple[Delta, Tensor]] | None = None
    streamed: StreamedForm | None = None


def _facts(delta: Delta) -> Facts:
    return {
        "PLM": f"{delta.plm.name}, {delta.plm.size:,} parameters", "trained": f"{delta.size:,} numbers",
        "of them head": delta.head_size or None, "stored": delta.stored_size, "parts": len(delta.layout.names),
        "starts at the PLM": delta.at_identity,
    }  # fmt: skip


@faced(_facts, lambda delta: f"Delta {delta.title}" if delta.title else type(delta).__name__, plain=False)
class Delta(ABC):
    """A smooth map φ ∈ R^d ↦ {parameter name: tensor used in its place}.

    Attributes:
        plm: the host whose parameters are overridden; it may carry grafts.
        layout: the named parts of φ, with the block (layer) each part acts in; `layout.size` is d.
        phi0: the start φ₀, shape (d,), in the PLM's dtype and device.
        at_identity: whether logits(φ₀) equal the PLM's own, bit for bit.
        head_size: how many coordinates of φ belong to a newly initialised head.
        n_added: parameters this delta adds to the PLM.
        stored_size: numbers to keep after training.
        title: of the method that made it; "" where none did.
    """

    plm: PLM
    layout: Layout
    phi0: Tensor
    at_identity: bool
    head_size: int = 0
    n_added: int = 0
    title: str = ""

    @abstractmethod
    def overrides(self, phi: Tensor) -> dict[str, Tensor]:
        """Parameter name -> its value under φ; only the parameters that change occur."""

    def overrides_of(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The overrides that some parts of φ cause while the others stay at φ₀.

        Equal to `overrides` on every parameter the given parts act on; parameters they do not act on may be absent.
        This is what makes one block of a PLM a function of its own slice of φ; methods override it to skip the other
        blocks.

        Args:
            parts: part name of `layout` -> tensor of that part's shape.
        """
        values = self.layout.unflatten(self.phi0) | dict(parts)
        return self.overrides(self.layout.flatten(values))

    def training(self) -> TrainingForm:
        """How this map is trained: the one hook for methods that sample, penalise or prune (diff pruning).

        Of the map as it is; a trainer takes the steps of `self.unmerged.training()`, whose logits are the same.
        """
        return TrainingForm(self.plm, lambda phi, _noise: self.overrides(phi), lambda _seed: self.phi0.new_zeros(0))

    @property
    def unmerged(self) -> Delta:
        """The same map φ ↦ logits, its change kept beside the layers instead of inside their weights.

        Then no gradient of the size of a weight is formed, and under `vmap` over φ all share the products with θ: the
        form for training and for serving many φ at once. Itself where a method has no such form.
        """
        return self

    @property
    def size(self) -> int:
        """d, the number of trained coordinates."""
        return self.layout.size

    @property
    def stored_size(self) -> int:
        return self.size

    @property
    def counts(self) -> Counts:
        return Counts(self.size, self.stored_size, self.head_size, self.n_added, self.plm.size)

    def logits(self, phi: Tensor, batch: Batch) -> Tensor:
        """Logits of the PLM under φ, shape (batch, num_labels) with a classification head."""
        if phi.shape != (self.size,):
            raise ValueError(f"this delta's φ has shape ({self.size},); got {tuple(phi.shape)}.")
        return self.plm.logits(self.overrides(phi), batch)

    def weight_difference(self, phi: Tensor) -> WeightDifference:
        """ΔW of every native weight matrix that φ changes, as a dense tensor (m, n) or as its factors.

        Embeddings and heads are weight matrices too; vectors (biases, norms) are left out.
        """
        native = self.plm.parameters
        overrides = self.overrides(phi)
        return as_matrices(self.plm, {n: value - native[n] for n, value in overrides.items() if n in native})

    def restrict(self, P: LinearOperator, origin: Tensor | None = None) -> Delta:
        """The same delta on an affine subspace: x ∈ R^k ↦ overrides(origin + P x), started at x = 0.

        This *is* intrinsic-dimension training when the delta is full fine-tuning and P a random projection
        (Li et al. 2018, eq. 2: θ = θ₀ + P φ), and training in a shared task subspace when P is a basis.

        Args:
            P: operator (d, k).
            origin: point of R^d the subspace passes through; default φ₀.

        Raises:
            ValueError: P does not map into R^d, or origin has another length.
        """
        if P.shape[0] != self.size:
            raise ValueError(f"P must map into R^{self.size} (this delta's φ); got an operator of shape {P.shape}.")
        if origin is not None and origin.shape != (self.size,):
            raise ValueError(f"origin must have shape ({self.size},); got {tuple(origin.shape)}.")
        start = self.phi0 if origin is None else origin.to(self.phi0)
        # φ₀ = 0 for most methods: spare a pass over D numbers (models without weights have nothing to look at)
        shift = start if start.device.type != "meta" and bool(start.any()) else None

        def embed(x: Tensor) -> Tensor:
            moved = P @ x
            return moved if shift is None else shift + moved

        x0 = self.phi0.new_zeros(P.shape[1])
        identity = self.at_identity and (origin is None or torch.equal(origin, self.phi0))
        return Reparameterized(self, embed, x0, at_identity=identity)

    def reparameterize(self, g: Callable[[Tensor], Tensor], z0: Tensor) -> Delta:
        """The delta z ∈ R^k ↦ overrides(g(z)), started at z0; g: R^k -> R^d smooth."""
        reached = g(z0)
        if reached.shape != (self.size,):
            raise ValueError(f"g must map into R^{self.size} (this delta's φ); g(z0) has shape {tuple(reached.shape)}.")
        return Reparameterized(self, g, z0, at_identity=self.at_identity and torch.equal(reached, self.phi0))

    def __add__(self, other: Delta) -> Delta:
        """Both changes at once: R^{d₁+d₂} ∋ (φ₁, φ₂); where both change a native weight, the differences add."""
        return Combined(self, other) if isinstance(other, Delta) else NotImplemented

    def __repr__(self) -> str:
        kind = f"{self.title}, " if self.title else ""
        return f"{type(self).__name__}({kind}size={self.size:,}, plm={self.plm.name!r})"


class Reparameterized(Delta):
    """z ↦ overrides(g(z)) of another delta.

    Args:
        inner: the other delta.
        g: smooth map R^k -> R^d.
        z0: start.
        at_identity: whether g(z0) is the inner delta's start at the identity.
        layout: named parts of z; default one part "z".
        stored_size: numbers to keep when g itself is trained and then discarded; default all of z.
    """

    def __init__(
        self,
        inner: Delta,
        g: Callable[[Tensor], Tensor],
        z0: Tensor,
        *,
        at_identity: bool,
        layout: Layout | None = None,
        stored_size: int | None = None,
    ):
        self.inner, self.g = inner, g
        self.plm, self.phi0, self.at_identity = inner.plm, z0, at_identity
        self.layout = Layout((Part("z", tuple(z0.shape)),)) if layout is None else layout
        # a generator that is thrown away after training (prefix MLP) is part of the model while it trains
        self.n_added = inner.n_added if stored_size is None else self.layout.size
        self._stored_size = self.layout.size if stored_size is None else stored_size

    @cached_property
    def unmerged(self) -> Delta:
        inner = self.inner.unmerged
        if inner is self.inner:
            return self
        return Reparameterized(
            inner, self.g, self.phi0, at_identity=self.at_identity, layout=self.layout, stored_size=self._stored_size
        )

    def training(self) -> TrainingForm:
        form, g = self.inner.training(), self.g
        finish = form.finish
        return replace(
            form,
            sampled=lambda z, noise: form.sampled(g(z), noise),
            penalty=no_penalty if form.penalty is no_penalty else lambda z: form.penalty(g(z)),
            finish=None if finish is None else lambda z: finish(g(z)),
            streamed=None,
        )

    @property
    def stored_size(self) -> int:
        return self._stored_size

    def overrides(self, phi: Tensor) -> dict[str, Tensor]:
        return self.inner.overrides(self.g(phi))

    def weight_difference(self, phi: Tensor) -> WeightDifference:
        return self.inner.weight_difference(self.g(phi))


class Combined(Delta):
    """(φ₁, φ₂) ↦ both changes, on a host that carries the grafts of both."""

    def __init__(self, first: Delta, second: Delta):
        if first.plm.model is not second.plm.model and not _same_weights(first.plm, second.plm):
            raise ValueError(
                f"both deltas must be built on the same PLM; got {first.plm.name!r} and {second.plm.name!r} with "
                "different weights. Call `.on(plm)` of both methods with one loaded PLM."
            )
        self.first, self.second = first, second
        self.plm = _with_grafts_of(first.plm, second.plm)
        self.layout = _joined(first.layout, second.layout)
        self.phi0 = torch.cat([first.phi0, second.phi0])
        self.at_identity = first.at_identity and second.at_identity
        self.head_size = first.head_size + second.head_size
        self.n_added = first.n_added + second.n_added

    @cached_property
    def unmerged(self) -> Delta:
        """Both unmerged, unless they meet in a layer: there only weight differences add up, whatever the order."""
        first, second = self.first.unmerged, self.second.unmerged
        if (first is self.first and second is self.second) or _meet(self.first, self.second):
            return self
        return Combined(first, second)

    def training(self) -> TrainingForm:
        first, second = self.first.training(), self.second.training()

        def sampled(phi: Tensor, noise: Tensor) -> dict[str, Tensor]:
            (phi1, phi2), (u1, u2) = self._split(phi), torch.split(noise, [first.n_noise, second.n_noise])
            return self._merged(first.sampled(phi1, u1), second.sampled(phi2, u2))

        def penalty(phi: Tensor) -> Tensor | float:
            phi1, phi2 = self._split(phi)
            return first.penalty(phi1) + second.penalty(phi2)

        def finish(phi: Tensor) -> tuple[Delta, Tensor]:
            phi1, phi2 = self._split(phi)
            delta1, phi1 = (self.first, phi1) if first.finish is None else first.finish(phi1)
            delta2, phi2 = (self.second, phi2) if second.finish is None else second.finish(phi2)
            return Combined(delta1, delta2), torch.cat([phi1, phi2])

        return TrainingForm(
            self.plm,
            sampled,
            lambda seed: torch.cat([first.noise(seed), second.noise(~seed)]),
            first.n_noise + second.n_noise,
            penalty,
            None if first.finish is None and second.finish is None else finish,
        )

    @property
    def stored_size(self) -> int:
        return self.first.stored_size + self.second.stored_size

    def _split(self, phi: Tensor) -> tuple[Tensor, ...]:
        return torch.split(phi, [self.first.size, self.second.size])

    def overrides(self, phi: Tensor) -> dict[str, Tensor]:
        phi1, phi2 = self._split(phi)
        return self._merged(self.first.overrides(phi1), self.second.overrides(phi2))

    def overrides_of(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        n = len(self.first.layout)
        second_name = dict(zip(self.layout.names[n:], self.second.layout.names, strict=True))
        first = {name: value for name, value in parts.items() if name not in second_name}
        second = {second_name[name]: value for name, value in parts.items() if name in second_name}
        return self._merged(
            self.first.overrides_of(first) if first else {}, self.second.overrides_of(second) if second else {}
        )

    def _merged(self, merged: dict[str, Tensor], others: dict[str, Tensor]) -> dict[str, Tensor]:
        for name, value in others.items():
            merged[name] = merged[name] + (value - self.plm.parameters[name]) if name in merged else value
        return merged

    def weight_difference(self, phi: Tensor) -> WeightDifference:
        phi1, phi2 = self._split(phi)
        both = set(self.first.overrides(phi1)) & set(self.second.overrides(phi2))
        separate = self.first.weight_difference(phi1) | self.second.weight_difference(phi2)
        together = {name: value for name, value in super().weight_difference(phi).items() if name in both}
        return {label: value for label, value in separate.items() if label.split("[")[0] not in both} | together


def as_matrices(plm: PLM, changes: Mapping[str, Tensor]) -> WeightDifference:
    """Changes of parameters as changes of matrices (m, n), rows = outputs; vectors and grafted parameters are left out.

    GPT-2 stores the transpose of its matrices; a change of such a parameter is turned.
    """
    whole = {m.name: m for m in plm.matrices(plm.architecture.roles(plm.model)) if m.rows is None}
    return {
        name: whole[name].of(change) if name in whole else change
        for name, change in changes.items()
        if change.ndim == 2 and name not in plm.grafted_names
    }


def _with_grafts_of(first: PLM, second: PLM) -> PLM:
    """The first host with those grafts of the second that it lacks."""
    present = {g.attach for g in first.grafts}
    missing = tuple(g for g in second.grafts if g.attach not in present)
    return graft(first, *missing) if missing else first


def _meet(first: Delta, second: Delta) -> bool:
    """Whether two deltas change parameters of one layer, a layer's grafts included."""
    with torch.no_grad():
        one, two = first.overrides(first.phi0).keys(), second.overrides(second.phi0).keys()
    layers = [{name.rpartition(".")[0] + "." for name in names} for names in (one, two)]
    pairs = ((one, layers[1]), (two, layers[0]))
    return any(name.startswith(tuple(theirs)) for names, theirs in pairs for name in names)


def _same_weights(first: PLM, second: PLM) -> bool:
    """Whether the native parameters of two hosts are the very same tensors."""
    shared = first.layout.names == second.layout.names
    return shared and all(first.parameters[name] is second.parameters[name] for name in first.layout.names)


def _joined(first: Layout, second: Layout) -> Layout:
    """Direct sum with names kept where they are unique, and numbered where they are not."""
    taken = set(first.names)
    parts = list(first.parts)
    for part in second:
        name, n = part.name, 2
        while name in taken:
            name, n = f"{part.name}.{n}", n + 1
        taken.add(name)
        parts.append(Part(name, part.shape, part.block))
    return Layout(tuple(parts))
