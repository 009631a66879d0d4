"""What one training step costs: live bytes and floating-point operations, counted operation by operation.

The count needs no values, so it runs on torch's meta device: models that fit no machine are counted exactly.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakIdKeyDictionary

from lab.deltas import Additive, Combined, Delta
from lab.deltas.side_path import Beside
from lab.models import PLM
from lab.models.plm import Batch

Overrides = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


@dataclass(frozen=True)
class StepCost:
    """One training step: what is in memory when most is [bytes], and the operations of its matrix products [FLOPs].

    Attributes:
        parameters: of the PLM and of the delta.
        optimizer: AdamW's two moments of every trained number.
        gradients: gradients of the trained numbers, as far as they exist at the peak.
        activations: everything else that lives at the peak: what the forward pass saved, and intermediate results.
        forward_flops: of the forward pass.
        activation_flops: of the backward pass to activations.
        weight_flops: of the backward pass to weights: products whose result is a gradient of trained numbers.
    """

    parameters: int
    optimizer: int
    gradients: int
    activations: int
    forward_flops: int
    activation_flops: int
    weight_flops: int

    @property
    def peak(self) -> int:
        """Bytes at the peak of the step."""
        return self.parameters + self.optimizer + self.gradients + self.activations

    @property
    def flops(self) -> int:
        return self.forward_flops + self.activation_flops + self.weight_flops


class TrainingStep:
    """A step as an optimiser in place runs it: every part of φ a tensor of its own.

    Where a delta adds φ to parameters (full fine-tuning, BitFit, grafts), the changed parameters themselves are the
    leaves: θ + φ would hold θ, φ and their sum, which no one who trains in place pays for.

    Args:
        delta: what is trained; updates are kept beside the layers where the method allows it (`Delta.unmerged`).

    Attributes:
        plm: the host the step runs on.
        leaves: the trained tensors; they share memory with the PLM, so an optimiser that moves them changes it.

    Raises:
        ValueError: two summands of the delta change the same parameter.
    """

    def __init__(self, delta: Delta):
        unmerged = delta.unmerged
        self.plm: PLM = unmerged.plm
        summands = _summands(unmerged)
        self._summands = [_in_place(summand) for summand in summands]
        self.leaves = [leaf for parts, _ in self._summands for leaf in parts.values()]
        self._places = {name for summand in summands if isinstance(summand, Beside) for name in summand.names.values()}

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy [nats] of the batch's "labels" under the leaves."""
        overrides: dict[str, Tensor] = {}
        for parts, function in self._summands:
            new = function(parts)
            if overrides.keys() & new.keys():
                twice = sorted(overrides.keys() & new.keys())[:3]
                raise ValueError(f"a step in place needs summands of different parameters; both change {twice}.")
            overrides |= new
        return torch.nn.functional.cross_entropy(self.plm.logits(overrides, batch), batch["labels"])

    @property
    def bytes_of_parameters(self) -> int:
        """θ and the delta's own parameters; where a leaf takes a parameter's place, that one is counted once."""
        held = [value for name, value in self.plm.parameters.items() if name not in self._places]
        return sum({id(s): s.nbytes() for s in _storages([*held, *self.leaves])}.values())


def _summands(delta: Delta) -> list[Delta]:
    return [*_summands(delta.first), *_summands(delta.second)] if isinstance(delta, Combined) else [delta]


def _in_place(delta: Delta) -> tuple[dict[str, Tensor], Overrides]:
    """Leaves by name, and the overrides they make."""
    if isinstance(delta, Additive):
        parameters = delta.plm.parameters
        return {name: _leaf(parameters[name]) for name in delta.layout.names}, dict
    parts = delta.layout.unflatten(delta.phi0)
    return {name: _leaf(value.contiguous().clone()) for name, value in parts.items()}, delta.overrides_of


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_(True)


