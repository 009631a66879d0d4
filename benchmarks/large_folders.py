"""`deltalab spectra` on two folders of LLaMA-7B's shapes, tensor by tensor: peak memory, and time per matrix.

Two folders of random bfloat16 weights are written, base and tuned (base plus noise and four directions), in a shard per
block and one for the embedding and the head. The command runs in a process of its own, whose peak is the system's own
count (`ru_maxrss`); it reads one tensor at a time, so the peak is that of the largest matrix, the embedding, whatever
the number of blocks. The time of 32 blocks is extrapolated from one matrix of each shape, in seconds of a processor,
which other work on the machine hardly changes.

    deltalab bench large_folders [--blocks 1] [--width 4096] [--folder TEMPORARY] [--out benchmarks/results]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from _report import write
from safetensors.torch import save_file

from lab.checkpoints.folder import open_folder
from lab.geometry import change_spectra, folder_changes

BLOCKS, VOCABULARY, WIDTH = 32, 32_000, 4096
INNER = 11_008 / 4096  # of the feed-forward, in widths
LIMIT_GIB = 6.0
SPIKES = 4


def shapes(width: int, vocabulary: int) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """Of one block, and of what is outside."""
    inner = round(width * INNER)
    block: dict[str, tuple[int, ...]] = {f"self_attn.{x}_proj.weight": (width, width) for x in "qkvo"}
    block |= {f"mlp.{x}_proj.weight": (inner, width) for x in ("gate", "up")} | {"mlp.down_proj.weight": (width, inner)}
    block |= {f"{x}_layernorm.weight": (width,) for x in ("input", "post_attention")}
    outside = {"model.embed_tokens.weight": (vocabulary, width), "lm_head.weight": (vocabulary, width)}
    return block, {**outside, "model.norm.weight": (width,)}


def shards(blocks: int, width: int, vocabulary: int) -> Iterator[tuple[str, dict[str, tuple[int, ...]]]]:
    """File -> its tensors."""
    block, outside = shapes(width, vocabulary)
    yield "outside.safetensors", outside
    for i in range(blocks):
        yield f"block-{i:02d}.safetensors", {f"model.layers.{i}.{name}": shape for name, shape in block.items()}


def write_folders(root: Path, blocks: int, width: int, vocabulary: int) -> tuple[Path, Path]:
    """Base and tuned, bfloat16; a shard at a time in memory."""
    config = {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": width, "vocab_size": vocabulary,
        "intermediate_size": round(width * INNER), "num_hidden_layers": blocks, "num_attention_heads": 32,
    }  # fmt: skip
    generator = torch.Generator().manual_seed(0)

    def gaussian(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.bfloat16)

    folders = root / "base", root / "tuned"
    weight_map: dict[str, str] = {}
    for folder in folders:
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
    for file, tensors in shards(blocks, width, vocabulary):
        weight_map |= dict.fromkeys(tensors, file)
        base = {name: gaussian(*shape) * 0.02 for name, shape in tensors.items()}
        save_file(base, folders[0] / file)
        for W in base.values():
            W += gaussian(*W.shape) * 0.002
            if W.ndim == 2:
                W += gaussian(W.shape[0], SPIKES) @ gaussian(SPIKES, W.shape[1]) * 0.001
        save_file(base, folders[1] / file)
    for folder in folders:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folders


def measured(base: Path, tuned: Path) -> dict[str, Any]:
    """The command in a process of its own: its seconds, those of a processor, and its peak of memory."""
    command = [sys.executable, "-m", "lab.cli", "spectra", str(base), str(tuned), "--device", "cpu"]
    with tempfile.TemporaryFile("w+") as said:
        began = time.perf_counter()
        child = subprocess.Popen(command, stdout=said, stderr=said)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - began
        said.seek(0)
        if status:
            raise SystemExit(f"the command failed: {said.read()[-2000:]}")
    peak = usage.ru_maxrss / 2**20  # Linux counts KiB
    return {"seconds": seconds, "processor_seconds": usage.ru_utime + usage.ru_stime, "peak_gib": peak}


def per_shape(base: Path, tuned: Path) -> list[dict[str, Any]]:
    """Seconds of a processor for the first matrix of every shape, in this process."""
    changes = folder_changes(base, tuned)
    sizes = open_folder(base).shapes
    rows, seen = [], set()
    for name in changes.names:
        if sizes[name] in seen:
            continue
        seen.add(sizes[name])
        began = time.process_time()
        change_spectra([changes.read(name)])
        seconds = time.process_time() - began
        rows.append({"part": "one matrix", "shape": list(sizes[name]), "processor_seconds": seconds})
    return rows


def whole_model(rows: list[dict[str, Any]], width: int, vocabulary: int) -> float:
    """Processor seconds of 32 blocks, embedding and head, extrapolated from one matrix of each shape."""
    seconds = {tuple(row["shape"]): row["processor_seconds"] for row in rows}
    block, outside = shapes(width, vocabulary)
    return BLOCKS * sum(seconds.get(s, 0.0) for s in block.values()) + sum(
        seconds.get(s, 0.0) for s in outside.values()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=1, help="written and read by the command")
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--vocabulary", type=int, default=VOCABULARY)
    parser.add_argument("--folder", type=Path, help="where the weights are written, and removed again")
    parser.add_argument("--skip-shapes", action="store_true", help="leave out the time of every shape by itself")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        base, tuned = write_folders(Path(name), chosen.blocks, chosen.width, chosen.vocabulary)
        stored = sum(file.stat().st_size for file in base.iterdir())
        print(f"wrote two folders of {stored / 2**30:.2f} GiB, {chosen.blocks} blocks", flush=True)
        row = measured(base, tuned)
        largest = chosen.vocabulary * chosen.width * 8
        row |= {"part": "deltalab spectra", "blocks": chosen.blocks, "stored_gib": 2 * stored / 2**30,
                "peak_in_largest_matrices": row["peak_gib"] * 2**30 / largest, "limit_gib": LIMIT_GIB}  # fmt: skip
        print(f"deltalab spectra: {row['seconds']:.0f} s, peak {row['peak_gib']:.2f} GiB", flush=True)
        rows = [row]
        if not chosen.skip_shapes:
            rows += per_shape(base, tuned)
            for each in rows[1:]:
                print(f"{each['shape']}: {each['processor_seconds']:.1f} s of a processor")
            total = whole_model(rows[1:], chosen.width, chosen.vocabulary)
            rows.append({"part": "32 blocks, extrapolated from one matrix of each shape", "processor_seconds": total})
            print(f"32 blocks, embedding and head, extrapolated: {total / 3600:.1f} h of a processor")
    if chosen.out is not None:
        write(chosen.out, "large_folders", {"width": chosen.width, "vocabulary": chosen.vocabulary}, rows)


if __name__ == "__main__":
    main()
