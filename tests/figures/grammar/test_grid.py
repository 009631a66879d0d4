"""Panels without empty cells, one legend of what is drawn, rules that stand in empty panels, one look for a method."""

from __future__ import annotations

import pandas as pd
import pytest

from lab.figures import DARK, LIGHT, SIZES, Size
from lab.figures.grammar import Grid, look, page
from lab.figures.grammar.looks import looks
from lab.figures.grammar.mark import values_of

TABLE = pd.DataFrame({"label": ["LoRA", "BitFit", "LoRA"], "task": ["a", "a", "b"], "x": [1, 2, 3], "y": [1.0, 2, 3]})


def drawn(size: Size = SIZES["screen"], wrap: int = 2):
    grid = Grid(LIGHT, wrap=wrap, share_y=True, labels=TABLE.label)
    for panel, part in grid.by(TABLE, "task", "label"):
        for name, own in part.groupby("label"):
            panel.line(own.x, own.y, name, colour=grid.look(name).colour).band(own.x, own.y, own.y, name)
    return grid.x("x [1]").y("y [1]").figure(size)


def test_every_combination_that_is_there_has_a_panel_and_no_other():
    titles = [note.text for note in drawn().layout.annotations]
    assert titles == ["a · LoRA", "a · BitFit", "b · LoRA"]
    assert len(list(drawn().select_xaxes())) == 3


def test_rows_hold_fewer_panels_where_the_page_is_narrow():
    def columns(size: Size) -> int:
        return len({axis.domain[0] for axis in drawn(size, wrap=3).select_xaxes()})

    assert (columns(SIZES["double"]), columns(Size(width=358, font=13, fixed=False))) == (3, 1)


def test_a_name_is_in_the_legend_once_and_a_line_stands_for_its_band():
    entries = [(trace.name, trace.fill) for trace in drawn().data if trace.showlegend]
    assert entries == [("LoRA", None), ("BitFit", None)]


def test_titles_of_axes_stand_once_in_a_row_and_at_the_foot_of_a_column():
    axes = drawn().to_dict()["layout"]
    assert [bool(axes[f"yaxis{n}"].get("title")) for n in ("", "2", "3")] == [True, False, True]
    assert [bool(axes[f"xaxis{n}"].get("title")) for n in ("", "2", "3")] == [False, True, True]


def test_a_rule_stands_in_a_panel_without_marks_and_is_named_in_the_legend():
    grid = Grid(LIGHT)
    grid.panel("one").points([1], [2], "seen")
    grid.panel("empty").rule(y=0, name="null").rule(x=1)
    null, at = grid.figure().layout.shapes
    assert (null.yref, null.xref, null.y0, null.showlegend, null.name) == ("y2", "x2 domain", 0, True, "null")
    assert (at.xref, at.yref, at.x0) == ("x2", "y2 domain", 1)
    with pytest.raises(ValueError, match="stands at an x or at a y; got both or neither"):
        grid.panels[0].rule()


def test_what_a_dash_means_stands_above_the_legend():
    grid = Grid(LIGHT)
    grid.panel().line([1, 2], [1, 2], "LoRA", key="trained").line([1, 2], [2, 3], "LoRA", dash="dot", key="start")
    assert grid.figure().layout.legend.title.text == "─── trained    · · · · start"


def test_a_single_depth_has_no_colour_bar():
    grid = Grid(LIGHT).depths([3, 3])
    grid.panel().line([0, 1], [0, 1], "a", depth=3)
    drawing = grid.figure()
    assert [trace.marker.coloraxis for trace in drawing.data] == [None]
    assert drawing.layout.coloraxis.colorscale is None


def test_depth_has_a_colour_bar_on_a_line_that_is_drawn():
    grid = Grid(DARK).depths([0, 5, 2])
    for block in (0, 2, 5, None):
        grid.panel().line([1, 2], [1, 2], f"block {block}", depth=block)
    figure = grid.figure()
    assert [trace.marker.coloraxis for trace in figure.data] == ["coloraxis", None, None, None]
    assert figure.layout.coloraxis.colorbar.ticktext == ("0", "2", "5")
    assert not any(trace.showlegend for trace in figure.data[:3])


