from __future__ import annotations

import pytest
import torch

from lab.deltas import row_lookup
from lab.models.tiny import tiny_plm


@pytest.fixture(scope="session")
def plm_of():
    """Tiny PLMs by family, each built once."""
    made: dict[tuple, object] = {}

    def make(family: str = "bert", **options):
        key = (family, *sorted(options.items()))
        if key not in made:
            made[key] = tiny_plm(family, **options)
        return made[key]

    return make


@pytest.fixture(scope="session")
def batch_of():
    """Texts of tokens that are not special; with `padding`, the second one ends earlier."""

    def make(plm, *, texts: int = 3, length: int = 6, seed: int = 0, padding: bool = True):
        vocabulary = plm.model.get_input_embeddings().weight.shape[0]
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(8, vocabulary, (texts, length), generator=generator)
        mask = torch.ones_like(ids)
        if padding:
            ids[1, length - 2 :], mask[1, length - 2 :] = plm.model.config.pad_token_id, 0
        return {"input_ids": ids, "attention_mask": mask}

    return make


@pytest.fixture(scope="session")
def noise():
    def make(*shape: int, seed: int = 0):
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    return make


@pytest.fixture
def tables_count_as_large(monkeypatch):
    """Tables of tiny models are looked up row by row, as large ones are."""
    monkeypatch.setattr(row_lookup, "LARGE", 500)
