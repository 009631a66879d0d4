"""A scalar system with quadratic costs: feedback by Riccati, the maximum principle, and one Gauss–Newton step."""

from __future__ import annotations

import pandas as pd
import torch

from app.playgrounds.playground import Playground
from lab.control.lqr import LinearQuadratic, lqr, two_point_boundary
from lab.figures import Theme
from lab.figures.grammar import Grid

WAYS = ("Riccati", "maximum principle")


def system(a: float, b: float, q: float, r: float, horizon: int) -> LinearQuadratic:
    """h ↦ a h + b u from h = 1, at the cost ½ Σ (q h² + r u²) + ½ q h_T²."""
    whole = torch.ones((horizon, 1, 1), dtype=torch.float64)
    return LinearQuadratic(a * whole, b * whole, q * whole, r * whole, Q_end=q * whole[0], h0=whole[0, 0])


def simulate(a: float, b: float, q: float, r: float, horizon: int) -> pd.DataFrame:
    """State, costate, control and gain at each time, by both ways.

    Args:
        a, b: of the dynamics.
        q, r: prices of state and control.
        horizon: steps.
    """
    problem = system(a, b, q, r, horizon)
    feedback, boundary = lqr(problem), two_point_boundary(problem)
    costates = [-P @ h for P, h in zip(feedback.P, feedback.states, strict=True)]
    gains = [-u / h for u, h in zip(boundary.controls, boundary.states[:-1], strict=True)]
    found = {
        "Riccati": (feedback.states, costates, feedback.controls, list(feedback.K)),
        "maximum principle": (boundary.states, boundary.costates, boundary.controls, gains),
    }
    names = ("state h", "costate p", "control u", "gain K")
    rows = [
        {"way": way, "quantity": name, "t": t, "value": float(value)}
        for way, series in found.items()
        for name, values in zip(names, series, strict=True)
        for t, value in enumerate(values)
    ]
    return pd.DataFrame(rows).assign(cost=float(feedback.cost))


def draw(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, wrap=2, height=260, share_x=True)
    for panel, part in grid.by(table, "quantity"):
        exact, solved = (part[part.way == way] for way in WAYS)
        panel.line(exact.t, exact.value, WAYS[0], colour=theme.colour(0))
        panel.points(solved.t, solved.value, WAYS[1], colour=theme.colour(1), size=7)
    return grid.x("time t [step]").y("value [1]")


def answer(table: pd.DataFrame) -> str:
    wide = table.pivot(index=["quantity", "t"], columns="way", values="value")
    apart = float((wide[WAYS[0]] - wide[WAYS[1]]).abs().max())
    gains = table[(table.quantity == "gain K") & (table.way == WAYS[0])].value
    return (
        f"The least cost is {table.cost.iloc[0]:.4g}; the gain goes from {gains.iloc[0]:.4g} to {gains.iloc[-1]:.4g}. "
        f"Feedback and maximum principle agree to {apart:.1g}."
    )


PLAYGROUND = Playground(
    title="Linear dynamics, quadratic costs",
    question="How do the prices of state and control shape states, costates and gains?",
    theory="Riccati's recursion K = (r + b²P)⁻¹ b P a, P ← q + a P (a − b K) runs from the end; the maximum principle "
    "asks that ∇ᵤH = 0 at every time, with p = −P h. For a = b = q = r = 1 the P are ratios of Fibonacci numbers.",
    knobs={
        "a": ("a", (0.5, 0.9, 1.0, 1.1, 1.5), 1.0),
        "b": ("b", (0.1, 0.5, 1.0, 2.0), 1.0),
        "q": ("Price of the state q", (0.1, 0.5, 1.0, 2.0, 10.0), 1.0),
        "r": ("Price of the control r", (0.01, 0.1, 1.0, 10.0), 1.0),
        "horizon": ("Horizon", (3, 6, 12, 24), 12),
    },
    simulate=simulate,
    draw=draw,
    answer=answer,
)  # fmt: skip
