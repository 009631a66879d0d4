"""Order by mean rank, intervals over seeds, and what happens to methods that some task lacks."""

from __future__ import annotations

import pandas as pd
import pytest
from scipy import stats

from lab.figures import PERFORMANCE
from lab.statistics.ranking import ordered, ranked


def test_methods_stand_in_the_order_of_their_mean_ranks():
    table = PERFORMANCE.example()
    ranks = ranked(table).mean_ranks
    assert ordered(table) == sorted(ranks, key=lambda label: ranks[label])
    assert PERFORMANCE.summarize(table)["method"].tolist() == ordered(table)


def test_a_method_that_a_task_lacks_is_ranked_by_none_and_stands_last():
    table = PERFORMANCE.example()
    table = table[~((table.label == "full fine-tuning") & (table.task == "drugs"))]
    assert "full fine-tuning" not in ranked(table).mean_ranks
    assert ordered(table)[-1] == "full fine-tuning"
    assert PERFORMANCE.draw(table).data


def test_the_interval_is_students_over_seeds():
    table = PERFORMANCE.example()
    part = table[(table.label == "LoRA") & (table.task == "topic")]
    half = stats.t.ppf(0.975, 2) * part.score.std(ddof=1) / 3**0.5
    row = PERFORMANCE.summarize(table).set_index("method").loc["LoRA"]
    assert row["topic"] == pytest.approx(part.score.mean())
    assert row["topic ±"] == pytest.approx(half)


def test_the_answer_says_how_sure_the_ranking_is():
    assert "critical difference of mean ranks" in PERFORMANCE.alt(PERFORMANCE.example())
    assert "too few to rank" in PERFORMANCE.alt(PERFORMANCE.example().query("task == 'topic'"))


def test_every_seed_is_a_point_and_the_null_a_line():
    drawing = PERFORMANCE.draw(PERFORMANCE.example())
    seeds = [len(t.x) for t in drawing.data if t.marker.size == 6]
    assert seeds == [3] * 18
    assert len([shape for shape in drawing.layout.shapes if shape.line.dash == "dash"]) == 3


def of_tasks(n: int) -> pd.DataFrame:
    one = PERFORMANCE.example().query("task == 'topic'")
    return pd.concat([one.assign(task=f"task {i}", score=one.score - 0.02 * i) for i in range(n)], ignore_index=True)


def test_more_than_five_tasks_share_a_panel_beside_the_head_alone():
    assert [panel.title for panel in PERFORMANCE.grid(of_tasks(5)).panels][-2:] == ["task 4", "all tasks"]
    grid = PERFORMANCE.grid(of_tasks(6))
    assert [panel.title for panel in grid.panels] == ["6 tasks", "all tasks"]
    table = of_tasks(6)
    means = table.groupby(["task", "label"]).score.mean().unstack()
    drawn = {mark.trace["y"][0]: mark.trace["x"] for mark in grid.marks if mark.panel == 0 and len(mark.trace["x"]) > 1}
    assert drawn["LoRA"] == pytest.approx(list(means["LoRA"] - means["linear probe"]))


def test_without_the_head_alone_many_tasks_stand_beside_the_mean():
    table = of_tasks(6).query("kind != 'null'")
    drawing = PERFORMANCE.draw(table)
    assert drawing.layout.xaxis.title.text.replace("<br>", " ") == "score beside the mean [fraction]"
