"""The shape of the bound, its place, and the kinds of methods."""

from __future__ import annotations

import numpy as np
import pytest

from lab.figures import GENERALIZATION_GAP


def test_the_shape_passes_through_full_fine_tuning():
    table = GENERALIZATION_GAP.example()
    table = table[table.task == "topic"]
    full = table[table.kind == "full"]
    (shape,) = [t for t in GENERALIZATION_GAP.draw(table).data if t.mode == "lines"]
    assert shape.y[-1] == pytest.approx(full.gap.mean())
    np.testing.assert_allclose(np.array(shape.y) / np.sqrt(np.array(shape.x)), shape.y[-1] / np.sqrt(shape.x[-1]))


def test_without_full_fine_tuning_there_is_no_shape():
    table = GENERALIZATION_GAP.example().query("kind != 'full'")
    assert not [t for t in GENERALIZATION_GAP.draw(table).data if t.mode == "lines"]


def test_every_method_looks_different_and_the_line_of_no_gap_is_there():
    drawing = GENERALIZATION_GAP.draw(GENERALIZATION_GAP.example())
    looks = {t.name: (t.marker.color, t.marker.symbol) for t in drawing.data if t.showlegend and t.mode == "markers"}
    assert len(set(looks.values())) == len(looks) == 6
    assert [(shape.y0, shape.y1, shape.yref) for shape in drawing.layout.shapes] == [(0, 0, "y"), (0, 0, "y2")]


def test_the_largest_gap_comes_first():
    table = GENERALIZATION_GAP.example()
    found = GENERALIZATION_GAP.summarize(table)
    assert found["method"].iloc[0] == "full fine-tuning"
    assert found["gap"].tolist() == sorted(found["gap"], reverse=True)
    assert "rank correlation of the gap with d" in GENERALIZATION_GAP.alt(table)
