"""What the layers of a PLM see at θ₀: the columns that a gradient's rows are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lab.models import PLM
from lab.models.graft import structural_copy
from lab.models.plm import Batch


@torch.no_grad()
def input_columns(plm: PLM, batches: Iterable[Batch], labels: Sequence[str]) -> dict[str, Tensor]:
    """Name of a matrix -> columns F (n, n) with F Fᵀ = E xxᵀ, the second moment of the inputs of its layer.

    Over the positions that the attention mask keeps. It is of θ₀ and of the texts alone, so it is the same for every
    task trained on them; not centred, as a gradient Σ δxᵀ is not.

    Args:
        plm: the PLM, unchanged.
        batches: texts.
        labels: block matrices, as in `PLM.matrices`.

    Returns:
        Symmetric square roots, float64.

    Raises:
        ValueError: an unknown matrix, or no batch.
    """
    moments, count = input_moments(plm, batches, labels)
    found = {}
    for label, moment in moments.items():
        values, vectors = torch.linalg.eigh(moment / count[label])
        found[label] = vectors * values.clamp(min=0).sqrt() @ vectors.T
    return found


@torch.no_grad()
def input_moments(
    plm: PLM, batches: Iterable[Batch], labels: Sequence[str]
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Name of a matrix -> Σ xxᵀ over the kept positions of its layer's inputs, (n, n) float64; and their number.

    Raises:
        ValueError: an unknown matrix, or no batch.
    """
    known = {matrix.label: matrix for matrix in plm.matrices(plm.architecture.roles(plm.model))}
    unknown = [label for label in labels if label not in known]
    if unknown:
        raise ValueError(f"{plm.name!r} has no block matrix {unknown[:3]}; it has e.g. {list(known)[:3]}.")
    modules = {label: known[label].name.removesuffix(".weight") for label in labels}
    sums = {module: torch.zeros(0) for module in modules.values()}
    counts = dict.fromkeys(sums, 0)
    mask: Tensor | None = None

    def hook(module_name: str) -> Callable[..., None]:
        def seen(_module: Any, arguments: tuple[Tensor, ...]) -> None:
            x = arguments[0].detach().to(torch.float64)
            kept = x.reshape(-1, x.shape[-1])
            if mask is not None and x.ndim == 3 and x.shape[:2] == mask.shape:
                kept = x[mask.bool()]
            moment = (kept.T @ kept).cpu()
            sums[module_name] = sums[module_name] + moment if counts[module_name] else moment
            counts[module_name] += kept.shape[0]

        return seen

    host = replace(plm, model=structural_copy(plm.model))  # the PLM handed in gets no hooks
    for name in sums:
        host.model.get_submodule(name).register_forward_pre_hook(hook(name))
    for batch in batches:
        mask = _mask(batch)
        host.logits({}, batch)
    empty = [module for module, n in counts.items() if not n]
    if empty:
        raise ValueError(f"no inputs reached {empty[:3]}: give at least one batch of texts.")
    return {label: sums[module] for label, module in modules.items()}, {l: counts[x] for l, x in modules.items()}


def _mask(batch: Mapping[str, Any]) -> Tensor | None:
    found = batch.get("attention_mask")
    return found if isinstance(found, Tensor) else None
