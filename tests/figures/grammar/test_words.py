"""Answers of bounded length, and names that tell parts of a table apart."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.figures.grammar import LONGEST, cut, first_seen, listed, records, split


def test_parts_that_do_not_fit_are_counted():
    assert listed("Scores", ["a 1", "b 2"]) == "Scores: a 1; b 2."
    assert listed("Scores", ["a 1", "b 2", "c 3"], longest=24) == "Scores: a 1; and 2 more."
    assert listed("", ["a"], end=". The null is 0.") == "a. The null is 0."


def test_a_first_part_that_is_too_long_is_cut():
    assert listed("Scores", [30 * "a", "b"], longest=30) == f"Scores: {8 * 'a'}…; and 1 more."
    assert cut(10 * "a", 4) == "aaa…"


@given(st.lists(st.text(max_size=400), min_size=1, max_size=30))
def test_no_list_is_longer_than_a_screen_reader_says(parts):
    assert len(listed("Lead", parts)) <= LONGEST


def test_a_part_is_named_by_what_varies():
    table = pd.DataFrame({"label": ["b", "a", "b"], "model": "minilm", "seed": [0, 0, 1], "x": [1.0, 2.0, 3.0]})
    assert [name for name, _ in split(table, "label", "model")] == ["b", "a"]
    assert [name for name, _ in split(table, "label", "seed")] == ["b · seed 0", "a · seed 0", "b · seed 1"]
    assert [name for name, _ in split(table.head(1), "model", "label", "task")] == ["minilm"]
    assert first_seen([2.0, 1.5, 2.0]) == ["2", "1.5"]
    with pytest.raises(KeyError, match="none of the columns task; it has label, model"):
        split(table, "task")


def test_records_are_told_apart_as_far_as_the_table_names_them():
    table = pd.DataFrame({"model": ["a", "b"], "seed": [None, None], "x": 1})
    assert [name for name, _ in records(table)] == ["a", "b"]
    ((name, whole),) = records(table[["x"]])
    assert (name, len(whole)) == ("", 2)
