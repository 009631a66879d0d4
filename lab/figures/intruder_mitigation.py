"""Intruder dimensions scaled by λ: what the score does, and how many are left."""

from __future__ import annotations

import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed, split
from lab.figures.sources import SHUTTLEWORTH_2024
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = columns("intruder_mitigation", "label", "lambda", "strength", "score", "intruders", "mitigated")


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, wrap=2, height=340, labels=table.label)
    left, right = grid.panel().y("validation score [fraction]"), grid.panel().y("intruders left [count]", zero=True)
    for label, part in split(table, "label"):
        part, look, name = part.sort_values("lambda"), grid.look(label), f"{label}, t = {part.strength.iloc[0]:g}"
        for panel, column in ((left, "score"), (right, "intruders")):
            panel.line(part["lambda"], part[column], name, colour=look.colour, symbol=look.symbol, size=7)
    return grid.x("λ [1]", options={"dtick": 0.25})


def _answer(table: pd.DataFrame) -> Answer:
    columns = {
        "label": "run",
        "strength": "t [1]",
        "lambda": "λ [1]",
        "score": "score [fraction]",
        "intruders": "intruders left [count]",
        "mitigated": "scaled [count]",
    }
    told = []
    for label, part in split(table, "label"):
        part = part.sort_values("lambda")
        removed, kept = part.iloc[0], part.iloc[-1]
        told.append(
            f"{label} at t = {kept.strength:g}: {kept.score:.3f} with all {kept.mitigated:g} intruders "
            f"(λ = {kept['lambda']:g}), {removed.score:.3f} at λ = {removed['lambda']:g}"
        )
    return Answer(listed("Score", told), table[list(columns)].rename(columns=columns))


def _example() -> pd.DataFrame:
    """Made-up scores that fall as intruders are removed."""
    rows = [
        {"label": label, "lambda": x, "strength": t, "score": top - drop * (1 - x) ** 2}
        | {"intruders": round(12 * x), "mitigated": 12}
        for label, t, top, drop in (("LoRA r = 8", 4.0, 0.9, 0.2), ("full fine-tuning", 32.0, 0.8, 0.05))
        for x in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    return pd.DataFrame(rows)


INTRUDER_MITIGATION = Figure(
    name="intruder_mitigation",
    title="Intruders scaled down",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="weights",
    order=11,
    caption=(
        "Validation score and number of intruder dimensions left after scaling those of W₁ = W₀ + t·ΔW by λ, W₁ + (λ − "
        "1)·Σσ_j u_j v_jᵀ, at the least tried strength t at which the run has any."
    ),
    reading=(
        "λ = 1 changes nothing, λ = 0 removes the intruders; some published descriptions have it the other way round. "
        "A flat score: the intruders carry nothing that the task needs. A score that falls towards λ = 0: they carry "
        "what was learned. Removing one direction can let the next one pass the line, so the count need not reach zero."
    ),
    source=(SHUTTLEWORTH_2024,),
    example=_example,
)
