"""Starts of a LoRA that are taken out of W₀ before training: what is trained is W₀ − s·B₀A₀ + s·BA."""

from __future__ import annotations

import torch
from torch import Tensor

from lab.checkpoints.error import CheckpointError


def subtracted_start(W0: Tensor, start: str, rank: int, scale: float) -> tuple[Tensor, Tensor]:
    """B₀ (m, r) and A₀ (r, n) of a start that W₀ (m, n) alone determines, in float32 as in peft.

    PiSSA (Meng et al. 2024): s·B₀A₀ = Σ_{i ≤ r} σ_i u_i v_iᵀ. OLoRA (Büyükakyüz 2024): B₀A₀ = Q[:, :r] R[:r] with
    W₀ = QR.

    Raises:
        CheckpointError: another start.
    """
    W = W0.detach().to(torch.float32)
    if start == "pissa":
        U, S, Vh = torch.linalg.svd(W, full_matrices=False)
        root = (S[:rank] / scale).sqrt()
        return U[:, :rank] * root, root[:, None] * Vh[:rank]
    if start == "olora":
        Q, R = torch.linalg.qr(W)
        return Q[:, :rank], R[:rank]
    raise CheckpointError(f"W₀ alone does not determine the start {start!r} of a LoRA.")
