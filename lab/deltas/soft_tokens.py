"""Soft tokens in front of the text: how they enter each family's base model, and how its output hides them again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

Placement = Literal["front", "after-first"]
_SEQUENCES = ("input_ids", "inputs_embeds", "attention_mask", "token_type_ids", "position_ids")


class SoftTokens(nn.Module):
    """The trained embeddings (tokens, hidden), and where they stand."""

    def __init__(self, tokens: Tensor, placement: Placement):
        super().__init__()
        self.tokens = nn.Parameter(tokens)
        self.placement = placement


@dataclass(frozen=True)
class Insertion:
    """Hooks that insert the soft tokens of the child `label` into what a stack receives.

    Attributes:
        label: name of the child module that holds the soft tokens.
        placement: before the first token, or right after it.
        limit: positions the model has (learned absolute positions); None: no limit.
    """

    label: str
    placement: Placement
    limit: int | None

    def inputs(self, stack: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        """Pre-hook of an encoder or decoder stack: embeds the ids, inserts the soft tokens, widens mask and types.

        Raises:
            ValueError: the mask is not 2-D, or the sequence gets longer than the model's positions.
        """
        given = {**dict(zip(("input_ids", "attention_mask"), args, strict=False)), **kwargs}
        given = {name: value for name, value in given.items() if value is not None or name not in _SEQUENCES}
        embeds = given.pop("inputs_embeds", None)
        ids = given.pop("input_ids", None)
        if embeds is None:
            embeds = stack.get_input_embeddings()(ids)
        tokens = _tokens(stack, self.label).to(embeds.dtype)
        n, length = tokens.shape[0], embeds.shape[1] + tokens.shape[0]
        require_positions(self.limit, n, embeds.shape[1], "prompt")
        given["inputs_embeds"] = inserted(embeds, tokens.expand(embeds.shape[0], *tokens.shape), self.placement)
        if "attention_mask" in given:
            given["attention_mask"] = self._widened_mask(given["attention_mask"], n)
        if "token_type_ids" in given:
            types = given["token_type_ids"]
            given["token_type_ids"] = inserted(types, types[:, :1].expand(-1, n), self.placement)
        if "position_ids" in given:  # the soft tokens take the next n positions, and what follows moves on
            positions = given["position_ids"]
            first = positions[:, :1] + (self.placement == "after-first")
            soft = first + torch.arange(n, device=positions.device)
            moved = torch.arange(length, device=positions.device) >= self._start + n
            given["position_ids"] = inserted(positions, soft, self.placement) + n * moved
        return (), given

    def output(self, stack: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
        """Forward hook of a base model: takes the soft tokens' states out, so a head counts positions of the text."""
        states = output.last_hidden_state
        n = _tokens(stack, self.label).shape[0]
        kept = states[:, self._start + n :]  # with the soft tokens in front a view is enough: no copy of the states
        output.last_hidden_state = torch.cat([states[:, : self._start], kept], dim=1) if self._start else kept
        return output

    def cross_attention(
        self, decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], n: int
    ) -> tuple[tuple, dict[str, Any]]:
        """Pre-hook of T5's decoder: its mask over the encoder's states grows by the n soft tokens."""
        mask = kwargs.get("encoder_attention_mask")
        if mask is not None:
            kwargs = {**kwargs, "encoder_attention_mask": self._widened_mask(mask, n)}
        return args, kwargs

    @property
    def _start(self) -> int:
        return _place(self.placement)

    def _widened_mask(self, mask: Tensor, n: int) -> Tensor:
        if mask.ndim != 2:
            raise ValueError(f"soft tokens need a 2-D attention mask (batch, seq); got shape {tuple(mask.shape)}.")
        return inserted(mask, mask.new_ones(mask.shape[0], n), self.placement)


def inserted(sequence: Tensor, new: Tensor, placement: Placement) -> Tensor:
    """(batch, seq, …) with `new` (batch, n, …) before the first token, or right after it."""
    start = _place(placement)
    return torch.cat([sequence[:, :start], new, sequence[:, start:]] if start else [new, sequence], dim=1)


def soft_tokens_of(stack: nn.Module) -> list[SoftTokens]:
    """The prompts grafted on a stack, in the order of their hooks."""
    return [child for child in stack.children() if isinstance(child, SoftTokens)]


def soft_positions(stack: nn.Module, length: int) -> Tensor:
    """Which of the `length` positions that a stack's blocks see are soft tokens, (length,) of bool."""
    found = soft_tokens_of(stack)
    n_text = length - sum(child.tokens.shape[0] for child in found)
    soft = torch.zeros(1, n_text, dtype=torch.bool)
    for child in found:
        soft = inserted(soft, torch.ones(1, child.tokens.shape[0], dtype=torch.bool), child.placement)
    return soft[0]


def _place(placement: Placement) -> int:
    return 0 if placement == "front" else 1


def require_positions(limit: int | None, n: int, length: int, name: str) -> None:
    """Refuse a text of `length` tokens that n soft tokens push past the model's positions.

    Args:
        limit: positions the model has (`lab.models.numbering.learned_positions`); None: no limit.
        n: soft tokens that take a position.
        length: tokens of the text.
        name: of what the soft tokens belong to, for the message.

    Raises:
        ValueError: n + length > limit.
    """
    if limit is not None and n + length > limit:
        raise ValueError(
            f"{n} soft tokens and {length} tokens of text exceed this model's {limit} positions; "
            f"shorten the text (max_length) or the {name} (tokens)."
        )


def _tokens(stack: nn.Module, label: str) -> Tensor:
    child: Any = stack.get_submodule(label)
    return child.tokens
