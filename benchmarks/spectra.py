"""Spectra of weight differences: a LoRA of a 7B model against squared Gram matrices, SmolLM2 against WeightWatcher.

    7B LoRA        32 layers × q, v of 4096 × 4096, r = 16: the adapter folder read, every spectrum with its null
                   (`change_spectra`), within one second; and the values alone by two methods, in turn: QR and SVD
                   (ours) · eigenvalues of the r × r product of Gram matrices (what gradience does, written here from
                   its description)
    accuracy       the same methods on factors whose product has singular values down to 1e-12 of the first
    SmolLM2 ΔW     every block matrix of SmolLM2 against a copy moved by noise and four directions: ours with nulls,
                   thresholds and tails, and WeightWatcher's analysis of the same ΔW, in one run

WeightWatcher is needed by the last part alone, which says so and is left out without it. It pins other packages, so it
is best put in a folder of its own:

    pip install --target FOLDER --no-deps weightwatcher==0.7.7 powerlaw==2.0.0
    PYTHONPATH=FOLDER deltalab bench spectra

    deltalab bench spectra [--rounds 5] [--matrices 210] [--out benchmarks/results]
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch
from _report import alternately, write
from torch import Tensor

from lab.checkpoints import BASE, write_adapter
from lab.geometry import WeightChange, adapter_changes, change_spectra
from lab.linalg import LowRank, Spectrum
from lab.models import load_plm

LAYERS, WIDTH, RANK = 32, 4096, 16
BOUND_S = 1.0


def gaussian(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def adapter(folder: Path) -> Path:
    """A peft LoRA of the size of a 7B model's."""
    tensors, modules = {}, []
    for layer in range(LAYERS):
        for n, name in enumerate(("q_proj", "v_proj")):
            module = f"model.layers.{layer}.self_attn.{name}"
            modules.append(module)
            tensors[f"{BASE}{module}.lora_A.weight"] = gaussian(RANK, WIDTH, seed=4 * layer + 2 * n) / 64
            tensors[f"{BASE}{module}.lora_B.weight"] = gaussian(WIDTH, RANK, seed=4 * layer + 2 * n + 1) / 64
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"]}
    return write_adapter(folder / "adapter", config, tensors)


def by_qr(B: Tensor, A: Tensor) -> Tensor:
    """Ours."""
    return Spectrum.of(LowRank(B.double(), A.double())).values


def by_gram(B: Tensor, A: Tensor) -> Tensor:
    """σ² as eigenvalues of (BᵀB)(AAᵀ) in the factors' float32: two Gram matrices, whose condition is the square."""
    eigenvalues = torch.linalg.eigvals((B.T @ B) @ (A @ A.T)).real
    return eigenvalues.clamp(min=0).sqrt().sort(descending=True).values


def large_adapter(rounds: int) -> list[dict[str, Any]]:
    """Time of the whole analysis and of the values alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = adapter(Path(name))
        factors = [change.difference for change in adapter_changes(folder)]
        pairs = [(f.left.float(), f.right.float()) for f in factors if isinstance(f, LowRank)]
        times = alternately(
            {
                "analysis": lambda: change_spectra(adapter_changes(folder)),
                "ours": lambda: [by_qr(B, A) for B, A in pairs],
                "gram": lambda: [by_gram(B, A) for B, A in pairs],
            },
            rounds,
        )
    part = f"{len(pairs)} matrices {WIDTH} × {WIDTH}, r = {RANK}"
    gram = median(times["gram"])
    return [
        {"part": part, "method": "folder to tables with nulls (ours)", "median_s": median(times["analysis"]),
         "bound_s": BOUND_S},
        {"part": part, "method": "values by QR and SVD in float64 (ours)", "median_s": median(times["ours"]),
         "times_gram": median(times["ours"]) / gram},
        {"part": part, "method": "values by squared Gram matrices in float32", "median_s": gram, "times_gram": 1.0},
    ]  # fmt: skip


def accuracy() -> list[dict[str, Any]]:
    """Largest relative error of a singular value, for values from 1 down to 1e-12."""
    truth = torch.logspace(0, -12, RANK, dtype=torch.float64)
    U, V = (torch.linalg.qr(gaussian(512, RANK, seed=seed).double())[0] for seed in (0, 1))
    B, A = U * truth.sqrt(), (V * truth.sqrt()).T
    rows = []
    for method, values in (
        ("QR and SVD in float64 (ours)", by_qr(B, A)),
        ("squared Gram matrices in float64", by_gram(B, A)),
        ("squared Gram matrices in float32", by_gram(B.float(), A.float()).double()),
    ):
        error = float(((values - truth).abs() / truth).max())
        rows.append({"part": "values from 1 to 1e-12", "method": method, "largest_relative_error": error})
    return rows


def moved(matrices: int) -> list[WeightChange]:
    """Block matrices of SmolLM2 with a made-up ΔW: noise of 1 % of W₀'s size and four directions that stand out."""
    plm = load_plm("smollm2", num_labels=2)
    found = []
    for n, matrix in enumerate(plm.matrices(plm.architecture.roles(plm.model))[:matrices]):
        W0 = matrix.of(plm.parameters[matrix.name]).detach()
        m, k = W0.shape
        noise = 0.01 * W0.std() * gaussian(m, k, seed=n)
        edge = 0.01 * W0.std() * (m**0.5 + k**0.5)
        spikes = 3 * edge * gaussian(m, 4, seed=n) @ gaussian(4, k, seed=n + 1) / (m * k) ** 0.5
        found.append(WeightChange(matrix.label, matrix.role, matrix.block, noise + spikes, W0, "float32"))
    return found


