"""Answers of bounded length, and names that tell parts of a table apart."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.figures.grammar import LONGEST, cut, first_seen, listed, records, rounded, split


def test_parts_that_do_not_fit_are_counted():
    assert listed("Scores", ["a 1", "b 2"]) == "Scores: a 1; b 2."
    assert listed("Scores", ["a 1", "b 2", "c 3"], longest=24) == "Scores: a 1; and 2 more."
    assert listed("", ["a"], end=". The null is 0.") == "a. The null is 0."


def test_a_first_part_that_is_too_long_is_cut():
    assert listed("Scores", [30 * "a", "b"], longest=30) == f"Scores: {8 * 'a'}…; and 1 more."
    assert cut(10 * "a", 4) == "aaa…"


def test_names_have_two_digits_of_a_fraction_unless_they_would_be_alike():
    names = ["LoRA r = 8 lr=0.416537", "Fastfood d = 1,000, η = 1.45047", "full, η = 0.0001", "v1.1-base", "1e-05"]
    found = rounded(pd.DataFrame({"label": names}), "label").label.tolist()
    assert found == ["LoRA r = 8, η = 0.42", "Fastfood d = 1,000, η = 1.5", "full, η = 0.0001", "v1.1-base", "1e-05"]
    alike = pd.DataFrame({"label": ["η = 0.1234", "η = 0.1235"]})
    assert rounded(alike, "label").label.tolist() == alike.label.tolist()


def test_numbers_of_an_answer_are_set_as_in_print():
    said = listed("Gap", ["LoRA: -0.05 [-0.1, 0.02]", "bigram-2: 5.25e-05", "k = 3e+06"], end="; rest -1.")
    assert said == "Gap: LoRA: −0.05 [−0.1, 0.02]; bigram-2: 5.25·10⁻⁵; k = 3·10⁶; rest −1."


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
