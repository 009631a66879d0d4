"""Every figure: declares what it needs, draws its example in both themes and all sizes, refuses what it cannot draw."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

import lab.figures
from lab.figures import DARK, FIGURES, GROUPS, LIGHT, SIZES, TEXT, Figure, Size, TableError, definition, figure
from lab.figures.grammar import LONGEST
from lab.figures.style import PRINT, text_width
from lab.runs import Manifest, Store, tabulate
from lab.runs.places import GALLERY

every_figure = pytest.mark.parametrize("drawn", FIGURES, ids=lambda f: f.name)


def test_names_are_distinct_and_found_again():
    names = [f.name for f in FIGURES]
    assert len(set(names)) == len(names) >= 3
    assert all(figure(name) is f for name, f in zip(names, FIGURES, strict=True))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("pie", ""),
        ("intrinsic_dimensio", "did you mean intrinsic_dimension or intrinsic_prompt or predicted_dimension"),
        ("gramian", "did you mean gramian_spectra"),
        ("dimension", "did you mean intrinsic_dimension or predicted_dimension or representation_dimension"),
    ],
)
def test_an_unknown_name_brings_the_nearest_few_and_the_command_that_shows_all(asked, said):
    with pytest.raises(ValueError) as refused:
        figure(asked)
    said = f"{said}? " if said else ""
    assert (
        str(refused.value) == f"no figure is called '{asked}'; {said}`deltalab list --figures` shows all {len(FIGURES)}"
    )


@every_figure
def test_declares_columns_units_caption_reading_and_sources(drawn: Figure):
    assert re.fullmatch(r"[a-z][a-z0-9_]*", drawn.name)
    assert drawn.title
    assert drawn.table
    assert all(column.description and column.unit for column in {**drawn.columns, **drawn.optional}.values())
    assert len(drawn.caption) > 60
    assert drawn.caption.endswith(".")
    assert len(drawn.reading) > 100
    assert drawn.source
    for source in drawn.source:
        assert source.bibtex.startswith(f"@{source.entry}{{{source.key},\n")
        assert source.bibtex.count("{") == source.bibtex.count("}")
        assert str(source.year) in source.citation


@every_figure
@pytest.mark.parametrize(
    ("size", "theme"),
    [
        pytest.param(size, theme, marks=() if (theme is DARK) == (size == "screen") else pytest.mark.slow)
        for size in SIZES
        for theme in (LIGHT, DARK)
    ],
)  # every size and both themes; all pairs are slow
def test_draws_its_example(drawn: Figure, theme, size):
    table = drawn.example()
    before = table.copy()
    drawing = drawn.draw(table, theme, SIZES[size])
    pd.testing.assert_frame_equal(table, before)
    assert isinstance(drawing, go.Figure)
    assert sum(trace.x is not None and len(trace.x) > 1 for trace in drawing.data) > 0
    assert drawing.layout.paper_bgcolor is None  # colours come from the template, so a theme can be swapped
    assert drawing.layout.template.layout.paper_bgcolor == theme.background
    if SIZES[size].fixed:
        assert drawing.layout.width == SIZES[size].width
    else:
        assert drawing.layout.width is None
        assert drawing.layout.autosize
    json.loads(drawing.to_json())


@every_figure
def test_every_axis_says_quantity_and_unit(drawn: Figure):
    layout = drawn.draw(drawn.example()).to_dict()["layout"]
    solid = [scene for name, scene in layout.items() if name.startswith("scene")]
    flat = [axis for name, axis in layout.items() if "axis" in name]
    axes = [*flat, *(scene[name] for scene in solid for name in ("xaxis", "yaxis"))]
    titles = [axis["title"]["text"] for axis in axes if "title" in axis]
    assert titles
    assert all(re.search(r".+ \[.+\]$", title) for title in titles), titles


@every_figure
def test_needs_no_mathjax(drawn: Figure):
    assert "$" not in drawn.draw(drawn.example()).to_json()  # plotly loads MathJax from a CDN for $...$


@every_figure
def test_nothing_is_drawn_without_data_and_every_rule_stands_in_a_panel(drawn: Figure):
    drawing = drawn.draw(drawn.example())
    axes = {name.replace("axis", "") for name in drawing.to_dict()["layout"] if re.fullmatch(r"[xy]axis\d*", name)}
    for trace in drawing.data:
        assert trace.type in ("surface", "scatter3d") or {trace.xaxis, trace.yaxis} <= axes
        assert any(x is not None for x in trace.x)
    for shape in drawing.layout.shapes:
        assert {shape.xref.removesuffix(" domain"), shape.yref.removesuffix(" domain")} <= axes


@every_figure
def test_a_name_is_in_the_legend_once(drawn: Figure):
    drawing = drawn.draw(drawn.example())
    entries = [one.name for one in (*drawing.data, *drawing.layout.shapes) if one.showlegend]
    assert len(set(entries)) == len(entries)
    assert all(entries)


@every_figure
def test_grey_print_tells_series_of_a_panel_apart(drawn: Figure):
    """Two names that have the same kind of line, and the same marker or none, differ in nothing but their colour."""
    grid = drawn.grid(drawn.example(), PRINT)
    rows = {panel.number for panel in grid.panels if grid.axis(panel.number, "y").categories is not None}
    looks: dict[tuple[Any, ...], set[str]] = {}
    for mark in grid.marks:
        if (
            mark.kind in ("line", "points")
            and mark.name
            and mark.listed
            and mark.depth is None
            and mark.panel not in rows
        ):
            marker = mark.trace["marker"]["symbol"] if "markers" in mark.trace["mode"] else ""
            dash = mark.trace.get("line", {}).get("dash")
            width = mark.trace.get("line", {}).get("width")
            looks.setdefault((mark.panel, mark.kind, dash, width, marker), set()).add(mark.name)
    for rule in grid.rules:
        if rule.name and rule.shape["type"] == "line":
            looks.setdefault((rule.panel, "rule", rule.shape["line"]["dash"]), set()).add(rule.name)
    assert [names for names in looks.values() if len(names) > 1] == []


@every_figure
def test_is_valid_for_plotly(drawn: Figure):
    go.Figure(drawn.draw(drawn.example()).to_dict())  # grids are made without plotly's validation, which is slow


@every_figure
@pytest.mark.parametrize("size", [SIZES["single"], SIZES["double"], Size(width=358, font=13, fixed=False)])
def test_titles_and_panels_fit_the_width(drawn: Figure, size: Size):
    drawing = drawn.draw(drawn.example(), size=size)
    layout = drawing.to_dict()["layout"]
    for note in drawing.layout.annotations:
        assert all(text_width(line) * size.font < size.width for line in note.text.split("<br>"))
    domains = [axis["domain"] for name, axis in layout.items() if name.startswith("xaxis")]
    domains += [scene["domain"]["x"] for name, scene in layout.items() if name.startswith("scene")]
    assert all(0 <= low < high <= 1 for low, high in domains)
    assert min(high - low for low, high in domains) * size.width > 5 * size.font


@every_figure
def test_answers_in_words_and_in_few_rows(drawn: Figure):
    table = drawn.example()
    assert len(drawn.alt(table)) > 40
    summary = drawn.summarize(table)
    assert 0 < len(summary) <= len(table)


def second(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """The rows of another record, which differs in one column; what was measured is other by a factor."""
    floats = {name: 1.37 * table[name] for name in table if table[name].dtype.kind == "f"}
    return table.assign(**floats, **{column: 7 if column == "seed" else "second"})


def numbers(table: pd.DataFrame) -> list[set[float]]:
    rows = table.select_dtypes("number").to_numpy(float).tolist()
    return [{float(f"{value:.6g}") for value in row if value == value} for row in rows]


def shown(trace: Any) -> tuple[bool, list[float]]:
    """Whether an axis holds names, and the numbers that a trace shows along the other one (y, if both are numbers)."""
    if getattr(trace, "z", None) is not None:
        return True, [round(float(value), 6) for value in np.array(trace.z, float).ravel() if value == value]
    x, y = (list(values) for values in (trace.x, trace.y))
    along = x if any(isinstance(value, str) for value in y) else y
    named = any(isinstance(value, str) for value in (*x, *y))
    kept = [v for v in along if v is not None and not isinstance(v, str) and v == v] if x != y else []  # no diagonals
    return named, [float(f"{value:.6g}") for value in kept]


@every_figure
@pytest.mark.parametrize("column", ["model", "task", "seed"])
def test_two_records_never_share_a_line_a_row_or_a_number(drawn: Figure, column: str):
    """What one record draws and answers stands there unchanged when another's rows are added."""
    if column in drawn.averages:
        pytest.skip(f"says that it averages over the {column}")
    table = drawn.example()
    if column == "seed" and "seed" in table and table.seed.notna().any():
        table = table[table.seed == table.seed.iloc[0]]
    one = table.assign(**{column: 0 if column == "seed" else "first"})
    both = pd.concat([one, second(one, column)], ignore_index=True)
    rows = numbers(drawn.summarize(both))
    assert all(any(row <= other for other in rows) for row in numbers(drawn.summarize(one)))
    traces = [shown(trace) for trace in drawn.draw(both).data]
    arrows = [t for t in drawn.draw(one).data if getattr(t, "cliponaxis", None) is False]  # at the axis' end, wherever
    for named, values in (shown(trace) for trace in drawn.draw(one).data if trace not in arrows):
        assert any(set(values) <= set(other) if named else values == other for _, other in traces)


