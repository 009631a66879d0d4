"""The shape of the bound, its place, and the kinds of methods."""

from __future__ import annotations

import numpy as np
import pytest

from lab.figures import GENERALIZATION_GAP


def shapes(table):
    return [t for t in GENERALIZATION_GAP.draw(table).data if t.name == "shape of √(d/n)"]


def test_the_shape_passes_through_full_fine_tuning():
    table = GENERALIZATION_GAP.example()
    table = table[table.task == "topic"]
    (shape,) = shapes(table)
    at = dict(zip(shape.y, shape.x, strict=True))
    means = table.groupby("label")[["gap", "tunable"]].mean()
    gap, d = means.loc["full fine-tuning"]
    assert at["full fine-tuning (d = 22.7 M)"] == pytest.approx(gap)
    assert at["LoRA (d = 74,498)"] == pytest.approx(gap * np.sqrt(means.tunable["LoRA"] / d))


def test_without_full_fine_tuning_there_is_no_shape():
    assert not shapes(GENERALIZATION_GAP.example().query("kind != 'full'"))


def test_methods_are_named_at_their_rows_by_size_and_the_line_of_no_gap_is_there():
    drawing = GENERALIZATION_GAP.draw(GENERALIZATION_GAP.example())
    rows = drawing.layout.yaxis.ticktext
    assert [row.split(" (")[0].replace("<br>", " ") for row in rows[:2]] == ["full fine-tuning", "adapter"]
    assert len(rows) == 6
    assert [t.name for t in drawing.data if t.showlegend] == ["shape of √(d/n)"]
    assert [(shape.x0, shape.x1, shape.xref) for shape in drawing.layout.shapes] == [(0, 0, "x"), (0, 0, "x2")]


def test_the_largest_gap_comes_first():
    table = GENERALIZATION_GAP.example()
    found = GENERALIZATION_GAP.summarize(table)
    assert found["method"].iloc[0] == "full fine-tuning"
    assert found["gap"].tolist() == sorted(found["gap"], reverse=True)
    assert "rank correlation of the gap with d" in GENERALIZATION_GAP.alt(table)
