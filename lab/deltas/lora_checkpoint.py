"""LoRA to and from peft checkpoints, without peft."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from lab.checkpoints.adapter_folder import BASE, CONFIG, AdapterFolder
from lab.checkpoints.error import CheckpointError
from lab.checkpoints.lora_factors import Factors, LoRATensors, lora_tensors
from lab.checkpoints.lora_options import LoRAOptions, lora_options
from lab.checkpoints.lora_starts import subtracted_start
from lab.checkpoints.names import aligned
from lab.deltas.delta import Delta
from lab.deltas.lora import LowRankUpdate
from lab.deltas.stored_values import stored_values
from lab.deltas.values import Values
from lab.models import PLM
from lab.models.architecture import WeightMatrix


def read_lora(plm: PLM, adapter: AdapterFolder) -> tuple[Delta, Tensor] | None:
    """A LoRA checkpoint as a `LowRankUpdate` (plus the head it stores) and its φ.

    PiSSA and OLoRA took s·B₀A₀ out of W₀ before training; W₀ − s·B₀A₀ + s·BA is a low-rank update of rank 2r, with
    the factors [B, −B₀] and [A; A₀].

    Returns:
        None when it is more than W + s·B·A on attention and feed-forward matrices; peft must read it then.

    Raises:
        CheckpointError: no module is meant, tensors are missing, unexpected or of another shape, or the start changed
            W₀ in a way that the files do not hold. A ValueError.
    """
    options = lora_options(adapter.options, adapter.config)
    if options.further:
        return None
    if options.reason:
        raise CheckpointError(f"{adapter.options}: {plm.name!r} cannot be changed by it: {options.reason}.")
    found = lora_tensors(adapter, options)
    matrices = _whole_matrices(plm)
    modules = _targeted(plm, adapter, options, found)
    found = _renamed(found, modules)
    if not _is_plain(adapter, options, found) or not set(modules) <= set(matrices):
        if options.start:
            raise CheckpointError(
                f"{adapter.options}: init_lora_weights={options.start!r} beside biases, DoRA, tokens, or modules other "
                "than attention and feed-forward matrices is not read; save it as plain LoRA with peft: "
                "save_pretrained(…, path_initial_model_for_weight_conversion=…)."
            )
        return None
    _require_modules(adapter, found, modules)
    factors = {matrices[m].label: _on(plm, adapter, options, found.factors[m], matrices[m]) for m in modules}
    ranks = {label: A.shape[0] for label, (B, A) in factors.items()}
    scales = {matrices[module].label: found.factors[module].scale for module in modules}
    saved = stored_values(plm, adapter, found.saved)
    body = LowRankUpdate(
        plm, tuple(matrices[module] for module in modules), ranks, scales, seed=0, rslora=options.rslora
    )
    delta = body + Values(plm, saved) if saved else body
    values = {f"{label}.lora_A": A for label, (B, A) in factors.items()}
    values |= {f"{label}.lora_B": B for label, (B, A) in factors.items()} | saved
    return delta, delta.layout.flatten({n: v.to(dtype=plm.dtype, device=plm.device) for n, v in values.items()})


def lora_checkpoint(update: LowRankUpdate, phi: Tensor) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """peft's configuration and tensors of a low-rank update.

    Raises:
        ValueError: a matrix is only a part of its parameter, which peft cannot express.
    """
    modules = {matrix.label: matrix.name.removesuffix(".weight") for matrix in update.matrices}
    partial = [matrix.label for matrix in update.matrices if matrix.rows is not None]
    if partial:
        raise ValueError(
            f"peft updates whole parameters, but {partial[0]!r} is a part of one; to save it, build the LoRA with the "
            'role of the whole: targets=("qkv",), or ("gate_up",).'
        )
    tensors = {}
    for label, (B, A) in update.factors(phi).items():
        tensors[f"{BASE}{modules[label]}.lora_A.weight"] = A
        tensors[f"{BASE}{modules[label]}.lora_B.weight"] = B
    ranks = {modules[label]: rank for label, rank in update.ranks.items()}
    # s = α/r, or α/√r for rsLoRA
    alphas = {
        modules[label]: scale * (sqrt(update.ranks[label]) if update.rslora else update.ranks[label])
        for label, scale in update.scales.items()
    }
    # only a hub id means something to peft; it looks for other names on the hub
    base = update.plm.name if "/" in update.plm.name else None
    transposed = update.matrices[0].transposed
    return lora_config(ranks, alphas, rslora=update.rslora, base=base, fan_in_fan_out=transposed), tensors


def lora_config(
    ranks: Mapping[str, int],
    alphas: Mapping[str, float],
    *,
    rslora: bool = False,
    base: str | None = None,
    fan_in_fan_out: bool = False,
    saved: Sequence[str] = (),
) -> dict[str, Any]:
    """peft's configuration of W + s·B·A on given modules.

    Args:
        ranks, alphas: path of a module -> r, α.
        rslora: s = α/√r instead of α/r.
        base: hub id of the PLM, or None.
        fan_in_fan_out: the PLM stores Wᵀ.
        saved: modules that are stored whole beside the factors.
    """
    rank, alpha = next(iter(ranks.values())), next(iter(alphas.values()))
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {re.escape(module): r for module, r in ranks.items() if r != rank},
        "alpha_pattern": {re.escape(module): a for module, a in alphas.items() if a != alpha},
        "use_rslora": rslora,
        "use_dora": False,
        "lora_dropout": 0.0,
        "bias": "none",
        "init_lora_weights": True,
        "fan_in_fan_out": fan_in_fan_out,
        "target_modules": list(ranks),
        "modules_to_save": list(dict.fromkeys(saved)) or None,
    }


def _whole_matrices(plm: PLM) -> dict[str, WeightMatrix]:
    """Module path -> its weight matrix, for every block matrix that is a parameter of its own."""
    found = plm.matrices(plm.architecture.roles(plm.model))
    return {matrix.name.removesuffix(".weight"): matrix for matrix in found if matrix.rows is None}


def _targeted(plm: PLM, adapter: AdapterFolder, options: LoRAOptions, found: LoRATensors) -> list[str]:
    """Paths of the modules that the options mean; those of the tensors where peft chooses."""
    if options.targets.modules is None:
        return list(found.factors)
    paths = [path for path, _ in plm.model.named_modules() if path and options.targets.names(path)]
    if not paths:
        raise CheckpointError(
            f"{adapter.options}: target_modules {adapter.config['target_modules']!r:.200} match no module of "
            f"{plm.name!r}; the adapter belongs to another model."
        )
    return paths


def _renamed(found: LoRATensors, modules: list[str]) -> LoRATensors:
    """The factors under the PLM's names: made on a model without a head, they lack its prefix ("bert.")."""
    pairs, _, unknown = aligned(modules, found.factors)
    return found if unknown else replace(found, factors={pairs[name]: own for name, own in found.factors.items()})


