"""What several control tests need: a batch for a tiny PLM, and random linear-quadratic systems."""

from __future__ import annotations

import pytest
import torch

from lab.control import LinearQuadratic, linear_quadratic
from lab.models.plm import PLM


def batch_of(plm: PLM, texts: tuple[str, ...] = ("a good film", "a very bad one indeed")) -> dict[str, torch.Tensor]:
    """Texts of different lengths, so that padding is there, and alternating labels."""
    mask = plm.tokenizer.mask_token
    encoded = plm.tokenizer([f"{text} {mask}" if mask else text for text in texts], padding=True, return_tensors="pt")
    return {**encoded, "labels": torch.arange(len(texts)) % plm.num_labels}


def random_system(T: int = 5, n: int = 3, m: int = 2, seed: int = 0) -> LinearQuadratic:
    """A time-varying linear-quadratic system with positive definite costs."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def definite(k: int) -> torch.Tensor:
        X = normal(T, k, k)
        return X @ X.mT / k + 0.1 * torch.eye(k, dtype=torch.float64)

    return linear_quadratic(normal(T, n, n), normal(T, n, m), definite(n), definite(m), definite(n)[0], normal(n))


@pytest.fixture
def make_batch():
    return batch_of


@pytest.fixture
def make_system():
    return random_system
