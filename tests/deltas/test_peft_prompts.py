from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file

from lab.checkpoints.adapter_folder import WEIGHTS
from lab.deltas import Prefix, Prompt, from_peft, load_adapter, peft_prompts
from lab.deltas.peft_layers import peft_model
from lab.deltas.prefix import attention_widths

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning", "ignore:Position ids are not supported"
)

KINDS = {
    "prompt": partial(peft.PromptTuningConfig, num_virtual_tokens=3),
    "p-tuning": partial(peft.PromptEncoderConfig, num_virtual_tokens=3, encoder_hidden_size=6),
    "p-tuning-lstm": partial(
        peft.PromptEncoderConfig,
        num_virtual_tokens=3,
        encoder_hidden_size=6,
        encoder_reparameterization_type="LSTM",
        encoder_num_layers=1,
    ),
    "multitask": partial(peft.MultitaskPromptTuningConfig, num_virtual_tokens=3, num_tasks=2),
    "prefix": partial(peft.PrefixTuningConfig, num_virtual_tokens=3),
    "prefix-mlp": partial(peft.PrefixTuningConfig, num_virtual_tokens=3, prefix_projection=True, encoder_hidden_size=6),
    "prefix-cartridge": partial(peft.CartridgeConfig, num_virtual_tokens=3, num_frozen_tokens=1),
}
PROMPTS = [k for k in KINDS if not k.startswith("prefix")]
TASK = {"bert": "SEQ_CLS", "llama": "CAUSAL_LM", "gpt2": "CAUSAL_LM", "gemma": "CAUSAL_LM", "t5": "SEQ_2_SEQ_LM"}


def prepared(plm_of, batch_of, family):
    """The PLM with the head on which peft has this method, and a batch without padding, which peft's prompts ignore."""
    plm = plm_of(family) if family == "bert" else plm_of(family, head="lm")
    batch = batch_of(plm, padding=False)
    return plm, {**batch, "decoder_input_ids": batch["input_ids"][:, :2]} if family == "t5" else batch


def theirs(plm, family, config, batch, kind):
    """peft's own model and its logits at the positions of the text."""
    config = copy.deepcopy(config)
    config.task_type = TASK[family]
    config.num_transformer_submodules = 1
    model = peft_model(plm, config, peft, seed=0).double().eval()
    extra = {"task_ids": torch.zeros(3, dtype=torch.int64)} if kind == "multitask" else {}
    with torch.no_grad():
        logits = model(**batch, **extra).logits
    return model, logits[:, -batch["input_ids"].shape[1] :] if TASK[family] == "CAUSAL_LM" else logits


@pytest.mark.parametrize(
    ("family", "kind"),
    # peft's own multitask prompts fail on T5
    [(f, k) for f in ("bert", "llama", "gpt2", "t5") for k in PROMPTS if (f, k) != ("t5", "multitask")],
)
def test_prompt_types_give_pefts_logits(plm_of, batch_of, family, kind):
    plm, batch = prepared(plm_of, batch_of, family)
    config = KINDS[kind]()
    delta = from_peft(config).body(plm, 0)
    model, expected = theirs(plm, family, config, batch, kind)
    encoder = model.prompt_encoder["default"]
    assert delta.size == sum(p.numel() for p in encoder.parameters() if p.requires_grad)
    torch.testing.assert_close(delta.logits(delta.phi0, batch), expected, rtol=0, atol=1e-6)  # peft starts in float32
    assert delta.counts.stored == 3 * 16
    assert not delta.at_identity


