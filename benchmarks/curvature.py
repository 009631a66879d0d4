"""What curvature costs on MiniLM: products of Gauss-Newton and Hessian against curvlinops, leading eigenvalues.

LoRA (r = 8, query and value), float32, eager attention, no dropout. Ours and theirs run in turn on the same φ, batch
and vector, round after round, so that a slow moment of the machine meets both; the ratio is that of the medians, and
the two products are compared.

    Gauss-Newton product    J^T H J v on graphs recorded once, against curvlinops' GGNLinearOperator
    Hessian product         on a gradient recorded once, against curvlinops' HessianLinearOperator
    with recording          the same, the recording's seconds spread over as many products as Lanczos takes
    leading eigenvalues     the k leading ones of Gauss-Newton by Lanczos (bound 5 minutes), and all of them by the
                            square root of the curvature (`lab.geometry.curvature_factor`)

    deltalab bench curvature [--rounds 7] [--sentences 64] [--tokens 32] [--eigenvalues 20] [--out benchmarks/results]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from _report import alternately, write
from curvlinops import GGNLinearOperator, HessianLinearOperator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lab.deltas import Delta, LoRA
from lab.geometry import factor_spectrum, gauss_newton, gauss_newton_factor, output_jacobian
from lab.linalg import LinearOperator, RecordedHessian, lanczos
from lab.models import load_plm

AMORTISED = 50
"""Products that the recording is spread over: Lanczos needs about as many for 20 eigenvalues."""


class AsModule(nn.Module):
    """A delta as curvlinops wants it: a module whose one parameter is φ."""

    def __init__(self, delta: Delta, phi: Tensor):
        super().__init__()
        self.delta, self.phi = delta, nn.Parameter(phi.clone())

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.delta.logits(self.phi, batch)


def batch_of(sentences: int, tokens: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, 20000, (sentences, tokens), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def timed(make: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    made = make()
    return made, time.perf_counter() - began


def compared(
    name: str, ours: LinearOperator, recording: float, theirs: Any, v: Tensor, rounds: int
) -> list[dict[str, Any]]:
    """Rows of one product: alone, and with the recording's share."""
    mine, other = ours @ v, theirs @ v
    difference = float((mine - other).norm() / other.norm())
    times = alternately({"ours": lambda: ours @ v, "curvlinops": lambda: theirs @ v}, rounds)
    own, reference = median(times["ours"]), median(times["curvlinops"])
    shared = {"reference": "curvlinops", "reference_median_s": reference, "bound": 1.0, "difference": difference}
    with_recording = own + recording / AMORTISED
    return [
        {"measure": name, "median_s": own, "ratio": own / reference, **shared},
        {"measure": f"{name}, with recording", "median_s": with_recording, "ratio": with_recording / reference,
         "recording_s": recording, "products": AMORTISED, **shared},
    ]  # fmt: skip


def run(rounds: int = 7, sentences: int = 64, tokens: int = 32, eigenvalues: int = 20) -> list[dict[str, Any]]:
    """One row per measure: medians, their ratio, and the bound it is to keep."""
    plm = load_plm("minilm", num_labels=5, attention="eager")
    delta, batch = LoRA(rank=8).on(plm), batch_of(sentences, tokens)
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 5, (sentences,), generator=generator)
    phi = delta.phi0 + 0.01 * torch.randn(delta.size, generator=generator)
    v = torch.randn(delta.size, generator=generator)
    module = AsModule(delta, phi)
    arguments = (module, nn.CrossEntropyLoss(), [module.phi], [(batch, labels)])
    options = {"batch_size_fn": lambda batch: len(batch["input_ids"]), "check_deterministic": False}

    G, recording = timed(lambda: gauss_newton(lambda x: delta.logits(x, batch), phi))
    rows = compared("Gauss-Newton product", G, recording, GGNLinearOperator(*arguments, **options), v, rounds)
    H, recording = timed(lambda: RecordedHessian(lambda x: cross_entropy(delta.logits(x, batch), labels), phi))
    rows += compared("Hessian product", H, recording, HessianLinearOperator(*arguments, **options), v, rounds)
    del H

    found, seconds = timed(lambda: lanczos(G, eigenvalues))
    exact, exact_seconds = timed(lambda: factor_spectrum(gauss_newton_factor(*output_jacobian(delta, phi, batch))))
    known = exact.eigenvalues[:eigenvalues]
    off = float((found.ritz_values - known).abs().max() / known[0])
    title = f"of Gauss-Newton, {sentences} sentences"
    rows += [
        {"measure": f"{eigenvalues} leading eigenvalues {title}", "median_s": seconds, "bound": 300.0,
         "products": found.iterations, "converged": found.converged, "difference": off},
        {"measure": f"all {len(exact.eigenvalues)} eigenvalues {title}", "median_s": exact_seconds, "bound": 300.0},
    ]  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sentences", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--eigenvalues", type=int, default=20)
    parser.add_argument("--out", type=Path, help="folder for the results as JSON")
    arguments = parser.parse_args()
    settings = {name: value for name, value in vars(arguments).items() if name != "out"}
    rows = run(**settings)
    for row in rows:
        ratio = f"{row['ratio']:.2f} x {row['reference']}" if "ratio" in row else "seconds"
        print(f"{row['measure']:55s} {row['median_s']:9.3f} s  {ratio}  (bound {row['bound']})")
    if arguments.out is not None:
        write(arguments.out, "curvature", {"settings": settings}, rows)


if __name__ == "__main__":
    main()
