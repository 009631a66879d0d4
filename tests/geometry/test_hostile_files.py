"""300 mutated safetensors, as base, tuned model and adapter: refused in a sentence, or the very numbers they hold.

What a file holds is said by a reader of its own, written here from the format's description: eight bytes of header
length, a JSON header, the data. Two outcomes are right: an error of ours that names the file, or differences equal to
those of this reader.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lab.deltas import LoRA, save_adapter
from lab.geometry import changes_between
from lab.linalg import LowRank
from lab.models.tiny import tiny_plm

N = 300
QUERY, VALUE = (f"encoder.layer.0.attention.self.{role}.weight" for role in ("query", "value"))
_FORMATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}


def read(content: bytes) -> dict[str, np.ndarray]:
    """Name -> float64 array, straight from the bytes."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    data = content[8 + length :]
    arrays = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        if entry["dtype"] == "BF16":
            array = (np.frombuffer(data[begin:end], "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            array = np.frombuffer(data[begin:end], _FORMATS[entry["dtype"]])
        arrays[name] = array.astype(np.float64).reshape(entry["shape"])
    return arrays


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """One mutation of a random kind."""
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), bytearray(content[8 + length :])
    names = [name for name in header if name != "__metadata__"]
    name, other = (str(x) for x in rng.choice(names, 2, replace=False))
    kind = int(rng.integers(14))
    if kind == 0:  # cut anywhere
        return content[: int(rng.integers(len(content)))]
    if kind == 1:  # one byte of the header
        return _flipped(content, int(rng.integers(8, 8 + length)), rng)
    if kind == 2:  # the header's length
        return _flipped(content, int(rng.integers(8)), rng)
    if kind == 3:  # one byte of the data: another number, perhaps none
        return _flipped(content, int(rng.integers(8 + length, len(content))), rng)
    if kind == 4:  # a number that is none
        bad = np.array([rng.choice([np.nan, np.inf, -np.inf])], "<f4").tobytes()
        at = 4 * int(rng.integers(len(data) // 4))
        data[at : at + 4] = bad
    elif kind == 5:
        header[name]["dtype"] = str(rng.choice(["F16", "BF16", "F64", "I8", "U8", "F8_E4M3", "X", "BOOL"]))
    elif kind == 6:
        header[name]["shape"] = [int(n) for n in rng.integers(0, 12, int(rng.integers(1, 4)))]
    elif kind == 7:
        header[name]["shape"] = header[name]["shape"][::-1]
    elif kind == 8:
        header[name]["data_offsets"] = [int(n) for n in rng.integers(0, 2 * len(data), 2)]
    elif kind == 9:
        header[name]["data_offsets"] = header[other]["data_offsets"]
    elif kind == 10:
        header[name + str(rng.choice(["x", ".", "", "\u0000", "é"]))] = header.pop(name)
    elif kind == 11:
        del header[name]
    elif kind == 12:
        header[name] = json.loads(str(rng.choice(["[]", "{}", "1", "null", '{"dtype": "F32"}', "[[[[[[[[1]]]]]]]]"])))
    else:
        return bytes(data[: int(rng.integers(40))])
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(data)


def _flipped(content: bytes, at: int, rng: np.random.Generator) -> bytes:
    return content[:at] + bytes([content[at] ^ int(rng.integers(1, 256))]) + content[at + 1 :]


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """A base, a tuned model, and an adapter of a tiny BERT."""
    root = tmp_path_factory.mktemp("good")
    generator = torch.Generator().manual_seed(0)
    for file in ("base", "tuned"):
        tensors = {name: torch.randn(6, 8, generator=generator) for name in (QUERY, VALUE)}
        tensors["encoder.layer.0.attention.self.query.bias"] = torch.randn(6, generator=generator)
        save_file(tensors, root / f"{file}.safetensors")
    delta = LoRA(rank=2, alpha=3.0, head="frozen").on(tiny_plm("bert"), seed=0)
    save_adapter(delta, torch.randn(delta.size, generator=generator, dtype=torch.float64).float(), root / "adapter")
    return root


def dense(difference) -> np.ndarray:
    return (difference.to_dense() if isinstance(difference, LowRank) else difference).double().numpy()


def expected(base: bytes, tuned: bytes) -> dict[str, np.ndarray]:
    before, after = read(base), read(tuned)
    return {name: after[name] - before[name] for name in after if after[name].ndim == 2}


def expected_of_adapter(tensors: bytes) -> dict[str, np.ndarray]:
    arrays = read(tensors)
    modules = {key.removesuffix(".lora_A.weight") for key in arrays if key.endswith(".lora_A.weight")}
    return {
        f"{module.removeprefix('base_model.model.')}.weight": 1.5
        * arrays[f"{module}.lora_B.weight"]
        @ arrays[f"{module}.lora_A.weight"]
        for module in modules
    }


@pytest.mark.parametrize("target", ["base", "tuned", "adapter"])
def test_every_mutation_is_refused_by_name_or_read_right(target, good, tmp_path):
    rng = np.random.default_rng(["base", "tuned", "adapter"].index(target))
    files = {name: (good / f"{name}.safetensors").read_bytes() for name in ("base", "tuned")}
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_bytes((good / "adapter" / "adapter_config.json").read_bytes())
    weights = (good / "adapter" / "adapter_model.safetensors").read_bytes()
    refused = accepted = 0
    nameless: list[str] = []
    for _ in range(N // 3):
        if target == "adapter":
            bad = mutated(weights, rng)
            where = adapter / "adapter_model.safetensors"
            arguments = (None, adapter)
        else:
            bad = mutated(files[target], rng)
            where = tmp_path / f"bad {target}.safetensors"
            whole = good / f"{'tuned' if target == 'base' else 'base'}.safetensors"
            arguments = (where, whole) if target == "base" else (whole, where)
        where.write_bytes(bad)
        try:
            found = {change.name: dense(change.difference) for change in changes_between(*arguments)}
        except ValueError as error:  # CheckpointError is one; anything else is a crash
            refused += 1
            nameless += [] if where.name in str(error) or where.parent.name in str(error) else [str(error)]
            continue
        truth = expected_of_adapter(bad) if target == "adapter" else expected(**(files | {target: bad}))
        assert found.keys() == truth.keys()
        for name, difference in found.items():
            np.testing.assert_allclose(difference, truth[name], rtol=1e-6, atol=1e-7)
        accepted += 1
    assert nameless == []
    assert refused + accepted == N // 3
    assert refused > 60
    assert accepted > 3  # some mutations leave a file that means something: another number, another order


def test_every_mutated_configuration_is_refused_by_name_or_read_right(good, tmp_path):
    """Each option replaced by values of every type: an error that names the file, or the same spectra but for s."""
    config = json.loads((good / "adapter" / "adapter_config.json").read_text())
    weights = (good / "adapter" / "adapter_model.safetensors").read_bytes()
    truth = expected_of_adapter(weights)
    values = [None, True, False, 0, 1, -1, 2.5, 1e999, 10**400, "", "8", "(", "(a+)+$", [], [1], ["x"], {}, {"(": 2},
              {"x": None}, {"query": 3}, {"query": "a"}]  # fmt: skip
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").write_bytes(weights)
    accepted = 0
    refusals = []
    for field in ("peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora",
                  "target_modules", "fan_in_fan_out", "init_lora_weights", "exclude_modules"):  # fmt: skip
        for value in values:
            (adapter / "adapter_config.json").write_text(json.dumps(config | {field: value}))
            try:
                found = {change.name: dense(change.difference) for change in changes_between(None, adapter)}
            except ValueError as error:
                refusals.append(str(error))
                continue
            accepted += 1
            assert found.keys() == truth.keys()
            for name, difference in found.items():
                both = np.linalg.norm(difference) * np.linalg.norm(truth[name])
                assert abs(np.vdot(difference, truth[name])) == pytest.approx(both)  # parallel
    assert [message for message in refusals if str(adapter) not in message] == []
    assert len(refusals) > 150
    assert accepted > 20
