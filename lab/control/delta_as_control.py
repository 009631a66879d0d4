"""The table "delta as control", computed: where a delta acts, how, with how many numbers and how strongly."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lab.control.injection import Injection, injections
from lab.control.layerwise import Loss, layerwise
from lab.control.problem import ControlProblem, Trajectory, rollout
from lab.control.reachability import trace_share, whole_spectrum
from lab.deltas import Delta
from lab.linalg import Jacobian
from lab.models.plm import PLM, Batch


def delta_as_control(
    delta: Delta,
    plm: PLM,
    batch: Batch,
    loss: Loss,
    *,
    phi: Tensor | None = None,
    n_samples: int = 16,
    largest: int = 600,
    entries: int = 10**9,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """One row per stage of a delta's control problem.

    Args:
        delta: the delta.
        plm: the PLM it was built on, without grafts: what the identity is measured against.
        batch: a fixed batch with "labels".
        loss: (logits, labels) -> scalar.
        phi: where to linearise; default φ₀ moved a little at random, since many methods have B_t = 0 in half their
            coordinates at φ₀ itself (LoRA's A while B = 0).
        n_samples: vjps per stage for ‖B_t‖_F, and for the shares of the Gramian's trace.
        largest: rows or columns of B_t up to which its whole spectrum is computed (one product each). Default 600,
            seconds a stage; 5,000 takes minutes and gigabytes.
        entries: of B_t up to which it is, since every product passes through all d_t coordinates. Default 10⁹: minutes.
        seed: of all randomness.

    Returns:
        Rows with the columns

        * stage, block, controls (d_t);
        * control: the kinds of injection in the stage, with the number of modules ("bilinear 2"); "" where d_t = 0;
        * norm: ‖B_t‖_F, B_t = ∂h_{t+1}/∂u_t on this batch (estimated);
        * rank: of B_t, None where it has more than `largest` rows and columns, or more `entries`;
        * participation: (Σσ²)²/Σσ⁴ of B_t, how many directions share its energy (estimated where rank is None);
        * gramian_share: the stage's share of tr W at the end state (controls after the last block have none);
        * identity_error: max |logits(φ₀) − PLM's logits|, the same in all rows;
        * splits: False for deltas that act on all layers with the same coordinates (DID, SAID): then there is one row.
    """
    identity_error = float((delta.logits(delta.phi0, batch) - plm.logits({}, batch)).abs().max())
    kinds = injections(delta, batch, seed=seed)
    shared = {"identity_error": identity_error}
    try:
        problem = layerwise(delta, batch, loss)
    except ValueError as error:
        if "does not split" not in str(error):
            raise
        names = _counted([injection.kind for injection in kinds])
        return [
            {"stage": "all", "block": None, "controls": delta.size, "control": f"coupled over time: {names}",
             "norm": None, "rank": None, "participation": None, "gramian_share": None, "splits": False, **shared}
        ]  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    if phi is None:
        phi = delta.phi0 + 0.02 * torch.randn(delta.size, generator=generator, dtype=torch.float64).to(delta.phi0)
    trajectory = rollout(problem, problem.split(phi))
    shares = trace_share(problem, trajectory, n_samples=n_samples, seed=seed).shares
    rows = []
    for t, name in enumerate(problem.names):
        block = int(name.removeprefix("block ")) if name.startswith("block ") else None
        here = [i.kind for i in kinds if i.block == block and (block is not None or _place(i, plm) == name)]
        norm, rank, participation = _input_map(problem, trajectory, t, n_samples, (largest, entries), generator)
        rows.append(
            {"stage": name, "block": block, "controls": problem.sizes[t],
             "control": _counted(here) if problem.sizes[t] else "", "norm": norm, "rank": rank,
             "participation": participation, "gramian_share": float(shares[t]), "splits": True, **shared}
        )  # fmt: skip
    return rows


def control_summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One line per delta from its rows: how it controls, how many numbers, and which share of the blocks it acts in.

    "initial condition" acts before the blocks only, "terminal" in the last block or after it only, "coupled" in all
    layers with the same coordinates; the rest are "open loop" or "feedback" by what they add to their modules.
    """
    total = sum(row["controls"] for row in rows)
    common = {"controls": total, "identity_error": rows[0]["identity_error"]}
    if not rows[0]["splits"]:
        return {"control": "coupled over time", "layers_reached": 1.0, **common}
    blocks = [row for row in rows if row["block"] is not None]
    acting = [row for row in blocks if row["norm"] > 0]
    before = any(row["norm"] > 0 for row in rows if row["stage"] == "embed")
    kinds = {kind for row in acting for kind in _kinds(row["control"])}
    if not acting:
        control = "initial condition" if before else "terminal"
    elif [row["block"] for row in acting] == [blocks[-1]["block"]]:
        control = "terminal"
    else:
        control = "open loop" if kinds <= {"open loop"} else f"feedback: {', '.join(sorted(kinds))}"
    return {"control": control, "layers_reached": len(acting) / len(blocks), **common}


def _input_map(
    problem: ControlProblem,
    trajectory: Trajectory,
    t: int,
    n_samples: int,
    limits: tuple[int, int],
    generator: torch.Generator,
) -> tuple[float, int | None, float]:
    """‖B_t‖_F, rank and participation ratio of B_t; within the limits (rows or columns, entries) from its spectrum.

    With random signs v, E‖Bᵀv‖² = Σσ² and E‖BBᵀv‖² = Σσ⁴.
    """
    if problem.sizes[t] == 0:
        return 0.0, 0, 0.0
    B = Jacobian(partial(problem.dynamics[t], trajectory.states[t]), trajectory.controls[t], probe=False)
    largest, entries = limits
    if min(B.shape) <= largest and B.shape[0] * B.shape[1] <= entries:
        spectrum = whole_spectrum(B)
        return spectrum.frobenius_norm, spectrum.rank, spectrum.participation_ratio
    V = (torch.randint(0, 2, (B.shape[0], n_samples), generator=generator) * 2 - 1).to(dtype=B.dtype, device=B.device)
    pulled = B.T @ V
    energy, squared = pulled.square().sum(0).mean(), (B @ pulled).square().sum(0).mean()
    return float(energy.sqrt()), None, float(energy.square() / squared) if squared > 0 else 0.0


def _place(injection: Injection, plm: PLM) -> str:
    """The stage of a module outside the blocks."""
    return {0: "embed", plm.n_blocks: "readout"}.get(injection.blocks_before, "link")


def _counted(kinds: list) -> str:
    counts: Mapping[str, int] = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    return ", ".join(f"{kind} {n}" for kind, n in counts.items())


def _kinds(control: str) -> list[str]:
    return [part.rsplit(" ", 1)[0] for part in control.split(", ") if part]
