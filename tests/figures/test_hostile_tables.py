"""Tables whose names and numbers come from files of others: shown as they are, or refused with column and value."""

from __future__ import annotations

import io
import json
import math

import pandas as pd
import pytest

from lab.figures import FIGURES, TEXT, Figure, TableError, export
from lab.figures.cells import cell, csv_text

every_figure = pytest.mark.parametrize("drawn", FIGURES, ids=lambda f: f.name)
FORMULAS = ("=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", '=HYPERLINK("http://x")')
HOSTILE = r"$\href{javascript:alert(1)}{x}$"


@pytest.mark.parametrize("text", FORMULAS)
def test_text_that_a_spreadsheet_would_run_is_text(text):
    table = pd.DataFrame({text: [text, "LoRA"], "n": [-1.5, 2.0]})
    back = pd.read_csv(io.StringIO(csv_text(table)))
    assert list(back.columns) == [f"'{text}", "n"]
    assert list(back[f"'{text}"]) == [f"'{text}", "LoRA"]
    assert list(back.n) == [-1.5, 2.0]


def test_numbers_and_names_stay_as_they_are():
    assert [cell(value) for value in ("-1", "+2.5", "LoRA r = 8", -1, None, True)] == [
        "-1", "+2.5", "LoRA r = 8", -1, None, True,
    ]  # fmt: skip
    table = pd.DataFrame({"label": ["a", None], "kind": pd.Categorical(["=x", "y"]), "on": [True, False]})
    assert csv_text(table) == "label,kind,on\na,'=x,True\n,y,False\n"


@every_figure
def test_no_name_becomes_a_formula_of_a_spreadsheet_or_of_mathjax(drawn: Figure, tmp_path):
    table = drawn.example()
    free = [name for name in ("label", "model", "task") if name in table]
    table = table.assign(**{name: table[name].map(lambda value: f"={HOSTILE}{value}") for name in free})
    try:
        made = drawn.draw(table).to_dict()
    except TableError:  # a figure that knows its labels
        return
    assert "$" not in json.dumps({"data": made["data"], "layout": made["layout"]}, default=str)
    export(drawn, tmp_path / "x", ("csv",), table)
    lines = (tmp_path / "x.csv").read_text().splitlines()
    assert not [line for line in lines if line.startswith("=") or ",=" in line or ',"=' in line]


NAMES, NUMBERS = ("no such kind", None), (math.inf, math.nan, -math.inf, 1e300)


@every_figure
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("n", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_a_bad_value_is_drawn_or_refused_with_its_column_and_itself(drawn: Figure, n: int):
    """One value of every column at a time: a name that there is not, a missing one, no finite number."""
    table = drawn.example()
    for column, said in {**drawn.columns, **drawn.optional}.items():
        if column not in table:
            continue
        for value in (NAMES if said.unit == TEXT else NUMBERS)[:n]:
            bad = table.astype({column: object if said.unit == TEXT else float})
            bad.loc[bad.index[0], column] = value
            for what in (drawn.draw, drawn.answer):
                try:
                    what(bad)
                except TableError as error:
                    message = str(error)
                    assert drawn.name in message or column in message
                    if "cannot be drawn" in message:
                        assert f"the column {column!r}" in message, message
                        assert f"holds {value!r}" in message, message
