"""A store follows no symbolic link, and removes nothing but what carries its own mark."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from lab.runs import DamagedRecord, Job, Record, Store, StoreError, key
from lab.runs.staging import LEASE, STAGING, new_staging

JOB = Job("toy", {"d": 1})


@pytest.fixture
def precious(tmp_path) -> Path:
    """Somebody's folder with old folders and files in it, some of them named as a store would name its own."""
    outside = tmp_path / "precious"
    for name in ("thesis", f"{'0' * 16}.1.{uuid.uuid4().hex}"):
        (outside / name).mkdir(parents=True)
        (outside / name / "chapter.txt").write_text("years of work")
        os.utime(outside / name, (0, 0))
    (outside / f"{'0' * 64}{LEASE}").write_text("")
    return outside


def contents(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_nothing_behind_a_linked_staging_folder_is_touched(tmp_path, precious):
    store, before = Store(tmp_path / "runs"), contents(precious)
    store.path.mkdir()
    (store.path / STAGING).symlink_to(precious)
    with pytest.raises(StoreError, match=r"\.staging is a symbolic link, .*remove the link"):
        store.put(Record(JOB, {}))
    with pytest.raises(StoreError, match=r"\.staging is a symbolic link"), store.lease(JOB):
        pass
    assert contents(precious) == before


def test_links_inside_the_staging_folder_are_left_alone(tmp_path, precious):
    store, before = Store(tmp_path / "runs"), contents(precious)
    staging = store.path / STAGING
    staging.mkdir(parents=True)
    (staging / f"{'0' * 16}.1.{uuid.uuid4().hex}").symlink_to(precious)
    (staging / f"{key(JOB)}{LEASE}").symlink_to(precious / "new")
    store.put(Record(JOB, {}))
    assert contents(precious) == before
    with pytest.raises(StoreError, match="cannot write to"), store.lease(JOB):
        pass
    assert not (precious / "new").exists()


def test_only_what_carries_our_mark_is_removed(tmp_path):
    """However old it is, and whatever part of its name is like one of ours."""
    store = Store(tmp_path)
    ours = new_staging(tmp_path)
    staging = ours.parent
    writer, pid, rest = ours.name.split(".")
    names = ("thesis", "thesis.1", f"{writer}.{pid}", f"{writer}.x.{rest}", f"elsewhere.{pid}.{rest}", f"{ours.name}~")
    for name in names:
        (staging / name).mkdir()
        os.utime(staging / name, (0, 0))
    (staging / f"my{LEASE}").write_text("")
    os.utime(ours, (0, 0))
    store.put(Record(JOB, {}))
    assert {entry.name for entry in staging.iterdir()} == {*names, f"my{LEASE}"}


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_link_on_the_way_to_a_record_is_neither_read_nor_written_through(tmp_path, depth):
    elsewhere, store = Store(tmp_path / "elsewhere"), Store(tmp_path / "runs")
    elsewhere.put(Record(JOB, {"x": 1}))
    parts = ("toy", key(JOB)[:2], key(JOB))[:depth]
    link = store.path.joinpath(*parts)
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere.path.joinpath(*parts))
    before = contents(elsewhere.path)
    for attempt in (lambda: store.get(JOB), lambda: store.put(Record(JOB, {"x": 2}))):
        with pytest.raises(DamagedRecord, match=f"{parts[-1]} is a symbolic link, which a store does not follow"):
            attempt()
    if depth < 3:
        with pytest.raises(DamagedRecord, match="is a symbolic link"):
            store.put(Record(Job("toy", {"d": 2}), {"x": 2})) if depth == 1 else store.get(JOB)
    assert contents(elsewhere.path) == before


def test_a_store_may_itself_be_reached_through_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "disk")
    Store(tmp_path / "runs").put(Record(JOB, {"x": 1}))
    assert Store(tmp_path / "disk").get(JOB).metrics == {"x": 1}