@pytest.mark.parametrize("kind", ["prefix", "prefix-mlp", "prefix-cartridge"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma"])
def test_prefix_types_give_pefts_logits_on_decoders(plm_of, batch_of, family, kind):
    plm, batch = prepared(plm_of, batch_of, family)
    delta = from_peft(KINDS[kind]()).body(plm, 0)
    _, expected = theirs(plm, family, KINDS[kind](), batch, kind)
    torch.testing.assert_close(delta.logits(delta.phi0, batch), expected, rtol=0, atol=1e-6)
    assert delta.counts.stored == sum(2 * 3 * width for width in attention_widths(plm).values())


@pytest.mark.parametrize("family", ["bert", "llama", "gpt2", "t5"])
def test_our_prompt_with_pefts_values_gives_pefts_logits(plm_of, batch_of, family):
    plm, batch = prepared(plm_of, batch_of, family)
    model, expected = theirs(plm, family, KINDS["prompt"](), batch, "prompt")
    ours = Prompt(tokens=3, placement="front", head="frozen").on(plm)
    values = model.prompt_encoder["default"].embedding.weight.detach()
    torch.testing.assert_close(ours.plm.logits({ours.layout.names[0]: values}, batch), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma"])
def test_our_prefix_with_pefts_values_gives_pefts_logits(plm_of, batch_of, family):
    """peft keeps a prefix token's keys and values of all layers in one row: K₀, V₀, K₁, V₁, …"""
    plm, batch = prepared(plm_of, batch_of, family)
    model, expected = theirs(plm, family, KINDS["prefix"](), batch, "prefix")
    rows = model.prompt_encoder["default"].embedding.weight.detach()
    ours = Prefix(tokens=3, head="frozen").on(plm)
    pieces = rows.split([part.shape[1] for part in ours.layout], dim=1)
    values = dict(zip(ours.layout.names, pieces, strict=True))
    torch.testing.assert_close(ours.plm.logits(values, batch), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("bert", "prompt"),
        ("llama", "p-tuning"),
        ("gpt2", "prefix"),
        ("llama", "prefix-mlp"),
        ("gpt2", "prefix-cartridge"),
        ("t5", "prompt"),
    ],
)
def test_stored_prompts_are_read_without_peft(plm_of, batch_of, tmp_path, monkeypatch, family, kind):
    plm, batch = prepared(plm_of, batch_of, family)
    model, expected = theirs(plm, family, KINDS[kind](), batch, kind)
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    delta, phi = load_adapter(plm, tmp_path)
    torch.testing.assert_close(delta.logits(phi, batch), expected, rtol=0, atol=1e-6)
    assert not delta.at_identity
    if family == "bert":  # SEQ_CLS stores the head, too
        assert delta.head_size == 2 * 16 + 2


def test_each_prompt_type_is_tried():
    assert {config().peft_type.value for config in KINDS.values()} == {*peft_prompts.PROMPTS, *peft_prompts.PREFIXES}


def test_gradients_reach_pefts_encoder(plm_of, batch_of):
    plm, batch = prepared(plm_of, batch_of, "llama")
    for kind in ("p-tuning", "prefix-mlp", "prefix-cartridge"):
        delta = from_peft(KINDS[kind]()).body(plm, 0)
        gradient = torch.func.grad(lambda p, d=delta: d.logits(p, batch).square().sum())(delta.phi0)
        assert [n for n, g in delta.layout.unflatten(gradient).items() if not bool(g.any())] == []


def test_what_peft_means_differently_is_refused(plm_of):
    with pytest.raises(ValueError, match="peft's prefix on t5 reaches its decoder only"):
        from_peft(KINDS["prefix"]()).on(plm_of("t5"))
    with pytest.raises(ValueError, match="puts soft tokens into 2 stacks"):
        from_peft(KINDS["prompt"](num_transformer_submodules=2)).on(plm_of("t5"))


def test_damaged_prompts_are_named(plm_of, batch_of, tmp_path):
    plm, batch = prepared(plm_of, batch_of, "gpt2")
    for kind, message in (("prefix", "5 numbers per token; .* needs 64"), ("prompt", None)):
        folder = tmp_path / kind
        theirs(plm, "gpt2", KINDS[kind](), batch, kind)[0].save_pretrained(folder, save_embedding_layers=False)
        tensors = load_file(folder / WEIGHTS)
        if message:
            save_file({"prompt_embeddings": tensors["prompt_embeddings"][:, :5].contiguous()}, folder / WEIGHTS)
        else:
            message = "1 tensors are unexpected"
            save_file({"other": tensors["prompt_embeddings"]}, folder / WEIGHTS)
        with pytest.raises(ValueError, match=f"{WEIGHTS}.*{message}"):
            load_adapter(plm, folder)
