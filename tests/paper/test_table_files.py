"""A paper's tables as CSV: every row with the records it is from, every column with its unit and its meaning."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from lab.figures import CKA, FIGURES, INTRINSIC_DIMENSION, Figure
from lab.paper import Piece
from lab.paper.table_files import keys, meanings, meanings_csv, rows_csv


def keyed(drawn: Figure, by: str) -> Piece:
    """The figure's own example, where rows that agree in a column are from one record."""
    table = drawn.example()
    return Piece(drawn, table.assign(key=table[by].map(lambda value: f"key of {value}".replace(" ", "-"))), [], "")


def test_a_row_has_the_keys_of_the_records_it_is_from():
    learned = next(drawn for drawn in FIGURES if drawn.name == "learning_curves")
    one = keyed(learned, "label")
    assert [f"key of {label}".replace(" ", "-") for label in one.whole["label"]] == list(keys(one))
    said = pd.read_csv(io.StringIO(rows_csv(one)))
    assert list(said["key"]) == list(keys(one))
    assert len(said) == len(one.rows)
    together = Piece(INTRINSIC_DIMENSION, INTRINSIC_DIMENSION.example(), [], "")
    assert set(keys(together)) == {""}  # made up: from no record
    given = Piece(CKA, CKA.example(), [], "", summary=pd.DataFrame({"update": ["a", "b"]}), keys=["1", "2"])
    assert list(keys(given)) == ["1", "2"]


def test_a_row_that_sums_up_several_records_has_all_of_their_keys():
    table = INTRINSIC_DIMENSION.example()
    both = Piece(
        INTRINSIC_DIMENSION, table.assign(key=["a", "b"] * (len(table) // 2) + ["a"] * (len(table) % 2)), [], ""
    )
    assert set(keys(both)) == {"a b"}


@pytest.mark.parametrize("drawn", FIGURES, ids=lambda drawn: drawn.name)
def test_every_column_has_its_unit(drawn):
    one = Piece(drawn, drawn.example(), [], "")
    described = pd.read_csv(io.StringIO(meanings_csv(one)), keep_default_na=False).set_index("column")
    assert list(described.index) == list(pd.read_csv(io.StringIO(rows_csv(one))))
    assert (described["unit"] != "").all()
    assert [n for n in one.rows if f"[{described.unit[n]}]" not in n and "[" in n] == []


def test_meanings_are_those_of_the_vocabulary_and_of_intervals():
    told = meanings(Piece(INTRINSIC_DIMENSION, INTRINSIC_DIMENSION.example(), [], ""))
    assert told["low [count]"] == ("lower end of the 95 % interval of d90", "count")
    assert told["high [count]"] == ("upper end of the 95 % interval of d90", "count")
    assert told["task"].description == "the task"
