"""Files of every kind that deltalab reads, mutated by a seed: read, or refused in a sentence that names the file.

No other error, no more than ten seconds of a processor, no more than two gigabytes. What is *accepted* is compared with
what transformers and peft read in tests/models/test_hostile_configurations.py, tests/deltas/test_hostile_adapters.py,
and tests/geometry/test_hostile_files.py.
"""

from __future__ import annotations

import json
import re
import resource
import shutil
import signal
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from lab.checkpoints import CheckpointError, open_folder
from lab.checkpoints.gguf_file import check_gguf
from lab.deltas import LoRA, load_adapter, save_adapter
from lab.geometry import adapter_changes, folder_changes
from lab.models import load_plm
from lab.models.tiny import tiny_plm
from lab.runs import Job, Record, Store, StoreError
from lab.tasks import load_task

SECONDS, BYTES = 10, 2 << 30
FEW, MANY = 28, 460
"""Mutants of each reader: 11 readers make 308 in ``make test``, and 5,060 under ``slow``."""

JSON_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 7, 10**6, 10**9, 10**30, 2.5, -0.0, float("nan"), float("inf"), "", "8", "x", "\0",
    "\ud800", "é" * 300, "$x$", "{mask}", "{{mask}}", "[/bold]", "(a+)+$", "(", ".*" * 30, "../../etc/passwd",
    "~nobody/x",
    "BOOL", "F8_E4M3", "I64", "BF16", [], [1], [-1, 10**12], ["x", "x"], {}, {"x": 1}, {"(": 2},
)  # fmt: skip
NEST = "a nest of 900"


# mutators: content -> content


def of_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """A cut, changed bits, bytes lost, doubled or put in, a length that lies."""
    at = int(rng.integers(max(1, len(content))))
    kind = int(rng.integers(8))
    if kind == 0:
        return content[:at]
    if kind in (1, 2):
        changed = bytearray(content)
        for _ in range(1 if kind == 1 else 20):
            if changed:
                changed[int(rng.integers(min(len(changed), 400 if rng.integers(2) else len(changed))))] ^= 1 << int(
                    rng.integers(8)
                )
        return bytes(changed)
    if kind == 3:
        return content[:at] + content[at + int(rng.integers(1, 40)) :]
    if kind == 4:
        return content[:at] + rng.bytes(int(rng.integers(1, 40))) + content[at:]
    if kind == 5:
        return content[:at] + content[at : at + 64] * 3 + content[at:]
    if kind == 6:
        lie = struct.pack("<Q", int(rng.choice([0, 1, 2**31, 2**40, 2**63])))
        at = int(rng.integers(max(1, min(len(content), 200))))
        return content[:at] + lie + content[at + 8 :]
    return b""


def of_json(content: bytes, rng: np.random.Generator) -> bytes:
    """One or two entries, at any depth, with another value, without it, or under another name; or a nest of 900."""
    if not rng.integers(6):
        return of_bytes(content, rng)
    try:
        whole = json.loads(content)
    except ValueError:
        return of_bytes(content, rng)
    for _ in range(int(rng.integers(1, 3))):
        holder, name = _entry(whole, rng)
        if holder is None:
            break
        kind = int(rng.integers(10))
        if kind == 0 and isinstance(holder, dict):
            del holder[name]
        elif kind == 1 and isinstance(holder, dict):
            holder[str(name) + "x"] = holder.pop(name)
        elif kind == 2:
            holder[name] = NEST  # written as text: json itself cannot write two of them in one another
        else:
            holder[name] = JSON_VALUES[int(rng.integers(len(JSON_VALUES)))]
    written = json.dumps(whole)
    while f'"{NEST}"' in written:
        opened = ["[" if rng.integers(2) else '{"x":' for _ in range(900)]
        closed = ["]" if left == "[" else "}" for left in reversed(opened)]
        written = written.replace(f'"{NEST}"', "".join([*opened, "0", *closed]), 1)
    return written.encode("utf-8", "surrogatepass")


