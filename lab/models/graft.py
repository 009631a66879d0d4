"""Grafts: extra submodules on a structural copy of a PLM that shares θ's storage."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True, eq=False)
class Graft:
    """Extra submodules and how they enter the forward pass.

    Native parameter names never change: a graft adds children to existing modules and hooks that call them.
    A hook finds its child through the module it is called on (`module.get_submodule(name)`), never through a variable
    of the function that made it: a host can be copied again, and such a variable would stay with the old copy.

    Attributes:
        name: the child's name; it occurs in every grafted parameter's name and must be unique on a host.
        attach: called once with the structural copy; adds children named `name` and registers hooks on the copy.
        parameter_names: full names of the parameters it adds, known after attaching.
    """

    name: str
    attach: Callable[[nn.Module], None]
    parameter_names: tuple[str, ...] = ()


def structural_copy(model: nn.Module) -> nn.Module:
    """A copy of the module tree whose parameters and buffers are the very same tensors."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, memo=shared)