def by_weightwatcher(changes: list[WeightChange]) -> None:
    """Its analysis, with its defaults, of a model whose layers are the ΔW."""
    import weightwatcher

    layers = []
    for change in changes:
        assert isinstance(change.difference, Tensor)
        layer = torch.nn.Linear(change.difference.shape[1], change.difference.shape[0], bias=False)
        layer.weight.data = change.difference.clone()
        layers.append(layer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weightwatcher.WeightWatcher(model=torch.nn.Sequential(*layers), log_level="ERROR").analyze()


def whole_model(rounds: int, matrices: int) -> list[dict[str, Any]]:
    """ΔW of SmolLM2: ours, and WeightWatcher where it is installed."""
    changes = moved(matrices)
    part = f"ΔW of {len(changes)} matrices of SmolLM2"
    calls: dict[str, Callable[[], Any]] = {"ours": lambda: change_spectra(changes)}
    if find_spec("weightwatcher"):
        calls["weightwatcher"] = lambda: by_weightwatcher(changes)
    else:
        print("weightwatcher is not installed: left out (see the head of this file)")
    times = alternately(calls, rounds)
    titles = {"ours": "values, ranks, nulls, thresholds, tails, norms of W₀ (ours)", "weightwatcher": "WeightWatcher"}
    return [
        {"part": part, "method": titles[name], "median_s": median(seconds),
         "times_ours": median(seconds) / median(times["ours"])}
        for name, seconds in times.items()
    ]  # fmt: skip


def run(rounds: int = 5, matrices: int = 210) -> list[dict[str, Any]]:
    """One row per part and method."""
    model = whole_model(max(1, rounds // 5), matrices) if matrices else []
    return [*large_adapter(rounds), *accuracy(), *model]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--matrices", type=int, default=210, help="of SmolLM2; 0 leaves it out")
    parser.add_argument("--out", type=Path, help="folder for the results as JSON")
    arguments = parser.parse_args()
    settings = {name: value for name, value in vars(arguments).items() if name != "out"}
    rows = run(**settings)
    for row in rows:
        told = f"{row['median_s']:9.3f} s" if "median_s" in row else f"error {row['largest_relative_error']:.1e}"
        ratio = f"  {row['times_gram']:7.2f} × Gram" if "times_gram" in row else ""
        ratio = f"  {row['times_ours']:7.2f} × ours" if "times_ours" in row else ratio
        if "bound_s" in row:
            ratio = f"  (bound {row['bound_s']:g} s: {'met' if row['median_s'] <= row['bound_s'] else 'MISSED'})"
        print(f"{row['part']:40s} {row['method']:58s} {told}{ratio}")
    if arguments.out is not None:
        write(arguments.out, "spectra", {"settings": settings}, rows)


if __name__ == "__main__":
    main()
