"""What coordinates are worth on unseen tasks: a task that two records scored counts once."""

from __future__ import annotations

import pandas as pd

from lab.figures import figure


def test_a_task_scored_by_two_records_counts_once():
    drawn = figure("subspace_scores")
    table = drawn.example()
    twice = pd.concat([table, table[table.task == "syntax"]], ignore_index=True)
    once, again = drawn.answer(table), drawn.answer(twice)
    assert again.sentence == once.sentence
    lines = [
        [(trace.name, list(trace.y)) for trace in drawn.draw(rows).data if trace.y is not None]
        for rows in (table, twice)
    ]
    rules = [[(shape.type, shape.y0, shape.y1) for shape in drawn.draw(rows).layout.shapes] for rows in (table, twice)]
    assert lines[0] == lines[1]
    assert rules[0] == rules[1]