def of_header(content: bytes, rng: np.random.Generator) -> bytes:
    """Of safetensors: the JSON header in half of the mutants, with a length that fits."""
    if rng.integers(2) or len(content) < 8:
        return of_bytes(content, rng)
    (length,) = struct.unpack("<Q", content[:8])
    header = of_json(content[8 : 8 + length], rng)
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def of_text(content: bytes, rng: np.random.Generator) -> bytes:
    """Of tables and lines of JSON: a line lost, doubled, shuffled, torn apart or very long, marks put in."""
    if not rng.integers(4):
        return of_bytes(content, rng)
    lines = content.split(b"\n")
    i = int(rng.integers(len(lines)))
    kind = int(rng.integers(8))
    if kind == 0:
        del lines[i]
    elif kind == 1:
        lines.insert(i, lines[i])
    elif kind == 2:
        rng.shuffle(lines)
    elif kind == 3:
        at = int(rng.integers(len(lines[i]) + 1))
        lines[i] = lines[i][:at] + b"\n" + lines[i][at:]
    elif kind == 4:
        lines[i] = lines[i][:5] + b"a long line " * 90_000 + lines[i][5:]
    elif kind == 5 and lines[i].startswith(b"{"):
        lines[i] = of_json(lines[i], rng)
    else:
        marks = [b'"', b"'", b",", b";", b"\t", b"|", b"\0", b"\r", b"\xff", b"\xed\xa0\x80", b"=1+1", b"{mask}", b"\\"]
        at = int(rng.integers(len(lines[i]) + 1))
        lines[i] = lines[i][:at] + marks[int(rng.integers(len(marks)))] * int(rng.integers(1, 3)) + lines[i][at:]
    return b"\n".join(lines)


def _entry(whole: Any, rng: np.random.Generator) -> tuple[Any, Any]:
    """A holder and the place in it of one value, any with the same chance."""
    found = []
    level = [whole]
    while level:
        holder = level.pop()
        names = list(holder) if isinstance(holder, dict) else list(range(min(len(holder), 30)))
        found += [(holder, name) for name in names]
        level += [holder[name] for name in names if isinstance(holder[name], (dict, list))]
    return found[int(rng.integers(len(found)))] if found else (None, None)


# readers


@dataclass(frozen=True)
class Reader:
    """How something is read, and how its files are changed.

    Attributes:
        make: writes what is read into a folder.
        files: those that are changed, with how.
        read: raises nothing but `refusals`.
        refusals: the errors that are sentences for a user.
        named: what each of them names, a regular expression.
    """

    make: Callable[[Path], None]
    files: dict[str, Callable[[bytes, np.random.Generator], bytes]]
    read: Callable[[Path], object]
    refusals: tuple[type[Exception], ...] = (CheckpointError,)
    named: str = "/x(/|\\b)"


JOB = Job("toy", {"d": 3, "text": "abc"})
LLAMA = tiny_plm("llama", dtype=torch.float32)
BERT = tiny_plm("bert", dtype=torch.float32)


def make_model(plm: Any, shards: bool = False) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        plm.model.save_pretrained(folder, **({"max_shard_size": "20KB"} if shards else {}))
        plm.tokenizer.save_pretrained(folder)

    return make


def make_adapter(folder: Path) -> None:
    delta = LoRA(rank=2, alpha=3.0).on(BERT, seed=0)
    save_adapter(delta, delta.phi0 + 0.01, folder)


def make_record(folder: Path) -> None:
    curve = pd.DataFrame({"step": range(50), "loss": np.linspace(1, 0, 50)})
    Store(folder / "runs").put(Record(JOB, {"loss": 0.5}, {"curve": curve}, {"phi": np.arange(20.0)}, {"seconds": 1.0}))
    (place,) = (folder / "runs" / "toy").glob("*/*")
    for file in place.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())


def read_record(folder: Path) -> object:
    store = Store(folder / "runs")
    (place,) = (folder / "runs" / "toy").glob("*/*")
    for file in place.iterdir():
        file.write_bytes((folder / file.name).read_bytes())
    list(store.manifests(damaged={}))  # what a list does: the others go on
    return store.get(JOB)


