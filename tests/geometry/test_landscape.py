"""Lines and planes of a quadratic, where every value is known, and the makers of directions."""

from __future__ import annotations

import pytest
import torch

from lab.geometry.landscape import (
    coordinates,
    loss_line,
    loss_plane,
    plane_through,
    random_directions,
    trajectory_directions,
)
from lab.linalg import Layout


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def bowl(phi: torch.Tensor) -> torch.Tensor:
    return 0.5 * phi @ phi


def test_line_and_plane_of_a_bowl():
    u, v = torch.eye(4, dtype=torch.float64)[:2]
    line = loss_line(bowl, torch.zeros(4, dtype=torch.float64), 2 * u, alphas=[0, 0.5, 1])
    assert line.loss.tolist() == [0, 0.5, 2]
    plane = loss_plane(bowl, u, (u, v), alphas=[-1, 0, 1], betas=[0, 2])
    assert list(plane.itertuples(index=False, name=None)) == [
        (a, b, 0.5 * ((1 + a) ** 2 + b**2)) for a in (-1, 0, 1) for b in (0, 2)
    ]
    assert len(loss_plane(bowl, u, (u, v))) == 21**2


def test_random_directions_have_the_norms_of_the_filters():
    phi = gaussian(17)
    phi[:3] = 0  # the first row of A
    layout = Layout.of({"A": torch.zeros(4, 3), "b": torch.zeros(4), "s": torch.zeros(())})
    first, second = random_directions(phi, layout, seed=1)
    assert not torch.equal(first, second)
    assert torch.equal(first, random_directions(phi, layout, seed=1)[0])
    for direction in (first, second):
        parts, like = layout.unflatten(direction), layout.unflatten(phi)
        torch.testing.assert_close(parts["A"].norm(dim=1), like["A"].norm(dim=1))
        torch.testing.assert_close(parts["b"].norm(), like["b"].norm())
        torch.testing.assert_close(parts["s"].abs(), like["s"].abs())


def test_trajectory_in_a_plane_is_explained_by_it():
    basis, weights = torch.linalg.qr(gaussian(30, 2)).Q, gaussian(9, 2, seed=1)
    points = gaussian(30, seed=2) + weights @ basis.T
    origin, directions, shares = trajectory_directions(points)
    assert torch.equal(origin, points[-1])
    assert sum(shares) == pytest.approx(1)
    assert shares[0] >= shares[1]
    plane = torch.stack(directions, dim=1)
    torch.testing.assert_close(plane.T @ plane, torch.eye(2, dtype=torch.float64))
    torch.testing.assert_close(origin + coordinates(points, origin, directions) @ plane.T, points)


def test_plane_through_three_points_holds_them():
    points = gaussian(3, 20)
    origin, (u, v) = plane_through(*points)
    torch.testing.assert_close(u @ v, torch.zeros((), dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(u.norm(), v.norm())
    at = coordinates(points, origin, (u, v))
    torch.testing.assert_close(at[:2], torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64))
    torch.testing.assert_close(origin + at @ torch.stack([u, v]), points)


def test_refusals():
    u, v = gaussian(4), gaussian(4, seed=1)
    with pytest.raises(ValueError, match=r"share one shape \(d,\); got \(4,\) and \(3,\)"):
        loss_line(bowl, u, u[:3])
    for second in (-3 * u, 0 * u):
        with pytest.raises(ValueError, match="linearly dependent"):
            loss_plane(bowl, v, (u, second))
    with pytest.raises(ValueError, match="phi is 0"):
        random_directions(0 * u, Layout.of({"a": u}))
    with pytest.raises(ValueError, match=r"needs points \(n >= 3, d\)"):
        trajectory_directions(torch.stack([u, v]))
    with pytest.raises(ValueError, match="lie on one line"):
        trajectory_directions(torch.stack([u, 2 * u, 3 * u]))
    with pytest.raises(ValueError, match="lie on one line"):
        plane_through(u, 2 * u, 3 * u)
