"""Entries of adapter_config.json of every peft type: refused by name in milliseconds, or left to mean what they say."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lab.checkpoints import CONFIG, WEIGHTS, CheckpointError, read_adapter
from lab.checkpoints.adapter_options import FLAGS, MODULES, NUMBERS, SIZES, check_options
from lab.checkpoints.safetensors_file import Entry

FILE = Path("folder/adapter_config.json")
HEADER = {"a": Entry("F32", (2, 4096))}
CATASTROPHES = ("(a+)+$", "(.*a){20}", "(x+x+)+y", "(a|aa)+$", "a?" * 30 + "a" * 30, ".*" * 20 + "z", "(", "[")
TYPES = ("LORA", "ADALORA", "LOHA", "LOKR", "IA3", "OFT", "VERA", "FOURIERFT", "BOFT", "HRA", "VBLORA", "LN_TUNING")


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("pattern", CATASTROPHES)
def test_catastrophic_patterns_are_refused_for_every_type(kind, pattern):
    start = time.perf_counter()
    for entry in (*MODULES, "layers_pattern", "modules_to_save"):
        value = [pattern] if entry == "modules_to_save" else pattern
        with pytest.raises(CheckpointError, match=rf"folder/adapter_config.json: {entry} is .*; expected "):
            check_options(FILE, {"peft_type": kind, entry: value}, HEADER)
    for entry in ("rank_pattern", "alpha_pattern"):
        with pytest.raises(CheckpointError, match=rf"adapter_config.json: {entry} is .*; expected "):
            check_options(FILE, {"peft_type": kind, entry: {pattern: 2}}, HEADER)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    ("kind", "entry"), [("OSF", "rank_pattern"), ("FOURIERFT", "n_frequency_pattern"), ("C3A", "block_size_pattern")]
)
def test_patterns_that_peft_itself_matches_are_light(kind, entry):
    check_options(FILE, {"peft_type": kind, entry: {r"layers\.\d+\.q": 2}}, HEADER)
    with pytest.raises(CheckpointError, match=rf"{entry} is .*at most two repetitions: peft itself matches this one"):
        check_options(FILE, {"peft_type": kind, entry: {".*.*.*x": 2}}, HEADER)


HOSTILE = {
    "peft_type": (None, 3, ["LORA"]),
    "r": (0, -1, "2", 4.9, True, [2], 10**6, 10**9, None),
    "lora_alpha": (None, "8", float("nan"), float("inf"), 10**400, True, [1]),
    "rank_pattern": ([1], "query", {"query": 0}, {"query": "2"}, {"query": 10**6}, {"query": None}, {"query": True}),
    "alpha_pattern": ([1], {"query": None}, {"query": float("nan")}, {"query": "1"}),
    "layers_to_transform": ("1", [1.5], -1, True),
    "target_modules": (3, [1], {"q": 1}, [""]),
    **dict.fromkeys(FLAGS, ("false", 2, [], 1)),
    **dict.fromkeys(SIZES, ("3", 2.5, True, 10**9)),
    **dict.fromkeys(NUMBERS, ("3", float("nan"), [1])),
}


@pytest.mark.parametrize(("entry", "value"), [(e, v) for e, values in HOSTILE.items() for v in values])
def test_what_means_nothing_is_refused_by_name(entry, value):
    if isinstance(value, bool) and entry in FLAGS:
        return
    with pytest.raises(CheckpointError, match=rf'adapter_config.json(: | is no peft configuration: its "){entry}'):
        check_options(FILE, {"peft_type": "LORA"} | {entry: value}, HEADER)


def test_what_peft_writes_is_accepted():
    peft = pytest.importorskip("peft")
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    refused = {}
    for kind, config_class in PEFT_TYPE_TO_CONFIG_MAPPING.items():
        needed = {"hidden_size": 16, "adapters": {"a": "b"}} if kind == peft.PeftType.XLORA else {}
        needed |= {"task_type": "CAUSAL_LM"} if kind == peft.PeftType.CPT else {}
        needed |= {"oft_block_size": 4} if kind == peft.PeftType.OFT else {}
        try:
            written = json.loads(json.dumps(config_class(**needed).to_dict(), default=list))
        except (TypeError, ValueError):
            continue
        try:
            check_options(FILE, written, HEADER)
        except CheckpointError as error:
            refused[str(kind)] = str(error)
    assert refused == {}


def test_the_reader_asks_before_it_reads_a_tensor(tmp_path):
    save_file({"x": torch.full((3,), float("nan"))}, tmp_path / WEIGHTS)
    (tmp_path / CONFIG).write_text(json.dumps({"peft_type": "LOHA", "r": 10**9}))
    with pytest.raises(CheckpointError, match=r"adapter_config.json: r is '1000000000' .*at most 3, the longest dim"):
        read_adapter(tmp_path)


@pytest.mark.parametrize(
    "text", ["[" * 900 + "]" * 900, '{"a":' * 99999 + "1" + "}" * 99999, '{"a": [' * 70 + "]}" * 70]
)
def test_nested_json_is_refused(tmp_path, text):
    save_file({"x": torch.ones(3)}, tmp_path / WEIGHTS)
    (tmp_path / CONFIG).write_text(text)
    with pytest.raises(CheckpointError, match=r"adapter_config.json (is nested|holds no JSON object)"):
        read_adapter(tmp_path)
