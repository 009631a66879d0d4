"""A host: a PLM with grafts attached to a structural copy of its model."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from lab.models.graft import Graft, structural_copy
from lab.models.plm import PLM


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
