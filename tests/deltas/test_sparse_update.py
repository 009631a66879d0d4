from __future__ import annotations

import pytest
import torch

from lab.deltas.sparse import SparseUpdate

NAMES = ("bert.pooler.dense.bias", "classifier.weight", "classifier.bias")  # 16, 32 and 2 numbers


def test_phi_lands_on_the_chosen_coordinates(plm_of):
    plm = plm_of()
    delta = SparseUpdate(plm, NAMES, torch.tensor([3, 15, 16, 49]))
    assert delta.layout.names == NAMES
    assert (delta.size, delta.head_size) == (4, 2)
    overrides = delta.overrides(torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64))
    change = torch.cat([(overrides[n] - plm.parameters[n]).reshape(-1) for n in NAMES])
    expected = torch.zeros(50, dtype=torch.float64)
    expected[[3, 15, 16, 49]] = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    torch.testing.assert_close(change, expected)


def test_untouched_parameters_are_not_overridden(plm_of):
    delta = SparseUpdate(plm_of(), NAMES, torch.tensor([48]))
    assert set(delta.overrides(delta.phi0)) == {"classifier.bias"}


@pytest.mark.parametrize("indices", [[2, 1], [1, 1], [-1, 3], [0, 50], []])
def test_indices_must_ascend_inside_the_parameters(plm_of, indices):
    with pytest.raises(ValueError, match=r"distinct, ascending and in 0\.\.49"):
        SparseUpdate(plm_of(), NAMES, torch.tensor(indices, dtype=torch.int64))
