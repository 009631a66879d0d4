"""Names of tensors in checkpoints: which are no weights, which belong to heads, how those of two models correspond."""

from __future__ import annotations

import re
from collections.abc import Iterable

# parameters that belong to a head or a pooler: present in one checkpoint and absent from another without being renamed
HEADS = re.compile(
    r"(^|\.)(classifier|score|lm_head|cls|qa_outputs|pooler|classification_head|pre_classifier|vocab_projector)\."
)
EMBEDDINGS = re.compile(r"(^|\.)(word_embeddings|embed_tokens|wte|shared)\.weight$")

# what models compute from their configuration and earlier versions of transformers stored all the same: positions,
# the frequencies of rotary embeddings, causal masks (GPT-2, GPT-NeoX)
_BUFFERS = re.compile(
    r"(^|\.)(position_ids|inv_freq|original_inv_freq|masked_bias|num_batches_tracked)$"
    r"|(^|\.)embeddings\.token_type_ids$|(^|\.)h\.\d+\.attn\.bias$|(^|\.)gpt_neox\.layers\.\d+\.attention\.bias$"
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
    best: dict[str, str] = {}
    for prefix in _prefixes(base, tuned):
        pairs = {}
        known = set(base)
        for name in tuned:
            other = name.removeprefix(prefix[1:]) if prefix[0] == "-" else prefix[1:] + name
            if prefix[0] == "-" and not name.startswith(prefix[1:]):
                continue
            if other in known:
                pairs[name] = other
        if len(pairs) > len(best):
            best = pairs
    matched = set(best.values())
    return best, [name for name in base if name not in matched], [name for name in tuned if name not in best]


def _prefixes(base: list[str], tuned: list[str]) -> list[str]:
    """Candidates: nothing, and the leading components of names that one side may have on top ("+p" or "-p")."""
    first = {name.split(".", 1)[0] + "." for name in tuned if "." in name}
    other = {name.split(".", 1)[0] + "." for name in base if "." in name}
    return ["+", *sorted("-" + p for p in first), *sorted("+" + p for p in other)]
