"""Prompt tuning (Lester et al. 2021): n trained embeddings beside those of the text, at the input only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lab.deltas.additive import Additive, grafted
from lab.deltas.delta import Delta
from lab.deltas.method import DeltaMethod
from lab.deltas.soft_tokens import Insertion, Placement, SoftTokens
from lab.models import PLM, Graft
from lab.models.heads import ClassificationHead
from lab.models.numbering import learned_positions


@dataclass(frozen=True)
class Prompt(DeltaMethod):
    """x = (x_1, …, x_l) ↦ (p_1, …, p_n, x_1, …, x_l) at the embedding layer (Lester et al. 2021, section 2).

    It takes softmax mass in every layer, so there is no exact identity. Soft tokens are ordinary positions: the text's
    positions start after them. In T5 they go to the encoder, and the decoder attends to their states too.

    Attributes:
        tokens: n. Default 100, the source text's setting.
        init: "vocabulary": embeddings of n tokens drawn from the vocabulary (best in Lester et al. 2021, section 3.2);
            "random": uniform on ±0.5, theirs too.
        placement: "front" as published and in peft (an encoder's classification head then reads the first soft token,
            which stands where the first token was); "after-first" leaves [CLS] at position 0 and read by the head, as
            P-tuning v2 (Liu et al. 2022) reads it. "auto": "after-first" for encoders, "front" elsewhere.
        label: name of the graft; give another one to put two on one PLM.
    """

    tokens: int = 100
    init: Literal["vocabulary", "random"] = "vocabulary"
    placement: Literal["auto", "front", "after-first"] = "auto"
    label: str = "prompt"

    name = "prompt"
    sized = (("tokens", "{}"),)
    family = "addition"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tokens < 1:
            raise ValueError(f"Prompt needs tokens >= 1; got {self.tokens}.")
        if self.init not in ("vocabulary", "random"):
            raise ValueError(f'Prompt\'s init must be "vocabulary" or "random"; got {self.init!r}.')
        if self.placement not in ("auto", "front", "after-first"):
            raise ValueError(f'Prompt\'s placement must be "auto", "front" or "after-first"; got {self.placement!r}.')

    def body(self, plm: PLM, seed: int) -> Delta:
        embedding = plm.model.get_submodule(plm.architecture.embedding_name(plm.model))
        start = _initial(embedding, self.tokens, self.init, seed)
        return prompt_delta(plm, start, self.label, resolved_placement(plm, self.placement))


def resolved_placement(plm: PLM, placement: str) -> Placement:
    """The placement that "auto" stands for on this PLM."""
    if placement == "auto":
        return "after-first" if plm.architecture.kind == "encoder" else "front"
    return "front" if placement == "front" else "after-first"


def prompt_delta(
    plm: PLM, start: Tensor, label: str, placement: Placement, *, decoder: Tensor | None = None
) -> Additive:
    """φ = change of the soft tokens' embeddings (tokens, hidden), which are `start` at φ₀.

    Args:
        plm, label, placement: as for a method.
        start: the soft tokens at φ₀.
        decoder: on an encoder-decoder: further ones in front of the decoder's text (peft's multitask prompts).
    """
    architecture = plm.architecture
    base = architecture.base_path(plm.model)
    two_stacks = architecture.kind == "encoder-decoder"
    path = f"{base}encoder" if two_stacks else architecture.text_model(plm.model)
    insertion = Insertion(label, placement, learned_positions(plm.model.get_submodule(base.removesuffix("."))))
    read_in_front = placement == "front" and architecture.kind == "encoder" and isinstance(plm.head, ClassificationHead)

    def attach(model: nn.Module) -> None:
        stack = model.get_submodule(path)
        stack.add_module(label, SoftTokens(start.clone(), placement))
        stack.register_forward_pre_hook(insertion.inputs, with_kwargs=True)
        if two_stacks:
            hook = partial(insertion.cross_attention, n=len(start))
            second = model.get_submodule(f"{base}decoder")
            second.register_forward_pre_hook(hook, with_kwargs=True)
            if decoder is not None:
                second.add_module(label, SoftTokens(decoder.clone(), placement))
                second.register_forward_pre_hook(insertion.inputs, with_kwargs=True)
                second.register_forward_hook(insertion.output)
        elif not read_in_front:
            stack.register_forward_hook(insertion.output)

    return grafted(plm, Graft(label, attach), at_identity=False)


@torch.no_grad()
def _initial(embedding: nn.Module, tokens: int, init: str, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    weight: Any = embedding.weight
    if init == "random":
        values = torch.rand(tokens, weight.shape[1], generator=generator, dtype=torch.float64) - 0.5
        return values.to(dtype=weight.dtype, device=weight.device)
    rounds = -(-tokens // weight.shape[0])  # tokens repeat only where the vocabulary is smaller than the prompt
    order = torch.cat([torch.randperm(weight.shape[0], generator=generator) for _ in range(rounds)])
    return embedding(order[:tokens].to(weight.device)).clone()
