"""`EncodedSplit`: tokens of one split and the batches made of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lab.faces import Facts, faced
from lab.tasks.examples import Examples
from lab.tasks.order import shuffled
from lab.tasks.tokens import Tokens, tokenize

Batch = dict[str, Tensor]

ROUND_TO = 8
"""Widths are multiples of this, so that shapes repeat (tensor cores also want multiples of 8)."""

POOL = 50
"""Batches per pool that is sorted by length; transformers' length-grouped sampler takes at most 50 too."""


class Encoder(Protocol):
    """What encoding needs of a PLM."""

    @property
    def tokenizer(self) -> Any: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def n_embeddings(self) -> int | None: ...


def _facts(split: EncodedSplit) -> Facts:
    return {
        "examples": len(split), "tokens": int(split.lengths.sum()), "longest": int(split.lengths.max()),
        "max_length": split.max_length, "device": str(split.device),
    }  # fmt: skip


@faced(_facts)
@dataclass(frozen=True, eq=False)
class EncodedSplit:
    """Tokenised examples, cut into padded batches.

    A batch is {"input_ids", "attention_mask", ("token_type_ids",) "labels"}: int64 (n, width), labels int64 (n,) or
    float32 (n,) for regression. Padding is always on the right, whatever the tokenizer prefers: then a causal model's
    real tokens never see it, and the logits of an example do not depend on its neighbours.

    Attributes:
        tokens: token ids of every example.
        labels: (n,).
        device: where batches go unless asked otherwise: the PLM's device when encoding.
        max_length: no batch is wider.
    """

    tokens: Tokens
    labels: Tensor
    device: torch.device
    max_length: int
    _epochs: dict[tuple[int, int], tuple[int, list[np.ndarray]]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each example, special tokens included; (n,)."""
        return self.tokens.lengths

    def batch(self, indices: np.ndarray, device: torch.device | str | None = None) -> Batch:
        """The given examples as one batch, padded to the longest of them rounded up to a multiple of 8."""
        lengths = self.lengths[indices]
        width = min(-(-int(lengths.max()) // ROUND_TO) * ROUND_TO, self.max_length)
        columns = np.arange(width)
        real = columns[None, :] < lengths[:, None]
        place = np.where(real, self.tokens.starts[indices][:, None] + columns[None, :], 0)
        arrays = {"input_ids": np.where(real, self.tokens.ids[place], self.tokens.pad_id), "attention_mask": real}
        if self.tokens.types is not None:
            arrays["token_type_ids"] = np.where(real, self.tokens.types[place], 0)
        device = self.device if device is None else torch.device(device)
        batch = {name: torch.from_numpy(array.astype(np.int64)).to(device) for name, array in arrays.items()}
        batch["labels"] = self.labels[torch.from_numpy(np.asarray(indices))].to(device)
        return batch

    def training_batch(self, step: int, batch_size: int, seed: int, device: torch.device | str | None = None) -> Batch:
        """The batch of a training step: a pure function of its arguments, so that a resumed run sees the same data.

        An epoch shuffles the examples, sorts pools of 50 batches by length, cuts them into batches and shuffles these:
        every example at most once an epoch, every batch of the same size (the remainder of n / batch_size is left out,
        another one each epoch), and little padding.

        Args:
            step: number of the step, from 0.
            batch_size: examples per batch; all of them where there are fewer.
            seed: seed of the order, >= 0.
            device: where to put the batch; default: the PLM's device.

        Raises:
            ValueError: step < 0, batch_size < 1 or seed < 0.
        """
        if step < 0 or batch_size < 1:
            raise ValueError(f"step must be >= 0 and batch_size >= 1; got {step} and {batch_size}.")
        epoch, position = divmod(step, max(1, len(self) // batch_size))
        remembered = self._epochs.get((seed, batch_size))
        if remembered is None or remembered[0] != epoch:
            remembered = (epoch, self._epoch(epoch, batch_size, seed))
            self._epochs[seed, batch_size] = remembered
        return self.batch(remembered[1][position], device)

    def _epoch(self, epoch: int, batch_size: int, seed: int) -> list[np.ndarray]:
        pools, order = _pools(len(self), epoch, batch_size, seed)
        by_length = np.concatenate([_by_length(self.lengths, pool) for pool in pools])
        batches = np.array_split(by_length, len(order))
        return [batches[i] for i in order]

    def batches(
        self, batch_size: int, size: int | None = None, device: torch.device | str | None = None
    ) -> Iterator[Batch]:
        """Batches for evaluation, longest examples first (what does not fit in memory fails at once).

        Args:
            batch_size: examples per batch; the last may be smaller.
            size: only the first so many examples of a fixed shuffled order, the same for every caller; None: all.
            device: where to put the batches; default: the PLM's device.

        Raises:
            ValueError: batch_size or size < 1.
        """
        if batch_size < 1 or (size is not None and size < 1):
            raise ValueError(f"batch_size and size must be at least 1; got {batch_size} and {size}.")
        chosen = np.arange(len(self)) if size is None else shuffled(len(self), 0)[:size]
        chosen = chosen[np.argsort(-self.lengths[chosen], kind="stable")]
        return (self.batch(chosen[i : i + batch_size], device) for i in range(0, len(chosen), batch_size))

    def padded(self, batch: Batch, width: int) -> Batch:
        """The batch padded to `width` tokens, for stacking batches of several runs.

        Raises:
            ValueError: width below the batch's.
        """
        missing = width - batch["input_ids"].shape[1]
        if missing < 0:
            raise ValueError(f"the batch is {batch['input_ids'].shape[1]} tokens wide; cannot pad it to {width}.")
        filler = {"input_ids": self.tokens.pad_id, "attention_mask": 0, "token_type_ids": 0}
        return {
            name: F.pad(tensor, (0, missing), value=filler[name]) if name in filler else tensor
            for name, tensor in batch.items()
        }


def encode(examples: Examples, plm: Encoder, max_length: int, template: str | None) -> EncodedSplit:
    """Tokenise examples for a PLM; see `Task.encode`."""
    tokens = tokenize(examples, plm.tokenizer, max_length, template)
    beyond = int(tokens.ids.max())
    if plm.n_embeddings is not None and beyond >= plm.n_embeddings:
        raise ValueError(
            f"a text has the token {plm.tokenizer.convert_ids_to_tokens(beyond)!r}, number {beyond}, and this PLM has "
            f"embeddings of {plm.n_embeddings} tokens: its tokenizer was extended and the model was not. Take the "
            "tokenizer that it came with, or save both after model.resize_token_embeddings(len(tokenizer))."
        )
    labels = torch.tensor(examples.labels, dtype=torch.float32 if examples.numeric else torch.int64)
    return EncodedSplit(tokens, labels, torch.device(plm.device), max_length)


def first_batch(examples: Examples, plm: Encoder, max_length: int, batch_size: int, seed: int) -> Batch:
    """`encode(examples, plm, max_length, None).training_batch(0, batch_size, seed)`, the same bits.

    Of many examples only those of its pool are tokenised: of 25,000 texts and batches of 8, 400.
    """
    pools, order = _pools(len(examples), 0, batch_size, seed)
    pool, place = divmod(int(order[0]), POOL)
    drawn = encode(examples.take(pools[pool]), plm, max_length, None)
    chosen = _by_length(drawn.lengths, np.arange(len(drawn)))
    return drawn.batch(chosen[place * batch_size : (place + 1) * batch_size])


def _pools(n: int, epoch: int, batch_size: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """The examples of an epoch in pools of 50 batches, and the order of the batches that are cut from the pools."""
    n_batches = max(1, n // batch_size)
    order = shuffled(n, seed, epoch)[: n_batches * batch_size]
    pools = [order[i : i + POOL * batch_size] for i in range(0, len(order), POOL * batch_size)]
    return pools, shuffled(n_batches, seed, epoch, 1)


def _by_length(lengths: np.ndarray, pool: np.ndarray) -> np.ndarray:
    return pool[np.argsort(lengths[pool], kind="stable")]
