"""Batches of text for tiny models."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import Tensor

from lab.models import PLM

Batch = dict[str, Tensor]


@pytest.fixture
def batch_of() -> Callable[..., Batch]:
    """plm -> three texts of different lengths, padded; with the mask token at the end on request."""

    def make(plm: PLM, *, masked: bool = False) -> Batch:
        texts = ["it was a good film", "bad", "the story was terrible"]
        if masked and plm.tokenizer.mask_token:
            texts = [f"{text} {plm.tokenizer.mask_token}" for text in texts]
        return dict(plm.tokenizer(texts, padding=True, return_tensors="pt"))

    return make
