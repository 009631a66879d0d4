"""What `adapter_config.json` says of a LoRA: the rank and scale of every module, and which modules it means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

from lab.checkpoints.adapter_options import LONGEST_PATH, flag, layers, light_modules, modules, number, patterned, whole
from lab.checkpoints.patterns import pattern

# options of peft's LoraConfig that add to W + s·B·A, in layers that only peft has
_FURTHER: dict[str, tuple[object, ...]] = {
    "use_qalora": (False, None),
    "use_bdlora": (None, False),
    "layer_replication": (None,),
    "alora_invocation_tokens": (None,),
    "target_parameters": (None, []),
    "arrow_config": (None,),
    "kasa_config": (None,),
    "velora_config": (None,),
    "monteclora_config": (None,),
    "megatron_config": (None,),
}
# how A and B were first drawn does not matter once they are stored, unless it changed W too
_PLAIN_STARTS = ("gaussian", "eva", "orthogonal", "mica")
SUBTRACTED = ("pissa", "olora")
"""Starts that are taken out of W before training, and that W alone determines."""


@dataclass(frozen=True)
class Targets:
    """Which modules an adapter means, by peft's rules.

    Attributes:
        modules: endings of paths, or a pattern of the whole path; None where peft chooses.
        excluded: likewise; () for none.
        saved: modules that are stored whole, which are never adapted.
        layers: numbers of the layers, or () for all.
        layers_pattern: names of the lists of layers.
    """

    modules: tuple[str, ...] | str | None
    excluded: tuple[str, ...] | str = ()
    saved: tuple[str, ...] = ()
    layers: tuple[int, ...] = ()
    layers_pattern: tuple[str, ...] = ()

    @property
    def narrowed(self) -> bool:
        """Whether further options leave out some modules that `modules` names."""
        return bool(self.excluded or self.layers)

    def names(self, module: str) -> bool:
        """Whether the module at this path is adapted; where peft chooses, all may be.

        A path longer than 256 characters counts from its end.
        """
        path = module[-LONGEST_PATH:]
        if self.excluded and _means(self.excluded, path):
            return False
        if any(re.match(rf"(^|.*\.){saved}($|\..*)", path) for saved in self.saved):
            return False
        if self.modules is None:
            return True
        if isinstance(self.modules, str) or path in self.modules:
            return _means(self.modules, path)
        return _means(self.modules, path) and (not self.layers or self._layer(path) in self.layers)

    def names_some_prefix(self, module: str) -> bool:
        """`names`, where the module's path may lack a prefix ("bert.") that a target has."""
        lists = isinstance(self.modules, tuple)
        return self.names(module) or (lists and any(t.endswith(f".{module}") for t in self.modules or ()))

    def _layer(self, path: str) -> int | None:
        """The number of the layer that a module is in."""
        patterns = self.layers_pattern or (None,)
        for name in patterns:
            found = re.match(r".*?\.[^.]*\.(\d+)\." if name is None else rf"(?:^|.*?\.){name}\.(?P<number>\d+)\.", path)
            if found:
                return int(found[1] if name is None else found["number"])
        return None


def is_every_linear(modules: Any) -> bool:
    """Whether `target_modules` is peft's word for every linear layer but the head."""
    return isinstance(modules, str) and modules.lower() == "all-linear"


def _means(modules: tuple[str, ...] | str, path: str) -> bool:
    if isinstance(modules, str):
        return pattern(modules).fullmatch(path)
    return path in modules or any(path.endswith(f".{ending}") for ending in modules)


@dataclass(frozen=True)
class LoRAOptions:
    """The options that ΔW depends on.

    Attributes:
        rank, alpha: r and α of modules that no pattern names.
        ranks, alphas: (pattern, value): of the modules whose path ends in a match; the first that does, as in peft.
        rslora: s = α/√r instead of α/r.
        dora: rows are renormalised.
        fan_in_fan_out: the PLM stores Wᵀ.
        targets: the adapted modules.
        tied: an adapted embedding's factors, transposed, are those of the head it is tied with too.
        start: how A and B were drawn, where that changed W₀ too ("pissa", …); else "".
        further: the first option that makes it more than W + s·B·A, or "".
        base: name of the PLM it was trained on, or "".
    """

    rank: int
    alpha: float
    ranks: tuple[tuple[str, int], ...]
    alphas: tuple[tuple[str, float], ...]
    rslora: bool
    dora: bool
    fan_in_fan_out: bool
    targets: Targets
    tied: bool
    start: str
    further: str
    base: str

    def rank_of(self, module: str) -> int:
        """r of a module, by its path."""
        path = module[-LONGEST_PATH:]
        return next((rank for text, rank in self.ranks if pattern(text).ends(path)), self.rank)

    def scale_of(self, module: str) -> float:
        """s of a module."""
        path, rank = module[-LONGEST_PATH:], self.rank_of(module)
        alpha = next((alpha for text, alpha in self.alphas if pattern(text).ends(path)), self.alpha)
        return alpha / (sqrt(rank) if self.rslora else rank)

    @property
    def additive(self) -> bool:
        """Whether ΔW of every matrix with factors is s·B·A, whatever W₀ is."""
        return not (self.further or self.start or self.dora)

    @property
    def reason(self) -> str:
        """Why its tensors and W₀ do not give ΔW without peft's own layers; "" where they do."""
        if self.further:
            return f"its option {self.further} changes more than W + s·B·A"
        if self.start and self.start not in SUBTRACTED:
            return f"init_lora_weights={self.start!r} changed W₀ before training, in a way that the files do not hold"
        if self.start and (self.dora or (self.start == "olora" and self.fan_in_fan_out)):
            return f"init_lora_weights={self.start!r} goes neither with DoRA nor, for olora, with transposed layers"
        return ""


def lora_options(file: Path, config: Mapping[str, Any]) -> LoRAOptions:
    """The options of a LoRA adapter.

    Args:
        file: its adapter_config.json, for messages.
        config: the entries, checked by `lab.checkpoints.adapter_options.check_options`.

    Raises:
        CheckpointError: an option has a type or value that means nothing; the message names file and option.
    """

    def entry(name: str, read: Any, default: Any, *arguments: Any) -> Any:
        value = config.get(name)
        return default if value is None else read(file, name, value, *arguments)

    chosen = config.get("target_modules")
    start, base = config.get("init_lora_weights"), config.get("base_model_name_or_path")
    plain_start = start is None or isinstance(start, bool) or start in _PLAIN_STARTS
    further = (name for name, plain in _FURTHER.items() if config.get(name) not in plain)
    return LoRAOptions(
        rank=entry("r", whole, 8),
        alpha=entry("lora_alpha", number, 8.0),
        ranks=entry("rank_pattern", patterned, (), whole),
        alphas=entry("alpha_pattern", patterned, (), number),
        rslora=entry("use_rslora", flag, False),
        dora=entry("use_dora", flag, False),
        fan_in_fan_out=entry("fan_in_fan_out", flag, False),
        targets=Targets(
            modules=None if chosen is None or is_every_linear(chosen) else modules(file, "target_modules", chosen),
            excluded=entry("exclude_modules", modules, ()),
            saved=entry("modules_to_save", light_modules, ()),
            layers=entry("layers_to_transform", layers, ()),
            layers_pattern=entry("layers_pattern", light_modules, ()),
        ),
        tied=entry("ensure_weight_tying", flag, False),
        start="" if plain_start else str(start)[:40].lower(),
        further=next(further, ""),
        base=base if isinstance(base, str) else "",
    )
