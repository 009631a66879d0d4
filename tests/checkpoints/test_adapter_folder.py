from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from lab.checkpoints.adapter_folder import CONFIG, WEIGHTS, read_adapter, write_adapter

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2)}
LORA = {"peft_type": "LORA", "r": 2}


@pytest.fixture
def folder(tmp_path):
    return write_adapter(tmp_path / "adapter", LORA, TENSORS)


def test_what_is_written_is_read(folder):
    checkpoint = read_adapter(folder)
    assert checkpoint.config == LORA
    assert set(checkpoint.tensors) == {"a", "b"}
    assert all(torch.equal(checkpoint.tensors[k], TENSORS[k]) for k in TENSORS)
    assert [path.name for path in folder.parent.iterdir()] == ["adapter"]


def test_a_filled_folder_is_not_overwritten(folder):
    before = (folder / WEIGHTS).read_bytes()
    with pytest.raises(FileExistsError, match="exists already; remove it or choose another folder"):
        write_adapter(folder, LORA, {"a": torch.zeros(1)})
    assert (folder / WEIGHTS).read_bytes() == before


def test_an_empty_folder_may_be_there(tmp_path):
    (tmp_path / "adapter").mkdir()
    assert read_adapter(write_adapter(tmp_path / "adapter", LORA, TENSORS)).config == LORA


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_neither_written_nor_read(tmp_path, bad):
    tensors = {**TENSORS, "a": TENSORS["a"].clone()}
    tensors["a"][1, 2] = bad
    with pytest.raises(ValueError, match=rf"{WEIGHTS}: tensor 'a' holds {bad} at index \(1, 2\)"):
        write_adapter(tmp_path / "adapter", LORA, tensors)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / CONFIG).write_text(json.dumps(LORA))
    save_file(tensors, tmp_path / WEIGHTS)
    with pytest.raises(ValueError, match=rf"{WEIGHTS}: tensor 'a' holds {bad} at index \(1, 2\)"):
        read_adapter(tmp_path)


def test_a_failure_while_writing_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr("lab.checkpoints.adapter_folder.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        write_adapter(tmp_path / "adapter", LORA, TENSORS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"has no {name}; pickled adapters"):
        read_adapter(folder)


def test_what_is_nowhere_is_said(monkeypatch):
    def offline(*_args, **_kwargs):
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(FileNotFoundError, match="'someone/adapter' is neither a folder nor an adapter"):
        read_adapter("someone/adapter")


def test_a_hub_id_is_downloaded_without_pickles(folder, monkeypatch):
    asked = {}

    def download(name, allow_patterns):
        asked[name] = allow_patterns
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert read_adapter("someone/adapter").config == LORA
    assert asked == {"someone/adapter": [CONFIG, WEIGHTS]}


@pytest.mark.parametrize("text", ["{", "\x00", '"LORA"', "{}", '{"peft_type": 3}'])
def test_a_configuration_that_is_none_is_refused(folder, text):
    (folder / CONFIG).write_text(text)
    with pytest.raises(ValueError, match=CONFIG):
        read_adapter(folder)


@pytest.mark.parametrize("cut", [0, 7, 100])
def test_a_cut_or_garbled_weight_file_is_refused(folder, cut):
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:cut])
    with pytest.raises(ValueError, match=f"{WEIGHTS} is damaged or no safetensors file"):
        read_adapter(folder)
    (folder / WEIGHTS).write_bytes(b"\xff" * 40 + content)
    with pytest.raises(ValueError, match=f"{WEIGHTS} is damaged or no safetensors file"):
        read_adapter(folder)


def test_keys_and_shapes_must_be_exactly_the_expected_ones(folder):
    checkpoint = read_adapter(folder)
    checkpoint.require({"a": (2, 3), "b": (2,)})
    with pytest.raises(ValueError, match=r"1 tensors missing \(e\.g\. \['c'\]\), 1 unexpected \(e\.g\. \['b'\]\)"):
        checkpoint.require({"a": (2, 3), "c": (2,)})
    with pytest.raises(ValueError, match=r"tensor 'a' has shape \(2, 3\); expected \(3, 2\)"):
        checkpoint.require({"a": (3, 2), "b": (2,)})


def test_a_whole_model_is_no_adapter(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"has no adapter_config\.json; it holds a whole model, which load_plm"):
        read_adapter(tmp_path)
