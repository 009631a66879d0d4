"""A direction planted in noise: when it stands out of the bulk, and how much of it is left."""

from __future__ import annotations

import numpy as np
import pandas as pd

from app.playgrounds.playground import Playground
from lab.figures import Theme
from lab.figures.grammar import Grid
from lab.linalg.spikes import spike_forward, spike_threshold

STRENGTHS = tuple(np.linspace(0, 3, 25).round(3))


def simulate(theta: float, rows: int, columns: int) -> pd.DataFrame:
    """The first singular value and its overlap with the planted direction, over all strengths; and a spectrum.

    Args:
        theta: strength of the planted direction.
        rows, columns: of the noise, whose entries have variance 1/columns.
    """
    c = rows / columns
    random = np.random.default_rng(0)
    noise = random.standard_normal((rows, columns)) / np.sqrt(columns)
    u, v = np.eye(rows)[0], np.eye(columns)[0]
    found = []
    for strength in (*STRENGTHS, theta):
        left, values, _ = np.linalg.svd(noise + strength * np.outer(u, v), full_matrices=False)
        told = spike_forward(float(strength), c)
        overlap = float((left[:, 0] @ u) ** 2)
        found.append((strength, values[0], told.sigma, overlap, told.cos2_left))
    columns_of = ["theta", "sigma", "sigma_told", "overlap", "overlap_told"]
    table = pd.DataFrame(found, columns=columns_of).assign(kind="sweep", threshold=spike_threshold(c))
    chosen = table.iloc[[-1]].assign(kind="chosen")
    spectrum = pd.DataFrame(
        {"kind": "spectrum", "sigma": values, "edge": 1 + np.sqrt(c), "index": np.arange(1, len(values) + 1)}
    )
    return pd.concat([table.iloc[:-1], chosen, spectrum], ignore_index=True)


def draw(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, wrap=3, height=300)
    sweep, chosen, spectrum = (table[table.kind == kind] for kind in ("sweep", "chosen", "spectrum"))
    bulk = grid.panel("singular values at this strength")
    bulk.points(spectrum["index"], spectrum.sigma, "one matrix", colour=theme.colour(1), size=5)
    bulk.rule(y=float(spectrum.edge.iloc[0]), name="edge of the bulk", dash="dash")
    bulk.x("index [count]").y("singular value σ [1]")
    for title, name in (("the first singular value", "sigma"), ("its overlap with what was planted", "overlap")):
        panel = grid.panel(title)
        panel.line(sweep.theta, sweep[f"{name}_told"], "limit of large matrices", colour=theme.colour(0))
        panel.points(sweep.theta, sweep[name], "one matrix", colour=theme.colour(1), size=5)
        panel.rule(x=float(sweep.threshold.iloc[0]), name="threshold", dash="dot")
        panel.rule(x=float(chosen.theta.iloc[0]), name="chosen", colour=theme.ink)
        panel.x("strength θ [1]").y("σ₁ [1]" if name == "sigma" else "⟨u, û⟩² [1]")
    return grid


def answer(table: pd.DataFrame) -> str:
    chosen = table[table.kind == "chosen"].iloc[0]
    stands = "stands out" if chosen.theta > chosen.threshold else "is lost in the bulk"
    return (
        f"A direction of strength {chosen.theta:g} {stands} (threshold {chosen.threshold:.2f}). Its singular value is "
        f"{chosen.sigma:.2f}, {chosen.sigma_told:.2f} in the limit; {chosen.overlap:.0%} of the direction is found, "
        f"{chosen.overlap_told:.0%} in the limit."
    )


PLAYGROUND = Playground(
    title="A spike in noise",
    question="How strong must an update be before its direction is seen, as an “intruder” is?",
    theory="Above θ = c^¼, c = rows / columns, the first singular value leaves the bulk: σ = √((1 + θ²)(c + θ²))/θ, "
    "with the overlap 1 − c(1 + θ²)/(θ²(θ² + c)) (Benaych-Georges & Nadakuditi 2012, section 3.1).",
    knobs={
        "theta": ("Strength θ", STRENGTHS, 1.5),
        "rows": ("Rows", (50, 100, 200), 100),
        "columns": ("Columns", (50, 100, 200, 400), 200),
    },
    simulate=simulate,
    draw=draw,
    answer=answer,
)
