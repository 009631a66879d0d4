"""Random vectors that depend on the seed alone: drawn on the CPU in float64, then moved to where they are needed."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lab.linalg.operator import LinearOperator, is_symmetric

Seed = int | torch.Generator
Distribution = Literal["gaussian", "rademacher"]


def generator_of(seed: Seed) -> torch.Generator:
    """The generator of a seed; a generator is used as it is, so successive calls continue its stream.

    Raises:
        ValueError: the generator lives on a GPU (its stream differs from the CPU's).
    """
    if isinstance(seed, torch.Generator):
        if seed.device.type != "cpu":
            raise ValueError(
                f"random vectors are drawn on the CPU, to be the same everywhere; got a generator on {seed.device}. "
                "Pass an int or a CPU torch.Generator."
            )
        return seed
    return torch.Generator().manual_seed(seed)


def draw(rows: int, columns: int, A: LinearOperator, seed: Seed, distribution: Distribution = "gaussian") -> Tensor:
    """A (rows, columns) matrix of independent entries of mean 0 and variance 1, in the dtype and device of A."""
    generator = generator_of(seed)
    if distribution == "gaussian":
        entries = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    elif distribution == "rademacher":
        entries = 2.0 * torch.randint(0, 2, (rows, columns), generator=generator).to(torch.float64) - 1.0
    else:
        raise ValueError(f'distribution must be "gaussian" or "rademacher"; got {distribution!r}.')
    return entries.to(dtype=A.dtype, device=A.device)


def require_square(A: LinearOperator, purpose: str) -> int:
    """n of a square operator."""
    m, n = A.shape
    if m != n:
        raise ValueError(f"{purpose} needs a square operator; got shape {A.shape}. Compose A.T @ A or A @ A.T first.")
    return n


def require_symmetric(A: LinearOperator, purpose: str) -> int:
    """n of an operator known to be symmetric."""
    n = require_square(A, purpose)
    if not is_symmetric(A):
        raise ValueError(
            f"{purpose} needs a symmetric operator, and {A!r} is not known to be one. If it is, say so: "
            "tagged(A, Structure.SYMMETRIC); if not, use A.T @ A, or randomized_svd."
        )
    return n


def require_positive(**counts: int) -> None:
    """Every named count must be an int of at least 1."""
    for name, value in counts.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be an int >= 1; got {value!r}.")