@every_figure
def test_two_settings_never_share_a_label(drawn: Figure):
    """Records of one PLM, task and seed that say different things differ in settings that no column holds."""
    one = drawn.example()
    measured = [name for name, column in drawn.columns.items() if column.type == "number" and one[name].any()]
    if drawn.label not in drawn.columns or not measured:
        pytest.skip("has no series, or no measured number")
    other = one.assign(**{name: 1.37 * one[name] for name in measured})
    both = pd.concat([one.assign(key=64 * "a"), other.assign(key=64 * "b")], ignore_index=True)
    told = drawn.read(both)
    assert {f"{label} · record {6 * key}" for label in one[drawn.label] for key in "ab"} == set(told[drawn.label])
    same = pd.concat([one.assign(key=64 * "a"), one.assign(key=64 * "b")], ignore_index=True)
    assert set(drawn.read(same)[drawn.label]) == set(one[drawn.label])


@every_figure
def test_says_which_record_a_row_is_from(drawn: Figure):
    table = drawn.example().assign(key="0" * 64, model="minilm", task="imdb", seed=3)
    assert {"model", "task", "seed", "key"} <= set(drawn.checked(table).columns)


@pytest.mark.parametrize("drawn", FIGURES, ids=lambda f: f.name)
def test_the_answer_is_two_sentences_whatever_the_table(drawn: Figure, gallery: list[list[Manifest]]):
    for table in [drawn.example(), *tables_for(drawn, gallery)]:
        sentence = drawn.answer(table).sentence
        assert 20 < len(sentence) <= LONGEST
        assert len(re.findall(r"[.!?](?= |$)", sentence)) <= 2
        assert sentence.endswith((".", "…"))
    names = [name for name, column in drawn.columns.items() if column.unit == TEXT and name not in ("kind", "split")]
    long = drawn.example().assign(**{name: 40 * "long " + drawn.example()[name] for name in names})
    assert len(drawn.answer(long).sentence) <= LONGEST


