"""One card in ten minutes: the tests that need it, the kernels against its own bandwidth, training, memory, 7B.

tests      pytest -m gpu
kernels    every projection of MiniLM's size, product and adjoint, beside copying as many floats in the same run
d90        MiniLM on bbc-news in random subspaces of growing dimension, several orders of the data under one vmap
memory     peak of a training step, method by method (`lab.training.resident`)
7B step    LoRA of rank 16 on a Llama-2-7B of random weights, bfloat16 products
7B spectra singular values of ΔW of one block's seven matrices, on the card

make gpu                        the same as: deltalab bench gpu --out benchmarks/results
deltalab bench gpu --dry        what would run; so it ends, too, where there is no CUDA device
deltalab bench gpu --twin       every part in a tiny size on the CPU, as the tests run it
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from _report import write

from lab.deltas import FullFineTuning, LoRA
from lab.linalg import Spectrum
from lab.models import PLM, load_plm, untrained_plm
from lab.models.tiny import BUILT_IN
from lab.projections import PROJECTIONS, Fastfood
from lab.tasks import load_task
from lab.training import fit_many
from lab.training.cost import TrainingStep, example_batch
from lab.training.resident import measured_peaks

ROOT = Path(__file__).resolve().parents[1]
Row = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """How large every part is.

    Attributes:
        device: where everything runs.
        D, d: rows and columns of the projections.
        plm, task, n_train, n_validation, steps, tokens: of the curve.
        dimensions, orders: of the curve: subspaces, and seeds of the order of the data.
        resident, batch_sizes: model and batches of the memory.
        large, rank, batch, large_tokens: model, LoRA and batch of the step; the spectra have the model's own shapes.
        needed: bytes that the large model takes.
        rounds: of a timing.
    """

    device: str
    D: int
    d: int
    plm: str
    task: str
    n_train: int
    n_validation: int
    steps: int
    tokens: int
    dimensions: tuple[int, ...]
    orders: int
    resident: str
    batch_sizes: tuple[int, ...]
    large: str
    rank: int
    batch: int
    large_tokens: int
    needed: int
    rounds: int


CARD = Size(
    device="cuda", D=22_713_216, d=1000, plm="minilm", task="bbc-news", n_train=1780, n_validation=300, steps=60,
    tokens=64, dimensions=(64, 256, 1000, 4000, 16_000), orders=4, resident="roberta-large", batch_sizes=(1, 8, 32),
    large="llama-2-7b", rank=16, batch=4, large_tokens=512, needed=34 << 30, rounds=10,
)  # fmt: skip
TWIN = Size(
    device="cpu", D=4096, d=64, plm="tiny-bert", task="bbc-news", n_train=32, n_validation=16, steps=2, tokens=8,
    dimensions=(4, 16), orders=2, resident="tiny-bert", batch_sizes=(2,), large="tiny-llama", rank=2, batch=2,
    large_tokens=8, needed=0, rounds=2,
)  # fmt: skip


def tests(size: Size) -> list[Row]:
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
    if size.device == "cpu":  # nothing would be run
        return [{"command": " ".join(command[1:]), "summary": "not run on a CPU"}]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return [{"command": " ".join(command[1:]), "summary": (done.stdout.strip().splitlines() or [done.stderr])[-1]}]


def kernels(size: Size) -> list[Row]:
    x = torch.randn(size.d, generator=torch.Generator().manual_seed(0)).to(size.device)
    y = torch.randn(size.D, generator=torch.Generator().manual_seed(1)).to(size.device)
    target = torch.empty_like(y)
    copy = seconds(lambda: target.copy_(y), size)
    rows = []
    for projection in PROJECTIONS:
        if projection.name == "gaussian" and size.D * size.d > 1 << 32:
            continue  # its D·d numbers are drawn for every product: minutes
        P = projection(size.D, size.d, seed=0)
        for name, call in (("product", lambda P=P: P @ x), ("adjoint", lambda P=P: P.T @ y)):
            took = seconds(call, size)
            rows.append({"projection": P.name, "what": name, "D": size.D, "d": size.d, "seconds": took,
                         "times_copy": took / copy, "copy_bytes_per_s": 8 * size.D / copy})  # fmt: skip
    return rows


def d90(size: Size) -> list[Row]:
    task = load_task(size.task).at_most(size.n_train, size.n_validation)
    plm = load_plm(size.plm, num_labels=task.num_labels, dtype=torch.float32, device=size.device, attention="eager")
    full = FullFineTuning().on(plm)
    encoded = task.encode(plm, max_length=size.tokens)
    rows = []
    for d in size.dimensions:
        began = time.perf_counter()
        fits = fit_many(
            full.restrict(Fastfood(full.size, d, seed=0)), encoded, steps=size.steps, lrs=[None] * size.orders,
            seeds=list(range(size.orders)), batch_size=16, evaluation_size=size.n_validation,
        )  # fmt: skip
        scores = [fit.score for fit in fits]
        rows.append({"plm": size.plm, "task": size.task, "d": d, "orders": size.orders, "steps": size.steps,
                     "score": fmean(scores), "lowest": min(scores), "highest": max(scores),
                     "seconds": time.perf_counter() - began})  # fmt: skip
    return rows


def memory(size: Size) -> list[Row]:
    methods: tuple[Row, ...] = (
        {"method": "full"}, {"method": "lora", "rank": 8}, {"method": "prompt", "tokens": 20}, {"method": "bitfit"},
    )  # fmt: skip
    return [
        {"model": size.resident, "method": method["method"], "batch_size": batch, "tokens": size.tokens, "bytes": peak}
        for method in methods[: 1 if size.device == "cpu" else None]
        for batch, peak in measured_peaks(
            size.resident, method, size.batch_sizes, tokens=size.tokens, device=size.device
        ).items()
    ]


def large_step(size: Size) -> list[Row]:
    plm = _large(size)
    step = TrainingStep(LoRA(rank=size.rank, head="frozen").on(plm))
    batch = example_batch(plm, size.batch, size.large_tokens)
    optimizer = torch.optim.AdamW(step.leaves, lr=1e-9, fused=True)

    def run() -> None:
        with torch.autocast(torch.device(size.device).type, torch.bfloat16):
            loss = step.loss(batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    if size.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    took = seconds(run, size)
    peak = torch.cuda.max_memory_allocated() if size.device == "cuda" else 0
    return [{"model": size.large, "parameters": plm.size, "batch_size": size.batch, "tokens": size.large_tokens,
             "seconds": took, "tokens_per_s": size.batch * size.large_tokens / took, "bytes": peak}]  # fmt: skip


def large_spectra(size: Size) -> list[Row]:
    matrices = {name: w for name, w in _large(size).parameters.items() if re.search(r"\blayers\.0\.", name)}
    rows = []
    for name, weight in matrices.items():
        if weight.ndim == 2:
            change = 1e-3 * torch.randn(weight.shape, device=size.device)
            took = seconds(lambda change=change: Spectrum.of(change).values, size, rounds=1)
            rows.append({"matrix": name, "shape": list(weight.shape), "seconds": took})
    return rows


PARTS: dict[str, tuple[Callable[[Size], list[Row]], str]] = {
    "tests": (tests, "1 minute"),
    "kernels": (kernels, "half a minute"),
    "d90": (d90, "2 minutes"),
    "memory": (memory, "2 minutes"),
    "7B step": (large_step, "1 minute"),
    "7B spectra": (large_spectra, "2 minutes"),
}


def _large(size: Size) -> PLM:
    if size.large.startswith(BUILT_IN):
        return load_plm(size.large, num_labels=2, dtype=torch.float32, device=size.device)
    free, _ = torch.cuda.mem_get_info()
    if free < size.needed:
        raise MemoryError(
            f"{size.large} in float32 takes {size.needed >> 30} GB; {free >> 30} GB are free on this card"
        )
    return untrained_plm(size.large, device=size.device, attention="sdpa")


def seconds(call: Callable[[], object], size: Size, rounds: int | None = None) -> float:
    """The median over rounds, after one that compiles; the card is waited for."""

    def waited() -> float:
        if size.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    times = []
    for _ in range(1 + (rounds or size.rounds)):
        began = waited()
        call()
        times.append(waited() - began)
    return median(times[1:])


def run(size: Size, names: Sequence[str], budget: float) -> dict[str, list[Row]]:
    """The rows of each part; one that fails, or for which no time is left, has a row that says why."""
    began, found = time.perf_counter(), dict[str, list[Row]]()
    for name in names:
        part, _ = PARTS[name]
        if time.perf_counter() - began > budget:
            found[name] = [{"left_out": f"{budget:.0f} seconds were over"}]
            continue
        try:
            found[name] = part(size)
        except (RuntimeError, MemoryError) as error:  # of CUDA: the others still say what they found
            found[name] = [{"failed": " ".join(str(error).split())[:300]}]
        if size.device == "cuda":
            torch.cuda.empty_cache()
        print(name, *(f"  {row}" for row in found[name]), sep="\n", flush=True)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry", action="store_true", help="say what would run, and end")
    parser.add_argument("--twin", action="store_true", help="tiny sizes on the CPU")
    parser.add_argument("--parts", default=",".join(PARTS), help="joined by commas")
    parser.add_argument("--budget", type=float, default=600, help="seconds after which no further part begins")
    parser.add_argument("--out", type=Path, help="folder for the results as JSON")
    given = parser.parse_args(arguments)
    names = [name.strip() for name in given.parts.split(",")]
    if unknown := sorted(set(names) - set(PARTS)):
        parser.error(f"unknown parts {', '.join(unknown)}; choose from {', '.join(PARTS)}")
    size = TWIN if given.twin else CARD
    if given.dry or not (given.twin or torch.cuda.is_available()):
        card = torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA device here"
        print(f"dry ({card}); on a card this would run, within {given.budget:.0f} seconds:")
        for name in names:
            print(f"  {name:10s} about {PARTS[name][1]}")
        print("results would be written to", given.out or "nowhere; add --out benchmarks/results")
        return
    card = "cpu-twin" if given.twin else torch.cuda.get_device_name()
    parts = run(size, names, given.budget)
    if given.out is not None:
        rows = [{"part": name, **row} for name, found in parts.items() for row in found]
        write(given.out, f"gpu-{re.sub(r'[^A-Za-z0-9]+', '-', card).strip('-')}", {"card": card}, rows)


if __name__ == "__main__":
    main()
