"""A PLM taken apart: its blocks, each replayable alone, and its skeleton, the model's own code without its blocks.

Nothing of a family's code is written again. The skeleton is a structural copy whose blocks pass their input on; running
it up to the first block gives the embedding, injecting the last block's output and running on gives the readout, and on
an encoder-decoder what lies between the two chains of blocks comes out in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from lab.models.graft import structural_copy
from lab.models.plm import PLM, Batch, Overrides


@dataclass(frozen=True, eq=False)
class BlockCall:
    """One block's call in one forward pass.

    Attributes:
        arguments: leaves of (args, kwargs); the first is the hidden state.
        spec: their structure.
        outputs: leaves of what the block returned; the first is the next hidden state.
        output_spec: their structure.
        labels: the name of the block's parameter that each argument leaf is (part of).
    """

    arguments: tuple[Any, ...]
    spec: TreeSpec
    outputs: tuple[Any, ...]
    output_spec: TreeSpec
    labels: tuple[str, ...]

    def with_arguments(self, values: Mapping[int, Tensor]) -> tuple[tuple, dict]:
        """(args, kwargs) with some leaves replaced."""
        leaves = [values.get(i, leaf) for i, leaf in enumerate(self.arguments)]
        return tree_unflatten(leaves, self.spec)

    def constant(self) -> BlockCall:
        """The same call without autograd graph, and with the hidden states' shapes in place of their numbers."""
        arguments = [self.arguments[0].to("meta"), *self.arguments[1:]]
        outputs = [self.outputs[0].to("meta"), *self.outputs[1:]]
        return replace(self, arguments=_detached(arguments), outputs=_detached(outputs))

    def with_hidden_output(self, hidden: Tensor) -> Any:
        """What the block would return if its hidden state were `hidden`."""
        return tree_unflatten([hidden, *self.outputs[1:]], self.output_spec)


