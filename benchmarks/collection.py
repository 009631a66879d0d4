"""What a collection of adapters shares: 100 LoRAs of a 7B model, streamed, beside lorashare and vlora.

    truth          twelve small adapters around a planted subspace: error of the Gram matrix against the dense one; of
                   ΔW rebuilt from k components, and how many numbers hold these; how far that moves under (BM⁻¹, MA),
                   other factors of the same ΔW
    one layer      20 adapters, q and v of 4096 × 4096 of one layer, r = 16: ours, lorashare and vlora in turn; times
                   32 is what the whole takes. No more adapters, as lorashare takes minutes for these
    7B collection  32 such layers in folders as peft writes them (3.4 GB): Gram matrix, principal directions, mode
                   subspaces and every member left out once, within 60 s and 3 GB, in a process of its own whose peak
                   memory is read

lorashare and vlora (on PyPI as vlora-dev; the package named vlora is something else) are needed by their rows alone,
which are left out, with a word, where they cannot be imported. They are best put in a folder of their own:

    pip install --target FOLDER --no-deps lorashare==0.1.3 vlora-dev==1.0.0
    PYTHONPATH=FOLDER deltalab bench collection

    deltalab bench collection [--adapters 100] [--beside 20] [--layers 32] [--width 4096] [--rank 16] [--components 32]
                              [--rounds 1] [--out benchmarks/results]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from _report import alternately, write
from safetensors.torch import save_file
from torch import Tensor

from lab.geometry.collections import gram, leave_out, read_collection, subspace_of, survey
from lab.linalg import LowRank

PREFIX = "base_model.model."
BOUND_S, BOUND_GB = 60.0, 3.0


def modules(layers: int) -> list[str]:
    return [f"model.layers.{layer}.self_attn.{name}" for layer in range(layers) for name in ("q_proj", "v_proj")]


def put(folder: Path, factors: dict[str, tuple[Tensor, Tensor]], rank: int) -> Path:
    """One adapter folder: module -> (B, A), s = 1."""
    folder.mkdir(parents=True)
    tensors = {}
    for module, (B, A) in factors.items():
        tensors[f"{PREFIX}{module}.lora_A.weight"], tensors[f"{PREFIX}{module}.lora_B.weight"] = A, B
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": ["q_proj", "v_proj"], "bias": "none",
        "base_model_name_or_path": "random/7b", "task_type": "CAUSAL_LM",
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def random_adapters(root: Path, n: int, layers: int, width: int, rank: int) -> dict[str, Path]:
    """Adapters of Gaussian factors: the hardest case, as nothing decays."""
    found = {}
    for i in range(n):
        generator = torch.Generator().manual_seed(i)
        factors = {
            module: (
                torch.randn(width, rank, generator=generator) / width**0.5,
                torch.randn(rank, width, generator=generator) / width**0.5,
            )
            for module in modules(layers)
        }
        found[f"task{i}"] = put(root / f"task{i}", factors, rank)
    return found


def analysed(paths: dict[str, Path], components: int, dtype: torch.dtype) -> dict[str, float]:
    """Everything, from the folders on; seconds of the one pass, and of what its N × N matrix is enough for."""
    began = time.perf_counter()
    collection = replace(read_collection(paths), dtype=dtype)
    inner, modes = survey(collection, components)
    passed = time.perf_counter()
    subspace_of(collection, inner)
    leave_out(inner)
    return {
        "seconds": time.perf_counter() - began,
        "pass_s": passed - began,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "error_bound": modes.error_bound,
    }


def _child(queue: Any, threads: int, *arguments: Any) -> None:
    torch.set_num_threads(threads)
    queue.put(analysed(*arguments))


def in_a_process_of_its_own(*arguments: Any) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_child, args=(queue, torch.get_num_threads(), *arguments))
    process.start()
    found = queue.get()
    process.join()
    return found


def by_lorashare(paths: dict[str, Path], components: int) -> Any:
    from lorashare import SHAREModel

    return SHAREModel.from_adapters({name: str(path) for name, path in paths.items()}, components, device="cpu")


def by_vlora(paths: dict[str, Path], components: int) -> Any:
    import vlora

    adapters = [vlora.load_adapter(str(path)) for path in paths.values()]
    return vlora.SharedSubspace.from_adapters(adapters, list(paths), num_components=components)


def rebuilt_by_lorashare(model: Any, name: str) -> dict[str, Tensor]:
    tensors = model.reconstruct(name)
    keys = {key.removeprefix(PREFIX).split(".lora_")[0] for key in tensors}
    return {m: tensors[f"{PREFIX}{m}.lora_B.weight"] @ tensors[f"{PREFIX}{m}.lora_A.weight"] for m in keys}


def rebuilt_by_vlora(model: Any, name: str) -> dict[str, Tensor]:
    weights = model.reconstruct(name)
    return {m.removeprefix(PREFIX): weights.lora_b[m] @ weights.lora_a[m] for m in weights.layer_names}


PEERS: dict[str, tuple[str, Callable[..., Any], Callable[..., dict[str, Tensor]]]] = {
    "lorashare": ("lorashare", by_lorashare, rebuilt_by_lorashare),
    "vlora": ("vlora", by_vlora, rebuilt_by_vlora),
}


def at_hand() -> list[str]:
    found = [name for name, (module, *_) in PEERS.items() if find_spec(module)]
    for name in PEERS.keys() - set(found):
        print(f"{name} is not installed: left out (see the head of this file)")
    return found


def large(adapters: int, layers: int, width: int, rank: int, components: int) -> list[dict[str, Any]]:
    part = f"{adapters} adapters, {2 * layers} matrices of {width}², r = {rank}"
    rows = []
    with tempfile.TemporaryDirectory() as name:
        paths = random_adapters(Path(name), adapters, layers, width, rank)
        for dtype in (torch.float64, torch.float32):
            found = in_a_process_of_its_own(paths, components, dtype)
            rows.append(
                {"part": part, "method": f"Gram, PCA, HOSVD, leave one out (ours, {str(dtype)[6:]})",
                 "median_s": found["seconds"], "peak_gb": found["peak_gb"], "bound_s": BOUND_S, "bound_gb": BOUND_GB}
            )  # fmt: skip
    return rows


def one_layer(adapters: int, layers: int, width: int, rank: int, components: int, rounds: int) -> list[dict[str, Any]]:
    part = f"{adapters} adapters, one layer of {layers}"
    with tempfile.TemporaryDirectory() as name:
        paths = random_adapters(Path(name), adapters, 1, width, rank)
        calls: dict[str, Callable[[], Any]] = {
            "ours, float64": lambda: analysed(paths, components, torch.float64),
            "ours, float32": lambda: analysed(paths, components, torch.float32),
        }
        for peer in at_hand():
            calls[peer] = lambda peer=peer: PEERS[peer][1](paths, components)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            times = alternately(calls, rounds, warm_up=0)
    return [
        {"part": part, "method": method, "median_s": median(seconds), "times_layers_s": layers * median(seconds)}
        for method, seconds in times.items()
    ]


def small_adapters(root: Path, *, regauged: bool, n: int = 12, width: int = 96, rank: int = 4) -> dict[str, Path]:
    """ΔW_i = common part of rank 2 in strengths of its own + noise; optionally under other factors of the same ΔW."""
    shared = torch.Generator().manual_seed(999)
    base = {m: (torch.randn(width, 2, generator=shared), torch.randn(2, width, generator=shared)) for m in modules(2)}
    found = {}
    for i in range(n):
        generator, other = (torch.Generator().manual_seed(seed) for seed in (i, 10_000 + i))
        factors = {}
        for m, (U, V) in base.items():
            B = torch.cat(
                [U * torch.randn(2, generator=generator), 0.3 * torch.randn(width, rank - 2, generator=generator)], 1
            )
            A = torch.cat([V, 0.3 * torch.randn(rank - 2, width, generator=generator)])
            if regauged:
                M = torch.linalg.qr(torch.randn(rank, rank, generator=other, dtype=torch.float64)).Q
                M = M * torch.logspace(-1, 1, rank, dtype=torch.float64)
                B, A = (B.double() @ torch.linalg.inv(M)).float(), (M @ A.double()).float()
            factors[m] = (B.contiguous(), A.contiguous())
        found[f"task{i}"] = put(root / f"task{i}", factors, rank)
    return found


def truth(components: int = 8) -> list[dict[str, Any]]:
    """Errors on twelve adapters of 96 × 96, and their change under other factors."""
    part, rows = "12 adapters, 4 matrices of 96², r = 4", []
    with tempfile.TemporaryDirectory() as name:
        one = small_adapters(Path(name) / "own", regauged=False)
        two = small_adapters(Path(name) / "regauged", regauged=True)
        dense = {who: _dense(one, who) for who in one}
        X = np.stack([torch.cat([dense[who][m].reshape(-1) for m in modules(2)]).numpy() for who in one])
        scale = float(np.trace(X @ X.T)) / len(X)
        for dtype in (torch.float64, torch.float32):
            collections = [replace(read_collection(paths), dtype=dtype) for paths in (one, two)]
            grams = [gram(collection).total for collection in collections]
            rebuilt = [survey(collection, components)[1].reconstruction() for collection in collections]
            pair = [
                {who: {m: _as_dense(c.change(i, f"{m}.weight")) for m in modules(2)} for i, who in enumerate(one)}
                for c in rebuilt
            ]
            rows.append(
                {"part": part, "method": f"ours, {str(dtype)[6:]}",
                 "gram_error": float(np.abs(grams[0] - X @ X.T).max()) / scale,
                 "rebuilt_error": _apart(pair[0], dense), "gauge_error": _apart(pair[1], pair[0]),
                 "numbers": survey(collections[0], components)[1].size}
            )  # fmt: skip
        for peer in at_hand():
            _, build, reconstruct = PEERS[peer]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                models = [build(paths, components) for paths in (one, two)]
            pair = [{who: reconstruct(model, who) for who in one} for model in models]
            rows.append(
                {"part": part, "method": peer, "rebuilt_error": _apart(pair[0], dense),
                 "gauge_error": _apart(pair[1], pair[0]), "numbers": _numbers(models[0])}
            )  # fmt: skip
    return rows


def _dense(paths: dict[str, Path], who: str) -> dict[str, Tensor]:
    collection = read_collection({who: paths[who]})
    return {m: _as_dense(collection.change(0, f"{m}.weight")) for m in modules(2)}


def _numbers(held: Any) -> int:
    """How many numbers a peer's compressed form holds: of all tensors that can be reached from it."""
    if isinstance(held, Tensor):
        return held.numel()
    inside = held.values() if isinstance(held, dict) else held if isinstance(held, (list, tuple)) else None
    return sum(map(_numbers, getattr(held, "__dict__", {}).values() if inside is None else inside))


