"""What the control view costs on MiniLM: costates, Gramian products, the leading spectrum, E-MSA.

LoRA (r = 8, query and value), float32, eager attention, no dropout. Each pair runs in turn, round after round, so that
a slow moment of the machine meets both; the ratio is that of the medians.

    costates / backward     all costates and gradients by one pass, against the gradient of φ alone
                            (the backward passes by themselves, and the whole of forward and backward)
    Gramian product         W y, against one vjp and one jvp of the same map, each from scratch
    leading spectrum        the k leading eigenvalues of the end state's Gramian
    E-MSA                   one iteration on a batch of 16; ten L-BFGS steps per layer

    deltalab bench control [--rounds 7] [--sentences 64] [--eigenvalues 50] [--emsa 1] [--out benchmarks/results]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from _report import alternately, write
from torch import Tensor
from torch.func import jvp, vjp
from torch.nn.functional import cross_entropy

from lab.control import ControlProblem, adjoint, extended_msa, gramian, layerwise, reach, rollout
from lab.control.problem import advance
from lab.deltas import Delta, LoRA
from lab.models import load_plm

TOKENS = 32
EMSA_SENTENCES = 16  # a training batch; every layer's second derivatives are evaluated some twelve times an iteration


def batch_of(sentences: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, 20000, (sentences, TOKENS), generator=generator)
    labels = torch.randint(0, 2, (sentences,), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


def compared(measure: str, times: dict[str, list[float]], bound: float | None) -> dict[str, Any]:
    """A row: the first call's median over the second's."""
    (ours, mine), (reference, theirs) = times.items()
    return {
        "measure": measure,
        "ours": ours,
        "median_s": median(mine),
        "reference": reference,
        "reference_median_s": median(theirs),
        "ratio": median(mine) / median(theirs),
        "bound": bound,
    }


def backward_seconds(problem: ControlProblem, delta: Delta, batch: dict[str, Tensor], *, costates: bool) -> float:
    """Seconds of the backward pass alone; the forward pass before it is not counted."""
    if costates:
        us = [u.detach().clone().requires_grad_() for u in problem.split(delta.phi0)]
        trajectory = rollout(problem, us)
        wanted = [x for x in (*trajectory.states, *us) if x.requires_grad]
        cost = trajectory.cost
    else:
        wanted = [delta.phi0.clone().requires_grad_()]
        cost = cross_entropy(delta.logits(wanted[0], batch), batch["labels"])
    began = time.perf_counter()
    torch.autograd.grad(cost, wanted, allow_unused=True)
    return time.perf_counter() - began


def plain_gradient(delta: Delta, batch: dict[str, Tensor]) -> None:
    phi = delta.phi0.clone().requires_grad_()
    torch.autograd.grad(cross_entropy(delta.logits(phi, batch), batch["labels"]), phi)


def run(rounds: int = 7, sentences: int = 64, eigenvalues: int = 50, emsa: int = 1) -> list[dict[str, Any]]:
    """One row per measure: medians, their ratio, and the bound it is to keep."""
    plm = load_plm("minilm", num_labels=2, attention="eager")
    delta, batch = LoRA(rank=8).on(plm), batch_of(sentences)
    problem = layerwise(delta, batch, cross_entropy)
    controls = problem.split(delta.phi0)
    trajectory = rollout(problem, controls)
    rows = [
        compared(
            "costates, backward pass alone",
            alternately(
                {
                    "costates": lambda: backward_seconds(problem, delta, batch, costates=True),
                    "backward": lambda: backward_seconds(problem, delta, batch, costates=False),
                },
                rounds,
            ),
            1.2,
        ),
        compared(
            "costates, forward and backward",
            alternately(
                {
                    "adjoint": lambda: adjoint(problem, controls),
                    "back_propagation": lambda: plain_gradient(delta, batch),
                },
                rounds,
            ),
            1.2,
        ),
    ]

    W = gramian(problem, trajectory)
    y = torch.randn(W.shape[0], generator=torch.Generator().manual_seed(0))

    def end_state(phi: Tensor) -> Tensor:
        return advance(problem, 0, problem.h0, problem.split(phi)[: problem.end]).reshape(-1)

    def from_scratch() -> None:
        (v,) = vjp(end_state, delta.phi0)[1](y)
        jvp(end_state, (delta.phi0,), (v,))

    products = alternately({"gramian_product": lambda: W @ y, "vjp_and_jvp": from_scratch}, rounds)
    rows.append(compared("Gramian product", products, 1.2))

    began = time.perf_counter()
    found = reach(problem, trajectory, k=eigenvalues)
    rows.append(
        {
            "measure": f"leading {eigenvalues} Gramian eigenvalues, {sentences} sentences",
            "ours": "reach" if found.converged else "reach (not converged)",
            "median_s": time.perf_counter() - began,
            "bound": 300.0,
        }
    )
    if emsa:
        small = layerwise(delta, batch_of(EMSA_SENTENCES), cross_entropy)
        began = time.perf_counter()
        extended_msa(small, small.split(delta.phi0), iterations=emsa, tolerance=0.0)
        each = (time.perf_counter() - began) / emsa
        measure = f"E-MSA, 50 iterations, {EMSA_SENTENCES} sentences" + (f" (from {emsa})" if emsa != 50 else "")
        rows.append({"measure": measure, "ours": "extended_msa", "median_s": 50 * each, "bound": 600.0})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sentences", type=int, default=64)
    parser.add_argument("--eigenvalues", type=int, default=50)
    parser.add_argument("--emsa", type=int, default=1, help="E-MSA iterations to time; 0 for none, 50 for all")
    parser.add_argument("--out", type=Path, help="folder for the results as JSON")
    arguments = parser.parse_args()
    settings = {name: value for name, value in vars(arguments).items() if name != "out"}
    rows = run(**settings)
    for row in rows:
        ratio = f"{row['ratio']:.2f} x {row['reference']}" if "ratio" in row else "seconds"
        print(f"{row['measure']:50s} {row['median_s']:9.3f} s  {ratio}  (bound {row['bound']})")
    if arguments.out is not None:
        write(arguments.out, "control", {"settings": settings}, rows)


if __name__ == "__main__":
    main()
