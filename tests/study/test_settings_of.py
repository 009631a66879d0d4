"""Which records are judged together: those that differ in what an experiment repeats over, and in nothing else."""

from __future__ import annotations

from lab.runs import Job, Record
from lab.study import settings_of
from lab.study.again import CONTENT
from lab.study.alike import differences, told_apart


def record(task: str, digest: str | None = None, **config) -> Record:
    content = {} if digest is None else {CONTENT: {task: digest}}
    return Record(Job("performance", {"task": task, "steps": 60, **config, **content}), {"score": 0.5})


def sizes(*records: Record, replicates: tuple[str, ...] = ("task",)) -> list[int]:
    return [len(group) for group in settings_of(records, replicates)]


def test_tasks_of_folders_are_replicates_as_packaged_tasks_are():
    assert sizes(record("bbc-news"), record("subj", "a"), record("mpqa", "b")) == [3]


def test_another_content_under_one_name_is_another_setting():
    assert sizes(record("subj", "a"), record("subj", "b"), replicates=()) == [1, 1]
    shared = {"tuning_task": "subj"}
    left, right = record("mpqa", **shared), record("mpqa", **shared)
    left, right = (
        Record(Job(r.job.experiment, {**r.job.config, CONTENT: {"subj": digest}}), r.metrics)
        for r, digest in ((left, "a"), (right, "b"))
    )
    assert sizes(left, right) == [1, 1]  # what is not repeated over keeps its content


def test_another_budget_is_another_setting():
    assert sizes(record("subj", "a"), record("mpqa", "b", steps=61)) == [1, 1]


def test_settings_are_told_apart_by_what_differs_in_single_values():
    records = [record("subj", "a"), record("mpqa", "b", steps=61), record("mpqa", "b", steps=61, methods=[1])]
    groups = settings_of(records, ("task",))
    assert told_apart(groups, ("task",)) == ["steps=60", "steps=61", "steps=61"]


def test_what_tells_settings_apart_comes_before_what_tells_no_more_of_them():
    records = [record("subj", "a", a=1, b=1, c=1, d=1), record("subj", "a", a=2, b=2, c=2, d=2)]
    records.append(record("subj", "a", a=2, b=2, c=2, d=3))
    groups = settings_of(records, ("task",))
    assert told_apart(groups, ("task",), 2) == ["a=1, d=1", "a=2, d=2", "a=2, d=3"]


def test_lists_tell_settings_apart_where_they_are_wanted():
    records = [record("subj", "a", sizes=[1]), record("subj", "a", sizes=[1, 2])]
    groups = settings_of(records, ("task",))
    assert differences(groups, ("task",)) == [{}, {}]
    assert [own["sizes"] for own in differences(groups, ("task",), lists=True)] == ["[1]", "[1, 2]"]
