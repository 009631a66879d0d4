"""What of peft cannot become a delta, and what is said then."""

from __future__ import annotations

import copy
import json
import sys

import pytest
import torch
from safetensors.torch import save_file

from lab.checkpoints.adapter_folder import CONFIG, WEIGHTS
from lab.deltas import PeftMethod, from_peft, load_adapter
from lab.deltas.peft_layers import inject
from lab.deltas.peft_refused import OPTIONS, TYPES

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

QUERY = {"target_modules": ["query"]}
REFUSED = {
    "CPT": lambda: peft.CPTConfig(
        task_type="CAUSAL_LM", cpt_token_ids=[8, 9], cpt_mask=[1, 1], cpt_tokens_type_mask=[1, 2]
    ),
    "LILY": lambda: peft.LilyConfig(r=2, **QUERY),
    "POLY": lambda: peft.PolyConfig(r=2, **QUERY),
    "SHADOW": lambda: peft.ShadowConfig(),
    "XLORA": lambda: peft.XLoraConfig(hidden_size=16, adapters={"one": "nowhere"}),
}
WITH_OPTION = {
    "alora_invocation_tokens": lambda: peft.LoraConfig(
        task_type="CAUSAL_LM", r=2, alora_invocation_tokens=[9], **QUERY
    ),
    "layer_replication": lambda: peft.LoraConfig(r=2, layer_replication=[[0, 2], [1, 2]], **QUERY),
    "sample_at_inference": lambda: peft.PveraConfig(r=2, sample_at_inference=True, **QUERY),
}


@pytest.mark.parametrize("kind", TYPES)
def test_types_that_are_no_map_of_parameters_are_refused(kind):
    with pytest.raises(ValueError, match=rf"peft's {kind} is no map .*: it .*; (take|load) .*\.$"):
        from_peft(REFUSED[kind]())


def test_lily_is_refused_for_what_it_does(plm_of):
    """In peft itself, the logits of one text depend on the other text of the batch."""
    torch.manual_seed(0)
    model = peft.get_peft_model(copy.deepcopy(plm_of().model), peft.LilyConfig(r=2, **QUERY)).double().eval()
    for p in model.parameters():
        p.data += 0.1 * torch.randn_like(p) if p.requires_grad else 0.0
    ids = torch.tensor([[9, 12, 14], [20, 21, 22]])
    assert (model(ids).logits[0] - model(ids[:1]).logits[0]).abs().max() > 1e-4


def test_a_type_that_peft_has_not_is_named(plm_of):
    with pytest.raises(ValueError, match=r"peft_type is 'NEWTHING', which peft [\d.]+\w* does not have; it has .*LORA"):
        PeftMethod('{"peft_type": "NEWTHING"}').on(plm_of())


@pytest.mark.parametrize("option", OPTIONS)
def test_options_that_leave_no_map_are_refused(option):
    with pytest.raises(ValueError, match=rf"peft's (LORA|PVERA) with {option} is no map .*; drop that\.$"):
        from_peft(WITH_OPTION[option]())


def test_a_stored_adapter_of_a_refused_type_is_named(plm_of, tmp_path):
    (tmp_path / CONFIG).write_text(json.dumps({"peft_type": "POLY", "target_modules": ["query"]}))
    save_file({"x": torch.zeros(1)}, tmp_path / WEIGHTS)
    with pytest.raises(ValueError, match=f"{CONFIG} does not fit 'tiny-bert': peft's POLY is no map"):
        load_adapter(plm_of(), tmp_path)


def test_what_peft_trains_outside_of_its_layers_is_refused(plm_of):
    with pytest.raises(ValueError, match=r"SHADOW trains \['base_model.shadow.*\] outside of the layers it puts in"):
        inject(plm_of("gpt2"), peft.ShadowConfig(), peft, seed=0)


def test_pefts_own_refusals_name_the_plm(plm_of):
    with pytest.raises(ValueError, match=r"cannot put PSOFT on 'tiny-bert' in float64: PSOFT init requires float32"):
        from_peft(peft.PsoftConfig(r=4, **QUERY)).on(plm_of())
    with pytest.raises(ValueError, match=r"cannot put BEFT on 'tiny-gpt2' in float64: Target module Conv1D"):
        from_peft(peft.BeftConfig(target_modules=["c_attn"])).on(plm_of("gpt2"))


def test_a_type_that_finds_no_layer_is_refused(plm_of):
    with pytest.raises(ValueError, match=r"OSF finds no layer in 'tiny-gpt2' that it can stand in for"):
        from_peft(peft.OSFConfig(target_modules=["c_attn"])).on(plm_of("gpt2"))


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_starts_that_change_the_plm_are_refused(plm_of, start):
    plm = plm_of("bert", dtype=torch.float32)
    before = {n: p.clone() for n, p in plm.parameters.items()}
    method = from_peft(peft.LoraConfig(r=2, target_modules=["query"], init_lora_weights=start))
    with pytest.raises(
        ValueError, match=r"LORA changes the PLM's own weights before training \(first: '.*query.weight'\)"
    ):
        method.on(plm)
    assert all(torch.equal(plm.parameters[n], value) for n, value in before.items())


def test_from_peft_needs_a_configuration():
    with pytest.raises(TypeError, match=r"needs a peft configuration, e\.g\. .*; got dict"):
        from_peft({"peft_type": "LORA"})
    config = peft.LoraConfig(target_modules=["query"])
    config.r = torch.ones(1)
    with pytest.raises(TypeError, match="has no JSON form; from_peft needs plain values"):
        from_peft(config)


def test_without_peft_it_says_how_to_get_it(plm_of, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match=r"pip install .*peft"):
        PeftMethod('{"peft_type": "LOHA"}').on(plm_of())
