"""Patterns of a peft configuration, matched here and spelled out: peft's own matcher could take for ever."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lab.checkpoints.lora_options import is_every_linear
from lab.checkpoints.patterns import pattern

_WHOLE = ("target_modules", "exclude_modules", "feedforward_modules")
_ENDS = ("rank_pattern", "alpha_pattern", "lambda_pattern")
# where a string is no pattern, or a key no pattern of the end of a path
_LITERAL = ("ADAPTION_PROMPT", "ADALORA", "OSF")


def spelled_out(config: Any, paths: Sequence[str], parameters: Sequence[str] = ()) -> Any:
    """A copy of a peft configuration in which every pattern is the alternative of the paths it means.

    Args:
        config: a peft configuration.
        paths: of all modules of the model.
        parameters: names of all its parameters, which `target_parameters` may mean.

    Raises:
        ValueError: a pattern that is none, or could take for ever; or `target_modules` matches no module.
    """
    kind = str(getattr(config.peft_type, "value", config.peft_type))
    config = copy.copy(config)
    for name in _WHOLE:
        text = getattr(config, name, None)
        if not isinstance(text, str) or is_every_linear(text) or kind == "ADAPTION_PROMPT":
            continue
        found = [path for path in paths if pattern(text).fullmatch(path)]
        if not found and name == "target_modules":
            raise ValueError(f"target_modules {text!r:.200} matches no module.")
        setattr(config, name, "|".join(map(re.escape, found)) if found else [])
    for name in _ENDS if kind not in _LITERAL else ():
        values = getattr(config, name, None)
        if values:
            places = (*paths, *(parameters if getattr(config, "target_parameters", None) else ()))
            setattr(config, name, {re.escape(path): v for path in places if (v := _first(values, path)) is not None})
    return config


def without_saved(options: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """The options of an adapter without `modules_to_save`, whose modules are among the excluded ones instead.

    What an adapter stores whole is told by the names of its tensors; peft adapts nothing inside of such a module.

    Args:
        options: the fields of adapter_config.json.
        paths: of all modules of the model.
    """
    kept = {
        name: value for name, value in options.items() if name not in ("modules_to_save", "base_model_name_or_path")
    }
    saved, excluded = options.get("modules_to_save") or (), options.get("exclude_modules") or []
    inside = [path for path in paths if any(f".{path}.".find(f".{name}.") >= 0 for name in saved)]
    if inside and "exclude_modules" in options:
        if isinstance(excluded, str):
            excluded = [path for path in paths if pattern(excluded).fullmatch(path)]
        kept["exclude_modules"] = [*excluded, *inside]
    return kept


def _first(values: dict[str, Any], path: str) -> Any:
    """The value of the first pattern that matches the end of a path, as in peft."""
    return next((value for text, value in values.items() if pattern(text).ends(path)), None)
