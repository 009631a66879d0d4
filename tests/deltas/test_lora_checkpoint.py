from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from lab.checkpoints.adapter_folder import BASE, CONFIG, WEIGHTS
from lab.deltas import Adapter, BitFit, LoRA, load_adapter, save_adapter
from lab.deltas.lora import LowRankUpdate

peft = pytest.importorskip("peft")

# peft 0.21 asks transformers 5.23 for a deprecated property, and says when it transposes GPT-2's layers
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning", "ignore:fan_in_fan_out")

FAMILIES = ("bert", "roberta", "llama", "gpt2", "t5", "gemma")


def targets_of(family):
    return ("qkv", "down") if family == "gpt2" else ("query", "value", "down")


def lora_of(plm, family, **options):
    return LoRA(rank=2, targets=targets_of(family), **options).on(plm, seed=1)


def with_peft(plm, folder, batch):
    """The logits of peft's own reading of a checkpoint."""
    model = peft.PeftModel.from_pretrained(copy.deepcopy(plm.model), str(folder), autocast_adapter_dtype=False)
    return model.eval()(**batch).logits


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("options", [{"alpha": 6}, {"alpha": 6, "rslora": True}], ids=["lora", "rslora"])
def test_peft_and_we_agree_both_ways(plm_of, batch_of, noise, tmp_path, family, options):
    plm, batch = plm_of(family), batch_of(plm_of(family))
    delta = lora_of(plm, family, **options)
    phi = 0.3 * noise(delta.size)
    save_adapter(delta, phi, tmp_path / "ours")
    expected = delta.logits(phi, batch)
    torch.testing.assert_close(with_peft(plm, tmp_path / "ours", batch), expected, rtol=0, atol=1e-6)
    again, psi = load_adapter(plm, tmp_path / "ours")
    torch.testing.assert_close(again.logits(psi, batch), expected, rtol=0, atol=1e-12)

    model = peft.PeftModel.from_pretrained(copy.deepcopy(plm.model), str(tmp_path / "ours"))
    model.save_pretrained(tmp_path / "theirs")
    theirs, chi = load_adapter(plm, tmp_path / "theirs")
    torch.testing.assert_close(theirs.logits(chi, batch), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_the_head_travels_along(plm_of, batch_of, noise, tmp_path, family):
    plm, batch = plm_of(family), batch_of(plm_of(family))
    delta = lora_of(plm, family)
    phi = 0.3 * noise(delta.size)
    save_adapter(delta, phi, tmp_path / "a")
    stored = load_file(tmp_path / "a" / WEIGHTS)
    assert {BASE + name for name in plm.new_names} <= set(stored)
    again, psi = load_adapter(plm, tmp_path / "a")
    assert again.head_size == delta.head_size > 0
    torch.testing.assert_close(again.logits(psi, batch), delta.logits(phi, batch), rtol=0, atol=1e-12)
    frozen = LoRA(rank=2, targets=targets_of(family), head="frozen").on(plm)
    save_adapter(frozen, phi[: frozen.size], tmp_path / "b")
    assert not any("classifier" in key or "score" in key for key in load_file(tmp_path / "b" / WEIGHTS))


def test_plain_lora_needs_no_peft(plm_of, noise, tmp_path, monkeypatch):
    delta = lora_of(plm_of(), "bert")
    save_adapter(delta, noise(delta.size), tmp_path / "a")
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    loaded, _ = load_adapter(plm_of(), tmp_path / "a")
    assert isinstance(loaded.first, LowRankUpdate)


def test_rank_and_alpha_patterns_are_read_as_in_peft(plm_of, batch_of, tmp_path):
    plm, batch = plm_of(), batch_of(plm_of())
    config = peft.LoraConfig(
        r=2,
        lora_alpha=6,
        target_modules=["query", "value"],
        rank_pattern={"value": 3},
        alpha_pattern={r"layer\.1\.attention\.self\.query": 5},
        init_lora_weights=False,
        use_rslora=True,
    )
    model = peft.get_peft_model(copy.deepcopy(plm.model), config, autocast_adapter_dtype=False).eval()
    model.save_pretrained(tmp_path)
    delta, phi = load_adapter(plm, tmp_path)
    assert isinstance(delta, LowRankUpdate)
    assert sorted(delta.ranks.values()) == [2, 2, 3, 3]
    torch.testing.assert_close(delta.logits(phi, batch), model(**batch).logits, rtol=0, atol=1e-6)
    save_adapter(delta, phi, tmp_path / "again")
    back, psi = load_adapter(plm, tmp_path / "again")
    assert (back.ranks, torch.equal(psi, phi)) == (delta.ranks, True)
    assert back.scales == pytest.approx(delta.scales)


def test_a_regular_expression_chooses_modules_as_in_peft(plm_of, batch_of, tmp_path):
    plm, batch = plm_of("t5"), batch_of(plm_of("t5"))
    config = peft.LoraConfig(r=2, target_modules=r".*decoder.*EncDecAttention\.(q|v)", init_lora_weights=False)
    model = peft.get_peft_model(copy.deepcopy(plm.model), config, autocast_adapter_dtype=False).eval()
    model.save_pretrained(tmp_path)
    delta, phi = load_adapter(plm, tmp_path)
    assert {m.role for m in delta.matrices} == {"cross_query", "cross_value"}
    torch.testing.assert_close(delta.logits(phi, batch), model(**batch).logits, rtol=0, atol=1e-6)


def damaged(folder, change):
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


def test_an_adapter_of_the_model_without_its_head_is_read(plm_of, batch_of, noise, tmp_path):
    plm, batch = plm_of("bert"), batch_of(plm_of("bert"))
    delta = lora_of(plm, "bert", head="frozen")
    folder, phi = save_adapter(delta, noise(delta.size), tmp_path / "a"), noise(delta.size)
    damaged(folder, lambda t: [t.update({key.replace("bert.", "", 1): t.pop(key)}) for key in list(t)])
    config = json.loads((folder / CONFIG).read_text())
    config["target_modules"] = [name.removeprefix("bert.") for name in config["target_modules"]]
    (folder / CONFIG).write_text(json.dumps(config))
    again, psi = load_adapter(plm, folder)
    torch.testing.assert_close(again.logits(psi, batch), delta.logits(phi, batch), rtol=0, atol=1e-12)


A = BASE + "bert.encoder.layer.1.attention.self.query.lora_A.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(A), r"query' has only \['B'\]; a factor is missing"),
        (
            lambda t: t.update({A: t[A][None]}),
            r"a factor is missing, or is '.*query.lora_A.weight' of shape \(1, .*no matrix",
        ),
        (
            lambda t: [t.pop(A), t.pop(A.replace("lora_A", "lora_B"))],
            r"factors of 1 modules missing \(e\.g\. \['bert.*query'\]\), of 0 unexpected",
        ),
        (lambda t: t.update(ghost=torch.zeros(2)), r"1 tensors are unexpected \(e\.g\. \['ghost'\]\)"),
        (lambda t: t.update({A: torch.zeros(2, 15)}), r"change a matrix of shape \(16, 15\); that of .* \(16, 16\)"),
        (lambda t: t[A].fill_(float("nan")), rf"'{A}' holds nan at index \(0, 0\)"),
        (lambda t: t.update({A: t[A].to(torch.int8)}), rf"'{A}' is stored as I8, not as floating point"),
        (lambda t: t.update({BASE + "classifier.bias": torch.zeros(3)}), r"'classifier\.bias' has shape"),
    ],
    ids=["factor", "three axes", "module", "unexpected", "shape", "nan", "codes", "head"],
)
def test_damage_is_named_and_the_plm_is_untouched(plm_of, noise, tmp_path, change, message):
    plm = plm_of()
    before = {name: value.clone() for name, value in plm.parameters.items()}
    delta = lora_of(plm, "bert", head="frozen")
    folder = save_adapter(delta, noise(delta.size), tmp_path / "a")
    damaged(folder, change)
    with pytest.raises(ValueError, match=rf"{WEIGHTS}.*{message}"):
        load_adapter(plm, folder)
    assert all(torch.equal(plm.parameters[name], value) for name, value in before.items())


