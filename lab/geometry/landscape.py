"""Loss along lines and planes through φ, and the directions worth looking at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import pandas as pd
import torch
from torch import Tensor

from lab.linalg import Layout

Loss = Callable[[Tensor], Tensor]
DEFAULT_GRID = tuple(i / 10 - 1 for i in range(21))
"""−1 … 1 in 21 steps: an odd number, so that the origin is on it."""


def loss_line(loss: Loss, origin: Tensor, direction: Tensor, *, alphas: Sequence[float] = DEFAULT_GRID) -> pd.DataFrame:
    """loss(origin + α·direction) for every α: columns alpha, loss.

    With direction = φ₂ − origin and α from 0 to 1 this is linear interpolation (Goodfellow et al. 2015).

    Raises:
        ValueError: the direction has not the origin's shape.
    """
    _require_like(origin, direction)
    rows = [(a, _value(loss, origin + a * direction)) for a in map(float, alphas)]
    return pd.DataFrame(rows, columns=["alpha", "loss"])


def loss_plane(
    loss: Loss,
    origin: Tensor,
    directions: tuple[Tensor, Tensor],
    *,
    alphas: Sequence[float] = DEFAULT_GRID,
    betas: Sequence[float] | None = None,
) -> pd.DataFrame:
    """loss(origin + α·u + β·v) on a grid: columns alpha, beta, loss, one row per point (Li et al. 2018).

    Args:
        loss: closed φ -> scalar [nats]: fixed batch, no dropout. Values that are not finite stay in the table.
        origin: (d,).
        directions: u, v (d,), independent; units of α and β are their lengths.
        alphas, betas: grid; betas default to alphas. Cost: one loss per pair.

    Raises:
        ValueError: directions of another shape than the origin's, or linearly dependent.
    """
    u, v = directions
    _require_like(origin, u, v)
    cosine = float(u @ v) / max(float(u.norm() * v.norm()), torch.finfo(u.dtype).tiny)
    if not bool(u.any()) or not bool(v.any()) or 1 - abs(cosine) < 1e-9:
        raise ValueError("the two directions are linearly dependent and span no plane; choose another.")
    pairs = product(map(float, alphas), map(float, alphas if betas is None else betas))
    rows = [(a, b, _value(loss, origin + a * u + b * v)) for a, b in pairs]
    return pd.DataFrame(rows, columns=["alpha", "beta", "loss"])


def coordinates(points: Tensor, origin: Tensor, directions: tuple[Tensor, Tensor]) -> Tensor:
    """(α, β) of each point's orthogonal projection on the plane, (n, 2): what draws a trajectory on it.

    Args:
        points: (n, d).
        origin, directions: as for `loss_plane`; any angle between the directions.
    """
    return torch.linalg.lstsq(torch.stack(directions, dim=1), (points - origin).T).solution.T


# directions


def random_directions(phi: Tensor, layout: Layout, *, n: int = 2, seed: int = 0) -> tuple[Tensor, ...]:
    """Gaussian directions with the filters' norms of φ (Li, Xu, Taylor, Studer & Goldstein 2018, section 4).

    A filter is a row of a matrix, and the whole of a vector or a scalar. A filter that is 0 in φ (LoRA's B at its
    start) sets no scale and gets a direction of 0.

    Raises:
        ValueError: φ = 0: it sets no scale.
    """
    if not bool(phi.any()):
        raise ValueError("phi is 0 and sets no scale for filter normalisation; give a trained point.")
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(n):
        drawn = torch.randn(phi.shape, generator=generator, dtype=torch.float64).to(phi)
        like, parts = layout.unflatten(phi.detach()), layout.unflatten(drawn)
        found.append(layout.flatten({name: _scaled(parts[name], like[name]) for name in layout.names}))
    return tuple(found)


def trajectory_directions(points: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor], tuple[float, float]]:
    """The plane of a training trajectory: PCA of the differences to its last point (Li et al. 2018, section 7).

    Args:
        points: (n, d), n ≥ 3, in order of time.

    Returns:
        Origin (the last point), two orthonormal directions, and the share of Σ‖φ_t − φ_n‖² each explains.

    Raises:
        ValueError: fewer than three points, or all on one line.

    Warning:
        A random walk in high dimension also puts most of its variance into two components (Antognini & Sohl-Dickstein
        2018): a large share alone shows nothing.
    """
    if points.ndim != 2 or points.shape[0] < 3:
        raise ValueError(f"a trajectory plane needs points (n >= 3, d); got shape {tuple(points.shape)}.")
    _, sigma, Vh = torch.linalg.svd(points[:-1] - points[-1], full_matrices=False)
    if len(sigma) < 2 or not float(sigma[1]) > 1e-9 * float(sigma[0]):
        raise ValueError("the points lie on one line; use loss_line.")
    shares = sigma.square() / sigma.square().sum()
    return points[-1], (Vh[0], Vh[1]), (float(shares[0]), float(shares[1]))


def plane_through(first: Tensor, second: Tensor, third: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """The plane through three points, such as the solutions of three runs (Garipov et al. 2018, appendix A.1).

    Returns:
        Origin (the first point) and directions: u = second − first, so the second lies at (1, 0), and v orthogonal to u
        with u's length, so that both axes have one unit; the third's coordinates come from `coordinates`.

    Raises:
        ValueError: points of different shapes, or on one line.
    """
    _require_like(first, second, third)
    u, w = second - first, third - first
    v = w - (w @ u) / (u @ u).clamp_min(torch.finfo(u.dtype).tiny) * u
    if not bool(u.any()) or not float(v.norm()) > 1e-9 * float(w.norm()):
        raise ValueError("the three points lie on one line; use loss_line.")
    return first, (u, v * (u.norm() / v.norm()))


def _scaled(direction: Tensor, like: Tensor) -> Tensor:
    if like.ndim < 2:
        return direction * (like.norm() / direction.norm().clamp_min(torch.finfo(like.dtype).tiny))
    rows, drawn = like.flatten(1), direction.flatten(1)
    tiny = torch.finfo(like.dtype).tiny
    return (drawn * (rows.norm(dim=1) / drawn.norm(dim=1).clamp_min(tiny))[:, None]).reshape(like.shape)


def _value(loss: Loss, phi: Tensor) -> float:
    with torch.no_grad():
        return float(loss(phi))


def _require_like(origin: Tensor, *others: Tensor) -> None:
    for other in others:
        if origin.ndim != 1 or other.shape != origin.shape:
            got = f"{tuple(origin.shape)} and {tuple(other.shape)}"
            raise ValueError(f"points and directions must share one shape (d,); got {got}.")


def walk_share(trajectory: Tensor) -> float:
    """The null of a trajectory's share in its plane: that of a Gaussian random walk of as many steps.

    Args:
        trajectory: (n, d) points; of d, at most 2,000 are drawn.
    """
    generator = torch.Generator().manual_seed(0)
    steps = torch.randn(len(trajectory) - 1, min(trajectory.shape[1], 2000), generator=generator, dtype=torch.float64)
    walk = torch.cat([torch.zeros_like(steps[:1]), steps.cumsum(dim=0)])
    return sum(trajectory_directions(walk)[2])
