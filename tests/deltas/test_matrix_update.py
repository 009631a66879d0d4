"""ΔW itself as the coordinates: equal to full fine-tuning of the matrices, GPT-2's thirds included."""

from __future__ import annotations

import pytest
import torch

from lab.deltas.matrix_update import MatrixUpdate
from lab.models.tiny import tiny_plm

BATCH = {"input_ids": torch.arange(12).reshape(2, 6), "attention_mask": torch.ones(2, 6, dtype=torch.int64)}


@pytest.mark.parametrize("family", ["bert", "llama", "gpt2"])
def test_it_adds_to_the_matrices_it_names(family):
    plm = tiny_plm(family, seed=0, dtype=torch.float64)
    matrices = plm.matrices(("query", "value"))
    delta = MatrixUpdate(plm, [m.label for m in matrices])
    assert torch.equal(delta.logits(delta.phi0, BATCH), plm.logits({}, BATCH))
    phi = 0.1 * torch.randn(delta.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    changes = delta.weight_difference(phi)
    assert torch.equal(delta.layout.flatten(changes), phi)
    expected = {}
    for matrix in matrices:
        current = expected.get(matrix.name, plm.parameters[matrix.name])
        expected[matrix.name] = matrix.added(current, changes[matrix.label])
    assert torch.equal(delta.logits(phi, BATCH), plm.logits(expected, BATCH))
    first = matrices[0].label
    alone = delta.overrides_of({first: changes[first]})
    assert list(alone) == [matrices[0].name]


def test_the_origin_of_a_subspace_takes_the_dtype_of_the_plm():
    from lab.linalg import Matrix

    plm = tiny_plm("bert", seed=0, dtype=torch.float32)
    delta = MatrixUpdate(plm, [plm.matrices(("query",))[0].label])
    origin = torch.ones(delta.size, dtype=torch.float64)
    restricted = delta.restrict(Matrix(torch.eye(delta.size, 2)), origin=origin)
    assert restricted.logits(restricted.phi0, BATCH).dtype == torch.float32


def test_unknown_matrices_are_named():
    plm = tiny_plm("bert", seed=0)
    with pytest.raises(ValueError, match=r"has no block matrix \['w'\]; it has e\.g\."):
        MatrixUpdate(plm, ["w"])
    with pytest.raises(ValueError, match="name the matrices that change; got none"):
        MatrixUpdate(plm, [])
