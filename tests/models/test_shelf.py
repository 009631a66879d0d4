"""Weights on a shelf are the same weights, held once."""

from __future__ import annotations

import pytest
import torch

from lab.models import load_plm
from lab.models.shelf import ALIGNED, kept, kept_on, packed, unpacked
from lab.models.tiny import tiny_plm

TENSORS = {
    "a": torch.arange(12.0).reshape(3, 4),
    "b": torch.ones(2, dtype=torch.bfloat16),
    "scalar": torch.tensor(3),
    "empty": torch.empty(0, 5),
    "transposed": torch.arange(6, dtype=torch.float64).reshape(2, 3).T,
}


class Shelf(dict):
    """In this process; arrays are read-only, as those of an object store are."""

    def __call__(self, sha256, read):
        if sha256 not in self:
            self[sha256] = read()
            self[sha256][0].setflags(write=False)
        return self[sha256]


def test_tensors_come_back_from_the_bytes_at_aligned_addresses():
    memory, places = packed(TENSORS)
    memory.setflags(write=False)
    for name, tensor in unpacked(memory, places).items():
        assert tensor.dtype == TENSORS[name].dtype
        assert torch.equal(tensor, TENSORS[name])
        assert (tensor.data_ptr() - memory.ctypes.data) % ALIGNED == 0


def test_a_file_is_read_once_while_there_is_a_shelf():
    reads: list[str] = []

    def read() -> dict[str, torch.Tensor]:
        reads.append("read")
        return TENSORS

    with kept_on(Shelf()):
        first, second = kept("sha", read), kept("sha", read)
        assert first["a"].data_ptr() == second["a"].data_ptr()
    assert reads == ["read"]
    assert kept("sha", read) is TENSORS
    assert reads == ["read", "read"]


@pytest.fixture
def folder(tmp_path):
    plm = tiny_plm("bert", dtype=torch.float32)
    plm.model.save_pretrained(tmp_path)
    return tmp_path


def test_plms_of_one_file_share_all_but_their_heads(folder):
    alone = load_plm(folder, num_labels=3)
    shelf = Shelf()
    with kept_on(shelf):
        first, second = load_plm(folder, num_labels=3), load_plm(folder, num_labels=5, seed=1, attention="sdpa")
    assert len(shelf) == 1
    for name, value in alone.parameters.items():
        assert torch.equal(first.parameters[name], value), name
        shared = first.parameters[name].data_ptr() == second.parameters[name].data_ptr()
        assert shared == (name not in first.new_names), name
