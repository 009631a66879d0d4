"""Fastfood against its peers: apply and adjoint of one map R^d -> R^D, side by side in one process.

Ours (stacked and published form) · the published algorithm (padded length, chunk and concatenate, int64 index arrays) ·
stacked blocks by the PyPI package hadamard-transform · one-hot and sparse maps of ours · copying D floats. Variants run
in turn, round after round, so that a slow moment of the machine meets them all; medians over the rounds, one warm-up.

    deltalab bench projections [--rounds 5] [--out benchmarks/results]

hadamard-transform is needed by this benchmark alone: `pip install --no-deps hadamard-transform==0.2.0`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from math import log2
from pathlib import Path
from statistics import median

import torch
from _published_fastfood import PackagedTransformFastfood, PublishedFastfood
from _report import write
from torch import Tensor

from lab.projections import Fastfood, OneHot, Projection, Sparse

D, DIMENSIONS = 22_713_216, (1_000, 10_000)  # MiniLM-L6
COPY, OURS = "copy of D floats", "Fastfood, ours"
PUBLISHED, PACKAGED = "Fastfood as published", "stacked, PyPI transform"
TARGETS = {PUBLISHED: 20, PACKAGED: 5}  # how many times faster ours must be


@dataclass(frozen=True)
class Variant:
    """One implementation: `apply` makes the image and what is needed to pull a gradient back from it."""

    apply: Callable[[], object]
    adjoint: Callable[[object], object]
    state_bytes: int


def ours(P: Projection, x: Tensor, y: Tensor) -> Variant:
    return Variant(lambda: P @ x, lambda _: P.T @ y, state_bytes=24)  # D, d, seed


def peer(P, x: Tensor, y: Tensor) -> Variant:
    leaf = x.clone().requires_grad_()
    return Variant(lambda: P(leaf), lambda image: torch.autograd.grad(image, leaf, y), P.state_bytes)


def copied(y: Tensor) -> Variant:
    target = torch.empty_like(y)
    return Variant(lambda: target.copy_(y), lambda _: target.copy_(y), state_bytes=0)


def variants(d: int) -> dict[str, Variant]:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(d, generator=generator), torch.randn(D, generator=generator)
    found = {
        COPY: copied(y),
        OURS: ours(Fastfood(D, d), x, y),
        "Fastfood, ours, published form": ours(Fastfood(D, d, form="published"), x, y),
        "one-hot, ours": ours(OneHot(D, d), x, y),
        "sparse, ours": ours(Sparse(D, d), x, y),
        PUBLISHED: peer(PublishedFastfood(D, d, seed=0), x, y),
    }
    if find_spec("hadamard_transform"):
        found[PACKAGED] = peer(PackagedTransformFastfood(D, d, seed=0), x, y)
    else:
        print("hadamard-transform is not installed: left out (pip install --no-deps hadamard-transform==0.2.0)")
    return found


def seconds(work: Callable[[], object]) -> tuple[float, object]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def run(rounds: int = 5, dimensions: tuple[int, ...] = DIMENSIONS) -> list[dict]:
    """One row per dimension and variant.

    Columns: `apply_s`, `adjoint_s` (medians), `both_s` (median of the sum), `both_min_s`, `state_bytes`, `times_ours`
    and `times_copy` (ratios of `both_s`), `additions` (of a stacked Fastfood, 2·D·log2 n), `copy_bytes_per_s`.
    """
    rows = []
    for d in dimensions:
        found = variants(d)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in found}
        for round_ in range(rounds + 1):
            for name, variant in found.items():
                forward, image = seconds(variant.apply)
                backward, _ = seconds(lambda variant=variant, image=image: variant.adjoint(image))
                del image
                if round_:  # the first one compiles and touches the memory
                    times[name].append((forward, backward))
        both = {name: median(a + b for a, b in pairs) for name, pairs in times.items()}
        rows += [
            {
                "D": D,
                "d": d,
                "variant": name,
                "apply_s": median(a for a, _ in times[name]),
                "adjoint_s": median(b for _, b in times[name]),
                "both_s": both[name],
                "both_min_s": min(a + b for a, b in times[name]),
                "times_ours": both[name] / both[OURS],
                "times_copy": both[name] / both[COPY],
                "state_bytes": found[name].state_bytes,
                "additions": int(2 * D * log2(1 << (d - 1).bit_length())),
                "copy_bytes_per_s": 2 * 2 * 4 * D / both[COPY],  # read and written, twice
            }
            for name in found
        ]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="folder for the results as JSON")
    arguments = parser.parse_args()
    rows = run(arguments.rounds)
    for row in rows:
        target = TARGETS.get(row["variant"])
        print(
            f"d = {row['d']:6d}  {row['variant']:32s} {1e3 * row['apply_s']:9.1f} ms + {1e3 * row['adjoint_s']:9.1f} ms"
            f"  {row['times_ours']:7.1f} x ours  {row['state_bytes'] / 1e6:7.1f} MB"
            + (f"  (target: {target} x: {'met' if row['times_ours'] >= target else 'MISSED'})" if target else "")
        )
    if arguments.out is not None:
        write(arguments.out, "projections", {"rounds": arguments.rounds}, rows)


if __name__ == "__main__":
    main()
