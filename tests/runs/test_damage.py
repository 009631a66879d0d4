"""Whatever happens to a stored file, reading it is right or raises and names it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lab.runs import Damaged, DamagedRecord, Job, Record, Store, key, table_with

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
    monkeypatch.setattr("lab.runs.manifest.FORMAT", 0)
    with pytest.raises(DamagedRecord, match=r"manifest.json has format 1, this version reads 0; install the deltalab"):
        store.get(JOB)


def rewritten(store: Store, text: str) -> None:
    """Another text in the place of the manifest."""
    (folder(store) / "manifest.json").write_text(text)


def manifest_with(store: Store, **entries: object) -> str:
    """The manifest with other entries, its sha256 as it should be; an entry that is ... is left out."""
    body = json.loads((folder(store) / "manifest.json").read_text()) | entries
    del body["sha256"]
    body = {name: value for name, value in body.items() if value is not ...}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return json.dumps({**body, "sha256": hashlib.sha256(text.encode()).hexdigest()})


GOOD_FILE = {"sha256": "0" * 64, "bytes": 3}
NONSENSE: list[dict[str, object]] = [
    *({name: ...} for name in ("format", "experiment", "config", "files", "provenance")),
    *({name: value} for name in ("format", "experiment", "config", "files", "provenance") for value in (None, 3, [1])),
    {"experiment": "../elsewhere"},
    {"config": {"lr": float("nan")}},
    {"config": {"a.b": 1, "a": {"b": 2}}},
    {"files": {}},
    {"files": {"curve.parquet": GOOD_FILE}},
    {"files": {"metrics.parquet": None}},
    {"files": {"metrics.parquet": {"sha256": "0" * 64}}},
    {"files": {"metrics.parquet": {"sha256": 5, "bytes": 3}}},
    {"files": {"metrics.parquet": {"sha256": "0" * 64, "bytes": "3"}}},
    {"files": {"metrics.parquet": {"sha256": "0" * 64, "bytes": True}}},
    {"files": {"metrics.parquet": GOOD_FILE, "../curve.parquet": GOOD_FILE}},
    *({"provenance": {"seconds": value}} for value in ("abc", True, [1.0], float("inf"))),
    *({"provenance": {name: 5}} for name in ("started", "ended", "device", "command")),
]


@pytest.mark.parametrize("entries", NONSENSE, ids=lambda entries: json.dumps(entries, default=lambda _: "absent")[:60])
def test_a_manifest_with_nonsense_in_it_is_damage_whatever_its_sha256_says(store, entries):
    rewritten(store, manifest_with(store, **entries))
    with pytest.raises(DamagedRecord, match=r"manifest\.json"):
        store.get(JOB)


@pytest.mark.parametrize("opened", ["[", '{"a":'])
@pytest.mark.parametrize("depth", [900, 100_000])
def test_a_deeply_nested_manifest_is_damage(store, opened, depth):
    rewritten(store, opened * depth + "0" + {"[": "]", '{"a":': "}"}[opened] * depth)
    with pytest.raises(DamagedRecord, match=r"manifest\.json"):
        store.get(JOB)


def test_a_deeply_nested_config_is_damage(store):
    config: dict[str, object] = {}
    for _ in range(400):
        config = {"a": config}
    rewritten(store, manifest_with(store, config=config))
    with pytest.raises(DamagedRecord, match=r"manifest\.json"):
        store.get(JOB)


def test_whole_files_that_hold_no_record_are_damage(store):
    data = (folder(store) / "curve.parquet").read_bytes()  # 50 rows without a key
    (folder(store) / "metrics.parquet").write_bytes(data)
    entry = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    rewritten(store, manifest_with(store, files={"metrics.parquet": entry}))
    with pytest.raises(DamagedRecord, match="holds no record"):
        store.get(JOB)


@pytest.mark.parametrize("broken", ["manifest", "metrics", "curve"])
def test_the_others_are_read_and_what_is_damaged_is_collected(store, broken):
    other = Job("toy", {"d": 4, "text": "abc"})
    curve = pd.DataFrame({"step": [0, 1], "loss": [2.0, 1.0]})
    store.put(Record(other, {"loss": 1.0}, {"curve": curve}, provenance={"seconds": 2.0}))
    if broken == "manifest":
        rewritten(store, manifest_with(store, files=None))
    else:
        (folder(store) / f"{broken}.parquet").write_bytes(b"PAR1")
    readers = {
        "manifests": lambda damaged: [m.job for m in store.manifests(damaged=damaged)],
        "records": lambda damaged: [record.job for record in store.records("toy", damaged=damaged)],
        "table": lambda damaged: store.table("toy", "curve", damaged=damaged).loss.to_list(),
        "search": lambda damaged: table_with(store, ["step"], name="curve", damaged=damaged)[1].loss.to_list(),
    }
    for name, read in readers.items():
        damaged: Damaged = {}
        found = read(damaged)
        if name == "manifests" and broken != "manifest":
            assert len(found) == 2
            assert not damaged
            continue
        assert found == ([2.0, 1.0] if name in ("table", "search") else [other])
        assert list(damaged) == [key(JOB)]
        assert f"{broken}." in str(damaged[key(JOB)])
    with pytest.raises(DamagedRecord):
        list(store.records())


def test_one_damaged_record_does_not_hide_its_neighbours(store):
    other = Job("toy", {"d": 4})
    store.put(Record(other, {"loss": 1.0}))
    (folder(store) / "metrics.parquet").write_bytes(b"")
    assert store.get(other).metrics == {"loss": 1.0}
    assert len(store.keys()) == 2
