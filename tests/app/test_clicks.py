"""Where a click leads: every point of every figure to rows, a layer to its filter, a point to its record."""

from __future__ import annotations

import pandas as pd
import pytest

from app.clicks import clickable, leads_to, rows_at
from lab.figures import FIGURES, INTRINSIC_DIMENSION, SUBSPACE_SIMILARITY, WEIGHT_DIFFERENCE_SPECTRA, Figure, figure

SOME = (
    "learning_curves",
    "intrinsic_dimension",
    "weight_difference_spectra",
    "principal_angles",
    "intruder_sweep",
    "curvature_spectrum",
    "performance",
    "convergence",
    "costates",
    "control_energy",
)
every_figure = pytest.mark.parametrize("drawn", FIGURES, ids=lambda f: f.name)


def event(trace, number: int, at: int = -1) -> dict[str, object]:
    return {"curve_number": number, "x": trace.x[at], "y": trace.y[at]}


@every_figure
def test_every_mark_can_be_clicked_and_no_click_dims_another(drawn: Figure):
    before = drawn.draw(drawn.example())
    shown = clickable(before)
    assert [t.type for t in shown.data][: len(before.data)] == [t.type for t in before.data]
    for trace in shown.data:
        if trace.type in ("scatter", "bar") and trace.hoverinfo != "skip":
            assert trace.type == "bar" or "markers" in trace.mode
            assert trace.unselected.marker.opacity == trace.selected.marker.opacity is not None
    heats = [trace for trace in before.data if trace.type == "heatmap"]
    covers = shown.data[len(before.data) :]
    assert [len(cover.x) for cover in covers] == [len(heat.x) * len(heat.y) for heat in heats]
    assert not any("%{z" in cover.hovertemplate for cover in covers)


@pytest.mark.parametrize("drawn", [figure(name) for name in SOME], ids=lambda f: f.name)
def test_a_click_finds_rows_of_the_series_that_was_clicked(drawn: Figure):
    """Of two records whose labels differ, each point finds rows, and rows of one where its name says which."""
    if drawn.label not in drawn.columns:
        pytest.skip("names no series")
    one = drawn.example()
    one = one[one[drawn.label] == one[drawn.label].iloc[0]].assign(key="1" * 64)
    two = one.assign(**{drawn.label: "another"}, key="2" * 64)
    both = pd.concat([one, two], ignore_index=True)
    shown = clickable(drawn.draw(both))
    found = []
    for number, trace in enumerate(shown.data):
        if trace.x is None or trace.type in ("surface", "scatter3d", "heatmap", "contour") or not len(trace.x):
            continue
        rows = rows_at(both, shown, event(trace, number))
        assert len(rows)
        found.append((trace.name, set(rows["key"])))
    assert all(keys == {"2" * 64} for name, keys in found if name == "another")


def test_a_point_opens_its_record():
    table = INTRINSIC_DIMENSION.example().assign(label="DID", key="1" * 64)
    table = pd.concat([table, table.assign(label="SAID", key="2" * 64)], ignore_index=True)
    shown = clickable(INTRINSIC_DIMENSION.draw(table))
    number = next(i for i, t in enumerate(shown.data) if t.name.startswith("SAID"))
    rows = rows_at(table, shown, event(shown.data[number], number, 0))
    assert leads_to(rows, table, ["label"]) == ({}, ["2" * 64])


def test_a_layer_narrows_the_page_before_a_record_is_opened():
    table = WEIGHT_DIFFERENCE_SPECTRA.example().assign(key="1" * 64)
    shown = clickable(WEIGHT_DIFFERENCE_SPECTRA.draw(table))
    matrix = table.matrix.iloc[-1]
    number = next(i for i, trace in enumerate(shown.data) if trace.name == matrix)
    rows = rows_at(table, shown, event(shown.data[number], number, 0))
    narrowed, keys = leads_to(rows, table, ["label", "role", "block"])
    assert (narrowed["block"], keys) == (table.block.iloc[-1], [])
    alone = table[table.matrix == matrix]
    assert leads_to(rows, alone, ["role", "block"]) == ({}, ["1" * 64])


def test_a_cell_of_a_heat_map_says_what_the_map_says():
    table = SUBSPACE_SIMILARITY.example()
    shown = clickable(SUBSPACE_SIMILARITY.draw(table))
    cover = shown.data[-1]
    assert (
        cover.hovertemplate
        == "i = %{y}, j = %{x}<br>φ = %{customdata[1]:.3f}, random %{customdata[2]:.3f}<extra></extra>"
    )
    heat = next(trace for trace in shown.data if trace.type == "heatmap" and trace.xaxis == cover.xaxis)
    assert cover.customdata[-1][0] == heat.z[-1][-1]


def test_what_is_no_point_of_the_drawing_leads_nowhere():
    table = INTRINSIC_DIMENSION.example().assign(key="1" * 64)
    shown = clickable(INTRINSIC_DIMENSION.draw(table))
    for number in (None, -1, 10_000, "0"):
        rows = rows_at(table, shown, {"curve_number": number, "x": 1, "y": 1})
        assert leads_to(rows, table, []) == ({}, [])


def test_what_lines_are_clicked_by_is_not_in_their_legend():
    """Of no opacity a marker would be drawn faintly there: only a marker of no colour is not."""
    drawn = figure("d90_curves")
    lines = [trace for trace in drawn.draw(drawn.example()).data if trace.mode == "lines" and trace.hoverinfo != "skip"]
    shown = clickable(drawn.draw(drawn.example()))
    added = [trace for trace in shown.data if trace.marker.opacity == 0 and trace.type == "scatter"]
    assert len(added) >= len(lines)
    assert {trace.marker.color for trace in added if trace.showlegend is not False} <= {"rgba(0, 0, 0, 0)"}
