"""Texts of a batch moved to its left edge, by the attention mask: what every model here is given."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lab.models.attention import is_transformed

_SEQUENCES = {
    "attention_mask": ("input_ids", "attention_mask", "token_type_ids", "position_ids"),
    "decoder_attention_mask": ("decoder_input_ids", "decoder_attention_mask"),
}
"""Mask -> the entries that are laid out as it is."""


def right_padded(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The batch with each row moved left by the padding in front of it, which goes to its end.

    A model with absolute positions numbers the columns of a batch, and an encoder's head reads the first one; both are
    right only for texts that begin there. Rows that do are unchanged, bit for bit; zeros of the mask inside of a text
    stay where they are. Without a mask every token counts as text.

    Args:
        batch: entries (batch, seq); "attention_mask" and "decoder_attention_mask" say what is text.
    """
    moved = dict(batch)
    for name, entries in _SEQUENCES.items():
        mask = batch.get(name)
        if mask is None or mask.ndim != 2:
            continue
        places = _places(mask, padding_in_front(mask))
        moved |= {e: batch[e].expand(mask.shape).gather(1, places) for e in entries if e in batch}
    return moved


def in_place(rows: Tensor, mask: Tensor | None) -> Tensor:
    """What a right-padded batch gave, (batch, seq, width), moved back to where the mask has the texts."""
    if mask is None or mask.ndim != 2 or mask.device.type == "meta":
        return rows
    front = padding_in_front(mask)
    if not is_transformed(mask) and not bool(front.any()):
        return rows
    return rows.gather(1, _places(mask, -front)[:, :, None].expand(-1, -1, rows.shape[-1]))


def padding_in_front(mask: Tensor) -> Tensor:
    """How many zeros of the mask come before each text, (batch,)."""
    return mask.ne(0).to(torch.int64).argmax(-1)


def from_the_end(marked: Tensor) -> Tensor:
    """How far the last marked position is from the end, counted from 1: (batch,)."""
    return marked.flip(-1).to(torch.int64).argmax(-1) + 1


def _places(mask: Tensor, front: Tensor) -> Tensor:
    length = mask.shape[-1]
    return (torch.arange(length, device=mask.device) + front[:, None]) % length
