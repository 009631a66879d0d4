"""Whatever happens to a stored file, reading it is right or raises and names it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lab.runs import DamagedRecord, Job, Record, Store, key

JOB = Job("toy", {"d": 3, "text": "abc"})
FILES = ("manifest.json", "metrics.parquet", "curve.parquet", "arrays.safetensors")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("whole")
    curve = pd.DataFrame({"step": range(50), "loss": np.linspace(1, 0, 50)})
    Store(path).put(Record(JOB, {"loss": 0.5}, {"curve": curve}, {"phi": np.arange(20.0)}, {"seconds": 1.0}))
    return path


@pytest.fixture
def store(whole, tmp_path) -> Store:
    return Store(shutil.copytree(whole, tmp_path / "runs"))


def folder(store: Store) -> Path:
    return store.path / "toy" / key(JOB)[:2] / key(JOB)


def check_every_reader(store: Store, file: str, message: str) -> None:
    """Both readers name the file that was damaged."""
    named = rf"{file} {message}"
    with pytest.raises(DamagedRecord, match=named):
        store.get(JOB)
    table = "curve" if file == "curve.parquet" else "metrics"
    if file != "arrays.safetensors":
        with pytest.raises(DamagedRecord, match=named):
            store.table("toy", table)


@pytest.mark.parametrize("file", FILES)
def test_a_flipped_byte_is_found_wherever_it_is(store, file):
    path = folder(store) / file
    data = path.read_bytes()
    positions = np.random.default_rng(0).choice(len(data), size=min(40, len(data)), replace=False)
    for position in positions:
        changed = bytearray(data)
        changed[position] ^= 1 << (position % 8)
        path.write_bytes(changed)
        check_every_reader(store, file, "(was altered|cannot be read|has format)")
    path.write_bytes(data)
    assert store.get(JOB).metrics == {"loss": 0.5}


@pytest.mark.parametrize("file", FILES)
def test_a_truncated_file_is_found(store, file):
    path = folder(store) / file
    data = path.read_bytes()
    for length in (0, 1, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        check_every_reader(store, file, r"(has \d+ bytes, its manifest says \d+|cannot be read|was altered)")


def test_a_missing_file_is_named_with_the_remedy(store):
    (folder(store) / "curve.parquet").unlink()
    with pytest.raises(
        DamagedRecord, match=r"curve.parquet cannot be read .*delete the folder .* and run the job again"
    ):
        store.get(JOB)


@pytest.mark.parametrize("file", FILES[1:])
def test_without_verification_a_broken_format_is_still_named(store, file):
    path = folder(store) / file
    path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(DamagedRecord, match=f"{file} cannot be parsed"):
        store.get(JOB, verify=False)
    if file == "curve.parquet":
        with pytest.raises(DamagedRecord, match=r"curve.parquet cannot be parsed"):
            store.table("toy", "curve", verify=False)


def test_without_verification_pages_that_do_not_decompress_are_named(store):
    path = folder(store) / "curve.parquet"
    data = bytearray(path.read_bytes())
    data[30:300] = b"\xff" * 270  # inside the first column, past its header
    path.write_bytes(data)
    with pytest.raises(DamagedRecord, match=r"curve"):
        store.table("toy", "curve", verify=False)


def test_a_renamed_folder_is_noticed(store):
    elsewhere = store.path / "toy" / "00" / ("0" * 64)
    elsewhere.parent.mkdir()
    folder(store).rename(elsewhere)
    with pytest.raises(DamagedRecord, match=f"holds the job with key {key(JOB)}, not 0000.*: was the folder renamed"):
        store.get("0" * 64)


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"sha256": null}', "\xff", json.dumps({"format": 2})])
def test_a_manifest_that_is_something_else_is_refused(store, text):
    (folder(store) / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DamagedRecord, match=r"manifest.json (was altered|cannot be read)"):
        store.get(JOB)


def test_a_newer_format_is_named(store, monkeypatch):
    monkeypatch.setattr("lab.runs.folder.FORMAT", 0)
    with pytest.raises(DamagedRecord, match=r"manifest.json has format 1, this version reads 0; install the deltalab"):
        store.get(JOB)


def test_one_damaged_record_does_not_hide_its_neighbours(store):
    other = Job("toy", {"d": 4})
    store.put(Record(other, {"loss": 1.0}))
    (folder(store) / "metrics.parquet").write_bytes(b"")
    assert store.get(other).metrics == {"loss": 1.0}
    assert len(store.keys()) == 2
