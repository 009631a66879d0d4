"""How a delta acts where it acts: what it adds to the output of each module it changes, as a function of the input.

With D(x) = module(x; φ) − module(x; φ₀), measured at a random φ:

    "open loop"        D does not depend on x, or there is no state x  biases; embeddings and prompts
    "multiplicative"   D(x) = c ⊙ module(x; φ₀) with fixed c            (IA)³, scales of RMS norms
    "bilinear"         D(x) is affine in x                             LoRA, masks, weight matrices
    "nonlinear"        anything else                                   adapters, prefixes, LayerNorm with its bias

Everything but "open loop" is state feedback: what is added depends on the state it is added to.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_flatten

from lab.deltas import Delta
from lab.models.plm import PLM, Batch, Overrides

Kind = Literal["open loop", "multiplicative", "bilinear", "nonlinear"]
_SCALE = 0.1  # of the random φ around φ₀: large enough for D to stand out of rounding, small beside the weights


@dataclass(frozen=True)
class Injection:
    """One module that a delta changes.

    Attributes:
        site: the module's path; for grafts, of the native module that carries the graft.
        block: index of its block; None outside the blocks.
        blocks_before: how many blocks have run when it runs: 0 for the embedding, all of them for the readout.
        kind: see the module docstring.
    """

    site: str
    block: int | None
    blocks_before: int
    kind: Kind


def injections(delta: Delta, batch: Batch, *, seed: int = 0) -> tuple[Injection, ...]:
    """The modules a delta changes on this batch, and how; modules whose output φ does not move are left out.

    Args:
        delta: any delta, also one that is coupled over layers.
        batch: a fixed batch.
        seed: of the random φ and of the states D is compared at.
    """
    plm, generator = delta.plm, torch.Generator().manual_seed(seed)
    phi0 = delta.phi0.contiguous()
    phi = phi0 + _SCALE * torch.randn(delta.size, generator=generator, dtype=torch.float64).to(phi0)
    with torch.no_grad():
        at_start = delta.overrides(phi0)
        start, moved = _everywhere(plm, at_start), _everywhere(plm, delta.overrides(phi))
        sites = list(dict.fromkeys(_site(plm, name) for name in moved))
        calls = _record(plm, sites, at_start, batch)
        found = [
            Injection(site, plm.architecture.block_of(plm.model, f"{site}.x"), calls[site].blocks_before, kind)
            for site in sites
            if site in calls and (kind := _kind(plm.model, site, calls[site], start, moved, generator)) is not None
        ]
    return tuple(found)


def _everywhere(plm: PLM, overrides: Overrides) -> dict[str, Tensor]:
    """The overrides under every name a tied parameter has: T5's shared embedding is called as the encoder's."""
    shared = plm.parameters
    names: dict[int, list[str]] = {}
    for name, parameter in plm.model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return {alias: value for name, value in overrides.items() for alias in names[id(shared[name])]}


def _site(plm: PLM, parameter: str) -> str:
    """The native module that owns a parameter, or carries the graft that does."""
    path = parameter.split(".")
    for graft in plm.grafts:
        if parameter in graft.parameter_names:
            return ".".join(path[: path.index(graft.name)])
    return ".".join(path[:-1])


@dataclass(frozen=True, eq=False)
class _Call:
    args: tuple
    kwargs: dict
    blocks_before: int


def _record(plm: PLM, sites: list[str], overrides: Overrides, batch: Batch) -> dict[str, _Call]:
    """Each site's first call."""
    calls: dict[str, _Call] = {}
    finished: list[str] = []

    def keep(site: str, module: nn.Module, args: tuple, kwargs: dict) -> None:
        calls.setdefault(site, _Call(args, kwargs, len(finished)))

    def count(name: str, module: nn.Module, args: tuple, output: Any) -> None:
        finished.append(name)

    modules = plm.model.get_submodule
    handles = [modules(s).register_forward_pre_hook(partial(keep, s), with_kwargs=True) for s in sites]
    handles += [modules(b).register_forward_hook(partial(count, b)) for b in plm.architecture.block_names(plm.model)]
    try:
        plm.logits(overrides, batch)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _kind(
    model: nn.Module,
    site: str,
    call: _Call,
    start: Overrides,
    moved: Overrides,
    generator: torch.Generator,
) -> Kind | None:
    """The kind of D at one site; None where D = 0."""
    args, kwargs = call.args, call.kwargs
    states = [i for i, x in enumerate(args) if isinstance(x, Tensor) and x.is_floating_point()]
    keyed = [k for k, x in kwargs.items() if isinstance(x, Tensor) and x.is_floating_point() and "hidden" in k]

    def output(overrides: Overrides, x: Tensor | None) -> Tensor:
        own = {name.removeprefix(f"{site}."): v for name, v in overrides.items() if name.startswith(f"{site}.")}
        new_args = tuple(x if x is not None and states and i == states[0] else a for i, a in enumerate(args))
        new_kwargs = {k: x if x is not None and not states and k == keyed[0] else a for k, a in kwargs.items()}
        result: Any = functional_call(model.get_submodule(site), own, new_args, new_kwargs)
        return tree_flatten(result)[0][0]

    def D(x: Tensor | None) -> Tensor:
        return output(moved, x) - output(start, x)

    first = args[states[0]] if states else kwargs[keyed[0]] if keyed else None
    if first is None:
        return "open loop" if D(None).any() else None
    x1, x2, x3 = (first * (1 + 0.5 * torch.randn(first.shape, generator=generator).to(first)) for _ in range(3))
    D1, D2, D3 = D(x1), D(x2), D(x3)
    size = torch.linalg.vector_norm(D1)
    if not bool(size > 0):
        return None

    def vanishes(x: Tensor, scale: Tensor = size) -> bool:
        return bool(torch.linalg.vector_norm(x) <= 1e4 * torch.finfo(x.dtype).eps * scale)

    if vanishes(D1 - D2):
        return "open loop"
    y1, y2 = output(start, x1), output(start, x2)
    if vanishes(D1 * y2 - D2 * y1, torch.linalg.vector_norm(D1 * y2)):
        return "multiplicative"
    return "bilinear" if vanishes(D(x1 + x2 - x3) - (D1 + D2 - D3)) else "nonlinear"
