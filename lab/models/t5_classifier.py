"""T5 with a classification head that `torch.func` can transform."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from lab.deferred import transformers
from lab.models.heads import from_the_end


@lru_cache(maxsize=1)
def t5_classifier() -> type[nn.Module]:
    """transformers' T5ForSequenceClassification, reading the last token that is not padding.

    transformers (5.23) gathers the end-of-sequence token by a boolean mask and counts its occurrences, which depends on
    the data: per-example gradients by `vmap` fail. The last token that is not padding *is* the end-of-sequence token of
    every text a T5 tokenizer makes, so the logits are the same; parameter names too. The decoder reads the text shifted
    right by one, as in T5ForSequenceClassification (after BART).
    """

    parent: Any = transformers.T5ForSequenceClassification

    class T5Classifier(parent):
        def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **inputs: Any) -> Any:
            inputs.setdefault("decoder_input_ids", self._shifted(input_ids))
            states = self.transformer(input_ids, attention_mask=attention_mask, **inputs).last_hidden_state
            back = from_the_end(input_ids.ne(self.config.pad_token_id))
            last = (states.shape[1] - back)[:, None, None].expand(-1, 1, states.shape[-1])
            logits = self.classification_head(states.gather(1, last)[:, 0])
            return transformers.modeling_outputs.Seq2SeqSequenceClassifierOutput(logits=logits)

        def _shifted(self, input_ids: Tensor) -> Tensor:
            start = torch.full_like(input_ids[:, :1], self.config.decoder_start_token_id)
            return torch.cat([start, input_ids[:, :-1]], dim=1)

    T5Classifier.__name__ = T5Classifier.__qualname__ = "T5ForSequenceClassification"
    return T5Classifier
