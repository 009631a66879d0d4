"""Token ids of many texts, tokenised once per (texts, tokenizer, length, template)."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from lab.tasks.examples import Examples
from lab.tasks.templating import fill

REMEMBERED = 24
"""Tokenised splits kept in memory; 25,000 texts of 128 tokens take 13 MB."""


@dataclass(frozen=True, eq=False)
class Tokens:
    """Ragged token ids, end to end.

    Attributes:
        ids: (total,) int32.
        lengths: (n,) int64, tokens of each text.
        types: (total,) int8, 0 in the first and 1 in the second sentence; None where the model takes none.
        pad_id: what to pad with; always masked.
    """

    ids: np.ndarray
    lengths: np.ndarray
    types: np.ndarray | None
    pad_id: int

    @cached_property
    def starts(self) -> np.ndarray:
        """(n,) where each text begins in `ids`."""
        return np.cumsum(self.lengths) - self.lengths


def tokenize(examples: Examples, tokenizer: Any, max_length: int, template: str | None = None) -> Tokens:
    """Tokens of the examples, special tokens included, at most max_length each; of a pair the longer one is cut first.

    Args:
        examples: what to tokenise.
        tokenizer: a transformers tokenizer; its `model_max_length` is what the model can take.
        max_length: most tokens per example; never more than the model can take.
        template: see `lab.tasks.templating`; None: the tokenizer's own single or pair format.

    Warns:
        UserWarning: texts reach the length that the model can take, which is below max_length.

    Raises:
        ValueError: no tokenizer, or max_length leaves no room for text beside the special tokens.
    """
    if tokenizer is None:
        raise ValueError(
            "this PLM has no tokenizer, so no task can be encoded for it: its folder needs tokenizer.json, which "
            "AutoTokenizer.from_pretrained(…).save_pretrained(folder) writes."
        )
    reserved = tokenizer.num_special_tokens_to_add(pair=examples.pairs is not None)
    n_sentences = 1 if examples.pairs is None else 2
    if max_length < reserved + n_sentences:
        raise ValueError(
            f"max_length must be at least {reserved + n_sentences} ({reserved} special tokens and text); "
            f"got {max_length}."
        )
    most = min(max_length, getattr(tokenizer, "model_max_length", max_length))
    found = _tokens(_Request(examples.fingerprint, _identity(tokenizer), most, template, examples, tokenizer))
    n_cut = int((found.lengths >= most).sum()) if most < max_length else 0
    if n_cut:
        warnings.warn(
            f"{n_cut} of {len(found.lengths)} texts are cut at {most} tokens, the positions this model has; max_length "
            f"{max_length} is more than that.",
            stacklevel=4,
        )
    return found


@dataclass(frozen=True)
class _Request:
    """Compares by content, carries what is needed to compute."""

    content: str
    tokenizer_identity: str
    max_length: int
    template: str | None
    examples: Examples = field(compare=False)
    tokenizer: Any = field(compare=False)


@lru_cache(maxsize=REMEMBERED)
def _tokens(request: _Request) -> Tokens:
    examples, tokenizer = request.examples, request.tokenizer
    if request.template is None:
        pairs = None if examples.pairs is None else list(examples.pairs)
        encoded = tokenizer(
            list(examples.texts), pairs, truncation=True, max_length=request.max_length, padding=False, verbose=False
        )
    else:
        texts = fill(request.template, examples, tokenizer, request.max_length)
        encoded = tokenizer(texts, truncation=False, padding=False, verbose=False)
    lengths = np.array([len(ids) for ids in encoded["input_ids"]], dtype=np.int64)
    empty = np.flatnonzero(lengths == 0)
    if len(empty):
        raise ValueError(f"example {empty[0]} has no token: {examples.texts[empty[0]]!r}; drop it.")
    return Tokens(
        ids=_concatenated(encoded["input_ids"], np.int32),
        lengths=lengths,
        types=_concatenated(encoded["token_type_ids"], np.int8) if "token_type_ids" in encoded else None,
        pad_id=_pad_id(tokenizer),
    )


def _concatenated(rows: list[list[int]], dtype: type) -> np.ndarray:
    return np.fromiter((value for row in rows for value in row), dtype=dtype)


def _pad_id(tokenizer: Any) -> int:
    """The padding token, or where there is none (GPT-2, Llama) the end token, or 0; the mask hides it in any case."""
    candidates = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    return next(candidate for candidate in candidates if candidate is not None)


def _identity(tokenizer: Any) -> str:
    """What determines a tokenizer's output: its class, its inputs and its serialised pipeline and vocabulary.

    The serialisation begins with the padding and truncation of the last call, which are left out.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        pipeline = repr(sorted(tokenizer.get_vocab().items()))
    else:
        pipeline = backend.to_str().partition('"added_tokens"')[2]
    parts = (type(tokenizer).__name__, repr(tokenizer.model_input_names), repr(tokenizer.special_tokens_map), pipeline)
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
