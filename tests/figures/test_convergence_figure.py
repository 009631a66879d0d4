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
