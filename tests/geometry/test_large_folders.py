"""Spectra of two folders, tensor by tensor: the memory is that of the largest matrix, whatever the number of blocks."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

WIDTH, VOCABULARY = 256, 64_000
LARGEST = VOCABULARY * WIDTH * 8  # bytes of the embedding in float64
MATRICES = 5
"""Of the largest size in memory at a time: W₀, ΔW and what LAPACK makes of it. 5 of LLaMA-7B's are 4.9 GiB."""


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    yield importlib.import_module("large_folders")
    for name in ("large_folders", "_report"):
        sys.modules.pop(name, None)


def test_the_shapes_are_those_of_7b_and_one_matrix_of_each_gives_the_whole(benchmark):
    block, outside = benchmark.shapes(4096, 32_000)
    sizes = [shape[0] * (shape[1] if len(shape) == 2 else 1) for shape in block.values()]
    size = 32 * sum(sizes) + 2 * 32_000 * 4096 + 4096
    assert size == 6_738_415_616  # LLaMA-7B's
    rows = [
        {"shape": list(shape), "processor_seconds": 1.0}
        for shape in {*block.values(), *outside.values()}
        if len(shape) == 2
    ]
    assert benchmark.whole_model(rows, 4096, 32_000) == 32 * 7 + 2


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_blocks(benchmark, tmp_path):
    peaks = []
    for blocks in (0, 8):
        folder = tmp_path / str(blocks)
        folder.mkdir()
        base, tuned = benchmark.write_folders(folder, blocks, WIDTH, VOCABULARY)
        peaks.append(benchmark.measured(base, tuned)["peak_gib"] * 2**30)
    (tmp_path / "tiny").mkdir()
    base, tuned = benchmark.write_folders(tmp_path / "tiny", 0, 32, 32)
    bare = benchmark.measured(base, tuned)["peak_gib"] * 2**30
    assert peaks[1] - peaks[0] < LARGEST / 2
    assert peaks[0] - bare < MATRICES * LARGEST
