"""Grafts: extra submodules on a structural copy of a PLM that shares θ's storage."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from lab.models.plm import PLM


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


def graft(plm: PLM, *grafts: Graft) -> PLM:
    """A host: `plm` with grafts attached. θ is shared, `plm` itself is untouched.

    Raises:
        ValueError: a graft's name is already taken on this host, a graft adds no parameter, or one of its hooks holds
            on to a module.
    """
    host = structural_copy(plm.model)
    attached = list(plm.grafts)
    for new in grafts:
        if any(new.name == old.name for old in attached):
            raise ValueError(f"a graft named {new.name!r} is already on this PLM; give one of the two another name.")
        before = dict(host.named_parameters())
        new.attach(host)
        names = tuple(name for name in dict(host.named_parameters()) if name not in before)
        if not names:
            raise ValueError(f"graft {new.name!r} added no parameter; `attach` must add a child module that has some.")
        _check_hooks(host, new.name)
        attached.append(replace(new, parameter_names=names))
    for parameter in host.parameters():
        parameter.requires_grad_(False)
    return replace(plm, model=host.eval(), grafts=tuple(attached))


def _check_hooks(host: nn.Module, name: str) -> None:
    for path, module in host.named_modules():
        for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values()):
            cells = getattr(hook, "__closure__", None) or ()
            if any(isinstance(cell.cell_contents, nn.Module) for cell in cells):
                raise ValueError(
                    f"graft {name!r}: a hook on {path!r} holds on to a module of this host, and would keep using it "
                    "when the host is copied. Look the child up through the hook's `module` argument instead."
                )
