"""The order of the methods, and tasks that have rows of their own."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lab.figures import CONVERGENCE


def run(label, scores, *, task="t", seed=0, kind="delta") -> pd.DataFrame:
    step = 10 * np.arange(1, len(scores) + 1)
    return pd.DataFrame(
        {"label": label, "kind": kind, "task": task, "seed": seed, "step": step, "seconds": step / 5, "score": scores}
    )


def test_the_fastest_comes_first_and_tasks_have_rows_of_their_own():
    table = pd.concat([run(label, scores, task=t) for t in "uv" for label, scores in
                       (("slow", [0.1, 0.2, 0.9]), ("fast", [0.8, 0.9, 0.9]))])  # fmt: skip
    assert CONVERGENCE.summarize(table)["method"].tolist() == ["fast", "slow"]
    assert CONVERGENCE.alt(table).startswith("Mean steps to 95 %")
    assert [a.text for a in CONVERGENCE.draw(table).layout.annotations] == ["u", "u", "v", "v"]


def test_of_many_tasks_a_point_each_says_how_soon_and_how_well_a_run_ends():
    table = pd.concat([run(label, scores, task=t) for t in "tuvw" for label, scores in
                       (("slow", [0.1, 0.2, 0.9]), ("fast", [0.8, 0.9, 0.9]))])  # fmt: skip
    grid = CONVERGENCE.grid(table)
    assert [grid.axis(i, "x").title for i in range(3)] == [
        "steps to 95 % [count]", "time to 95 % [s]", "last score [unit of the metric]",
    ]  # fmt: skip
    assert list(grid.axes["y"].categories) == ["fast", "slow"]
    points = [mark.trace["x"] for mark in grid.marks if len(mark.trace["x"]) == 4]
    assert len(points) == 6


def test_the_answer_says_where_a_run_ends_for_one_that_learned_nothing_is_there_at_once():
    table = pd.concat([run("idle", [0.5, 0.5, 0.5]), run("learns", [0.5, 0.7, 0.9])])
    assert "idle: 10 (2.0 s) to 0.50" in CONVERGENCE.alt(table)