def make_gguf(folder: Path) -> None:
    from gguf import GGMLQuantizationType, GGUFWriter

    writer = GGUFWriter(folder / "x.gguf", "llama")
    writer.add_uint32("llama.block_count", 2)
    writer.add_array("tokenizer.ggml.tokens", ["a", "b", "c"])
    writer.add_tensor("a.weight", np.ones((4, 32), np.float32))
    writer.add_tensor("b.weight", np.zeros((4, 20), np.uint8), raw_dtype=GGMLQuantizationType.Q4_1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


ROWS = [{"sentence": f"text {i} of some", "label": ("good", "bad")[i % 2]} for i in range(24)]


def make_task(name: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        file = folder / name
        if file.suffix == ".parquet":
            pd.DataFrame(ROWS).to_parquet(file)
        elif file.suffix == ".json":
            file.write_text(json.dumps(ROWS))
        elif file.suffix == ".jsonl":
            file.write_text("\n".join(map(json.dumps, ROWS)))
        else:
            mark = "," if file.suffix == ".csv" else "\t"
            lines = [f'"{row["sentence"]}"{mark}{row["label"]}' for row in ROWS]
            file.write_text("\n".join([f"sentence{mark}label", *lines]))

    return make


def task(name: str, how: Callable[[bytes, np.random.Generator], bytes]) -> Reader:
    def read(folder: Path) -> object:
        return load_task(folder / name).encode(BERT, max_length=16)

    return Reader(make_task(name), {name: how}, read, (ValueError,), rf"\b{name}\b|^x[: ]")


def read_plm(folder: Path) -> object:
    plm = load_plm(folder)
    if plm.tokenizer is not None:
        plm.tokenizer("a film about {mask}")
    return plm


READERS = {
    "weights": Reader(make_model(BERT), {"model.safetensors": of_header}, lambda f: folder_changes(f, f)),
    "shards": Reader(make_model(LLAMA, True), {"model.safetensors.index.json": of_json}, open_folder),
    "configurations": Reader(make_model(LLAMA), {"config.json": of_json}, read_plm),
    "tokenizers": Reader(
        make_model(BERT), {"tokenizer.json": of_json, "tokenizer_config.json": of_json}, read_plm
    ),
    "adapters": Reader(
        make_adapter,
        {"adapter_config.json": of_json, "adapter_model.safetensors": of_header},
        lambda f: (load_adapter(BERT, f), list(adapter_changes(f))),
    ),
    "gguf": Reader(make_gguf, {"x.gguf": of_bytes}, lambda f: check_gguf(f / "x.gguf")),
    "records": Reader(
        make_record,
        {
            "manifest.json": of_json, "metrics.parquet": of_bytes, "curve.parquet": of_bytes,
            "arrays.safetensors": of_header,
        },
        read_record,
        (StoreError,),
        "toy|/x/",
    ),
    "tables": task("x.csv", of_text),
    "lines of JSON": task("x.jsonl", of_text),
    "arrays of JSON": task("x.json", of_json),
    "parquet": task("x.parquet", of_bytes),
}  # fmt: skip


@contextmanager
def bounded(what: str) -> Iterator[None]:
    """No more than `SECONDS` of a processor, and `BYTES` beyond what the process had at its most before."""

    def late(*_: object) -> None:
        raise TimeoutError(f"{what}: more than {SECONDS} seconds")

    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    old = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old)
    assert time.process_time() - start < SECONDS, what
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < BYTES, what


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Callable[[str], Path]:
    """The folder of a reader's files, unchanged."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name.replace(" ", "-"))
            READERS[name].make(made[name])
        return made[name]

    return folder


@pytest.mark.parametrize("name", READERS)
def test_what_is_whole_is_read(name, whole, tmp_path):
    folder = shutil.copytree(whole(name), tmp_path / "x")
    READERS[name].read(folder)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("n", [FEW, pytest.param(MANY, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_mutants_are_read_or_refused_in_a_sentence(name, n, whole, tmp_path):
    reader = READERS[name]
    folder = shutil.copytree(whole(name), tmp_path / "x")
    read, refusals, wrong = 0, [], []
    for seed in range(n):
        rng = np.random.default_rng([list(READERS).index(name), seed])
        file, how = list(reader.files.items())[int(rng.integers(len(reader.files)))]
        content = (whole(name) / file).read_bytes()
        (folder / file).write_bytes(how(content, rng))
        try:
            with bounded(f"{name} {seed}"):
                reader.read(folder)
            read += 1
        except reader.refusals as error:
            refusals.append(str(error))
        except Exception as error:
            wrong.append(f"{seed}, {file}: {type(error).__name__}: {str(error)[:300]}")
        finally:
            (folder / file).write_bytes(content)
    assert not wrong, "\n".join(wrong)
    assert [message for message in refusals if not re.search(reader.named, message)] == []
    assert max(map(len, refusals)) < 3000
    assert len(refusals) > n // 10
