"""Names of tensors in checkpoints: which are no weights, which belong to heads, how those of two models correspond."""

from __future__ import annotations

import re
from collections.abc import Iterable

# parameters that belong to a head or a pooler: present in one checkpoint and absent from another without being renamed
HEADS = re.compile(
    r"(^|\.)(classifier|score|lm_head|cls|qa_outputs|pooler|classification_head|pre_classifier|vocab_projector"
    r"|vocab_transform|embed_out|sop_classifier|generator_lm_head|(discriminator|generator|lm|mask)_predictions)\."
    r"|^(predictions|head)\.|^decoder\.(weight|bias)$|(^|\.)final_logits_bias$"
)
EMBEDDINGS = re.compile(
    r"(^|\.)(word_embeddings?|embed_tokens|embed_in|tok_embeddings|tokens_embed|wte|shared)\.weight$"
)

# what models compute from their configuration and earlier versions of transformers stored all the same: positions,
# the frequencies and tables of rotary embeddings, causal masks (GPT-2, GPT-J, GPT-Neo, CodeGen, GPT-NeoX)
_BUFFERS = re.compile(
    r"(^|\.)(position_ids|inv_freq|original_inv_freq|masked_bias|num_batches_tracked|causal_mask)$"
    r"|(^|\.)(cos|sin)_cached$|(^|\.)embeddings\.token_type_ids$|(^|\.)h\.\d+\.attn\.(attention\.)?bias$"
    r"|(^|\.)gpt_neox\.layers\.\d+\.attention\.bias$"
)


def is_buffer(name: str) -> bool:
    """Whether a tensor is known to be no weight, but a constant that the model computes anyway."""
    return bool(_BUFFERS.search(name))


def aligned(base: Iterable[str], tuned: Iterable[str]) -> tuple[dict[str, str], list[str], list[str]]:
    """Match the names of two checkpoints of one model, one of which may carry a prefix ("bert.", "model.").

    Returns:
        tuned name -> base name; base names left over; tuned names left over.
    """
    base, tuned = list(base), list(tuned)
    known, wanted = set(base), set(tuned)
    candidates = [{name: name for name in tuned if name in known}]
    candidates += [{n: n[len(p) :] for n in names if n[len(p) :] in known} for p, names in _by_prefix(tuned)]
    candidates += [{n[len(p) :]: n for n in names if n[len(p) :] in wanted} for p, names in _by_prefix(base)]
    best = max(candidates, key=len)
    matched = set(best.values())
    return best, [name for name in base if name not in matched], [name for name in tuned if name not in best]


def _by_prefix(names: list[str]) -> list[tuple[str, list[str]]]:
    """Names by their leading component, with its dot."""
    groups: dict[str, list[str]] = {}
    for name in names:
        if "." in name:
            groups.setdefault(name.split(".", 1)[0] + ".", []).append(name)
    return sorted(groups.items())
