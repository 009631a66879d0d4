"""What `adapter_config.json` says of a LoRA, checked once: anybody may have written it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Any

from lab.deltas.checkpoint_folder import CONFIG, Checkpoint

_LONGEST = 256  # characters of a pattern's subject
_BITS = 24  # a backtracking matcher takes about 2^24 steps at most


@dataclass(frozen=True)
class LoRAOptions:
    """The options that ΔW depends on.

    Attributes:
        rank, alpha: r and α of modules that no pattern names.
        ranks, alphas: (pattern, value): of the modules whose path ends in a match; the first that does, as in peft.
        rslora: s = α/√r instead of α/r.
        dora: rows are renormalised.
        fan_in_fan_out: the PLM stores Wᵀ.
        targets: endings of the adapted modules' paths, or a pattern of the whole path; () where peft chooses.
        narrowed: further options leave out some modules that `targets` names.
        base: name of the PLM it was trained on, or "".
    """

    rank: int
    alpha: float
    ranks: tuple[tuple[re.Pattern[str], int], ...]
    alphas: tuple[tuple[re.Pattern[str], float], ...]
    rslora: bool
    dora: bool
    fan_in_fan_out: bool
    targets: tuple[str, ...] | re.Pattern[str]
    narrowed: bool
    base: str

    def rank_of(self, module: str) -> int:
        """r of a module, by its path."""
        return next((rank for pattern, rank in self.ranks if pattern.match(module[-_LONGEST:])), self.rank)

    def scale_of(self, module: str) -> float:
        """s of a module."""
        alpha = next((alpha for pattern, alpha in self.alphas if pattern.match(module[-_LONGEST:])), self.alpha)
        rank = self.rank_of(module)
        return alpha / (sqrt(rank) if self.rslora else rank)

    def names(self, module: str) -> bool:
        """Whether `targets` means a module; its path may lack a prefix ("bert.") that a target has."""
        if isinstance(self.targets, re.Pattern):
            return bool(self.targets.fullmatch(module[-_LONGEST:]))
        return any(f".{module}".endswith(f".{t}") or t.endswith(f".{module}") for t in self.targets)


def lora_options(checkpoint: Checkpoint) -> LoRAOptions:
    """The options of a LoRA adapter.

    Raises:
        ValueError: an option has a type or value that means nothing, or a pattern is no regular expression or could
            take for ever; the message names file and option.
    """
    config, where = checkpoint.config, f"{checkpoint.source / CONFIG}"
    layers = ("layers_to_transform", "layers_pattern", "exclude_modules")
    base = config.get("base_model_name_or_path")
    return LoRAOptions(
        rank=_rank(where, "r", config.get("r", 8)),
        alpha=_alpha(where, "lora_alpha", config.get("lora_alpha", 8)),
        ranks=tuple((p, _rank(where, "rank_pattern", v)) for p, v in _patterns(where, "rank_pattern", config)),
        alphas=tuple((p, _alpha(where, "alpha_pattern", v)) for p, v in _patterns(where, "alpha_pattern", config)),
        rslora=_flag(where, "use_rslora", config),
        dora=_flag(where, "use_dora", config),
        fan_in_fan_out=_flag(where, "fan_in_fan_out", config),
        targets=_targets(where, config.get("target_modules")),
        narrowed=any(config.get(option) not in (None, []) for option in layers),
        base=base if isinstance(base, str) else "",
    )


def _refused(where: str, field: str, value: Any, expected: str) -> ValueError:
    return ValueError(f"{where}: {field} is {str(value)[:80]!r} ({type(value).__name__}); expected {expected}.")


def _rank(where: str, field: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _refused(where, field, value, "a whole number from 1 on")
    return value


def _alpha(where: str, field: str, value: Any) -> float:
    # whole numbers without bound are valid JSON, and too large for a float
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e30 or not isfinite(value):
        raise _refused(where, field, value, "a finite number")
    return float(value)


def _flag(where: str, field: str, config: Mapping[str, Any]) -> bool:
    value = config.get(field)
    if value not in (None, True, False):
        raise _refused(where, field, value, "true or false")
    return bool(value)


def _patterns(where: str, field: str, config: Mapping[str, Any]) -> list[tuple[re.Pattern[str], Any]]:
    found = config.get(field)
    if found is None:
        return []
    if not isinstance(found, dict):
        raise _refused(where, field, found, "a mapping of patterns to values")
    compiled = []
    for pattern, value in found.items():
        if not _bounded(pattern):
            raise _refused(where, field, pattern, "a pattern without repeated groups and with few repetitions")
        try:
            compiled.append((re.compile(rf"(.*\.)?({pattern})$"), value))
        except re.error as error:
            raise _refused(where, field, pattern, f"a regular expression ({error})") from error
    return compiled


def _bounded(pattern: str) -> bool:
    """Whether matching is sure to end soon: no repeated group; a repetition is worth 8 bits, a choice one."""
    text = re.sub(r"\\.|\[[^\]]*\]|\(\?", "x", pattern)
    bits = 8 * len(re.findall(r"[*+{]", text)) + len(re.findall(r"[?|]", text))
    return bits <= _BITS and not re.search(r"\)[*+{]", text)


def _targets(where: str, value: Any) -> tuple[str, ...] | re.Pattern[str]:
    if value is None or value == "all-linear":
        return ()
    if isinstance(value, str):
        try:
            return re.compile(value) if _bounded(value) else ()  # a long one means nothing worse than no comparison
        except re.error as error:
            raise _refused(where, "target_modules", value, f"a regular expression ({error})") from error
    if not isinstance(value, list) or not all(isinstance(target, str) and target for target in value):
        raise _refused(where, "target_modules", value, "a list of names, or a pattern")
    return tuple(value)
