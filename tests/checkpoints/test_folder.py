"""Folders of weights by their headers: buffers, counts, two files with one name, lies in the index."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lab.checkpoints.adapter_folder import read_adapter
from lab.checkpoints.error import CheckpointError
from lab.checkpoints.folder import INDEX, expanded, open_folder, weight_files
from lab.checkpoints.names import is_buffer
from lab.checkpoints.safetensors_file import Entry
from lab.checkpoints.sizes import check_sizes, check_total


def test_buffers_are_known_and_no_weights(tmp_path):
    names = (
        "embeddings.position_ids", "h.0.attn.bias", "h.0.attn.masked_bias", "layers.0.rotary_emb.inv_freq",
        "h.0.attn.attention.bias", "h.0.attn.attention.masked_bias", "h.0.attn.causal_mask", "rotary_emb.cos_cached",
    )  # fmt: skip
    save_file(
        {name: torch.ones(1, 2) for name in names} | {"a.weight": torch.ones(2, 2)}, tmp_path / "model.safetensors"
    )
    opened = open_folder(tmp_path)
    assert set(opened.buffers) == set(names)
    assert list(opened.entries) == list(opened.files) == ["a.weight"]
    assert opened.storage("a.weight") == "float32"


@pytest.mark.parametrize(
    "name",
    [
        "h.0.attn.c_attn.bias",
        "h.0.attn.attention.out_proj.bias",
        "layers.0.attention.dense.bias",
        "layers.0.attn.q.bias",
        "position_embeddings.weight",
    ],
)
def test_biases_are_weights(name):
    assert not is_buffer(name)


def test_an_adapter_is_no_model(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="holds an adapter, and no model: name its base first"):
        weight_files(tmp_path)


def test_a_folder_of_adapters_or_of_shards_alone_is_no_model(tmp_path):
    (tmp_path / "default").mkdir()
    (tmp_path / "default" / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"holds adapters in folders of its own, \['default'\]; name one"):
        weight_files(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"but adapters in folders of its own, \['default'\]; name one"):
        read_adapter(tmp_path)
    shards = tmp_path / "shards"
    shards.mkdir()
    (shards / "model-00001-of-00002.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"has \['model-00001.*'\] and neither model.safetensors nor"):
        weight_files(shards)


def test_codes_have_no_storage(tmp_path):
    save_file({"a": torch.ones(2, 2, dtype=torch.uint8)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model.safetensors: tensor 'a' is stored as U8, not as floating point"):
        open_folder(tmp_path).storage("a")


@pytest.mark.parametrize("config", ["[" * 900 + "]" * 900, "{", "3", "\xff"])
def test_a_config_that_is_none_is_refused(tmp_path, config):
    save_file({"a": torch.ones(2, 2)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes(config.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"config\.json"):
        open_folder(tmp_path)


@pytest.mark.parametrize("shard", ["../x", "/etc/passwd", "", None, 3, ["a"], "nowhere.safetensors", "é" * 300])
def test_shards_lie_in_the_folder(tmp_path, shard):
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"w": shard}}))
    with pytest.raises(CheckpointError, match=r"names the shard .*, which is not in"):
        weight_files(tmp_path)


WEIGHTS = {"layers.0.a": Entry("F32", (4, 8)), "layers.1.a": Entry("F32", (4, 8))}


def test_sizes_are_held_against_the_weights(tmp_path):
    check_sizes(tmp_path, {"num_hidden_layers": 2, "hidden_size": 8, "num_labels": 3, "n_inner": None}, WEIGHTS)
    for name, value, reason in (
        ("num_hidden_layers", 10**6, r"num_hidden_layers is 1,000,000, but the weights have blocks up to number 1"),
        ("num_labels", 10**6, r"num_labels is 1,000,000, but the weights have no dimension above 8"),
        ("num_labels", 0, r"num_labels is '0'; expected a whole number from 1 on"),
        ("vocab_size", True, r"vocab_size is 'True'; expected a whole number"),
    ):
        with pytest.raises(CheckpointError, match=reason):
            check_sizes(tmp_path, {name: value}, WEIGHTS)


def test_a_model_far_larger_than_its_weights_is_not_built(tmp_path):
    check_total(tmp_path, {"a": (4, 8), "head": (1000, 8)}, WEIGHTS)
    with pytest.raises(CheckpointError, match=r"'big' alone has shape \(1000000000, 8\)\), but the weights hold 64"):
        check_total(tmp_path, {"a": (4, 8), "big": (10**9, 8)}, WEIGHTS)


def test_a_name_that_no_file_can_have_is_no_path():
    assert expanded("a/" * 400) == Path("a/" * 400)
    with pytest.raises(CheckpointError, match=r"'éé.*… is no path: a name in it has 600 bytes, and a file's has 255"):
        expanded("é" * 300)