def test_on_a_phone_colour_bars_lie_below_the_panels_one_under_the_other():
    grid = Grid(LIGHT, wrap=1)
    cells = pd.DataFrame([[1.0, 10.0], [0.1, 1.0]])
    for scale in ("loss [nats]", "share [1]"):
        grid.panel().heat(cells, scale)
    wide, phone = (grid.figure(Size(width=width, font=13, fixed=False)).layout for width in (700, 350))
    bars = [phone.coloraxis.colorbar, phone.coloraxis2.colorbar]
    assert [wide.coloraxis.colorbar.orientation, *(bar.orientation for bar in bars)] == [None, "h", "h"]
    assert 0 > bars[0].y > bars[1].y
    assert phone.margin.r < wide.margin.r
    room = phone.height - phone.margin.t - phone.margin.b
    assert -bars[1].y * room < phone.margin.b  # the margin holds them


def test_names_that_shall_stand_upright_have_the_room_for_it():
    def foot(**options):
        grid = Grid(LIGHT).x("task", ticks={0: "rotten-tomatoes", 1: "imdb"}, **options)
        grid.panel().heat(pd.DataFrame([[1.0, 2.0], [3.0, 4.0]]), "share [1]")
        return grid.figure(Size(width=700, font=13)).layout.margin.b

    assert foot(options={"tickangle": -90}) > foot() + 4 * 13


def test_on_a_phone_names_of_rows_are_the_short_ones():
    grid = Grid(LIGHT)
    names = ["LoRA (d = 75,396)", "BitFit"]
    grid.panel().points([0.0, 1.0], names, "x").y(categories=names, short={names[0]: "LoRA"})
    wide, phone = (grid.figure(Size(width=width, font=13)).layout.yaxis for width in (700, 350))
    assert list(wide.tickvals) == list(phone.tickvals) == names
    assert [text.replace("\u00a0", " ") for text in wide.ticktext] == names
    assert list(phone.ticktext) == ["LoRA", "BitFit"]


def test_names_are_made_safe_once():
    grid = Grid(LIGHT)
    panel = grid.panel("<b>&").points(["<i>"], [1], "<u>", data=[["<a>"]], hover="%{customdata[0]}")
    panel.y(categories=["<i>"])
    text = grid.figure().to_json().replace("\\u003c", "<").replace("\\u003e", ">").replace("\\u0026", "&")
    assert not any(tag in text for tag in ("<b>", "<i>", "<u>", "<a>"))
    assert "&lt;b&gt;&amp;" in text
    assert "&amp;lt;" not in text


def test_a_method_looks_the_same_in_every_figure():
    alone, among = looks(LIGHT, ["LoRA r = 8"]), looks(LIGHT, ["full fine-tuning", "prefix", "LoRA r = 8"])
    assert alone["LoRA r = 8"] == among["LoRA r = 8"] == look(LIGHT, "LoRA")
    assert look(LIGHT, "an unknown method") is None


def test_no_two_labels_look_alike():
    labels = [*(f"LoRA r = {r}" for r in range(6)), "DID", "BitFit", "diff pruning", *(f"new {i}" for i in range(12))]
    found = looks(LIGHT, labels)
    assert list(found) == labels
    assert len(set(found.values())) == len(labels)


def test_a_grid_without_panels_is_refused():
    with pytest.raises(ValueError, match=r"make one with grid\.panel\(\) or grid\.by\(\)"):
        Grid(LIGHT).figure()


def test_many_panels_stand_closer_so_that_a_paper_s_page_holds_them():
    grid = Grid(LIGHT, wrap=2, height=400)
    for i in range(16):
        grid.panel(f"task {i}").line([0, 1], [0, 1], "a")
    double, screen = grid.figure(SIZES["double"]), grid.figure()
    assert double.layout.height <= SIZES["double"].tallest < screen.layout.height
    assert len({axis.domain[0] for axis in double.select_xaxes()}) > 2
    assert len({axis.domain[0] for axis in screen.select_xaxes()}) == 2


def test_contours_have_one_colour_bar_as_heat_maps_have():
    grid = Grid(LIGHT)
    cells = pd.DataFrame([[1.0, 10.0], [0.1, 1.0]])
    for i in range(2):
        grid.panel(f"{i}").heat(cells, "loss [nats]", log=True, smooth=True)
    first, second = grid.figure().data
    assert first.showscale
    assert first.colorbar.title.text == "loss<br>[nats]"
    assert not second.showscale
    assert (first.zmin, first.zmax) == (second.zmin, second.zmax) == (-1.0, 1.0)


