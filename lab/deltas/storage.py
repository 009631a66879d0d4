"""What a delta takes on disk."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lab.deltas.delta import Delta


def random_parts(delta: Delta) -> dict[str, Tensor]:
    """A random φ as it is kept: its parts under the names of what they change."""
    noise = torch.randn(delta.size, generator=torch.Generator().manual_seed(0))
    parts = delta.layout.unflatten(noise.to(device=delta.plm.device, dtype=delta.plm.dtype))
    return {name: value.contiguous() for name, value in parts.items()}


def on_disk(tensors: Mapping[str, Tensor], repeats: int) -> dict[str, float]:
    """Bytes of the safetensors file, and the median seconds to read it into memory (from the page cache)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "delta.safetensors"
        save_file({name: value.contiguous() for name, value in tensors.items()}, path)
        seconds = []
        for _ in range(repeats):
            began = time.perf_counter()
            held = [value.clone() for value in load_file(path).values()]
            seconds.append(time.perf_counter() - began)
            del held
        return {"bytes": path.stat().st_size, "load_seconds": median(seconds)}
