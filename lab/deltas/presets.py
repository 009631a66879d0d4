"""The source texts' settings as methods."""

from __future__ import annotations

from lab.deltas.adapter import Adapter
from lab.deltas.bitfit import BitFit
from lab.deltas.full_fine_tuning import FullFineTuning
from lab.deltas.lora import LoRA
from lab.deltas.method import DeltaMethod
from lab.deltas.prefix import Prefix
from lab.deltas.prompt import Prompt
from lab.deltas.selective import LastLayer, SelectiveModule
from lab.models import PLM


def delta_tuning_study(plm: PLM) -> dict[str, DeltaMethod]:
    """Settings of Ding et al. 2022's comparison on T5-base.

    Prefix of 5 tokens, prompt of 100 soft tokens, LoRA of rank 8 on query and value (of cross-attention too, where
    there is one), adapters with bottleneck 64 and SiLU after attention and feed-forward.

    Args:
        plm: decides whether there is cross-attention.
    """
    has_cross = "cross_query" in plm.architecture.roles(plm.model)
    targets = ("query", "value", *(("cross_query", "cross_value") if has_cross else ()))
    return {
        "prompt": Prompt(tokens=100),
        "prefix": Prefix(tokens=5),
        "LoRA": LoRA(rank=8, targets=targets),
        "adapter": Adapter(bottleneck=64, activation="silu", placement="houlsby"),
        "fine-tuning": FullFineTuning(),
    }


def scale_study(plm: PLM) -> dict[str, DeltaMethod]:
    """The methods of the source text's scale experiment: four deltas, the last layer, randomly chosen modules."""
    chosen = delta_tuning_study(plm)
    four = {name: chosen[name] for name in ("adapter", "LoRA", "prefix", "prompt")}
    return {**four, "last-layer": LastLayer(), "selective-module": SelectiveModule()}


def combination_study() -> dict[str, DeltaMethod]:
    """The parts of Ding et al. 2023, Table 2 (RoBERTa-large): adapter, BitFit, and a prompt of 10 soft tokens."""
    return {"AP": Adapter(bottleneck=64), "BF": BitFit(), "PT": Prompt(tokens=10)}
