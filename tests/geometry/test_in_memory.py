"""Models in memory, peft's among them, wherever a model is expected: against peft's own forward and its own ΔW."""

from __future__ import annotations

import gc
from copy import deepcopy

import pytest
import torch
from torch import nn

from lab.geometry import change_spectra, changes_between
from lab.geometry.collections import read_collection
from lab.models import load_plm
from lab.models.folders import open_weights
from lab.models.in_memory import adapter_on_disk
from lab.models.tiny import tiny_plm

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore")

TARGETS = {"bert": ["query", "value", "intermediate.dense"], "llama": ["q_proj", "down_proj"], "t5": ["q", "wo"]}
KINDS = {
    "LoRA": lambda targets: peft.LoraConfig(r=2, lora_alpha=3, target_modules=targets),
    "DoRA": lambda targets: peft.LoraConfig(r=2, use_dora=True, target_modules=targets),
    "LoHa": lambda targets: peft.LoHaConfig(r=2, target_modules=targets),
    "IA3": lambda targets: peft.IA3Config(target_modules=targets, feedforward_modules=[]),
}


def wrapped(plm, config, seed=0):
    """A PeftModel around a copy, its adapter moved."""
    model = peft.get_peft_model(deepcopy(plm.model), config, autocast_adapter_dtype=False)
    return moved(model, seed)


def moved(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return model.eval()


def batch_for(family):
    ids = torch.arange(8, 20).reshape(2, 6)
    more = {"decoder_input_ids": ids[:, :3]} if family == "t5" else {}
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **more}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", TARGETS)
def test_a_peft_model_is_loaded_as_what_it_computes(family, kind):
    model = wrapped(tiny_plm(family, head="lm"), KINDS[kind](TARGETS[family]))
    batch = batch_for(family)
    with torch.no_grad():
        before = model(**batch).logits
        plm = load_plm(model, head="lm", dtype=torch.float64)
        assert torch.equal(model(**batch).logits, before)  # it is not touched
        torch.testing.assert_close(plm.model(**batch).logits, before, rtol=1e-10, atol=1e-10)
    assert plm.provenance["source"] == "memory"
    assert plm.name == plm.model.config.model_type


@pytest.mark.parametrize("kind", KINDS)
def test_the_changes_of_a_peft_model_are_pefts_own(kind):
    plm = tiny_plm("bert", head="lm")
    model = wrapped(plm, KINDS[kind](TARGETS["bert"]))
    merged = deepcopy(model).merge_and_unload()
    expected = {name: value - plm.parameters[name] for name, value in merged.named_parameters() if value.ndim == 2}
    expected = {name: value for name, value in expected.items() if value.abs().max() > 0}
    changes = changes_between(None, model)
    assert set(changes.names) == set(expected)
    for change in changes:
        dense = change.difference if isinstance(change.difference, torch.Tensor) else change.difference.to_dense()
        # peft keeps the factors of some types in float32
        torch.testing.assert_close(dense, expected[change.name], rtol=1e-6, atol=1e-7)
    assert change_spectra(changes).summary["relative_frobenius_norm"].gt(0).all()


def test_several_active_adapters_are_added():
    plm = tiny_plm("bert", head="lm")
    model = peft.get_peft_model(deepcopy(plm.model), KINDS["LoRA"](["query"]), autocast_adapter_dtype=False)
    model.add_adapter("more", KINDS["LoRA"](["value"]), autocast_adapter_dtype=False)
    model.base_model.set_adapter(["default", "more"])
    moved(model, 1)
    assert adapter_on_disk(model) is None
    batch = batch_for("bert")
    with torch.no_grad():
        logits = load_plm(model, head="lm", dtype=torch.float64).model(**batch).logits
        torch.testing.assert_close(logits, model(**batch).logits, rtol=1e-10, atol=1e-10)
    norms = change_spectra(changes_between(None, model)).summary.set_index("matrix")["frobenius_norm"]
    assert {name.split(".")[-2] for name, norm in norms.items() if norm > 1e-9} == {"query", "value"}


def test_an_adapter_that_was_merged_or_named_otherwise_is_read_alike():
    plm = tiny_plm("llama", head="lm")
    model = moved(
        peft.get_peft_model(
            deepcopy(plm.model), KINDS["LoRA"](["q_proj"]), adapter_name="mine", autocast_adapter_dtype=False
        ),
        2,
    )
    before = change_spectra(changes_between(None, model)).summary
    model.merge_adapter()
    after = change_spectra(changes_between(None, model)).summary
    assert before["frobenius_norm"].to_numpy() == pytest.approx(after["frobenius_norm"].to_numpy(), rel=1e-9)
    assert before["base_frobenius_norm"].to_numpy() == pytest.approx(after["base_frobenius_norm"].to_numpy(), rel=1e-9)


def test_models_of_transformers_are_compared_in_memory():
    base, tuned = tiny_plm("gpt2", head="lm"), tiny_plm("gpt2", head="lm", seed=1)
    found = change_spectra(changes_between(base.model, tuned.model))
    assert "near √2" in found.note
    assert len(found.summary) == sum(p.ndim == 2 for p in base.parameters.values())


def test_collections_take_peft_models():
    plm = tiny_plm("bert", head="lm")
    models = {f"task {n}": wrapped(plm, KINDS["LoRA"](["query"]), seed=n) for n in range(3)}
    collection = read_collection(models, base=plm.model)
    name = next(iter(collection.shapes))
    layer = dict(models["task 2"].get_base_model().named_modules())[name.removesuffix(".weight")]
    torch.testing.assert_close(collection.change(2, name).to_dense(), layer.get_delta_weight("default"))


def test_the_folder_is_removed_with_the_model():
    model = deepcopy(tiny_plm("bert").model)
    folder = open_weights(model).path
    assert folder.is_dir()
    del model
    gc.collect()
    assert not folder.exists()


def test_what_changes_no_weight_or_has_lost_its_base_is_refused():
    plm = tiny_plm("llama", head="lm", dtype=torch.float32)
    prompt = peft.PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM")
    with pytest.raises(ValueError, match=r"'default' \(PROMPT_TUNING\) adds tokens and changes no weight"):
        load_plm(peft.get_peft_model(deepcopy(plm.model), prompt), head="lm")
    pissa = peft.LoraConfig(r=2, init_lora_weights="pissa", target_modules=["q_proj"])
    with pytest.raises(ValueError, match=r"init_lora_weights='pissa' changed the weights below .* as base"):
        changes_between(None, peft.get_peft_model(deepcopy(plm.model), pissa))
    with pytest.raises(TypeError, match="expected a name, a folder, a model of transformers or a PeftModel; got torch"):
        load_plm(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="LlamaForCausalLM is no adapter: it needs the base"):
        changes_between(None, plm.model)
    injected = deepcopy(plm.model)
    injected.add_adapter(KINDS["LoRA"](["q_proj"]))
    with pytest.raises(ValueError, match="LlamaForCausalLM carries adapters that `add_adapter` put in"):
        load_plm(injected, head="lm")