def test_an_adapter_of_another_model_is_refused(plm_of, noise, tmp_path):
    delta = lora_of(plm_of("llama"), "llama")
    save_adapter(delta, noise(delta.size), tmp_path / "a")
    with pytest.raises(ValueError, match=CONFIG):
        load_adapter(plm_of("bert"), tmp_path / "a")


def test_only_lora_is_saved(plm_of, noise, tmp_path):
    adapter = Adapter(bottleneck=2).on(plm_of())
    with pytest.raises(ValueError, match="only LoRA, alone or with its head, is saved"):
        save_adapter(adapter, adapter.phi0, tmp_path / "a")
    lora = lora_of(plm_of(), "bert")
    biases = lora_of(plm_of(), "bert", head="frozen") + BitFit(head="frozen").on(plm_of())
    with pytest.raises(ValueError, match="only LoRA, alone or with its head, is saved"):
        save_adapter(biases, biases.phi0, tmp_path / "a")
    with pytest.raises(ValueError, match=rf"φ has shape \({lora.size},\); got \(3,\)"):
        save_adapter(lora, noise(3), tmp_path / "a")
    part = LoRA(rank=2, head="frozen").on(plm_of("gpt2"))
    with pytest.raises(ValueError, match=r"c_attn\.weight\[query\]' is a part of one.*\"qkv\""):
        save_adapter(part, part.phi0, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_saving_says_what_is_not_finite(plm_of, tmp_path):
    delta = lora_of(plm_of(), "bert", head="frozen")
    with pytest.raises(ValueError, match=r"lora_A\.weight' holds nan at index \(0, 0\)"):
        save_adapter(delta, torch.full_like(delta.phi0, float("nan")), tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_config_is_what_peft_writes_where_it_matters(plm_of, noise, tmp_path):
    plm = replace(plm_of(), name="someone/model")
    delta = LoRA(rank=2, alpha=6, rslora=True).on(plm)
    save_adapter(delta, noise(delta.size), tmp_path / "a")
    config = json.loads((tmp_path / "a" / CONFIG).read_text())
    assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (2, pytest.approx(6), True)
    assert config["base_model_name_or_path"] == "someone/model"
    assert config["modules_to_save"] == ["classifier"]
