"""What adding another task's change costs a task, against what principal angles forecast on other pairs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed, split
from lab.figures.sources import ILHARCO_2023
from lab.figures.style import Theme
from lab.statistics import Answer
from lab.statistics.out_of_sample import skill

_COLUMNS = columns("interference", "label", "one", "other", "types", "overlap", "size", "predicted", "excess")


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, wrap=2, height=400, share_y=True)
    for panel, part in grid.by(table, "label"):
        for kind, own in sorted(split(part, "types"), key=lambda kind: -len(kind[1])):  # the fewer ones on top
            hover = "%{customdata[1]} added to %{customdata[0]}: %{y:.2f} nats, forecast %{x:.2f}"
            name = "both tasks of one type" if kind == "inside" else "of two types"
            panel.points(
                own.predicted,
                own.excess,
                name,
                symbol=grid.symbol(name),
                size=7,
                alpha=0.7,
                hover=hover,
                data=[own.one, own.other],
            )
        known = part.predicted.dropna()
        ends = [known.min(), known.max()] if len(known) else [0.0, 1.0]
        panel.line(ends, ends, "as forecast", colour=theme.muted, dash="dash")
    return grid.x("forecast from angles, on other tasks [nats]").y("excess loss [nats]")


def _answer(table: pd.DataFrame) -> Answer:
    rows, told, estimates = [], [], {}
    for label, part in split(table, "label"):
        row: dict[str, object] = {"collection": label, "pairs [count]": len(part), "excess [nats]": part.excess.mean()}
        for null, name in ((None, "the mean"), ("size", "‖ΔW_j‖²")):
            if part[["one", "other"]].stack().nunique() < 5:
                continue
            found = skill(part, "overlap", "excess", null)
            row |= {f"over {name}": found.estimate, f"over {name}, low": found.low, f"over {name}, high": found.high}
            told.append(f"{found.estimate:+.2f} [{found.low:+.2f}, {found.high:+.2f}] beside {name}, {label}")
            estimates[f"over {name}, {label}"] = found
        rows.append(row)
    lead = "Part of a null's squared error that principal angles remove from the cost of a merge, on unseen pairs"
    return Answer(listed(lead, told or ["not enough tasks"]), pd.DataFrame(rows), estimates)


def _example() -> pd.DataFrame:
    """Made-up: eight tasks; the cost follows the overlap, but for a little."""
    rows = []
    for i in range(8):
        for j in range(8):
            if i != j:
                overlap = 0.5 + 0.4 * np.cos(i * j)
                excess = 0.6 * overlap + 0.05 * np.sin(7 * i + 3 * j)
                kind = "inside" if (i - j) % 3 == 0 else "across"
                rows.append(
                    ("LoRA r = 8", f"task {i}", f"task {j}", kind, overlap, 1 + 0.1 * j, 0.6 * overlap + 0.01, excess)
                )
    return pd.DataFrame(rows, columns=list(_COLUMNS))


INTERFERENCE = Figure(
    name="interference",
    title="The cost of adding another task's change",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="weights",
    order=19,
    averages=("seed", "task"),
    caption=(
        "Test loss of a task under its own change plus another task's, minus the loss without it, against the forecast "
        "from principal angles: the line of excess loss on ‖ΔW_jP_i‖² (P_i projects on the inputs that the task's own "
        "change reads) through all pairs that share no task with the one forecast. Dashed: as forecast."
    ),
    reading=(
        "Points along the dashed line were foretold by weights alone. The number beside it is the part of a null's "
        "squared error that the forecast removes: 0 is no better than that null, negative is worse. The null of the "
        "sizes knows how large the other change is and nothing of its direction."
    ),
    source=(ILHARCO_2023,),
    example=_example,
)
