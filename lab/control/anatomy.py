"""Which part of φ acts where in a PLM, and what the stages hand to each other; found by autograd, not by names.

One recorded forward pass at a random φ tells everything: an argument of a block that autograd connects to φ or h_0 must
be part of the state; a parameter outside the blocks acts at the embedding, the link or the readout iff autograd reaches
it there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lab.control.skeleton import BlockCall, Skeleton, chain_starts, record_blocks, run_block
from lab.deltas import Delta
from lab.linalg import Layout, Part
from lab.models.plm import Batch

Live = dict[str, Tensor]
Names = list[dict[int, str]]
HIDDEN = "hidden"
_PROBE_SCALE = 0.02  # of the random φ around φ₀; the size of initial weights, so the probe is an ordinary point
_GATE_SCALES = (0.02, 1.0, 10.0)  # clipped gates (masks, hard concrete) answer only where they are not saturated


@dataclass(frozen=True, eq=False)
class Stage:
    """A stage before its state is packed: (live tensors by name, u_t) -> the tensors it makes.

    Attributes:
        name: "embed", "block t", "link" or "readout".
        run: the map; HIDDEN is the hidden state in and out.
        controls: the parts of φ that are its control, in φ's order.
        hidden_shape: shape of the hidden state (or logits) it makes.
        needs: names of the live tensors it reads beside HIDDEN.
        produces: names of the tensors it makes beside HIDDEN.
    """

    name: str
    run: Callable[[Live, Tensor], Live]
    controls: Layout
    hidden_shape: tuple[int, ...]
    needs: frozenset[str]
    produces: tuple[str, ...]


class Anatomy:
    """A PLM under a delta, taken apart into stages.

    Attributes:
        probe: the random φ it was recorded at, (d,).
        logits: the PLM's own logits there.
        first_hidden: the hidden state that enters block 0 there.
        shapes: shape of every live tensor, by name.
    """

    def __init__(self, delta: Delta, batch: Batch):
        self._delta, self._plm = delta, delta.plm
        self._free = [part for part in delta.layout if part.block is None]
        phi0 = delta.phi0.contiguous()
        probe = (phi0 + _PROBE_SCALE * _random_like(phi0)).requires_grad_()
        with torch.enable_grad():
            overrides = delta.overrides(probe)
            calls, logits = record_blocks(self._plm, overrides, batch)
        self.probe, self.logits = probe.detach(), logits.detach()
        self.first_hidden = calls[0].arguments[0].detach()
        self._block_of = {name: self._plm.architecture.block_of(self._plm.model, name) for name in overrides}
        self._require_split()
        self._starts = chain_starts(calls)
        self._n_places = len(self._starts) + 1  # entries of the chains, and the readout
        self.shapes: dict[str, tuple[int, ...]] = {f"φ {part.name}": part.shape for part in delta.layout}
        self._inputs, self._outputs, self._entries = self._live_tensors(calls)
        ends = [calls[block - 1].outputs[0].detach() for block in (*self._starts, len(calls))]
        self._calls = tuple(call.constant() for call in calls)
        self._skeleton = Skeleton(self._plm, batch, self._calls, self._starts)
        self._outside = self._parts_outside(overrides, ends)

    def stages(self) -> tuple[Stage, ...]:
        """All stages in order; an embedding only if φ acts there."""
        stages = []
        for block in range(len(self._calls)):
            if block in self._starts:
                place = self._starts.index(block)
                if place > 0 or self._outside[0]:
                    stages.append(self._between(place, "link" if place else "embed"))
            stages.append(self._block(block))
        return (*stages, self._between(self._n_places - 1, "readout"))

    def _block(self, block: int) -> Stage:
        call, inputs, outputs = self._calls[block], self._inputs[block], self._outputs[block]
        controls = Layout(tuple(part for part in self._delta.layout if part.block == block))

        def run(live: Live, u: Tensor) -> Live:
            arguments = {0: live[HIDDEN], **{i: live[name] for i, name in inputs.items()}}
            leaves = run_block(self._plm, block, call, self._overrides(controls.unflatten(u), block), arguments)
            return {HIDDEN: leaves[0], **{name: leaves[j] for j, name in outputs.items()}}

        shape = tuple(call.outputs[0].shape)
        return Stage(f"block {block}", run, controls, shape, frozenset(inputs.values()), tuple(outputs.values()))

    def _between(self, place: int, name: str) -> Stage:
        """The embedding, the link between two chains, or the readout."""
        before = {part for parts in self._outside[:place] for part in parts}
        after = {part for parts in self._outside[place + 1 :] for part in parts}
        here = self._outside[place]
        controls = Layout(tuple(part for part in here if part not in before))
        given = [part.name for part in here if part in before]  # in the state since the stage that has them as control
        kept = [part.name for part in controls if part in after]
        last = place == self._n_places - 1
        made = {} if last else self._entries[place]

        def run(live: Live, u: Tensor) -> Live:
            parts = controls.unflatten(u)
            overrides = self._overrides(parts | {n: live[f"φ {n}"] for n in given}, None)
            if last:
                return {HIDDEN: self._skeleton.read_out(overrides, live[HIDDEN])}
            leaves = self._skeleton.enter(place, overrides, live[HIDDEN] if place else None)
            entered = {label: leaves[i] for i, label in made.items()}
            return {HIDDEN: leaves[0], **entered, **{f"φ {n}": parts[n] for n in kept}}

        first_block = None if last else self._calls[self._starts[place]]
        shape = tuple(self.logits.shape if first_block is None else first_block.arguments[0].shape)
        needs = frozenset(f"φ {n}" for n in given)
        return Stage(name, run, controls, shape, needs, (*made.values(), *(f"φ {n}" for n in kept)))

    def _overrides(self, parts: Live, block: int | None) -> Live:
        """Overrides of one block (None: outside all blocks) under some parts of φ, the others at φ₀."""
        if not parts:
            return {}
        return {name: value for name, value in self._delta.overrides_of(parts).items() if self._block_of[name] == block}

    def _live_tensors(self, calls: tuple[BlockCall, ...]) -> tuple[Names, Names, Names]:
        """Tensors that depend on φ or h_0 and enter blocks beside the hidden state: who takes them, who made them.

        Returns:
            Per block {argument leaf: name}, per block {output leaf: name}, per chain {argument leaf of its first block:
            name} for what comes from outside the blocks. Only tensors that some block takes are named.
        """
        origin: dict[int, tuple[str, int, int]] = {}  # id of a tensor -> ("block" | "entry", which, leaf)
        named: dict[int, str] = {}
        inputs: Names = []
        chain = -1
        for block, call in enumerate(calls):
            chain += block in self._starts
            taken = {i: leaf for i, leaf in enumerate(call.arguments) if i > 0 and _is_variable(leaf)}
            for i, leaf in taken.items():
                origin.setdefault(id(leaf), ("entry", chain, i))
                label = call.labels[i]
                named.setdefault(id(leaf), label if label not in named.values() else f"{label} of block {block}")
                self.shapes[named[id(leaf)]] = tuple(leaf.shape)
            inputs.append({i: named[id(leaf)] for i, leaf in taken.items()})
            for j, leaf in enumerate(call.outputs):
                if j > 0 and _is_variable(leaf):
                    origin.setdefault(id(leaf), ("block", block, j))
        outputs: Names = [{} for _ in calls]
        entries: Names = [{} for _ in self._starts]
        for key, name in named.items():
            kind, which, leaf = origin[key]
            (outputs if kind == "block" else entries)[which][leaf] = name
        return inputs, outputs, entries

    def _parts_outside(self, overrides: Live, ends: list[Tensor]) -> list[list[Part]]:
        """Per entry of a chain, and last for the readout: the parts of φ, of no block, that act there."""
        names = [name for name in overrides if self._block_of[name] is None]
        leaves = {name: overrides[name].detach().requires_grad_() for name in names}
        acting: list[list[Part]] = []
        for place in range(self._n_places):
            with torch.enable_grad():
                reached = [leaf for leaf in self._visit(place, leaves, ends[place]) if _is_variable(leaf)]
            if not reached:
                acting.append([])
                continue
            total = torch.stack([leaf.sum() for leaf in reached]).sum()
            gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
            used = {name for name, g in zip(names, gradients, strict=True) if g is not None}
            acting.append(self._free_parts_moving(used))
        acting[-1] += [part for part in self._free if not any(part in parts for parts in acting)]  # without any effect
        return acting

    def _visit(self, place: int, overrides: Live, end: Tensor) -> list:
        """Leaves that enter a chain's first block, or the logits, under the given overrides outside blocks."""
        if place == self._n_places - 1:
            return [self._skeleton.read_out(overrides, end)]
        return self._skeleton.enter(place, overrides, end if place else None)

    def _require_split(self) -> None:
        """Coordinates of no block must not move a block's parameters."""
        coupled = [
            part.name
            for part in self._free_parts_moving({name for name, block in self._block_of.items() if block is not None})
        ]
        if coupled:
            raise ValueError(
                f"φ does not split over blocks: {coupled[:3]} (of no block) moves parameters inside blocks, so one "
                "control acts at several times, as in DID, SAID and every restriction to a subspace. Use the delta "
                "before the restriction; its controls then follow φ = P z."
            )

    def _free_parts_moving(self, names: set[str]) -> list[Part]:
        """The parts of φ, of no block, that move any of the named parameters.

        Found by a vjp with random cotangents at random φ, which misses a dependence with probability 0.
        """
        start, free = self._delta.layout.unflatten(self._delta.phi0), [part.name for part in self._free]
        moving: set[str] = set()
        for scale in _GATE_SCALES if names and self._free else ():
            parts = {n: (start[n] + scale * _random_like(start[n])).requires_grad_() for n in free}
            with torch.enable_grad():
                changed = self._delta.overrides_of(parts)
            moved = [value for name, value in changed.items() if name in names and value.requires_grad]
            if moved:
                pulled = torch.autograd.grad(
                    moved, list(parts.values()), list(map(_random_like, moved)), allow_unused=True
                )
                moving |= {name for name, g in zip(parts, pulled, strict=True) if g is not None and bool(g.any())}
        return [part for part in self._free if part.name in moving]


def _random_like(x: Tensor) -> Tensor:
    """Standard normal numbers, always the same for one shape."""
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(x)


def _is_variable(leaf: object) -> bool:
    return isinstance(leaf, Tensor) and leaf.requires_grad
