"""Sequence classifiers that read one token of a text by its mask, and that `torch.func` can transform."""

from __future__ import annotations

import sys
from functools import lru_cache
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from lab.deferred import transformers
from lab.models.padding import from_the_end


@lru_cache(maxsize=32)
def with_linear_head(language_model: type[nn.Module], base: type[nn.Module]) -> type[nn.Module]:
    """A classifier for a type that transformers has none for: its base model, and one linear map of a state.

    Args:
        language_model: transformers' class with the language-model head; the new class has the same base for names,
            initialisation and loading.
        base: the class of the base model.
    """
    parent: Any = next(cls for cls in language_model.__mro__ if transformers.PreTrainedModel in cls.__bases__)

    class Headed(parent):
        def __init__(self, config: Any):
            super().__init__(config)
            setattr(self, parent.base_model_prefix, base(config))
            self.score = nn.Linear(config.get_text_config().hidden_size, config.num_labels, bias=False)
            self.post_init()

    Headed.__name__ = Headed.__qualname__ = (
        f"{parent.__name__.removesuffix('PreTrainedModel')}ForSequenceClassification"
    )
    Headed.__module__ = parent.__module__
    return Headed


@lru_cache(maxsize=32)
def classifier(published: type[nn.Module], kind: str) -> type[nn.Module]:
    """The classifier of a decoder or encoder-decoder, reading the last token that the mask has as text.

    transformers (5.23) finds that token by `config.pad_token_id` in decoders, which need not be the token that the
    batch is padded with; in T5 and BART it counts end-of-sequence tokens by a boolean mask, which depends on the data
    (per-example gradients by `vmap` fail) and wants one in every text. Where those conventions hold the logits are the
    same; so are the parameters' names.

    Args:
        published: transformers' class, or one `with_linear_head`; its modules beside the base model, one after the
            other, are the head.
        kind: "decoder"; "encoder-decoder", whose decoder reads the text shifted right by one, as published; or
            "encoder", whose first token is read, where transformers has no classifier.
    """
    parent: Any = published
    shift = vars(sys.modules[published.__module__]).get("shift_tokens_right")
    wraps = shift is not None and len(signature(shift).parameters) == 2  # mBART: the last token, a language, begins

    class Classifier(parent):
        def forward(
            self,
            input_ids: Tensor | None = None,
            attention_mask: Tensor | None = None,
            past_key_values: Any = None,
            **inputs: Any,
        ) -> Any:
            if past_key_values is not None:
                inputs["past_key_values"] = past_key_values
            mask = attention_mask
            if kind == "encoder-decoder":
                if "decoder_input_ids" in inputs:
                    mask = inputs.get("decoder_attention_mask")
                else:
                    inputs["decoder_input_ids"] = self._shifted(input_ids, attention_mask)
            found = self.base_model(input_ids, attention_mask=attention_mask, **inputs)
            states = found.last_hidden_state
            text = torch.ones_like(states[..., 0]) if mask is None else mask
            last = (states.shape[1] - from_the_end(text.ne(0)))[:, None, None] * (kind != "encoder")
            if kind == "decoder":  # the product first, as published: the same bits
                outputs = self._headed(states)
                logits = outputs.gather(1, last.expand(-1, 1, outputs.shape[-1]))[:, 0]
            else:
                logits = self._headed(states.gather(1, last.expand(-1, 1, states.shape[-1]))[:, 0])
            return transformers.modeling_outputs.SequenceClassifierOutput(
                logits=logits, hidden_states=found.get("hidden_states"), attentions=found.get("attentions")
            )

        def _headed(self, states: Tensor) -> Tensor:
            for module in self.children():
                if module is not self.base_model and not isinstance(module, nn.Dropout):
                    states = module(states)
            return states

        def _shifted(self, input_ids: Any, mask: Tensor | None) -> Tensor:
            start = torch.full_like(input_ids[:, :1], self.config.decoder_start_token_id)
            if wraps:
                text = torch.ones_like(input_ids) if mask is None else mask
                start = input_ids.gather(1, (input_ids.shape[1] - from_the_end(text.ne(0)))[:, None])
            return torch.cat([start, input_ids[:, :-1]], dim=1)

    Classifier.__name__ = Classifier.__qualname__ = published.__name__
    Classifier.__module__ = published.__module__
    return Classifier
