"""The peers that the benchmark times compute what their descriptions say: beating a wrong peer proves nothing."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from scipy.linalg import hadamard

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def peers(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("_published_fastfood")
    sys.modules.pop("_published_fastfood")


def test_published_transform_is_the_hadamard_transform(peers):
    x = torch.randn(64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(peers.padded_transform(x), torch.from_numpy(hadamard(64)).double() @ x)


def test_published_gradient_has_the_published_fault(peers):
    P = peers.PublishedFastfood(100, 10, seed=0)
    matrix = torch.stack([P(e) for e in torch.eye(10)], dim=1)
    x, y = torch.ones(10, requires_grad=True), torch.ones(100)
    (gradient,) = torch.autograd.grad(P(x), x, y)
    assert torch.allclose(gradient * P.length, matrix.T @ y, rtol=1e-4, atol=1e-5)
    assert P.state_bytes == 20 * 128


@pytest.mark.skipif(importlib.util.find_spec("hadamard_transform") is None, reason="hadamard-transform: bench only")
def test_packaged_transform_makes_an_isotropic_map(peers):
    P = peers.PackagedTransformFastfood(1 << 12, 100, seed=0)
    columns = torch.stack([P(e) for e in torch.eye(100)], dim=1)
    assert torch.allclose(columns.norm(dim=0), torch.ones(100), rtol=0, atol=1e-5)