@pytest.fixture(scope="module")
def gallery() -> list[list[Manifest]]:
    """The manifests of each experiment's records, read once."""
    store = Store(GALLERY)
    return [list(store.manifests(name)) for name in store.experiments()]


def tables_for(drawn: Figure, gallery: list[list[Manifest]]) -> Iterator[pd.DataFrame]:
    """The tables of experiments that the figure can draw."""
    for manifests in gallery:
        if any(drawn.table in manifest.tables for manifest in manifests):
            table = tabulate(manifests, drawn.table)
            if set(drawn.columns) <= set(table.columns):
                yield table


@every_figure
def test_ignores_other_columns_and_the_order_of_rows(drawn: Figure):
    table = drawn.example()
    extended = table.assign(key="0" * 64, unrelated=[object()] * len(table))
    assert drawn.draw(extended).to_json() == drawn.draw(table).to_json()
    assert drawn.summarize(extended).equals(drawn.summarize(table))


@every_figure
def test_each_missing_column_is_named(drawn: Figure):
    table = drawn.example()
    for name in drawn.columns:
        with pytest.raises(TableError, match=f"missing {re.escape(name)}: "):
            drawn.draw(table.drop(columns=name))


@every_figure
def test_refuses_no_rows_no_table_and_names_where_numbers_belong(drawn: Figure):
    table = drawn.example()
    for use in (drawn.draw, drawn.summarize, drawn.alt):
        with pytest.raises(TableError, match="has no rows; widen the filter"):
            use(table.head(0))
    with pytest.raises(TableError, match="got a list; expected a pandas DataFrame"):
        drawn.draw([1, 2])
    number = next(name for name, column in drawn.columns.items() if column.unit != TEXT)
    with pytest.raises(TableError, match=f"column '{number}' .* expected numbers"):
        drawn.draw(table.assign(**{number: "many"}))


