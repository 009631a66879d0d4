"""A store with two tasks of every question: each page draws what was asked for, whatever its figure can tell apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.question import questions
from lab.figures import figure
from lab.runs import Record, Store
from tests.app.conftest import measurement

QUESTIONS = {outline.name: outline for asked in questions().values() for outline in asked}
OVER_TASKS = [name for name, outline in QUESTIONS.items() if "task" in outline.replicates]


@pytest.fixture(scope="module")
def of_two_tasks(tmp_path_factory) -> Path:
    """A store with every question on two tasks, bbc-news newer."""
    store = Store(tmp_path_factory.mktemp("of two tasks") / "runs")
    for name in QUESTIONS:
        store.put(asked_on("rotten-tomatoes", name, day=1))
        store.put(asked_on("bbc-news", name, day=2))
    return store.path


def asked_on(task: str, name: str, *, day: int) -> Record:
    """A record of a question on a task, which its tables name where they name one."""
    made = measurement(name, task=task, day=day)
    tables = {
        table: rows.assign(task=task) if "task" in rows and rows.task.nunique() == 1 else rows
        for table, rows in made.tables.items()
    }
    return Record(made.job, made.metrics, tables, provenance=made.provenance)


@pytest.mark.parametrize(
    "page", [pytest.param(name, marks=() if name in OVER_TASKS else pytest.mark.slow) for name in QUESTIONS]
)
def test_both_tasks_can_be_asked_for(page, opened, of_two_tasks):
    for name in QUESTIONS[page].figures:
        shown = opened(page, of_two_tasks, figure=figure(name).title, task=["bbc-news", "rotten-tomatoes"])
        assert not shown.exception, name
        assert not shown.error, (name, shown.error[0].value)
        assert len(shown.get("plotly_chart")) == 1
