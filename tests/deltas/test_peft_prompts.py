from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from lab.checkpoints.adapter_folder import WEIGHTS
from lab.deltas import Prefix, Prompt, from_peft, load_adapter, peft_prompts
from lab.deltas.peft_layers import peft_model
from lab.deltas.peft_prompts import stored_prompt
from lab.deltas.prefix import attention_widths, decoder_widths
from lab.models import load_plm

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
TASK = dict.fromkeys(("bert", "roberta"), "SEQ_CLS") | dict.fromkeys(("llama", "gpt2", "gemma"), "CAUSAL_LM")
TASK |= {"t5": "SEQ_2_SEQ_LM"}
FOUND = {"electra": "SEQ_CLS"} | dict.fromkeys(("bart", "mt5"), "SEQ_2_SEQ_LM")
SLIDING = dict.fromkeys(("mistral", "gemma2", "gemma3"), "CAUSAL_LM")
FOUND |= dict.fromkeys(("opt", "gpt_neox", "phi", "phi3", "qwen3_moe"), "CAUSAL_LM")
"""Families found by their structure that peft can give a prefix."""
TASKS = TASK | SLIDING | FOUND | {"albert": "SEQ_CLS"}


def prepared(plm_of, batch_of, family):
    """The PLM with the head on which peft has this method, and a batch without padding, which peft's prompts ignore."""
    plm = plm_of(family) if TASKS[family] == "SEQ_CLS" else plm_of(family, head="lm")
    batch = batch_of(plm, padding=False)
    two = TASKS[family] == "SEQ_2_SEQ_LM"
    return plm, {**batch, "decoder_input_ids": batch["input_ids"][:, :2]} if two else batch


def theirs(plm, family, config, batch, kind):
    """peft's own model and its logits at the positions of the text."""
    config = copy.deepcopy(config)
    config.task_type = TASKS[family]
    if kind in PROMPTS and kind != "multitask":
        config.num_transformer_submodules = 1
    model = peft_model(plm, config, peft, seed=0).double().eval()
    text = batch["decoder_input_ids" if TASKS[family] == "SEQ_2_SEQ_LM" else "input_ids"]
    if kind == "multitask":
        batch = {**batch, "task_ids": torch.zeros(3, dtype=torch.int64)}
        if TASKS[family] == "SEQ_2_SEQ_LM":  # given the ids, peft (0.21) forgets them
            batch["decoder_inputs_embeds"] = model.word_embeddings(batch.pop("decoder_input_ids"))
    with torch.no_grad():
        logits = model(**batch).logits
    return model, logits if TASKS[family] == "SEQ_CLS" else logits[:, -text.shape[1] :]


@pytest.mark.parametrize("kind", PROMPTS)
@pytest.mark.parametrize("family", ["bert", "roberta", "llama", "gpt2", "t5"])
def test_prompt_types_give_pefts_logits(plm_of, batch_of, family, kind):
    plm, batch = prepared(plm_of, batch_of, family)
    config = KINDS[kind]()
    delta = from_peft(config).body(plm, 0)
    model, expected = theirs(plm, family, config, batch, kind)
    encoder = model.prompt_encoder["default"]
    assert delta.size == sum(p.numel() for p in encoder.parameters() if p.requires_grad)
    torch.testing.assert_close(delta.logits(delta.phi0, batch), expected, rtol=0, atol=1e-6)  # peft starts in float32
    assert delta.counts.stored == (6 if (family, kind) == ("t5", "multitask") else 3) * 16
    assert not delta.at_identity


@pytest.mark.parametrize("kind", ["prefix", "prefix-mlp", "prefix-cartridge"])
@pytest.mark.parametrize("family", TASK)
def test_prefix_types_give_pefts_logits(plm_of, batch_of, family, kind):
    plm, batch = prepared(plm_of, batch_of, family)
    delta = from_peft(KINDS[kind]()).body(plm, 0)
    _, expected = theirs(plm, family, KINDS[kind](), batch, kind)
    torch.testing.assert_close(delta.logits(delta.phi0, batch), expected, rtol=0, atol=1e-6)
    widths = decoder_widths(plm) if family == "t5" else attention_widths(plm)
    assert delta.counts.stored == sum(2 * 3 * width for width in widths.values())


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", ["mistral", "gemma2", "gemma3"])
def test_a_sliding_window_loses_sight_of_a_prefix_as_in_peft(plm_of, batch_of, family, attention):
    """The window is 8 tokens wide, prefix and text are 15."""
    if (family, attention) == ("gemma2", "sdpa"):  # it caps its scores, and stays eager
        return
    plm = plm_of(family, head="lm", attention=attention)
    batch = batch_of(plm, length=12, padding=False)
    _, expected = theirs(plm_of(family, head="lm"), family, KINDS["prefix"](), batch, "prefix")
    delta = from_peft(KINDS["prefix"]()).body(plm, 0)
    torch.testing.assert_close(delta.logits(delta.phi0, batch), expected, rtol=0, atol=1e-6)
    padded = {name: torch.nn.functional.pad(value, (0, 3)) for name, value in batch.items()}
    torch.testing.assert_close(delta.logits(delta.phi0, padded)[:, :12], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["prefix", "prompt"])