@every_figure
def test_names_from_files_are_shown_not_run(drawn: Figure):
    table = drawn.example()
    words = [name for name, column in drawn.columns.items() if column.unit == TEXT and name not in ("kind", "split")]
    hostile = table.assign(**{name: "<a href='https://x.example'>" + table[name] for name in words})
    text = drawn.draw(hostile).to_json()
    for code, letter in {"\\u003c": "<", "\\u003e": ">", "\\u0026": "&", "<br>": " "}.items():
        text = text.replace(code, letter)
    assert "<a " not in text
    assert "&lt;a href" in text


@every_figure
def test_a_single_row_can_be_drawn(drawn: Figure):
    table = drawn.example().head(1)
    drawing = drawn.draw(table)
    assert drawing.data or drawing.layout.shapes
    assert drawn.alt(table)


def test_a_figure_is_one_file_and_nothing_is_imported_before_it_is_asked_for():
    code = (
        "import sys, lab.figures; from lab.figures import figure\nprint(sorted({'pandas', 'plotly', 'kaleido'} & "
        "set(sys.modules)))\nfigure('cka')\nprint([f for f in ('cka', 'costates', 'exporting') if f'lab.figures.{f}' "
        "in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.splitlines(), done.stderr) == (["[]", "['cka']"], "")


def test_an_attribute_that_is_no_figure_is_refused():
    with pytest.raises(AttributeError, match="has no attribute 'PIE'"):
        lab.figures.PIE  # noqa: B018


def test_groups_hold_all_figures_in_their_order():
    assert {drawn.group for drawn in FIGURES} == set(GROUPS)
    for group in GROUPS:
        orders = [drawn.order for drawn in FIGURES if drawn.group == group]
        assert orders == sorted(set(orders))
    assert all(getattr(lab.figures, drawn.name.upper()) is drawn for drawn in FIGURES)


def test_figures_and_runs_import_neither_torch_nor_transformers():
    code = "import sys, lab.figures, lab.runs; print({'torch', 'transformers', 'streamlit'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "set()", "")


def test_names_of_series_are_made_once_for_each_and_not_for_each_row(monkeypatch):
    drawn = figure("curvature_spectrum")
    table = pd.concat([drawn.example().assign(seed=seed) for seed in (0, 1)], ignore_index=True)
    made: list[object] = []
    real = definition.worded
    monkeypatch.setattr(definition, "worded", lambda value, column: made.append(value) or real(value, column))
    labels = drawn.read(table).label
    assert len(made) == 2 * table.label.nunique() < len(table)
    assert list(labels) == [f"{label} · seed {seed}" for label, seed in zip(table.label, table.seed, strict=True)]
