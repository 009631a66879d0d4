"""The tokenizer of a model's folder."""

from __future__ import annotations

import warnings
from typing import Any

from lab.checkpoints.error import CheckpointError
from lab.deferred import transformers
from lab.models.checkpoint import Checkpoint
from lab.models.quiet import quiet

NO_LIMIT = 10**9
"""Tokens of a text where no table of positions ends."""


def tokenizer_of(checkpoint: Checkpoint) -> Any:
    """The folder's tokenizer, padding on the right, with a padding token; None when the folder has none.

    Raises:
        CheckpointError: its files cannot be read.

    Warns:
        UserWarning: the folder holds a sentencepiece model alone, and that cannot be read.
    """
    if not any((checkpoint.folder / f).is_file() for f in ("tokenizer.json", "vocab.txt", "vocab.json")):
        pieces = sorted(file.name for file in checkpoint.folder.glob("*.model"))
        return _of_pieces(checkpoint, pieces[0]) if pieces else None
    return _read_tokenizer(checkpoint)


def warn_of_another(checkpoint: Checkpoint, tokenizer: Any) -> None:
    """Warn of a tokenizer that may be another model's, though its ids fit.

    It is doubted where a special token of config.json is none of its own, or where it knows less than half of the words
    that the model has. One of the same size and layout cannot be told.
    """
    doubt = "" if tokenizer is None else _doubt(checkpoint, tokenizer)
    if doubt:
        warnings.warn(
            f"the tokenizer in {checkpoint.folder} may be that of another model: {doubt}. Texts would be read as other "
            "words than it was trained on; copy the tokenizer's files from where the weights are from, or correct "
            "config.json.",
            stacklevel=3,
        )


def _doubt(checkpoint: Checkpoint, tokenizer: Any) -> str:
    """What speaks against a tokenizer, or ""."""
    rows = checkpoint.config.get_text_config().to_dict().get("vocab_size")
    if not isinstance(rows, int):
        return ""
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    for role in ("bos", "eos", "cls", "sep"):  # not pad: texts are padded by the tokenizer, whatever config.json has
        stated = checkpoint.headers.config.get(f"{role}_token_id")
        if type(stated) is int and 0 <= stated < rows and stated not in special:
            word = tokenizer.convert_ids_to_tokens(stated) if stated < len(tokenizer) else None
            there = f"the ordinary token {word!r}" if word is not None else "no token"
            return f"config.json has {role}_token_id {stated}, which is {there} of this tokenizer"
    if 2 * len(tokenizer) < rows:
        return f"it has {len(tokenizer):,} tokens, the model's vocabulary {rows:,}"
    return ""


def _of_pieces(checkpoint: Checkpoint, file: str) -> Any:
    """A tokenizer of which the folder has the sentencepiece model alone; None, with a warning, where that fails."""
    try:
        return _read_tokenizer(checkpoint)
    except CheckpointError as error:
        warnings.warn(
            f"{checkpoint.folder} has its tokenizer as {file} alone, which cannot be read here, so texts cannot be "
            "encoded. Write tokenizer.json beside it, where sentencepiece is installed: "
            f"AutoTokenizer.from_pretrained(folder).save_pretrained(folder). ({error})",
            stacklevel=4,
        )
        return None


def _read_tokenizer(checkpoint: Checkpoint) -> Any:
    try:
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                checkpoint.folder, config=checkpoint.config, local_files_only=True, trust_remote_code=False
            )
            tokenizer("a film")  # some damage shows when a text is read
    except Exception as error:  # tokenizers raise whatever their parsers raise
        raise CheckpointError(
            f"the tokenizer in {checkpoint.folder} cannot be read: {error}. Copy its files again from where "
            "the model is from."
        ) from error
    rows = checkpoint.config.get_text_config().to_dict().get("vocab_size", len(tokenizer))
    # GPT-2 and Llama have none, or somebody added one that the model has no row for; the mask hides it from attention
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= rows:
        named = getattr(checkpoint.config, "pad_token_id", None)  # LLaMA 1's is −1: none
        known = isinstance(named, int) and 0 <= named < min(len(tokenizer), rows)
        others = (tokenizer.eos_token, tokenizer.sep_token, tokenizer.unk_token)
        other = next((token for token in others if token is not None), None)
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(named) if known else other
    tokenizer.padding_side = "right"
    return tokenizer