@pytest.mark.parametrize("family", FOUND)
def test_prefix_and_prompt_give_pefts_logits_on_found_families(plm_of, batch_of, family, kind):
    plm, batch = prepared(plm_of, batch_of, family)
    if (family, kind) == ("electra", "prompt"):  # peft takes the tokens' width for the hidden one, and fails
        return
    delta = from_peft(KINDS[kind]()).body(plm, 0)
    _, expected = theirs(plm, family, KINDS[kind](), batch, kind)
    torch.testing.assert_close(delta.logits(delta.phi0, batch), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["prompt", "p-tuning"])
@pytest.mark.parametrize("family", ["albert", "electra"])
def test_soft_tokens_are_as_wide_as_words_not_as_hidden_states(plm_of, batch_of, tmp_path, family, kind):
    """peft, left to itself, takes the hidden states' width, and fails at the first text."""
    plm, batch = plm_of(family), batch_of(plm_of(family), padding=False)
    delta = from_peft(KINDS[kind]()).body(plm, 0)
    model, expected = theirs(plm, family, KINDS[kind](token_dim=12), batch, kind)
    torch.testing.assert_close(delta.logits(delta.phi0, batch), expected, rtol=0, atol=1e-6)
    model.save_pretrained(tmp_path / "stored", save_embedding_layers=False)
    stored, phi = load_adapter(plm, tmp_path / "stored")
    torch.testing.assert_close(stored.logits(phi, batch), expected, rtol=0, atol=1e-6)
    wide = peft_model(plm, KINDS[kind](task_type="SEQ_CLS"), peft, seed=0)
    wide.save_pretrained(tmp_path / "wide", save_embedding_layers=False)
    with pytest.raises(
        ValueError, match=r"3 tokens of 12 numbers, the width of its word embed.*train it with token_dim=12"
    ):
        load_adapter(plm, tmp_path / "wide")


def test_a_prefix_for_every_run_of_one_block(plm_of, tmp_path):
    """ALBERT's layers are one block that runs again and again; peft makes a prefix for each run, and cannot use it."""
    plm = plm_of("albert")
    message = r"has 64 numbers per token; .* needs 32: its 2 layers run one block.*take Prefix\(tokens=3\)"
    with pytest.raises(ValueError, match=message):
        from_peft(KINDS["prefix"]()).on(plm)
    model = peft_model(plm, KINDS["prefix"](task_type="SEQ_CLS"), peft, seed=0)
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    with pytest.raises(ValueError, match=message):
        load_adapter(plm, tmp_path)


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
        ("bert", "prefix"),
        ("roberta", "prefix-mlp"),
        ("t5", "prefix"),
        ("t5", "prefix-cartridge"),
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
    if TASKS[family] == "SEQ_CLS":  # the head is stored, too
        assert delta.head_size == sum(plm.parameters[name].numel() for name in plm.new_names)


def test_each_prompt_type_is_tried():
    assert {config().peft_type.value for config in KINDS.values()} == {*peft_prompts.PROMPTS, *peft_prompts.PREFIXES}


def test_gradients_reach_pefts_encoder(plm_of, batch_of):
    plm, batch = prepared(plm_of, batch_of, "llama")
    for kind in ("p-tuning", "prefix-mlp", "prefix-cartridge"):
        delta = from_peft(KINDS[kind]()).body(plm, 0)
        gradient = torch.func.grad(lambda p, d=delta: d.logits(p, batch).square().sum())(delta.phi0)
        assert [n for n, g in delta.layout.unflatten(gradient).items() if not bool(g.any())] == []