def step_cost(delta: Delta, batch: Batch) -> StepCost:
    """Memory and operations of one step of AdamW on a batch with "labels".

    Runs the forward and the backward pass once and follows every storage from its first appearance to its end; the
    optimiser's update in place adds nothing to the peak, its moments are counted by size. FLOPs are those of
    `torch.utils.flop_counter` (2·m·n·k for a matrix product; elementwise work counts as nothing).

    What kernels allocate for themselves is not seen. With attention="sdpa" the count is that of the fused kernel.

    Args:
        delta: on any device; on "meta" (`lab.models.meta_plm`) nothing is computed or allocated.
        batch: "input_ids", "attention_mask", "labels" on the same device; see `example_batch`.

    Raises:
        ValueError: two summands of the delta change the same parameter.
    """
    step = TrainingStep(delta)
    tally = _Tally(known=[*step.plm.parameters.values(), *step.plm.model.buffers(), *step.leaves, *batch.values()])
    with tally:
        loss = step.loss(batch)
        tally.backward = True
        loss.backward()
    gradients = [leaf.grad for leaf in step.leaves if leaf.grad is not None]
    own, others = tally.at_peak({tally.serial(storage) for storage in _storages(gradients)})
    trained = sum(leaf.nbytes for leaf in step.leaves)
    return StepCost(
        parameters=step.bytes_of_parameters,
        optimizer=2 * trained,
        gradients=own,
        activations=others,
        forward_flops=tally.forward_flops,
        activation_flops=tally.backward_flops - tally.flops_into(gradients),
        weight_flops=tally.flops_into(gradients),
    )


def example_batch(plm: PLM, batch_size: int, tokens: int, *, seed: int = 0) -> dict[str, Tensor]:
    """Texts of random tokens without padding, and random labels, on the PLM's device."""
    generator = torch.Generator().manual_seed(seed)
    vocabulary = plm.model.get_submodule(plm.architecture.embedding_name(plm.model)).get_parameter("weight").shape[0]
    low = min(1000, vocabulary // 2)  # special tokens, padding among them, have small ids
    ids = torch.randint(low, vocabulary, (batch_size, tokens), generator=generator)
    labels = torch.randint(0, plm.num_labels, (batch_size,), generator=generator)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    return {name: value.to(plm.device) for name, value in batch.items()}


def _storages(tensors: Iterable[Tensor]) -> list[torch.UntypedStorage]:
    return [tensor.untyped_storage() for tensor in tensors]


class _Tally(TorchDispatchMode):
    """Follows storages and matrix products while it is active."""

    def __init__(self, known: Iterable[Tensor]):
        super().__init__()
        self.backward = False
        self.forward_flops = self.backward_flops = 0
        self._serials = WeakIdKeyDictionary()  # storage -> its number; what was there before has none that counts
        self._sizes: list[int] = []
        self._events: list[tuple[int, int]] = []  # (number, + or - bytes), in order of time
        self._products: list[tuple[int, int]] = []  # (number of the result, FLOPs), of the backward pass
        self._passed_on: list[tuple[int, int]] = []  # (number of an operand, of a result of the same size)
        for storage in _storages(known):
            self._serials[storage] = -1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        results = [self._number(t) for t in tree_leaves(out) if isinstance(t, Tensor)]
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            flops = count(*args, **kwargs, out_val=out)
            if self.backward:
                self.backward_flops += flops
                self._products.append((results[0], flops))
            else:
                self.forward_flops += flops
        elif self.backward and results and results[0] >= 0:
            operands = {self._serials.get(t.untyped_storage(), -1) for t in tree_leaves(args) if isinstance(t, Tensor)}
            same = [n for n in operands if n >= 0 and self._sizes[n] == self._sizes[results[0]]]
            self._passed_on += [(n, results[0]) for n in same]
        return out

    def _number(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        if storage not in self._serials:
            serial, size = len(self._sizes), storage.nbytes()
            self._serials[storage] = serial
            self._sizes.append(size)
            self._events.append((serial, size))
            weakref.finalize(storage, self._events.append, (serial, -size)).atexit = False
        return self._serials[storage]

    def serial(self, storage: torch.UntypedStorage) -> int:
        return self._serials[storage]

    def at_peak(self, chosen: set[int]) -> tuple[int, int]:
        """Bytes alive when most are, of the chosen storages and of the others."""
        if not self._events:
            return 0, 0
        sizes = np.array([size for _, size in self._events], dtype=np.int64)
        own = np.array([serial in chosen for serial, _ in self._events])
        peak = int(np.argmax(np.cumsum(sizes))) + 1
        return int(sizes[:peak][own[:peak]].sum()), int(sizes[:peak][~own[:peak]].sum())

    def flops_into(self, gradients: Iterable[Tensor]) -> int:
        """FLOPs of backward products whose result is one of the gradients, or becomes it by sums and scalings alone."""
        ends = {self.serial(g.untyped_storage()) for g in gradients if g.untyped_storage().nbytes() == g.nbytes}
        for source, target in reversed(self._passed_on):
            if target in ends:
                ends.add(source)
        return sum(flops for serial, flops in self._products if serial in ends)
