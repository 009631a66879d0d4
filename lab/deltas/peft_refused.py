"""What peft has that is no map from its parameters to a changed PLM: why, and what to take instead."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

TYPES: Mapping[str, str] = MappingProxyType(
    {
        "CPT": "projects its prompt in place while it runs and has a loss of its own; take Prompt(…) or PROMPT_TUNING",
        "LILY": "weighs its factors by a mean over all tokens of a batch, so a text's logits depend on its neighbours; "
        "take LORA or MISS",
        "POLY": "mixes its factors by a task's number, which a batch does not carry; take LORA for each task",
        "SHADOW": "trains a second decoder, whose states run beside the PLM's; take Adapter(…) or LORA",
        "XLORA": "mixes several trained adapters by what a first pass over the batch gives; load them one by one",
    }
)
OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "alora_invocation_tokens": "works from where peft, outside of its layers, finds these tokens in the text",
        "layer_replication": "repeats layers of the PLM",
        "sample_at_inference": "draws random numbers in every forward pass",
    }
)


def require_map(options: Mapping[str, Any]) -> None:
    """Refuse a peft configuration that gives no map φ ↦ changed PLM, before peft builds anything.

    Args:
        options: the configuration's fields.

    Raises:
        ValueError: a type of `TYPES`, or an option of `OPTIONS` is set.
    """
    kind = str(options.get("peft_type"))
    if kind in TYPES:
        raise ValueError(f"peft's {kind} is no map from its parameters to a changed PLM: it {TYPES[kind]}.")
    for option, reason in OPTIONS.items():
        if options.get(option):
            raise ValueError(
                f"peft's {kind} with {option} is no map from its parameters to a changed PLM: it {reason}; drop that."
            )
