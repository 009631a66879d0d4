"""What a person names becomes weight changes: adapters, models, files, packaged names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lab.checkpoints import CheckpointError
from lab.deltas import LoRA, save_adapter
from lab.geometry import change_spectra, changes_between, open_weights
from lab.models import folders
from lab.models.tiny import tiny_plm

PLM = tiny_plm("bert")


@pytest.fixture
def base(tmp_path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    tensors = {name: p.detach().float().contiguous() for name, p in PLM.parameters.items()}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    return folder


@pytest.fixture
def adapter(tmp_path) -> Path:
    delta = LoRA(rank=2).on(PLM, seed=0)
    phi = torch.randn(delta.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return save_adapter(delta, phi, tmp_path / "adapter")


def test_an_adapter_is_told_from_a_model(base, adapter):
    assert {change.factor_rank for change in changes_between(base, adapter)} == {2}
    assert all(change.base is None for change in changes_between(None, adapter))
    assert {change.factor_rank for change in changes_between(base, base / "model.safetensors")} == {None}


@pytest.mark.parametrize("file", ["adapter_model.safetensors", "adapter_config.json"])
def test_a_file_of_an_adapter_stands_for_its_folder(base, adapter, file):
    of_folder, of_file = changes_between(base, adapter), changes_between(base, adapter / file)
    assert [change.name for change in of_file] == [change.name for change in of_folder]
    for one, other in zip(of_file, of_folder, strict=True):
        assert torch.equal(one.difference.to_dense(), other.difference.to_dense())


def test_a_file_that_is_no_safetensors_file_is_named(base):
    with pytest.raises(CheckpointError, match=r"config.json is no safetensors file .*give a .safetensors file, or the"):
        changes_between(base, base / "config.json")


def test_what_is_missing_is_named(base, adapter):
    with pytest.raises(CheckpointError, match="is no adapter: a tuned model needs the base"):
        changes_between(None, base)
    (adapter / "adapter_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"holds adapter_model.safetensors but no adapter_config.json: α and r"):
        changes_between(base, adapter)


def test_a_packaged_base_that_was_quantised_is_said_to_be(base, adapter, monkeypatch):
    monkeypatch.setattr(folders, "model_folder", lambda choice: base)
    assert open_weights("smollm2").rounded == "Q4_1"
    assert open_weights("minilm").rounded == ""
    assert "dequantised from Q4_1" in changes_between("smollm2", base).note
    assert "dequantised from Q4_1" in change_spectra(changes_between("smollm2", adapter)).note
    assert changes_between("minilm", base).note == ""


def test_a_quantised_base_gives_no_relative_norm(base, adapter):
    (base / "config.json").write_text(json.dumps({"quantization_config": {"quant_method": "fp8"}}))
    spectra = change_spectra(changes_between(base, adapter))
    assert spectra.note == "the base is quantised by 'fp8': norms relative to W₀ are left out"
    assert spectra.summary["relative_frobenius_norm"].isna().all()
    assert (spectra.summary["frobenius_norm"] > 0).all()


def test_codes_are_no_weights(base, adapter, tmp_path):
    tensors = {name: p.detach().to(torch.float8_e4m3fn) for name, p in PLM.parameters.items()}
    save_file(tensors, tmp_path / "codes.safetensors")
    with pytest.raises(CheckpointError, match=r"is stored as F8_E4M3, not as floating point"):
        change_spectra(changes_between(tmp_path / "codes.safetensors", adapter))


def test_a_watcher_hears_every_name_before_it_is_read(base, adapter):
    heard = []
    changes = changes_between(base, adapter).watched(heard.append)
    spectra = change_spectra(changes)
    assert heard == list(changes.names) == spectra.summary["matrix"].tolist()
    assert len(spectra.excluded)


def test_tied_embeddings_stored_twice_count_once(tmp_path):
    def stored(path: Path, embedding: torch.Tensor, head: torch.Tensor) -> Path:
        save_file({"model.embed_tokens.weight": embedding.clone(), "lm_head.weight": head.clone()}, path)
        return path

    W, D = torch.randn(9, 4), torch.randn(9, 4)
    base = stored(tmp_path / "base.safetensors", W, W)
    tied = changes_between(base, stored(tmp_path / "tied.safetensors", W + D, W + D))
    assert tied.names == ("model.embed_tokens.weight",)
    assert dict(tied.excluded)["lm_head.weight"].startswith("tied: the same numbers as model.embed_tokens.weight")
    untied = changes_between(base, stored(tmp_path / "untied.safetensors", W + D, W))
    assert set(untied.names) == {"model.embed_tokens.weight", "lm_head.weight"}


def test_an_embedding_shared_by_encoder_and_decoder_counts_once(tmp_path):
    """T5 stored with every name of its one embedding."""
    generator = torch.Generator().manual_seed(0)
    W, D = torch.randn(6, 4, generator=generator), 0.1 * torch.randn(6, 4, generator=generator)
    names = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")

    def file(name: str, *values: torch.Tensor) -> Path:
        save_file(dict(zip(names, (value.clone() for value in values), strict=True)), tmp_path / name)
        return tmp_path / name

    base = file("base.safetensors", W, W, W, W)
    tied = changes_between(base, file("tied.safetensors", W + D, W + D, W + D, W + D))
    assert len(tied.names) == 1
    assert [reason.startswith("tied") for _, reason in tied.excluded] == [True] * 3
    loose = changes_between(base, file("loose.safetensors", W + D, W + D, W + 2 * D, W + D))
    assert len(loose.names) == 2


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["LOHA", "IA3", "OFT", "OSF", "GLORA", "BEFT"])
def test_other_peft_types_are_merged(kind, base, tmp_path, monkeypatch):
    peft = pytest.importorskip("peft")
    import copy

    config = {
        "LOHA": lambda: peft.LoHaConfig(r=2, target_modules=["query"]),
        "IA3": lambda: peft.IA3Config(target_modules=["query", "value"], feedforward_modules=[]),
        "OFT": lambda: peft.OFTConfig(r=0, oft_block_size=4, target_modules=["query"]),
        "OSF": lambda: peft.OSFConfig(effective_rank=3, target_modules=["query"]),
        "GLORA": lambda: peft.GloraConfig(r=2, target_modules=["query"]),
        "BEFT": lambda: peft.BeftConfig(target_modules=["query"]),
    }[kind]()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        wrapped = peft.get_peft_model(copy.deepcopy(PLM.model), config)
        for name, p in wrapped.named_parameters():
            if p.requires_grad and "classifier" not in name:
                p.data += 0.1 * torch.randn_like(p)
    wrapped.save_pretrained(tmp_path / "other")
    merged = dict(wrapped.merge_and_unload().named_parameters())
    monkeypatch.setattr("lab.geometry.adapters.load_plm", lambda base, **options: PLM)
    changes = changes_between("the base", tmp_path / "other")
    assert len(changes) == (4 if kind == "IA3" else 2)
    for change in changes:
        truth = (merged[change.name] - PLM.parameters[change.name]).detach()
        torch.testing.assert_close(change.difference, truth, rtol=1e-4, atol=1e-6)
        assert change.role in ("query", "value")
    moved = {name for name, p in merged.items() if not torch.equal(p, PLM.parameters[name])}
    biases = {name for name in moved if name.endswith(".bias")}
    assert set(changes.excluded) == {(name, "vector") for name in biases}
    assert len(biases) == {"IA3": 4, "GLORA": 2, "BEFT": 2}.get(kind, 0)
    shutil.rmtree(tmp_path / "other")


@pytest.mark.filterwarnings("ignore")
def test_what_has_no_weight_difference_is_refused(adapter, monkeypatch):
    pytest.importorskip("peft")
    monkeypatch.setattr("lab.geometry.adapters.load_plm", lambda base, **options: PLM)
    config = json.loads((adapter / "adapter_config.json").read_text())

    def rewritten(**entries) -> Path:
        (adapter / "adapter_config.json").write_text(json.dumps(config | entries))
        return adapter

    with pytest.raises(ValueError, match="PROMPT_TUNING adapter: it adds tokens and changes no weight"):
        changes_between("the base", rewritten(peft_type="PROMPT_TUNING"))
    loha = {"peft_type": "LOHA", "r": 2, "target_modules": ["query"], "alpha": 2}
    (adapter / "adapter_config.json").write_text(json.dumps(loha))
    with pytest.raises(ValueError, match=r"tensor 'base_model.model.bert.*lora_A.weight' is unexpected"):
        changes_between("the base", adapter)
    save_file({"base_model.model.classifier.weight": torch.ones(2, 16)}, adapter / "adapter_model.safetensors")
    with pytest.raises(ValueError, match=r"expected 'base_model.model.bert.*hada.*' of shape .*; got nothing"):
        changes_between("the base", adapter)
