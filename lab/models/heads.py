"""How a batch becomes logits: a classification or regression head, or the language-model head with a verbaliser."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lab.models.attention import is_transformed
from lab.models.numbering import numbered
from lab.models.padding import from_the_end, in_place, right_padded

Run = Callable[..., Any]
"""inputs by keyword -> the transformers output of the model under the overrides in force."""

INPUTS = (
    "input_ids", "attention_mask", "token_type_ids", "position_ids", "decoder_input_ids", "decoder_attention_mask",
)  # fmt: skip


@dataclass(frozen=True)
class Head(ABC):
    """Reads logits off a model's output.

    What it reads and how tokens are numbered follow from the batch's attention mask alone, never from the padding token
    of a configuration: padding on either side changes nothing, and a padding token may occur in a text.

    Attributes:
        numbered_after: p of `lab.models.numbering.last_unnumbered`, of models that number by the padding token.
    """

    numbered_after: int | None = field(default=None, kw_only=True)

    @abstractmethod
    def logits(self, run: Run, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits of the batch; `run` evaluates the model on keyword inputs."""

    def inputs(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the model is given: texts at the left edge (`right_padded`), numbered by the mask."""
        inputs = right_padded(inputs_of(batch))
        if self.numbered_after is None or "position_ids" in inputs:
            return inputs
        mask = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"]))
        return {**inputs, "position_ids": numbered(mask, self.numbered_after)}


def inputs_of(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The model's inputs among the batch's entries; "labels" and others stay behind.

    Raises:
        ValueError: there are no "input_ids".
    """
    if "input_ids" not in batch:
        raise ValueError(f'a batch needs "input_ids" (batch, seq); got the entries {sorted(batch)}.')
    return {name: batch[name] for name in INPUTS if name in batch}


@dataclass(frozen=True)
class ClassificationHead(Head):
    """transformers' sequence-classification head: (batch, num_labels); one column for regression.

    Encoders read the first token of the text, decoders and the decoder of an encoder-decoder the last one.
    """

    def logits(self, run: Run, batch: Mapping[str, Tensor]) -> Tensor:
        return run(**self.inputs(batch)).logits


@dataclass(frozen=True)
class LanguageModelHead(Head):
    """The full logits over the vocabulary, (batch, seq, vocabulary).

    Attributes:
        decoder_start: for encoder-decoders: the token that starts the decoder when the batch has no
            "decoder_input_ids"; the logits are then (batch, 1, vocabulary).
    """

    decoder_start: int | None = None

    def logits(self, run: Run, batch: Mapping[str, Tensor]) -> Tensor:
        inputs = _with_decoder(self.inputs(batch), self.decoder_start)
        mask = "attention_mask" if self.decoder_start is None else "decoder_attention_mask"
        return in_place(run(**inputs).logits, batch.get(mask))


@dataclass(frozen=True)
class NextTokenHead(Head):
    """A decoder's logits of the token after the last position, (batch, vocabulary); texts must not be padded."""

    def logits(self, run: Run, batch: Mapping[str, Tensor]) -> Tensor:
        return run(**self.inputs(batch), logits_to_keep=1).logits[:, -1]


@dataclass(frozen=True)
class VerbalizerHead(Head):
    """Language-model logits of the label words at one position, (batch, number of labels).

    The position is the mask token (encoders), the last token that is not padding (decoders), or the decoder's first
    (encoder-decoders). It is counted from the end of the sequence, so soft tokens put before the text do not shift it.

    Attributes:
        label_ids: one token id per label, in the order of the labels.
        mask_id: the mask token of an encoder; None elsewhere.
        decoder_start: the decoder's first token of an encoder-decoder; None elsewhere.
    """

    label_ids: tuple[int, ...]
    mask_id: int | None = None
    decoder_start: int | None = None

    def logits(self, run: Run, batch: Mapping[str, Tensor]) -> Tensor:
        inputs = self.inputs(batch)
        if self.decoder_start is not None:
            return run(**_with_decoder(inputs, self.decoder_start)).logits[:, 0, list(self.label_ids)]
        ids = inputs["input_ids"]
        text = inputs.get("attention_mask", torch.ones_like(ids)).ne(0)
        if self.mask_id is not None:
            marked = ids.eq(self.mask_id) & text
            back = from_the_end(marked)
            if not is_transformed(batch["input_ids"]) and not bool(marked.any(-1).all()):
                raise ValueError(
                    f"every text needs the mask token (id {self.mask_id}) where the label word goes; some row of this "
                    "batch has none. Put the tokenizer's mask token into the template, and check the truncation."
                )
            all_logits = run(**inputs).logits
        else:
            back = from_the_end(text)
            # only the positions from the shortest row's end on; under vmap over examples that is not known beforehand
            keep = ids.shape[-1] if is_transformed(batch.get("attention_mask", batch["input_ids"])) else int(back.max())
            all_logits = run(**inputs, logits_to_keep=keep).logits
        words = all_logits[..., list(self.label_ids)]  # (batch, positions, labels)
        position = words.shape[1] - back
        return words.gather(1, position[:, None, None].expand(-1, 1, words.shape[-1]))[:, 0]


def label_ids(tokenizer: Any, verbalizer: Sequence[str]) -> tuple[int, ...]:
    """The token id of each label word, as it stands after a space.

    Raises:
        ValueError: a word is not a single token, is unknown to the tokenizer, or two labels share one token.
    """
    ids = tuple(_single_token(tokenizer, word) for word in verbalizer)
    if len(set(ids)) != len(ids):
        raise ValueError(f"label words must differ in their tokens; {tuple(verbalizer)} become the token ids {ids}.")
    return ids


def _single_token(tokenizer: Any, word: str) -> int:
    pieces: list[int] = []
    for text in (f" {word.strip()}", word.strip()):
        pieces = tokenizer.encode(text, add_special_tokens=False)
        if len(pieces) == 1 and pieces[0] != tokenizer.unk_token_id:
            return pieces[0]
    raise ValueError(
        f"a label word must be one token; {word!r} becomes {tokenizer.convert_ids_to_tokens(pieces)}. "
        "Choose another word for this label."
    )


def _with_decoder(inputs: dict[str, Tensor], start: int | None) -> dict[str, Tensor]:
    if start is None or "decoder_input_ids" in inputs:
        return inputs
    return {**inputs, "decoder_input_ids": torch.full_like(inputs["input_ids"][:, :1], start)}
