"""What determines a training run, so that its checkpoint is continued by itself alone.

A delta is known by what it does: its overrides at one point of R^d hold method, hyperparameters, projection, seed and
the weights it changes, however it was put together. They are compared to a tolerance, since the order of sums may
differ from one number of threads to another; all else is compared exactly.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from math import isclose
from typing import Any

import torch
from torch import Tensor

from lab.deltas import Delta
from lab.models import PLM
from lab.tasks import EncodedTask
from lab.training.settings import Settings

_TOLERANCE = 1e-4  # far above the rounding of float32 sums, far below another seed, scale or projection


def identity(
    delta: Delta, encoded: EncodedTask, settings: Settings, *, start: Tensor, lr: float, head_lr: float, seed: int
) -> dict[str, Any]:
    """The parts of a run's identity, JSON-able.

    Cost: the delta's overrides once, and one pass over θ.

    Returns:
        Part -> a digest, or for "delta" three numbers per override.
    """
    return {
        "settings": _digest(json.dumps([vars(settings), lr, head_lr]).encode()),
        "seed": seed,
        "task": _digest(json.dumps([encoded.task.fingerprint, encoded.max_length, encoded.template]).encode()),
        "PLM": weights_digest(delta.plm),
        "start": _digest(_bytes(start)),
        "delta": what_it_does(delta),
    }


def differences(found: Any, expected: Mapping[str, Any]) -> list[str]:
    """The parts in which a checkpoint's identity is not the expected one; every part where it has no such parts."""
    if not isinstance(found, dict):
        return list(expected)
    exact = [part for part in expected if part != "delta" and found.get(part) != expected[part]]
    return exact + ([] if _alike(found.get("delta"), expected["delta"]) else ["delta"])


def weights_digest(plm: PLM) -> str:
    """A digest of every parameter of a host, by name."""
    whole = hashlib.sha256()
    for name, value in plm.parameters.items():
        whole.update(f"{name} {tuple(value.shape)} {value.dtype} ".encode() + _digest(_bytes(value)).encode())
    return whole.hexdigest()


def what_it_does(delta: Delta) -> dict[str, list[float]]:
    """Every override at a fixed point near φ₀ as (numel, norm, weighted sum), and the training penalty there."""
    generator = torch.Generator().manual_seed(0)
    moved = delta.phi0 + 0.1 * torch.randn(delta.size, generator=generator).to(delta.phi0)
    with torch.no_grad():
        changes = {name: value - delta.plm.parameters[name] for name, value in delta.overrides(moved).items()}
        penalty = float(delta.training().penalty(moved))
    return {"penalty": [penalty]} | {name: _sketch(change) for name, change in changes.items()}


def _sketch(change: Tensor) -> list[float]:
    flat = change.reshape(-1).double()
    weights = torch.cos(torch.arange(len(flat), dtype=torch.float64, device=flat.device))
    return [float(len(flat)), float(flat.norm()), float(flat @ weights)]


def _alike(found: Any, expected: Mapping[str, list[float]]) -> bool:
    if not isinstance(found, dict) or found.keys() != expected.keys():
        return False

    def close(ours: list[float], theirs: list[float]) -> bool:
        slack = _TOLERANCE * max(map(abs, ours[1:]), default=0.0)  # a weighted sum may nearly vanish
        return len(ours) == len(theirs) and all(
            isclose(a, b, rel_tol=_TOLERANCE, abs_tol=slack) for a, b in zip(ours, theirs, strict=True)
        )

    return all(close(numbers, found[name]) for name, numbers in expected.items())


def _bytes(value: Tensor) -> Any:
    return value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()


def _digest(content: Any) -> str:
    return hashlib.sha256(content).hexdigest()
