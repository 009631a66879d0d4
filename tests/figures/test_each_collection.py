"""What a collection shares is counted once, in however many records it stands; two collections of one name are two."""

from __future__ import annotations

import pandas as pd
import pytest

from lab.figures import figure
from lab.figures.each_collection import each_once

NAMES = ("shared_directions", "left_out_tasks", "task_map", "tasks_needed")


def records(*tables: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([table.assign(key=f"{i:064x}"[::-1]) for i, table in enumerate(tables)], ignore_index=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_collection_in_two_records_is_one(name):
    drawn = figure(name)
    once, twice = drawn.example(), records(drawn.example(), drawn.example().sample(frac=1, random_state=0))
    assert len(each_once(twice)) == len(once)
    pd.testing.assert_frame_equal(drawn.answer(twice).table, drawn.answer(once).table)
    assert drawn.alt(twice) == drawn.alt(once)
    assert len(drawn.draw(twice).data) == len(drawn.draw(once).data)


def test_two_collections_of_one_name_are_told_apart():
    drawn = figure("left_out_tasks")
    one = drawn.example()
    other = one.assign(member=one.member + ", seed 1", share=one.share / 2)  # no member of one name in both
    found = drawn.answer(records(one, other)).table
    assert found.label.tolist() == [f"LoRA r = 8 · record {i}00000" for i in (0, 1) for _ in range(4)]
    ratio = found["share mean"].to_numpy()[4:] / found["share mean"].to_numpy()[:4]
    assert ratio == pytest.approx([0.5] * 4)


def test_tables_that_are_from_no_record_stay():
    table = figure("task_map").example()
    assert each_once(table) is table
    assert each_once(table.assign(key=None)).label.tolist() == table.label.tolist()