@pytest.mark.parametrize("kind", ["prompt", "p-tuning"])
def test_a_prompts_second_half_never_reaches_pefts_model(plm_of, batch_of, tmp_path, kind):
    """On an encoder-decoder peft makes and stores twice the tokens, and feeds the encoder with the first half."""
    plm, batch = prepared(plm_of, batch_of, "t5")
    model = peft_model(plm, KINDS[kind](task_type="SEQ_2_SEQ_LM"), peft, seed=0).double().eval()
    with torch.no_grad():
        expected = model(**batch).logits
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    assert load_file(tmp_path / WEIGHTS)["prompt_embeddings"].shape == (6, 16)
    delta, phi = load_adapter(plm, tmp_path)
    assert delta.size == 3 * 16
    torch.testing.assert_close(delta.logits(phi, batch), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", ["bert", "llama", "t5"])
def test_a_stored_multitask_prompt_of_one_task(plm_of, batch_of, tmp_path, family):
    plm, batch = prepared(plm_of, batch_of, family)
    kind = partial(peft.MultitaskPromptTuningConfig, num_virtual_tokens=3)
    model, expected = theirs(plm, family, kind(num_tasks=1), batch, "multitask")
    model.save_pretrained(tmp_path / "one", save_embedding_layers=False)
    delta, phi = load_adapter(plm, tmp_path / "one")
    torch.testing.assert_close(delta.logits(phi, batch), expected, rtol=0, atol=1e-6)
    theirs(plm, family, kind(num_tasks=2), batch, "multitask")[0].save_pretrained(
        tmp_path / "two", save_embedding_layers=False
    )
    with pytest.raises(ValueError, match="holds prompts of 2 tasks, and a batch does not say which one is its own"):
        load_adapter(plm, tmp_path / "two")


def test_what_peft_means_differently_is_refused(plm_of):
    with pytest.raises(
        ValueError, match=r"soft tokens into 1 stacks; set num_transformer_submodules=2 \(peft's prefix"
    ):
        from_peft(KINDS["prefix"](num_transformer_submodules=1)).on(plm_of("t5"))
    with pytest.raises(ValueError, match="puts soft tokens into 2 stacks; set num_transformer_submodules=1 for"):
        from_peft(KINDS["prompt"](num_transformer_submodules=2)).on(plm_of("bert"))


def test_a_decoder_deeper_than_pefts_prefix_is_refused(tmp_path):
    """peft counts the encoder's blocks, and fails in the decoder's further ones."""
    config = transformers.T5Config(
        vocab_size=40, d_model=16, d_kv=4, d_ff=8, num_heads=4, num_layers=1, num_decoder_layers=2, pad_token_id=0
    )
    transformers.T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    plm = load_plm(tmp_path, head="lm")
    with pytest.raises(ValueError, match=r"peft has a prefix for 1 blocks; the decoder of '.*' has 2"):
        stored_prompt(plm, "PREFIX_TUNING", torch.zeros(3, 32), 3, "prefix")
    with pytest.raises(ValueError, match="this prefix has 3 tokens; its configuration says 4"):
        stored_prompt(plm, "PREFIX_TUNING", torch.zeros(3, 32), 4, "prefix")
    with pytest.raises(ValueError, match=r"this prompt has shape \(3, 32\); '.*' needs 3 tokens of 16 numbers"):
        stored_prompt(plm, "PROMPT_TUNING", torch.zeros(3, 32), 3, "prompt")


def test_damaged_multitask_prompts_are_named(plm_of, batch_of, tmp_path):
    plm, batch = prepared(plm_of, batch_of, "llama")
    config = peft.MultitaskPromptTuningConfig(num_virtual_tokens=3, num_tasks=1)
    theirs(plm, "llama", config, batch, "multitask")[0].save_pretrained(tmp_path, save_embedding_layers=False)
    tensors = load_file(tmp_path / WEIGHTS)
    save_file({k: v[:, :1].contiguous() if k.endswith("cols") else v for k, v in tensors.items()}, tmp_path / WEIGHTS)
    with pytest.raises(ValueError, match=r"factors of the tasks have shapes \(1, 1, 1\).*do not belong together"):
        load_adapter(plm, tmp_path)
    save_file({"prompt_embeddings": tensors["prompt_embeddings"]}, tmp_path / WEIGHTS)
    with pytest.raises(ValueError, match=r"a multitask prompt needs the tensors \['prefix_task_cols'"):
        load_adapter(plm, tmp_path)


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
