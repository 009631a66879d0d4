"""GGUF files cut, flipped and lied about: refused with their name, in no time; whole ones pass."""

from __future__ import annotations

import struct
import time

import numpy as np
import pytest

from lab.checkpoints.error import CheckpointError
from lab.checkpoints.gguf_file import check_gguf


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> bytes:
    from gguf import GGMLQuantizationType, GGUFWriter

    path = tmp_path_factory.mktemp("gguf") / "good.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_uint32("llama.block_count", 2)
    writer.add_array("tokenizer.ggml.tokens", ["a", "b", "c"])
    writer.add_array("numbers", [1.0, 2.0])
    writer.add_tensor("a.weight", np.ones((4, 32), np.float32))
    codes = np.zeros((4, 20), np.uint8)  # 4 rows of one block of Q4_1: 2 + 2 + 16 bytes for 32 numbers
    writer.add_tensor("b.weight", codes, raw_dtype=GGMLQuantizationType.Q4_1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def test_a_whole_file_passes(good, tmp_path):
    path = tmp_path / "x.gguf"
    path.write_bytes(good)
    check_gguf(path)


def test_every_cut_is_refused(good, tmp_path):
    path = tmp_path / "x.gguf"
    end_of_data = len(good.rstrip(b"\0")) if good.endswith(b"\0") else len(good)
    for cut in range(0, end_of_data - 90, 3):  # the last tensor has zeros, and padding after it
        path.write_bytes(good[:cut])
        with pytest.raises(CheckpointError, match=r"x\.gguf is damaged or no GGUF file"):
            check_gguf(path)


def test_flipped_headers_are_refused_or_harmless_and_take_no_time(good, tmp_path):
    path, rng = tmp_path / "x.gguf", np.random.default_rng(0)
    header = good.index(b"b.weight") + 40
    refused, start = 0, time.perf_counter()
    for _ in range(300):
        content = bytearray(good)
        content[int(rng.integers(header))] ^= int(rng.integers(1, 256))
        path.write_bytes(bytes(content))
        try:
            check_gguf(path)
        except CheckpointError:
            refused += 1
    assert refused > 100
    assert time.perf_counter() - start < 20


@pytest.mark.parametrize(("at", "n"), [(8, 2**60), (16, 2**60), (8, 2**31), (16, 10**6)])
def test_counts_beyond_the_file_are_refused_at_once(good, tmp_path, at, n):
    path = tmp_path / "x.gguf"
    path.write_bytes(good[:at] + struct.pack("<Q", n) + good[at + 8 :])
    start = time.perf_counter()
    with pytest.raises(CheckpointError, match=r"entries at byte .*cannot hold"):
        check_gguf(path)
    assert time.perf_counter() - start < 1


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "x.gguf").touch()
    with pytest.raises(CheckpointError, match="is damaged or no GGUF file"):
        check_gguf(tmp_path / "x.gguf")
