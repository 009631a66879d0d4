"""Time beside full fine-tuning's is compared inside a round, and its interval is over rounds."""

from __future__ import annotations

from math import nan

import pandas as pd
import pytest

from lab.drawing import show
from lab.figures import LIGHT, figure
from lab.runs import Job, Record, Store, tabulate
from lab.statistics import mean_interval

DRAWN = figure("training_compute")
SLOW = (1.0, 1.0, 2.0, 2.0, 1.5)  # the machine's, by round
OURS = (0.5, 0.6, 0.5, 0.6, 0.55)  # of full fine-tuning's seconds


@pytest.fixture
def record() -> Record:
    """A timing of two methods whose table of figures holds the fastest round, as `efficiency` writes it."""
    rows = [("full fine-tuning", i, slow) for i, slow in enumerate(SLOW)]
    rows += [("LoRA", i, slow * share) for i, (slow, share) in enumerate(zip(SLOW, OURS, strict=True))]
    rounds = pd.DataFrame(rows, columns=["label", "round", "step_seconds"]).assign(batch_size=8)
    fastest = rounds.groupby(["label", "batch_size"], as_index=False).step_seconds.min()
    counted = dict.fromkeys(("forward_flops", "activation_flops", "weight_flops"), nan)
    tables = {"training_compute": fastest.assign(**counted), "training_rounds": rounds}
    return Record(Job("efficiency", {"how": "timed", "model": "m"}), {}, tables)


@pytest.fixture
def table(record, tmp_path) -> pd.DataFrame:
    store = Store(tmp_path)
    store.put(record)
    return tabulate(list(store.manifests()), DRAWN.table, also=DRAWN.also)


def test_rounds_come_with_the_table_of_their_record(table):
    assert table["round"].notna().sum() == 10
    assert table["round"].isna().sum() == 2  # the fastest
    assert set(table["model"]) == {"m"}


def test_the_interval_is_of_shares_inside_a_round(table):
    found = DRAWN.answer(table).table.set_index("label").loc["LoRA"]
    wanted = mean_interval(OURS)
    assert found["time of full [fraction]"] == pytest.approx(wanted.estimate)
    assert found.filter(like="interval").item() == pytest.approx(wanted.low)
    assert found["to [fraction]"] == pytest.approx(wanted.high)
    assert found["rounds [count]"] == 5


def test_the_interval_is_drawn(table):
    (marks,) = (trace for trace in DRAWN.draw(table, LIGHT).data if trace.name == "time, batch 8")
    drawn = dict(zip(marks.y, marks.error_x.array, strict=True))
    assert drawn["LoRA"] == pytest.approx(mean_interval(OURS).high - mean_interval(OURS).estimate)
    assert drawn["full fine-tuning"] == 0


def test_a_record_of_the_fastest_round_alone_has_a_mark_and_no_interval(record):
    table = record.tables["training_compute"].assign(model="m")
    (marks,) = (trace for trace in DRAWN.draw(table, LIGHT).data if trace.name == "time, batch 8")
    assert dict(zip(marks.y, marks.x, strict=True)) == pytest.approx({"full fine-tuning": 1, "LoRA": 0.5})
    assert list(marks.error_x.array or (0, 0)) == [0, 0]
    assert DRAWN.answer(table).table["rounds [count]"].tolist() == [1, 1]
    assert "[" not in DRAWN.alt(table)


def test_a_record_is_shown_with_its_rounds(record):
    assert any(trace.name == "time, batch 8" and any(trace.error_x.array) for trace in show(record).data)
