"""LoRA to and from peft checkpoints, without peft."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from torch import Tensor

from lab.deltas.checkpoint_folder import BASE, CONFIG, Checkpoint
from lab.deltas.delta import Delta
from lab.deltas.lora import LowRankUpdate
from lab.deltas.values import Values
from lab.models import PLM
from lab.models.architecture import WeightMatrix

# options of peft's LoraConfig that change the formula W + s·B·A, or the PLM's own weights; "plain" is what leaves it
_PLAIN = {
    "use_dora": (False, None),
    "bias": ("none", None),
    "lora_bias": (False, None),
    "use_qalora": (False, None),
    "use_bdlora": (None, False),
    "trainable_token_indices": (None,),
    "layer_replication": (None,),
    "alora_invocation_tokens": (None,),
    "target_parameters": (None, []),
    "arrow_config": (None,),
    "kasa_config": (None,),
    "velora_config": (None,),
    "monteclora_config": (None,),
    "megatron_config": (None,),
}
# how A and B were first drawn does not matter once they are stored, unless it changed W too (PiSSA, OLoRA, LoftQ, …)
_PLAIN_STARTS = (None, True, False, "gaussian", "eva", "orthogonal")


@dataclass(frozen=True)
class _Target:
    matrix: WeightMatrix
    rank: int
    scale: float


def is_plain_lora(config: Mapping[str, Any]) -> bool:
    """Whether a peft configuration means W + s·B·A and nothing else."""
    plain_start = any(config.get("init_lora_weights") is start for start in (None, True, False))
    plain_start = plain_start or config.get("init_lora_weights") in _PLAIN_STARTS
    return (
        config.get("peft_type") == "LORA"
        and plain_start
        and all(config.get(option) in plain for option, plain in _PLAIN.items())
    )


def read_lora(plm: PLM, checkpoint: Checkpoint) -> tuple[Delta, Tensor] | None:
    """A plain LoRA checkpoint as a `LowRankUpdate` (plus the head it stores) and its φ.

    Returns:
        None when it is more than W + s·B·A on attention and feed-forward matrices; peft must read it then.

    Raises:
        ValueError: no module is meant, or tensors are missing, unexpected or of another shape.
    """
    config = checkpoint.config
    modules = _targeted(plm, config) if is_plain_lora(config) else None
    matrices = _whole_matrices(plm)
    if modules is not None and not modules:
        raise ValueError(
            f"{checkpoint.source / CONFIG}: target_modules {config['target_modules']!r} match no module of "
            f"{plm.name!r}; the adapter belongs to another model."
        )
    if modules is None or not set(modules) <= set(matrices):
        return None
    targets = {module: _Target(matrices[module], *_rank_and_scale(config, module)) for module in modules}
    stored = [name for name in plm.layout.names if BASE + name in checkpoint.tensors]  # the head, other modules_to_save
    checkpoint.require(
        {f"{BASE}{module}.lora_A.weight": (t.rank, t.matrix.shape[1]) for module, t in targets.items()}
        | {f"{BASE}{module}.lora_B.weight": (t.matrix.shape[0], t.rank) for module, t in targets.items()}
        | {BASE + name: plm.parameters[name].shape for name in stored}
    )
    ranks = {t.matrix.label: t.rank for t in targets.values()}
    scales = {t.matrix.label: t.scale for t in targets.values()}
    body = LowRankUpdate(
        plm, tuple(t.matrix for t in targets.values()), ranks, scales, seed=0, rslora=bool(config.get("use_rslora"))
    )
    delta = body + Values(plm, stored) if stored else body
    values = {
        f"{t.matrix.label}.lora_{x}": checkpoint.tensors[f"{BASE}{module}.lora_{x}.weight"]
        for module, t in targets.items()
        for x in "AB"
    }
    values |= {name: checkpoint.tensors[BASE + name] for name in stored}
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
            f"peft updates whole parameters, but {partial[0]!r} is a part of one; build the LoRA with "
            'targets=("qkv",) on GPT-2 to save it.'
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


def _targeted(plm: PLM, config: Mapping[str, Any]) -> list[str] | None:
    """Paths of the modules that `target_modules` means, by peft's rules; None for the options left to peft."""
    targets = config.get("target_modules")
    left_to_peft = (config.get("layers_to_transform"), config.get("layers_pattern"), config.get("exclude_modules"))
    if targets is None or targets == "all-linear" or any(option not in (None, []) for option in left_to_peft):
        return None
    paths = [path for path, _ in plm.model.named_modules() if path]
    if isinstance(targets, str):
        return [path for path in paths if re.fullmatch(targets, path)]
    return [path for path in paths if path in targets or any(path.endswith(f".{t}") for t in targets)]


def _rank_and_scale(config: Mapping[str, Any], module: str) -> tuple[int, float]:
    rank = _patterned(config.get("rank_pattern"), module, config.get("r", 8))
    alpha = _patterned(config.get("alpha_pattern"), module, config.get("lora_alpha", 8))
    return int(rank), alpha / (sqrt(rank) if config.get("use_rslora") else rank)


def _patterned(patterns: Mapping[str, float] | None, module: str, default: float) -> float:
    """The value of the first pattern that matches the end of a module's path, as in peft."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default
