"""ΔW comes as (outputs, inputs), however a family stores its matrices, and differences of combined deltas add."""

from __future__ import annotations

import pytest
import torch

from lab.deltas import FullFineTuning, LoRA
from lab.linalg import LowRank
from lab.models.tiny import tiny_plm


def dense(value):
    return value.to_dense() if isinstance(value, LowRank) else value


@pytest.fixture(scope="module")
def gpt2():
    return tiny_plm("gpt2")


def phi_of(delta, seed=0):
    return torch.randn(delta.size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5"])
def test_dense_and_factored_differences_have_the_shape_of_the_matrix(family):
    plm = tiny_plm(family)
    shapes = {m.label: m.shape for m in plm.matrices(("output", "up"))}
    lora, full = LoRA(rank=2, targets=("output", "up")).on(plm), FullFineTuning().on(plm)
    for delta in (lora, full):
        differences = delta.weight_difference(phi_of(delta))
        assert {label: tuple(differences[label].shape) for label in shapes} == shapes


def test_differences_of_a_sum_add_up_on_transposed_storage(gpt2):
    lora, full = LoRA(rank=2, targets=("output", "up")).on(gpt2), FullFineTuning().on(gpt2)
    both = lora + full
    phi = phi_of(both)
    together = both.weight_difference(phi)
    apart = [d.weight_difference(part) for d, part in zip((lora, full), phi.split([lora.size, full.size]), strict=True)]
    for matrix in gpt2.matrices(("output", "up")):
        expected = dense(apart[0][matrix.label]) + dense(apart[1][matrix.label])
        torch.testing.assert_close(together[matrix.label], expected)


def test_a_fused_parameter_changed_twice_is_one_difference(gpt2):
    both = LoRA(rank=2, targets=("query",)).on(gpt2) + FullFineTuning().on(gpt2)
    phi = phi_of(both)
    together = both.weight_difference(phi)
    (fused,) = [m for m in gpt2.matrices(("qkv",)) if m.block == 0]
    assert f"{fused.name}[query]" not in together
    change = both.overrides(phi)[fused.name] - gpt2.parameters[fused.name]
    torch.testing.assert_close(together[fused.name], change.mT)
