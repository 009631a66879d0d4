"""A trained change made part of the PLM: the next delta starts where the last one stopped."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from lab.models.graft import structural_copy
from lab.models.plm import PLM, Overrides


def settled(plm: PLM, overrides: Overrides) -> PLM:
    """The PLM whose own parameters are the overridden ones: `settled(plm, o).logits({}, b)` is `plm.logits(o, b)`.

    This is what "earlier stages are frozen" means in a sequential combination of deltas: stage k + 1 is a method on
    `settled(delta.plm, delta.overrides(phi))`, where φ of stage k is out of reach. Grafts stay grafts, a new head stays
    new (`new_names`), parameters that are not overridden keep their storage, and `plm` itself is not changed.

    Args:
        plm: a PLM or the host of a delta.
        overrides: parameter name -> value; a tied parameter is replaced everywhere.

    Raises:
        ValueError: an override is no parameter of this PLM, or has another shape.
    """
    unknown = sorted(overrides.keys() - plm.parameters.keys())
    if unknown:
        raise ValueError(f"{plm.name!r} has no parameter {unknown[:3]}; names are those of `plm.parameters`.")
    misfits = [name for name, value in overrides.items() if value.shape != plm.parameters[name].shape]
    if misfits:
        got, expected = tuple(overrides[misfits[0]].shape), tuple(plm.parameters[misfits[0]].shape)
        raise ValueError(f"the parameter {misfits[0]!r} has shape {expected}; got {got}.")
    model = structural_copy(plm.model)
    new = {
        id(plm.parameters[name]): nn.Parameter(value.detach().clone(), requires_grad=False)
        for name, value in overrides.items()
    }
    for module in model.modules():
        for leaf, old in module._parameters.items():
            if id(old) in new:
                module._parameters[leaf] = new[id(old)]
    return replace(plm, model=model)
