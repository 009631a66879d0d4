"""The entries of `adapter_config.json`, of whatever peft type: each of a type and size that means something.

peft itself believes them: `use_rslora: "false"` is true to it, `r: 4.9` a rank, and a pattern may take for ever. What
is checked here is common to all types; what ΔW of a LoRA depends on is `lab.checkpoints.lora_options`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from lab.checkpoints.error import CheckpointError
from lab.checkpoints.patterns import PatternError, pattern
from lab.checkpoints.safetensors_file import Entry

FLAGS = (
    "use_rslora", "use_dora", "fan_in_fan_out", "lora_bias", "use_qalora", "ensure_weight_tying", "inference_mode",
    "block_share", "coft", "decompose_both", "rank_dropout_scale", "use_effective_conv2d", "save_projection",
    "use_idwt", "proportional_parameters", "psoft_mag_a", "psoft_mag_b", "psoft_orth", "use_cayley_neumann", "use_asa",
    "use_dynamic_rank", "sparse", "very_sparse", "save_only_topk_weights", "save_indices", "prefix_projection",
    "apply_GS", "init_ia3_weights", "select_top", "save_precomputed_indices", "para", "sample_at_inference",
)  # fmt: skip
SIZES = (
    "init_r", "target_r", "mini_r", "hybrid_r", "gralora_k", "num_virtual_tokens", "num_frozen_tokens",
    "token_dim", "num_layers", "num_attention_heads", "num_transformer_submodules", "encoder_hidden_size",
    "encoder_num_layers", "num_ranks", "num_tasks", "oft_block_size", "boft_block_size", "boft_block_num",
    "boft_n_butterfly_factor", "n_frequency", "num_vectors", "vector_length", "topk", "block_size", "group_size",
    "num_subspaces", "subspace_rank", "theta_d_length", "num_B", "stride_A", "depth", "u", "adapter_layers",
    "adapter_len", "decompose_factor", "qalora_group_size",
)  # fmt: skip
NUMBERS = (
    "lora_alpha", "alpha", "psoft_alpha", "randlora_alpha", "shadow_alpha", "scaling", "delora_lambda", "d_initial",
    "lora_dropout", "rank_dropout", "module_dropout", "eps", "weight_tying", "sparsity", "init_scale",
)  # fmt: skip
MODULES = ("target_modules", "exclude_modules", "feedforward_modules")
"""A list of endings of module paths, or one pattern of whole paths."""

LIGHT_MODULES = ("layers_pattern", "modules_to_save")
"""Likewise, but peft puts them into patterns of its own."""

SIZE_PATTERNS, NUMBER_PATTERNS = (
    ("rank_pattern", "n_frequency_pattern", "block_size_pattern"),
    ("alpha_pattern", "lambda_pattern"),
)
"""Pattern of a module's path -> its size, or its number."""

SMALL = 1024
"""Sizes up to this are built whatever the file holds; larger ones need a tensor with such a dimension."""

LONGEST_PATH = 256

# a bound on a rank; the width of an encoder that is not stored
_UNBOUNDED = (("LOKR", "r"), ("P_TUNING", "encoder_hidden_size"), ("PREFIX_TUNING", "encoder_hidden_size"))

# types whose patterns of sizes peft puts into patterns of its own; `lab.deltas.peft_targets` spells out all others
_MATCHED_BY_PEFT = ("OSF", "FOURIERFT", "WAVEFT", "C3A")

# types with which r = 0 means "choose by another option"
_RANKLESS = ("OFT", "BOFT", "SUPERTUNING", "GRALORA", "MISS")


