"""The null of pre-training: the same architecture with freshly drawn weights."""

from __future__ import annotations

from dataclasses import replace

import torch

from lab.models.assemble import fresh
from lab.models.attention import attention_of
from lab.models.plm import PLM
from lab.models.precision import exact_norms


@torch.no_grad()
def random_weights(plm: PLM, *, seed: int = 0) -> PLM:
    """A PLM of the same architecture whose pre-trained part is drawn as its configuration's initialiser says.

    The new head (`plm.new_names`) keeps its weights, so that a comparison with `plm` isolates pre-training.

    Args:
        plm: without grafts; it is not changed.
        seed: of the weights.

    Raises:
        ValueError: `plm` carries grafts.
    """
    if plm.grafts:
        raise ValueError(f"random_weights needs a PLM without grafts; this one has {[g.name for g in plm.grafts]}.")
    model = fresh(
        type(plm.model), plm.model.config, seed=seed, purpose="random weights", attention=attention_of(plm.model)
    )
    model = model.to(dtype=plm.dtype, device=plm.device)
    if plm.dtype == torch.float64:
        exact_norms(model)
    drawn = dict(model.named_parameters())
    for name in plm.new_names:
        drawn[name].copy_(plm.parameters[name])
    for parameter in drawn.values():
        parameter.requires_grad_(False)
    provenance = {**(plm.provenance or {}), "weights": f"random, seed {seed}"}
    return replace(plm, model=model.eval(), provenance=provenance)
