from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from lab.runs import Job, Overlay, Record, Store, StoreError, StoreFull, UnknownRecord, key
from lab.runs import store as stores
from lab.runs.manifest import read_manifest
from lab.runs.staging import STAGING, new_staging


def toy(d: int, experiment: str = "toy") -> Record:
    metrics = {"loss": 1.0 / d, "n": d, "ok": True, "note": None, "worst": float("nan"), "status": "finished"}
    curve = pd.DataFrame({"step": [0, 1], "loss": [1.0, np.nan], "kind": ["a", None], "good": [True, False]})
    arrays = {
        "phi": np.arange(d, dtype=np.float32),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big_endian": np.array([1.5, 2.5], dtype=">f8"),
        "mask": np.array([True, False]),
        "point": np.array(3, dtype=np.int64),
        "empty": np.zeros((0, 4)),
    }
    return Record(Job(experiment, {"d": d}), metrics, {"curve": curve}, arrays, {"seconds": 1.5, "device": "cpu"})


def test_a_record_comes_back_as_it_was(tmp_path):
    store, record = Store(tmp_path / "runs"), toy(3)
    assert store.put(record)
    back = store.get(record.job)
    assert back.job == record.job
    assert back.provenance == record.provenance
    assert list(back.metrics) == list(record.metrics)
    for name, value in record.metrics.items():
        assert type(back.metrics[name]) is type(value), name
    assert np.isnan(back.metrics.pop("worst"))  # type: ignore[attr-defined]
    assert back.metrics == {name: value for name, value in record.metrics.items() if name != "worst"}
    pd.testing.assert_frame_equal(back.tables["curve"], record.tables["curve"])
    assert set(back.arrays) == set(record.arrays)
    for name, array in record.arrays.items():
        np.testing.assert_array_equal(back.arrays[name], array, strict=name != "big_endian")


def test_a_record_of_nothing_is_a_record(tmp_path):
    store, record = Store(tmp_path), Record(Job("toy", {}), {})
    store.put(record)
    assert store.get(record.job).metrics == {}
    assert len(store.table("toy")) == 1


def test_reading_finds_what_was_put(tmp_path):
    store = Store(tmp_path)
    records = [toy(d, experiment) for d in (1, 2, 3) for experiment in ("toy", "other")]
    for record in records:
        store.put(record)
    assert store.keys() == sorted(key(record.job) for record in records)
    assert store.experiments() == ["other", "toy"]
    assert sorted(r.job.config["d"] for r in store.records("toy")) == [1, 2, 3]
    assert store.has(records[0].job)
    assert store.has(key(records[0].job))
    assert store.manifest(records[0].job).tables == ("metrics", "curve")
    assert not store.has(Job("toy", {"d": 9}))
    assert not store.has("no key")
    assert store.keys("nothing") == []


def test_heads_that_are_known_are_not_read_again(tmp_path, monkeypatch):
    store = Store(tmp_path)
    for d in (1, 2):
        store.put(toy(d))
    known = {manifest.folder: manifest for manifest in store.manifests()}
    store.put(toy(3))
    read = []

    def reading(folder):
        read.append(folder)
        return read_manifest(folder)

    monkeypatch.setattr(stores, "read_manifest", reading)
    assert sorted(manifest.key for manifest in store.manifests(known=known)) == store.keys()
    assert [folder.name for folder in read] == [key(toy(3).job)]


def test_the_state_is_another_after_a_record_was_added_or_removed(tmp_path):
    mine, gallery = Store(tmp_path / "mine"), Store(tmp_path / "gallery")
    both = Overlay(mine, gallery)
    states = [both.state()]
    for change in (lambda: gallery.put(toy(1)), lambda: mine.put(toy(1)), lambda: mine.put(toy(2))):
        change()
        states.append(both.state())
    assert len(set(states)) == len(states)
    assert both.state() == Overlay(Store(mine.path), Store(gallery.path)).state() == states[-1]
    assert both.state() != Overlay(gallery, mine).state()
    shutil.rmtree(mine.manifest(toy(2).job).folder)
    (mine.path / "toy" / key(toy(2).job)[:2]).rmdir()
    assert both.state() == states[-2]


def test_putting_a_key_again_changes_nothing(tmp_path):
    store = Store(tmp_path)
    assert store.put(toy(1))
    assert not store.put(Record(Job("toy", {"d": 1}), {"loss": 99.0}))
    assert store.get(Job("toy", {"d": 1})).metrics["loss"] == 1.0
    assert list((tmp_path / STAGING).iterdir()) == []