def check_options(file: Path, config: Mapping[str, Any], header: Mapping[str, Entry] | None = None) -> None:
    """Raise unless every entry we know has a type and size that means something.

    Args:
        file: for the message.
        config: its entries.
        header: of the adapter's weights, which bounds the sizes; None where there are no weights yet.

    Raises:
        CheckpointError: names file, entry, value and what was expected.
    """
    kind = config.get("peft_type")
    if not isinstance(kind, str):
        raise CheckpointError(f'{file} is no peft configuration: its "peft_type" is {str(kind)[:40]!r}.')
    longest = max((n for entry in (header or {}).values() for n in entry.shape), default=0)

    def size(file: Path, name: str, value: Any, least: int = 1) -> int:
        whole(file, name, value, least=least)
        if header is not None and value > max(SMALL, longest) and (kind, name) not in _UNBOUNDED:
            raise refused(file, name, value, f"at most {longest:,}, the longest dimension of the adapter's tensors")
        return value

    def patterned_size(file: Path, name: str, value: Any) -> Any:
        if kind == "ADALORA" and isinstance(value, list) and all(isinstance(kept, bool) for kept in value):
            return value  # which of the singular values are kept
        if kind == "OSF" and isinstance(value, float):
            return number(file, name, value)  # a share of the rank
        return size(file, name, value)

    light = kind in _MATCHED_BY_PEFT
    checks: list[tuple[tuple[str, ...], Callable[[str, Any], object]]] = [
        (FLAGS, lambda name, value: flag(file, name, value)),
        (("r",), lambda name, value: size(file, name, value, -1 if kind in _RANKLESS else 1)),
        (SIZES, lambda name, value: size(file, name, value, -1)),  # some have -1 for "choose"
        (NUMBERS, lambda name, value: number(file, name, value)),
        (MODULES, lambda name, value: modules(file, name, value)),
        (LIGHT_MODULES, lambda name, value: light_modules(file, name, value)),
        (("layers_to_transform",), lambda name, value: layers(file, name, value)),
        (("trainable_token_indices", "token_indices"), lambda name, value: tokens(file, name, value)),
        (NUMBER_PATTERNS, lambda name, value: patterned(file, name, value, number)),
        (
            SIZE_PATTERNS,
            lambda name, value: patterned(file, name, value, patterned_size, light=light),
        ),
    ]
    for names, check in checks:
        for name in names:
            if config.get(name) is not None:
                check(name, config[name])
    required = {
        "r": kind not in ("SUPERTUNING",),
        "lora_alpha": kind in ("LORA", "ADALORA"),
        "alpha": kind in ("LOHA", "LOKR"),
    }
    for name, needed in required.items():
        if needed and name in config and config[name] is None:
            raise refused(file, name, None, "a whole number from 1 on" if name == "r" else "a finite number")


def refused(file: Path, name: str, value: Any, expected: str) -> CheckpointError:
    """What is wrong with an entry, in one sentence."""
    return CheckpointError(f"{file}: {name} is {str(value)[:80]!r} ({type(value).__name__}); expected {expected}.")


def whole(file: Path, name: str, value: Any, *, least: int = 1) -> int:
    """A whole number."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise refused(file, name, value, f"a whole number from {max(least, 0)} on")
    return value


def number(file: Path, name: str, value: Any) -> float:
    """A finite number."""
    # whole numbers without bound are valid JSON, and too large for a float
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e30 or not isfinite(value):
        raise refused(file, name, value, "a finite number")
    return float(value)


def flag(file: Path, name: str, value: Any) -> bool:
    """true, false or null."""
    if value is not None and not isinstance(value, bool):
        raise refused(file, name, value, "true or false")
    return bool(value)


def modules(file: Path, name: str, value: Any) -> tuple[str, ...] | str:
    """A list of names, or a pattern."""
    if isinstance(value, str):
        matched(file, name, value)
        return value
    if not isinstance(value, list) or not all(isinstance(target, str) and target for target in value):
        raise refused(file, name, value, "a list of names, or a pattern")
    return tuple(value)


def light_modules(file: Path, name: str, value: Any) -> tuple[str, ...]:
    """A list of names, or one name, which peft puts into patterns of its own."""
    found = modules(file, name, [value] if isinstance(value, str) else value)
    for target in found:
        matched(file, name, target, light=True)
    return tuple(found)


def layers(file: Path, name: str, value: Any) -> tuple[int, ...]:
    """A layer's number, or several."""
    values = value if isinstance(value, list) else [value]
    return tuple(whole(file, name, item, least=0) for item in values)


def tokens(file: Path, name: str, value: Any) -> dict[str, tuple[int, ...]]:
    """Numbers of tokens, or of each of several embeddings: ending of its path -> numbers; "" for the PLM's own."""
    found = value if isinstance(value, dict) else {"": value}
    if not all(isinstance(numbers, list) for numbers in found.values()):
        raise refused(file, name, value, "a list of numbers of tokens, or one for each of several embeddings")
    return {ending: tuple(whole(file, name, i, least=0) for i in numbers) for ending, numbers in found.items()}


def patterned(
    file: Path, name: str, value: Any, of: Callable[[Path, str, Any], Any], *, light: bool = False
) -> tuple[tuple[str, Any], ...]:
    """A mapping of patterns to values."""
    if not isinstance(value, dict):
        raise refused(file, name, value, "a mapping of patterns to values")
    for text in value:
        matched(file, name, text, light=light)
    return tuple((text, of(file, name, item)) for text, item in value.items())


def matched(file: Path, name: str, text: str, *, light: bool = False) -> None:
    """Raise unless a text is a pattern that is matched in no time."""
    try:
        found = pattern(text)
    except PatternError as error:
        raise refused(file, name, text, str(error)) from error
    if light and not found.light:
        raise refused(file, name, text, "a pattern with at most two repetitions: peft itself matches this one")
