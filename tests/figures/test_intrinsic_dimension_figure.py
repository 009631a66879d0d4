"""d90 in words for every way a search can end, and what the figure draws for it."""

from __future__ import annotations

from dataclasses import replace
from math import nan

import numpy as np
import pandas as pd
import pytest

from lab.figures import D90, INTRINSIC_DIMENSION, TableError, answers

ANSWER = D90("DID", "minilm", "bbc-news", 812, 600, 1100, 0.83, 0.92, 0.61, 0.31, runs=12, diverged=0)


def with_d90(d90: float, low: float, high: float) -> pd.DataFrame:
    table = INTRINSIC_DIMENSION.example().astype({"d": float})
    for kind, value in (("d90", d90), ("d90_low", low), ("d90_high", high)):
        table.loc[table.kind == kind, "d"] = value
    return table


def several(*names: tuple[str, str, str]) -> pd.DataFrame:
    example = INTRINSIC_DIMENSION.example()
    tables = [example.assign(label=label, model=model, task=task) for label, model, task in names]
    return pd.concat(tables, ignore_index=True)


def test_without_a_search_nothing_was_learned():
    answer = replace(ANSWER, d90=nan, low=0, high=nan, runs=0)
    assert (answer.text, answer.equation) == ("nothing learned", "d<sub>90</sub> nothing learned")


@pytest.mark.parametrize(
    ("d90", "low", "high", "text", "equation"),
    [
        (812, 600, 1100, "812 [600, 1,100]", "d<sub>90</sub> = 812 [600, 1,100]"),
        (1.5e6, 9e5, 2.25e6, "1.5 M [900,000, 2.25 M]", "d<sub>90</sub> = 1.5 M [900,000, 2.25 M]"),
        (812, 600, nan, "812 [600, open]", "d<sub>90</sub> = 812 [600, open]"),
        (812, 600, np.inf, "812 [600, open]", "d<sub>90</sub> = 812 [600, open]"),
        (812, nan, nan, "812", "d<sub>90</sub> = 812"),
        (nan, 10_000, nan, "> 10,000", "d<sub>90</sub> > 10,000"),  # above_range: all that was tried stays below
        (2, 0, 2, "≤ 2", "d<sub>90</sub> ≤ 2"),  # below_range: the smallest tried already reaches the line
        (812, 0, 1100, "812 [open, 1,100]", "d<sub>90</sub> = 812 [open, 1,100]"),  # the smallest tried may reach it
        (nan, nan, nan, "not found", "d<sub>90</sub> not found"),
        (nan, np.inf, np.inf, "not found", "d<sub>90</sub> not found"),
    ],
)
def test_every_end_of_a_search_has_words_and_a_drawing(d90, low, high, text, equation):
    answer = replace(ANSWER, d90=d90, low=low, high=high)
    assert (answer.text, answer.equation) == (text, equation)
    table = with_d90(d90, low, high)
    assert answers(table)[0].text == text
    drawing = INTRINSIC_DIMENSION.draw(table)
    assert any(equation in annotation.text for annotation in drawing.layout.annotations)
    diamonds = [trace for trace in drawing.data if trace.marker.symbol == "diamond"]
    assert len(diamonds) == (0 if np.isnan(d90) else 1)
    assert text in INTRINSIC_DIMENSION.alt(table)


def test_scores_are_means_over_seeds():
    (answer,) = answers(INTRINSIC_DIMENSION.example())
    assert (answer.full, answer.linear_probe, answer.random_weights) == pytest.approx((0.925, 0.615, 0.32))
    assert answer.line == pytest.approx(0.9 * 0.925)
    assert (answer.runs, answer.diverged) == (12, 0)


def test_says_when_the_head_alone_reaches_the_line():
    table = INTRINSIC_DIMENSION.example()
    assert "would hide d90" not in INTRINSIC_DIMENSION.alt(table)
    table.loc[table.kind == "linear_probe", "score"] = 0.9
    assert answers(table)[0].probe_passes
    assert "linear probe alone reaches the line" in INTRINSIC_DIMENSION.alt(table)


def test_says_how_many_runs_diverged():
    table = INTRINSIC_DIMENSION.example()
    table.loc[0, "score"] = np.nan
    assert answers(table)[0].diverged == 1
    assert "1 run diverged and cannot be drawn" in INTRINSIC_DIMENSION.alt(table)
    assert INTRINSIC_DIMENSION.draw(table).data


def test_two_searches_under_one_name_are_refused():
    with pytest.raises(TableError, match="2 searches are called 'DID fastfood' with minilm on bbc-news; give each"):
        INTRINSIC_DIMENSION.draw(several(*[("DID fastfood", "minilm", "bbc-news")] * 2))


def test_one_panel_per_task_and_the_answers_in_the_legend_of_one():
    one = INTRINSIC_DIMENSION.draw(several(("DID", "minilm", "bbc-news"), ("SAID", "minilm", "bbc-news")))
    legend = [trace.name for trace in one.data if trace.showlegend is not False]
    assert sum("d₉₀ = 1,797 [1,480, 2,350]" in name for name in legend) == 2
    assert [a.text for a in one.layout.annotations] == ["minilm · bbc-news"]
    two = INTRINSIC_DIMENSION.draw(several(("DID", "minilm", "bbc-news"), ("DID", "smollm2", "imdb")))
    assert {a.text for a in two.layout.annotations} >= {"bbc-news", "imdb"}
    assert {t.name for t in two.data if t.showlegend is not False} >= {"DID · minilm", "DID · smollm2"}


@pytest.mark.parametrize(("d90", "place"), [(2000, ("right", "bottom")), (40, ("left", "top"))])
def test_the_label_keeps_off_the_rising_curve(d90, place):
    drawing = INTRINSIC_DIMENSION.draw(with_d90(d90, d90 / 1.2, d90 * 1.2))
    label = next(a for a in drawing.layout.annotations if "d<sub>90" in a.text)
    assert (label.xanchor, label.yanchor) == place


def test_shared_references_are_drawn_once_and_different_ones_apart():
    def lines(table):
        drawing = INTRINSIC_DIMENSION.draw(table)
        return sum(shape.type == "line" and shape.line.dash == "solid" for shape in drawing.layout.shapes)

    table = several(("DID", "minilm", "bbc-news"), ("SAID", "minilm", "bbc-news"))
    assert lines(table) == 1
    table.loc[(table.label == "SAID") & (table.kind == "full"), "score"] += 0.03
    assert lines(table) == 2


def test_every_seed_is_a_point():
    table = INTRINSIC_DIMENSION.example()
    drawing = INTRINSIC_DIMENSION.draw(table)
    points = next(t for t in drawing.data if t.mode == "markers" and t.x is not None and len(t.x) == 12)
    expected = table[table.kind == "subspace"]
    np.testing.assert_array_equal(points.x, expected.d)
    np.testing.assert_array_equal(points.y, expected.score)
    np.testing.assert_array_equal(np.asarray(points.customdata)[:, 0].astype(float), expected.seed)


@pytest.mark.parametrize(
    ("low", "high", "bands"), [(600, 1100, 1), (0, 1100, 1), (600, nan, 1), (0, nan, 0), (nan, nan, 0)]
)
def test_only_what_bounds_d90_is_shaded(low, high, bands):
    def drawn(table) -> int:
        return sum(shape.type == "rect" for shape in INTRINSIC_DIMENSION.draw(table).layout.shapes)

    assert drawn(with_d90(812, low, high)) - drawn(with_d90(812, nan, nan)) == bands
