"""Damaged files: every one is refused with its name, none crashes the reader."""

from __future__ import annotations

import random

import pytest
import torch
from safetensors.torch import save_file

from lab.checkpoints.error import CheckpointError
from lab.checkpoints.safetensors_file import check_finite, digest, read_tensors

TENSORS = {
    "a.weight": torch.arange(12.0).reshape(3, 4),
    "b": torch.ones(2, dtype=torch.bfloat16),
    "n": torch.ones(3).half(),
}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(TENSORS, path)
    return path


def test_tensors_come_back_with_their_dtypes_at_aligned_addresses(file):
    tensors = read_tensors(file)
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in tensors.items():
        assert tensor.dtype == TENSORS[name].dtype
        assert torch.equal(tensor, TENSORS[name])
        assert tensor.data_ptr() % 64 == 0


def test_500_mutated_files_are_refused_or_read_whole_and_none_crashes(file):
    good = file.read_bytes()
    header = 8 + int.from_bytes(good[:8], "little")
    rng = random.Random(0)
    messages = []
    for _ in range(500):
        data = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(header)] = rng.randrange(256)
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        file.write_bytes(bytes(data))
        try:
            tensors = read_tensors(file)
        except CheckpointError as error:
            messages.append(str(error))
        else:  # a changed name or shape is found when the model is built
            assert all(tensor.isfinite().all() for tensor in tensors.values())
    assert len(messages) > 400
    assert all(str(file) in message for message in messages)


def test_a_pointer_of_git_lfs_is_named(tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n")
    with pytest.raises(CheckpointError, match="pointer that Git LFS leaves in their place; fetch them: git lfs pull"):
        read_tensors(file)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_check_finite_finds_the_first_bad_entry(dtype, tmp_path):
    tensor = torch.zeros(3, 4, 5, dtype=dtype)
    check_finite(tmp_path, "w", tensor)
    tensor[1, 2, 3], tensor[2, 0, 0] = float("inf"), float("-inf")  # their sum is NaN
    with pytest.raises(
        CheckpointError, match=r"tensor 'w' holds inf at index \(1, 2, 3\) \(2 entries are not finite\)"
    ):
        check_finite(tmp_path, "w", tensor)


def test_integers_are_finite(tmp_path):
    check_finite(tmp_path, "n", torch.arange(3))


def test_digest_is_sha256(tmp_path):
    empty = tmp_path / "empty"
    empty.touch()
    assert digest(empty) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