def test_panels_with_the_same_names_of_rows_need_no_room_for_them_twice():
    def columns(*names):
        grid = Grid(LIGHT, wrap=3)
        for own in names:
            grid.panel().points([0.0], [own], "x")
            grid.panels[-1].y(categories=[own])
        return len({axis.domain[0] for axis in grid.figure(Size(width=720, font=13, fixed=False)).select_xaxes()})

    assert columns(*3 * ["random, least"]) == 3
    assert columns("random, least", "random, mean", "query of block 1") == 2


def test_rows_of_the_same_names_say_them_once_and_others_their_own():
    grid = Grid(LIGHT)
    for i, names in enumerate((["a", "b"], ["a", "b"], ["c"])):
        grid.panel().points([0.0] * len(names), names, "x")
        grid.panels[i].y(categories=names)
    shown = [axis.showticklabels is not False for axis in grid.figure().select_yaxes()]
    assert shown == [True, False, True]


def test_entries_of_a_key_are_not_broken_where_a_line_holds_them():
    grid = Grid(LIGHT)
    for i in range(12):
        grid.panel().line([0, 1], [0, 1], "a", key=f"a rather long name {i}", dash=grid.dash(str(i % 4)))
    legend = grid.figure(SIZES["double"]).layout.legend.title.text
    assert legend.count("<br>") > 0
    assert all(f"a rather long name {i}" in legend for i in range(12))


def test_what_an_axis_of_all_panels_shows_is_found_once(monkeypatch):
    found = []
    monkeypatch.setattr(page, "values_of", lambda marks, which: found.append(which) or values_of(marks, which))
    grid = Grid(LIGHT, share_x=True, share_y=True)
    for i in range(20):
        grid.panel(f"{i}").line([0, 1], [0, i], "a")
    assert len(list(grid.figure().select_xaxes())) == 20
    assert sorted(found) == ["x", "y"]


def test_names_that_do_not_fit_side_by_side_are_thinned_out():
    grid = Grid(LIGHT)
    grid.panel().points(range(64), range(64), "a")
    grid.x("token", ticks={float(i): f"word {i}" for i in range(64)})
    phone = grid.figure(Size(width=350, font=13, fixed=False)).layout.xaxis
    assert 5 < len(phone.tickvals) == len(phone.ticktext) < 20
    assert (phone.tickvals[0], phone.ticktext[1], phone.tickangle) == (0.0, f"word {phone.tickvals[1]:g}", -90)


def test_a_name_longer_than_a_phone_is_broken_in_the_legend():
    long = "DID fastfood, steps = 60, batch size = 16, max length = 32, … (setting 1)"
    grid = Grid(LIGHT)
    grid.panel().line([0, 1], [0, 1], long).line([0, 1], [1, 0], "b")
    phone, desk = grid.figure(Size(width=350, font=13, fixed=False)), grid.figure()
    assert (phone.data[0].name.count("<br>"), desk.data[0].name) == (2, long)
    assert phone.layout.margin.b - desk.layout.margin.b > 2 * 16


def test_a_part_is_drawn_as_in_the_whole():
    whole = Grid(LIGHT)
    for i, name in enumerate("abc"):
        whole.panel(name).line([0, 1], [i, i + 1], name).rule(y=i, name="null")
        whole.panels[i].note(0, i, name)
    whole.panel("d").heat(pd.DataFrame([[0.0, 1.0]], index=["r"], columns=["x", "y"]), "value [1]")
    parts = [whole.part([0]), whole.part([1, 2]), whole.part([3])]
    drawn = whole.figure().data
    again = [trace for part in parts for trace in part.figure().data]
    same = ("type", "name", "y", "line")
    assert [[trace[key] for key in same if key in trace] for trace in again] == [
        [trace[key] for key in same if key in trace] for trace in drawn
    ]
    assert [list(part.scales) for part in parts] == [[], [], ["value [1]"]]
    second = parts[1].figure().layout
    assert [note.text for note in second.annotations] == ["b", "c", "b", "c"]  # titles, then notes
    assert [(shape.yref, shape.y0) for shape in second.shapes] == [("y", 1), ("y2", 2)]
    assert whole.panels[1].number == 1