def _is_plain(adapter: AdapterFolder, options: LoRAOptions, found: LoRATensors) -> bool:
    """Whether it is W + s·B·A on linear layers, with parameters stored whole, and nothing else."""
    biases = adapter.config.get("bias") not in ("none", None) or adapter.config.get("lora_bias")
    linear = not any(own.embedding for own in found.factors.values())
    tokens = adapter.config.get("trainable_token_indices") or found.tokens
    return linear and not (options.dora or biases or tokens or found.bases or found.excluded)


def _require_modules(adapter: AdapterFolder, found: LoRATensors, modules: list[str]) -> None:
    missing, extra = sorted(set(modules) - set(found.factors)), sorted(set(found.factors) - set(modules))
    if missing or extra:
        raise CheckpointError(
            f"{adapter.weights} does not fit this PLM and its {CONFIG}: factors of {len(missing)} modules missing "
            f"(e.g. {missing[:3]}), of {len(extra)} unexpected (e.g. {extra[:3]})."
        )


def _on(
    plm: PLM, adapter: AdapterFolder, options: LoRAOptions, own: Factors, matrix: WeightMatrix
) -> tuple[Tensor, Tensor]:
    """B and A of W ↦ W + s·B·A on a matrix of the PLM."""
    if own.shape != tuple(matrix.shape):
        raise CheckpointError(
            f"{adapter.weights}: the factors of module {own.module!r} change a matrix of shape {own.shape}; that of "
            f"{plm.name!r} has shape {tuple(matrix.shape)}."
        )
    B, A = own.B.double(), own.A.double()
    if options.start:
        B0, A0 = subtracted_start(matrix.of(plm.parameters[matrix.name]).cpu(), options.start, own.rank, own.scale)
        B, A = torch.cat([B, -B0.double()], dim=1), torch.cat([A, A0.double()])
    if A.shape[0] > min(own.shape):  # the same product with as many columns as a matrix of this shape needs
        left, values, right = torch.linalg.svd(B @ A, full_matrices=False)
        B, A = left * values, right
    return B, A
