"""Losses of one batch as functions of a delta's vector: of its labels, and of the next tokens of its texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn.functional import cross_entropy

from lab.deltas import Delta


def batch_loss(delta: Delta, batch: dict[str, Tensor]) -> Callable[[Tensor], Tensor]:
    """φ -> mean cross-entropy of a batch's labels [nats]; of numbers to predict, the mean squared error."""
    labels = batch["labels"]
    if labels.is_floating_point():
        return lambda phi: (delta.logits(phi, batch).squeeze(1) - labels).square().mean()
    return lambda phi: cross_entropy(delta.logits(phi, batch), labels)


def next_token_logits(delta: Delta, batch: dict[str, Tensor]) -> tuple[Any, Tensor]:
    """Logits of every token but the last as a function of φ, and the weights of the mean over those that are followed.

    Returns:
        φ -> (n, seq − 1, vocabulary); (n, seq − 1), 0 where the next token is padding, summing to 1.
    """
    follows = batch["attention_mask"][:, 1:].to(delta.phi0)
    return lambda phi: delta.logits(phi, batch)[:, :-1], follows / follows.sum()


def next_token_loss(logits: Any, batch: dict[str, Tensor], weights: Tensor) -> Any:
    """φ -> the weighted mean over tokens of the cross-entropy of the next one [nats]; of `next_token_logits`."""
    targets, w = batch["input_ids"][:, 1:].reshape(-1), weights.reshape(-1)
    return lambda phi: w @ cross_entropy(logits(phi).flatten(0, 1), targets, reduction="none")