def _as_dense(change: Tensor | LowRank) -> Tensor:
    return (change.left @ change.right if isinstance(change, LowRank) else change).double()


def _apart(one: dict[str, dict[str, Tensor]], two: dict[str, dict[str, Tensor]]) -> float:
    """√Σ‖·‖² of the difference over all members and matrices, relative to the second."""
    left = sum(float((one[w][m].double() - two[w][m].double()).square().sum()) for w in two for m in two[w])
    total = sum(float(two[w][m].double().square().sum()) for w in two for m in two[w])
    return (left / total) ** 0.5


def run(
    adapters: int = 100,
    beside: int = 20,
    layers: int = 32,
    width: int = 4096,
    rank: int = 16,
    components: int = 32,
    rounds: int = 1,
) -> list[dict[str, Any]]:
    """One row per part and method; `beside` is the number of adapters that the peers get too."""
    return [
        *truth(),
        *one_layer(min(adapters, beside), layers, width, rank, components, rounds),
        *large(adapters, layers, width, rank, components),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--adapters", type=int, default=100)
    parser.add_argument("--beside", type=int, default=20, help="adapters of the part that the peers run too")
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--components", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=1, help="of the part with one layer")
    parser.add_argument("--note", default="", help="a word for the results, such as what ran beside them")
    parser.add_argument("--out", type=Path, help="folder for the results as JSON")
    arguments = parser.parse_args()
    settings = {name: value for name, value in vars(arguments).items() if name not in ("out", "note")}
    rows = run(**settings)
    for row in rows:
        told = f"{row['median_s']:9.2f} s" if "median_s" in row else ""
        told += f"  {row['peak_gb']:.2f} GB" if "peak_gb" in row else ""
        if "bound_s" in row:
            met = row["median_s"] <= row["bound_s"] and row["peak_gb"] <= row["bound_gb"]
            told += f"  (bounds {row['bound_s']:g} s, {row['bound_gb']:g} GB: {'met' if met else 'MISSED'})"
        told += f"  × {settings['layers']} layers: {row['times_layers_s']:.0f} s" if "times_layers_s" in row else ""
        told += "".join(f"  {k.replace('_', ' ')} {row[k]:.1e}" for k in row if k.endswith("_error"))
        told += f"  {row['numbers']:,} numbers" if "numbers" in row else ""
        print(f"{row['part']:45s} {row['method']:52s}{told}")
    if arguments.out is not None:
        write(arguments.out, "collection", {"settings": settings, "note": arguments.note}, rows)


if __name__ == "__main__":
    main()
