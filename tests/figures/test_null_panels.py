"""Nulls that would cover one another have panels of their own; points that are fewer lie on top."""

from __future__ import annotations

import pandas as pd
import pytest

from lab.figures import figure


def several_nulls(name: str, column: str) -> pd.DataFrame:
    """The example with three nulls in place of one."""
    table = figure(name).example()
    null = table[table[column] == table[column].iloc[-1]]
    return pd.concat([table, *(null.assign(**{column: more}) for more in ("a null", "another null"))])


@pytest.mark.parametrize(("name", "column", "n"), [("shared_directions", "null", 4), ("tasks_needed", "of", 3)])
def test_each_null_of_one_collection_has_its_panel(name, column, n):
    drawing = figure(name).draw(several_nulls(name, column))
    titles = [note.text for note in drawing.layout.annotations]
    assert {"a null", "another null"} <= set(titles)
    assert len(titles) == n
    bands = [trace.xaxis or "x" for trace in drawing.data if trace.fill == "toself"]
    own = 1 if name == "shared_directions" else 2  # that of the tasks, too
    assert sorted(bands) == sorted(own * [*dict.fromkeys(bands)])
    tasks = [trace for trace in drawing.data if trace.name == "the tasks" and trace.line.dash in (None, "solid")]
    assert len({trace.xaxis for trace in tasks if trace.fill is None}) == n


@pytest.mark.parametrize(("name", "column"), [("shared_directions", "null"), ("tasks_needed", "of")])
def test_several_collections_have_a_panel_each(name, column):
    table = several_nulls(name, column)
    drawing = figure(name).draw(pd.concat([table, table.assign(label="prompt")]))
    assert [note.text for note in drawing.layout.annotations] == ["LoRA r\u00a0=\u00a08", "prompt"]


def test_the_pairs_that_are_fewer_lie_on_those_that_are_more():
    drawing = figure("interference").draw(figure("interference").example())
    sizes = [len(trace.x) for trace in drawing.data if trace.mode == "markers"]
    assert sizes == sorted(sizes, reverse=True)


def test_one_plm_says_nothing_of_size_and_has_intervals():
    scale = figure("scale")
    table = scale.example().query("plm == 'large'")
    assert scale.alt(table).startswith(
        "One PLM says nothing of size. Last score on large, mean over 3 seeds: adapter 0.8"
    )
    assert "[0." in scale.alt(table)
    assert "[" not in scale.alt(table.query("seed == 0"))


def test_the_loss_on_a_plane_is_told_by_its_named_points():
    told = figure("loss_plane").answer(figure("loss_plane").example().query("label == 'BitFit'")).sentence
    assert "least 0.05, 0.933 at start, 0.05 at solution, above ten times that on" in told
