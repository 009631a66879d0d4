"""Norms of float64 models: the published formula in the parameters' own precision, whatever their type calls them."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import nn

from lab.models.precision import RMSNorm, exact_norms

NORMS = {
    "Llama": ("llama", "LlamaRMSNorm", {}),
    "T5": ("t5", "T5LayerNorm", {}),
    "Gemma": ("gemma2", "Gemma2RMSNorm", {}),  # 1 + w
    "VaultGemma": ("vaultgemma", "VaultGemmaRMSNorm", {}),  # 1 + w, under another beginning
    "Gemma 4": ("gemma4", "Gemma4RMSNorm", {}),  # w, though it is a Gemma
    "without weight": ("gemma4", "Gemma4RMSNorm", {"with_scale": False}),
}


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_computes_what_transformers_does_in_double_precision(name):
    family, cls, options = NORMS[name]
    module = importlib.import_module(f"transformers.models.{family}.modeling_{family}")
    model = nn.ModuleDict({"norm": getattr(module, cls)(16, **options)}).double()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 16, dtype=torch.float64, generator=generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(16, generator=generator))
        theirs = model["norm"](x)
        exact_norms(model)
        ours = model["norm"](x)
    assert isinstance(model["norm"], RMSNorm) == (name != "without weight")
    torch.testing.assert_close(ours, theirs.double(), rtol=1e-6, atol=1e-6)
    if name != "without weight":
        root = (x.pow(2).mean(-1, keepdim=True) + model["norm"].eps).sqrt()
        weight = model["norm"].weight + model["norm"].offset
        torch.testing.assert_close(ours, weight * x / root, rtol=0, atol=1e-14)