def test_of_two_writers_one_wins_and_the_other_leaves_nothing(tmp_path, monkeypatch):
    """The other writer's record appears between our check and our rename."""
    ours, theirs = Store(tmp_path), Store(tmp_path)
    make = os.fsync

    def fsync(descriptor: int) -> None:
        monkeypatch.setattr(os, "fsync", make)
        assert theirs.put(Record(Job("toy", {"d": 1}), {"loss": 7.0}))
        make(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    assert not ours.put(toy(1))
    assert ours.get(Job("toy", {"d": 1})).metrics == {"loss": 7.0}
    assert list((tmp_path / STAGING).iterdir()) == []


def test_find_completes_a_prefix(tmp_path):
    store = Store(tmp_path)
    for d in range(1, 20):
        store.put(Record(Job("toy", {"d": d}), {}))
    whole = store.keys()[3]
    assert store.find(whole[:10]) == whole
    with pytest.raises(UnknownRecord, match=f"no record in {tmp_path} has a key that begins with 'xyz'"):
        store.find("xyz")
    with pytest.raises(UnknownRecord, match=r"19 records in .* have a key that begins with ''"):
        store.find("")
    with pytest.raises(UnknownRecord, match="no record of Job"):
        store.get(Job("toy", {"d": 99}))


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.put(toy(1))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(
            StoreFull, match=r"no space left for a record in .*free some space and run the same command"
        ):
            store.put(toy(2))
    assert list((tmp_path / STAGING).iterdir()) == []
    assert store.keys() == [key(toy(1).job)]
    assert store.put(toy(2))


def test_a_limited_file_size_is_a_full_disk(tmp_path):
    """The real thing, in a process of its own: the kernel refuses to write past the limit."""
    script = f"""
import resource, signal, sys
import numpy as np
from lab.runs import Job, Record, Store, StoreFull
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    Store({str(tmp_path)!r}).put(Record(Job("toy", {{}}), {{}}, {{}}, {{"phi": np.zeros(100_000)}}))
except StoreFull:
    sys.exit(7)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 7
    assert Store(tmp_path).keys() == []
    assert list((tmp_path / STAGING).iterdir()) == []


def test_what_cannot_be_stored_is_refused_and_leaves_nothing(tmp_path):
    store, job = Store(tmp_path), Job("toy", {})
    with pytest.raises(ValueError, match=r"table 't' cannot be stored: .*keep one type per column"):
        store.put(Record(job, {}, {"t": pd.DataFrame({"a": [1, "x"]})}))
    with pytest.raises(ValueError, match="the provenance is no JSON"):
        store.put(Record(job, {}, provenance={"when": object()}))
    with pytest.raises(ValueError, match="the provenance is no JSON"):
        store.put(Record(job, {}, provenance={"seconds": float("nan")}))
    assert list((tmp_path / STAGING).iterdir()) == []
    assert not store.has(job)


def test_leftovers_of_dead_and_old_writers_are_removed_and_live_ones_kept(tmp_path):
    dead, old, live, foreign = (new_staging(tmp_path) for _ in range(4))
    writer, pid, rest = dead.name.split(".")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead = dead.rename(dead.with_name(f"{writer}.{gone.pid}.{rest}"))
    (dead / "metrics.parquet").write_bytes(b"half")
    old = old.rename(old.with_name(f"{'0' * 16}.1.{old.name.split('.')[2]}"))
    os.utime(old, (0, 0))
    foreign = foreign.rename(foreign.with_name(f"{'0' * 16}.{gone.pid}.{foreign.name.split('.')[2]}"))
    Store(tmp_path).put(toy(1))
    assert not dead.exists()
    assert not old.exists()
    assert live.exists(), f"its writer {pid} is this process"
    assert foreign.exists(), "another machine's process ids say nothing here"


def test_a_folder_that_is_no_record_stops_the_writer_and_is_named(tmp_path):
    store, record = Store(tmp_path), toy(1)
    folder = tmp_path / "toy" / key(record.job)[:2] / key(record.job)
    folder.mkdir(parents=True)
    assert store.put(record)  # an empty folder is in nobody's way
    store.get(record.job)
    other = toy(2)
    folder = tmp_path / "toy" / key(other.job)[:2] / key(other.job)
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    assert not store.has(other.job)
    with pytest.raises(StoreError, match=r"is no record \(it has no manifest.json\); delete it"):
        store.put(other)


def test_opening_writes_nothing_and_a_missing_store_is_empty(tmp_path):
    store = Store(tmp_path / "none")
    assert store.keys() == []
    assert not store.has(Job("toy", {}))
    assert len(store.table()) == 0
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="is a file; a store is a folder"):
        Store(tmp_path / "file")


def test_a_read_only_store_is_read(tmp_path):
    Store(tmp_path).put(toy(1))
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for path in files:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    try:
        store = Store(tmp_path)
        assert store.get(toy(1).job).metrics["n"] == 1
        assert len(store.table("toy")) == 1
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == files
    finally:
        for path in files:
            path.chmod(path.stat().st_mode | stat.S_IWUSR)


def test_a_store_that_cannot_be_written_says_so(tmp_path, monkeypatch):
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("lab.runs.store.new_staging", refused)
    with pytest.raises(StoreError, match=r"cannot write to .*Permission denied.*choose another folder with --store"):
        Store(tmp_path).put(toy(1))


def test_an_overlay_reads_all_and_the_first_answers(tmp_path):
    mine, gallery = Store(tmp_path / "mine"), Store(tmp_path / "gallery")
    gallery.put(toy(1))
    gallery.put(toy(2, "shipped"))
    mine.put(Record(toy(1).job, {"loss": 7.0}))
    mine.put(toy(3))
    both = Overlay(mine, gallery)
    assert both.keys() == sorted({*mine.keys(), *gallery.keys()})
    assert both.get(toy(1).job).metrics == {"loss": 7.0}
    assert both.has(key(toy(2, "shipped").job))
    assert both.experiments() == ["shipped", "toy"]
    assert sorted(both.table("toy")["d"]) == [1, 3]
    assert str(both) == f"{mine.path} or {gallery.path}"
    with pytest.raises(ValueError, match="Overlay got no store"):
        Overlay()