def record_blocks(plm: PLM, overrides: Overrides, batch: Batch) -> tuple[tuple[BlockCall, ...], Tensor]:
    """Runs the PLM once and records every block's call; returns the calls and the logits.

    The hidden state that enters block 0 is made to require a gradient, so that whatever depends on it is found later.

    Raises:
        ValueError: a block does not run exactly once in order of depth, or its first argument is no tensor.
    """
    names = plm.architecture.block_names(plm.model)
    calls: list[tuple[int, BlockCall]] = []

    def hook(block: int) -> Callable[..., None]:
        def keep(module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
            arguments, spec = tree_flatten((args, kwargs))
            outputs, output_spec = tree_flatten(output)
            labels = _labels(module, args, kwargs)
            calls.append((block, BlockCall(tuple(arguments), spec, tuple(outputs), output_spec, labels)))

        return keep

    def watch(module: nn.Module, args: tuple) -> tuple:
        return args if args[0].requires_grad else (args[0].detach().requires_grad_(), *args[1:])

    handles = [plm.model.get_submodule(names[0]).register_forward_pre_hook(watch)] + [
        plm.model.get_submodule(name).register_forward_hook(hook(block), with_kwargs=True)
        for block, name in enumerate(names)
    ]
    try:
        logits = plm.logits(overrides, batch)
    finally:
        for handle in handles:
            handle.remove()
    order = [block for block, _ in calls]
    if order != list(range(len(names))):
        raise ValueError(
            f"blocks must run once each, in order of depth; {plm.name!r} ran {order[:20]} of {len(names)} blocks."
        )
    for block, call in calls:
        if not isinstance(call.arguments[0], Tensor) or not isinstance(call.outputs[0], Tensor):
            raise ValueError(f"block {block} of {plm.name!r} does not take and return its hidden state first.")
    return tuple(call for _, call in calls), logits


def chain_starts(calls: tuple[BlockCall, ...]) -> tuple[int, ...]:
    """The blocks whose hidden state is not the output of the block before: 0, and on T5 the decoder's first."""
    return tuple(b for b, call in enumerate(calls) if b == 0 or call.arguments[0] is not calls[b - 1].outputs[0])


def run_block(
    plm: PLM, block: int, call: BlockCall, overrides: Overrides, arguments: Mapping[int, Tensor]
) -> tuple[Any, ...]:
    """Replays one block with some parameters and arguments replaced; returns the leaves of its output.

    Args:
        plm: the host.
        block: its index.
        call: the recorded call; leaves not given anew are taken from it.
        overrides: full parameter name -> tensor; names outside the block are ignored.
        arguments: index of a leaf of (args, kwargs) -> tensor; 0 is the hidden state.
    """
    name = plm.architecture.block_names(plm.model)[block]
    prefix = f"{name}."
    own = {key.removeprefix(prefix): value for key, value in overrides.items() if key.startswith(prefix)}
    args, kwargs = call.with_arguments(arguments)
    return tuple(tree_flatten(functional_call(plm.model.get_submodule(name), own, args, kwargs))[0])


class _Reached(Exception):
    """Carries the leaves of a block's arguments out of the skeleton's forward pass."""

    def __init__(self, arguments: list[Any]):
        self.arguments = arguments


class Skeleton:
    """What a PLM computes outside its blocks, as functions of the overrides and of what the blocks hand over."""

    def __init__(self, plm: PLM, batch: Batch, calls: tuple[BlockCall, ...], starts: tuple[int, ...]):
        self._plm, self._batch, self._calls, self._starts = plm, batch, calls, starts
        self._model = structural_copy(plm.model)
        self._stop: int | None = None
        self._ends: dict[int, Tensor] = {}
        for block, name in enumerate(plm.architecture.block_names(plm.model)):
            module = self._model.get_submodule(name)
            for hooks in (module._forward_hooks, module._forward_pre_hooks):
                hooks.clear()  # a block's own hooks belong to the block, which is not run here
            module.forward = self._stub(block)

    def _stub(self, block: int) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            if block == self._stop:
                raise _Reached(tree_flatten((args, kwargs))[0])
            return self._calls[block].with_hidden_output(self._ends.get(block, args[0]))

        return forward

    def _run(self, overrides: Overrides, ends: dict[int, Tensor], stop: int | None) -> Tensor:
        self._ends, self._stop = ends, stop
        try:
            return self._plm.head.logits(
                lambda **inputs: functional_call(self._model, dict(overrides), (), inputs), self._batch
            )
        finally:
            self._ends, self._stop = {}, None

    def _end_of_chain(self, chain: int) -> int:
        """The last block of a chain."""
        return (*self._starts, len(self._calls))[chain + 1] - 1

    def enter(self, chain: int, overrides: Overrides, before: Tensor | None = None) -> list[Any]:
        """Leaves of the arguments of the chain's first block; `before` is what the chain before it ended in."""
        ends = {} if before is None else {self._end_of_chain(chain - 1): before}
        try:
            self._run(overrides, ends, self._starts[chain])
        except _Reached as reached:
            return reached.arguments
        raise RuntimeError(f"block {self._starts[chain]} was not reached although it was when recorded.")

    def read_out(self, overrides: Overrides, end: Tensor) -> Tensor:
        """The logits from the hidden state that leaves the last block."""
        return self._run(overrides, {len(self._calls) - 1: end}, None)


def _labels(module: nn.Module, args: tuple, kwargs: dict) -> tuple[str, ...]:
    """Per leaf of (args, kwargs), the name under which the block's forward receives it."""
    positional = list(signature(module.forward).parameters)[: len(args)]
    labels = [*positional, *(f"argument {i}" for i in range(len(positional), len(args))), *kwargs]
    values = [*args, *kwargs.values()]
    return tuple(label for label, value in zip(labels, values, strict=True) for _ in tree_flatten(value)[0])


def _detached(leaves: list[Any]) -> tuple[Any, ...]:
    return tuple(leaf.detach() if isinstance(leaf, Tensor) else leaf for leaf in leaves)
