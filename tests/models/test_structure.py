"""Architectures found by structure: types without a row load, say what was assumed, and take a user's own word."""

from __future__ import annotations

import warnings

import pytest
import torch
import transformers

from lab.deltas import Adapter, LoRA, Prefix, Prompt
from lab.models import Architecture, CheckpointError, Slot, Stack, architecture_for, load_plm
from lab.models.activations import TanhGELU
from lab.models.classifier import classifier, with_linear_head
from lab.models.naming import fused_parts, slots_of
from lab.models.structure import TRIED
from lab.models.tiny import CONFIGURATIONS, FOUND, tiny_plm

SIZES = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
         "intermediate_size": 24, "max_position_embeddings": 40, "initializer_range": 0.2,
         "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
SHORT = {"vocab_size": 60, "initializer_range": 0.2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
TWO_STACKS = {"vocab_size": 60, "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 24,
              "decoder_ffn_dim": 24, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "init_std": 0.2,
              "max_position_embeddings": 40, "decoder_start_token_id": 2}  # fmt: skip
# further types that are tried, beside those of the tiny models
FURTHER = {
    "deberta": {**SIZES, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0},
    "mbart": TWO_STACKS,
    "olmo2": SIZES,
    "stablelm": {**SIZES, "num_key_value_heads": 2},
    "starcoder2": SIZES,
    "mixtral": {**SIZES, "num_local_experts": 4, "num_key_value_heads": 2},
}  # fmt: skip
# types that nothing here names
UNLISTED = {
    "olmo": SIZES, "roc_bert": SIZES, "glm": {**SIZES, "head_dim": 4},
    "ctrl": {**SHORT, "n_embd": 16, "n_layer": 2, "n_head": 4, "dff": 24, "n_positions": 40},
}  # fmt: skip


def folder_of(tmp_path, model_type, settings):
    config = transformers.AutoConfig.for_model(model_type, **settings)
    config.num_labels = 2
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    model.save_pretrained(tmp_path)
    return tmp_path


def works(plm):
    """Logits by the mask, and two methods that lean on roles and places, start at the identity and unmerge."""
    ids = torch.randint(3, 60, (2, 6), generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    batch = {"input_ids": ids, "attention_mask": mask}
    logits = plm.logits({}, batch)
    alone = plm.logits({}, {"input_ids": ids[1:, :4], "attention_mask": mask[1:, :4]})
    torch.testing.assert_close(alone[0], logits[1], rtol=0, atol=1e-6)
    for method in (LoRA(rank=2, targets=("output",)), Adapter(bottleneck=3)):
        delta = method.on(plm)
        assert torch.equal(delta.logits(delta.phi0, batch), logits)
        phi = delta.phi0 + 0.1 * torch.randn(
            delta.size, generator=torch.Generator().manual_seed(1), dtype=torch.float64
        )
        torch.testing.assert_close(delta.unmerged.logits(phi, batch), delta.logits(phi, batch), rtol=0, atol=1e-6)
        assert not torch.allclose(delta.logits(phi, batch), logits)


def test_every_tried_type_is_tried_here():
    assert set(TRIED) == {CONFIGURATIONS[name][0] for name in FOUND} | set(FURTHER)


@pytest.mark.parametrize("model_type", FURTHER)
def test_further_types_load_without_a_word(tmp_path, model_type):
    folder = folder_of(tmp_path, model_type, FURTHER[model_type])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plm = load_plm(folder, dtype=torch.float64)
    assert plm.architecture.assumed == ""
    assert {"query", "output"} <= set(plm.architecture.roles(plm.model))
    works(plm)


@pytest.mark.parametrize("model_type", UNLISTED)
def test_unlisted_types_load_and_say_what_was_assumed(tmp_path, model_type):
    folder = folder_of(tmp_path, model_type, UNLISTED[model_type])
    with pytest.warns(UserWarning, match=f"'{model_type}' has no row and was taken by its structure for: .*blocks in"):
        plm = load_plm(folder, dtype=torch.float64)
    assert plm.architecture.assumed in plm.provenance["assumed"]
    works(plm)


# types that transformers has no classifier of
WITHOUT_CLASSIFIER = {
    "cohere": {**SIZES, "num_key_value_heads": 2},
    "codegen": {**SHORT, "n_embd": 16, "n_layer": 2, "n_head": 4, "rotary_dim": 4, "n_positions": 40},
    "m2m_100": TWO_STACKS,
}


def language_model(tmp_path, model_type, settings):
    config = transformers.AutoConfig.for_model(model_type, **settings)
    auto = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    torch.manual_seed(0)
    model = auto.from_config(config)
    model.save_pretrained(tmp_path)
    return model


@pytest.mark.filterwarnings("ignore:.*taken by its structure")
@pytest.mark.parametrize("model_type", WITHOUT_CLASSIFIER)
def test_a_type_without_a_classifier_gets_a_linear_head_on_the_last_token(tmp_path, model_type):
    language_model(tmp_path, model_type, WITHOUT_CLASSIFIER[model_type])
    plm = load_plm(tmp_path, num_labels=3, dtype=torch.float64)
    assert plm.new_names == {"score.weight"}
    works(plm)
    ids = torch.tensor([[5, 9, 11, 7]])
    shifted = {"decoder_input_ids": torch.tensor([[2, 5, 9, 11]])} if model_type == "m2m_100" else {}
    states = plm.model.base_model(ids, **shifted).last_hidden_state
    expected = states[:, -1] @ plm.parameters["score.weight"].T
    torch.testing.assert_close(plm.logits({}, {"input_ids": ids}), expected, rtol=0, atol=1e-12)
    assert not plm.logits({}, {"input_ids": ids}).eq(0).any()
    again = load_plm(tmp_path, num_labels=3, dtype=torch.float64)
    assert torch.equal(again.parameters["score.weight"], plm.parameters["score.weight"])


@pytest.mark.filterwarnings("ignore:.*taken by its structure")
def test_a_head_of_several_layers_is_run_whole(tmp_path):
    """ModernBERT's decoder has a dense layer and a norm between the state and the classifier."""
    folder = folder_of(tmp_path, "modernbert-decoder", {**SIZES, "local_attention": 8})
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ids = torch.tensor([[5, 9, 11, 7]])
    plm = load_plm(folder)
    assert not plm.new_names
    torch.testing.assert_close(plm.logits({}, {"input_ids": ids}), theirs(ids).logits, rtol=1e-5, atol=1e-6)


def test_an_encoder_without_a_classifier_reads_its_first_token():
    made = classifier(with_linear_head(transformers.BertForMaskedLM, transformers.BertModel), "encoder")
    model = made(transformers.BertConfig(**SIZES, num_labels=3)).eval()
    inputs = {"input_ids": torch.tensor([[5, 9, 0]]), "attention_mask": torch.tensor([[1, 1, 0]])}
    states = model.base_model(**inputs).last_hidden_state
    torch.testing.assert_close(model(**inputs).logits, states[:, 0] @ model.score.weight.T)


def test_mbarts_decoder_begins_with_the_last_token_of_the_text(tmp_path):
    torch.manual_seed(0)
    config = transformers.MBartConfig(**TWO_STACKS, pad_token_id=1, eos_token_id=2, num_labels=2)
    theirs = transformers.MBartForSequenceClassification(config).eval().double()
    theirs.save_pretrained(tmp_path)
    plm = load_plm(tmp_path, dtype=torch.float64)
    ids, mask = torch.tensor([[5, 9, 11, 2], [7, 2, 1, 1]]), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    for row in range(2):  # alone: transformers (5.23) finds the end by the token, which the decoder has shifted
        one = {"input_ids": ids[row : row + 1, : int(mask[row].sum())]}
        torch.testing.assert_close(plm.logits({}, one), theirs(**one).logits, rtol=0, atol=1e-12)
    both = plm.logits({}, {"input_ids": ids, "attention_mask": mask})
    torch.testing.assert_close(both[1:], plm.logits({}, {"input_ids": ids[1:, :2]}), rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:.*taken by its structure")
def test_a_decoder_with_a_configuration_of_its_own_begins_with_its_first_token(tmp_path):
    part = {**SIZES, "num_key_value_heads": 2, "head_dim": 4, "query_pre_attn_scalar": 4, "sliding_window": 8}
    torch.manual_seed(0)
    config = transformers.T5GemmaConfig(encoder=part, decoder=part, num_labels=2, vocab_size=60, pad_token_id=0)
    theirs = transformers.T5GemmaForSequenceClassification(config).eval()
    theirs.save_pretrained(tmp_path)
    ids = torch.tensor([[5, 9, 11, 7]])
    ours = load_plm(tmp_path).logits({}, {"input_ids": ids})
    torch.testing.assert_close(ours, theirs(ids).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*taken by its structure")
def test_sinks_take_their_share_of_the_attention(tmp_path):
    settings = {**SIZES, "num_key_value_heads": 2, "head_dim": 4, "num_local_experts": 2, "num_experts_per_tok": 1}
    theirs = language_model(tmp_path, "gpt_oss", settings)
    with torch.no_grad():
        for layer in theirs.model.layers:
            layer.self_attn.sinks.copy_(torch.linspace(-1, 2, 4))
    theirs.save_pretrained(tmp_path)
    ids = torch.tensor([[5, 9, 11, 7]])
    for attention in ("eager", "sdpa"):  # SDPA has none: it stays eager
        plm = load_plm(tmp_path, head="lm", attention=attention)
        torch.testing.assert_close(plm.logits({}, {"input_ids": ids}), theirs.eval()(ids).logits, rtol=1e-5, atol=1e-5)


def test_a_model_whose_texts_depend_on_the_padding_is_refused(tmp_path):
    settings = {**SIZES, "embedding_size": 16, "head_ratio": 2, "conv_kernel_size": 3}
    with (
        pytest.warns(UserWarning, match="taken by its structure"),
        pytest.raises(
            CheckpointError,
            match=r"'convbert' is not for deltas.*padding changes the logits of a text by .*attention mask",
        ),
    ):
        load_plm(folder_of(tmp_path, "convbert", settings))


SEVERAL_KINDS = {
    "deepseek_v3": {**SIZES, "kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4,
                    "v_head_dim": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1,
                    "first_k_dense_replace": 1, "moe_intermediate_size": 8, "num_key_value_heads": 4},
    "lfm2": {**SIZES, "num_key_value_heads": 2, "layer_types": ["conv", "full_attention"],
             "block_auto_adjust_ff_dim": False},
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*taken by its structure")
@pytest.mark.parametrize("model_type", SEVERAL_KINDS)
def test_latents_and_blocks_of_several_kinds_are_found(tmp_path, model_type):
    theirs = language_model(tmp_path, model_type, SEVERAL_KINDS[model_type]).eval()
    ids = torch.tensor([[5, 9, 11, 7]])
    ours = load_plm(tmp_path, head="lm").logits({}, {"input_ids": ids})
    torch.testing.assert_close(ours, theirs(ids).logits, rtol=1e-5, atol=1e-5)
    plm = load_plm(tmp_path, dtype=torch.float64)
    roles = plm.architecture.roles(plm.model)
    works(plm)
    if model_type == "lfm2":  # the first block convolves, the second attends
        assert {m.block for m in plm.matrices(["query"])} == {1}
        with pytest.raises(ValueError, match="does not attend in every block"):
            Prefix().on(plm)
    else:
        assert {"query_down", "query", "key_value_down", "key_value"} <= set(roles)
        with pytest.raises(
            ValueError, match=r"of role \['value'\].*lie in one matrix; take that: targets=\('key_value'"
        ):
            LoRA().on(plm)
        with pytest.raises(ValueError, match="has no matrix of keys by itself"):
            Prefix().on(plm)


def test_a_users_own_architecture_is_taken(tmp_path):
    folder = folder_of(tmp_path, "olmo", UNLISTED["olmo"])
    places = {"after_attention": "self_attn.o_proj", "after_feed_forward": "mlp.down_proj"}
    stack = Stack("layers", {"query": Slot("self_attn.q_proj"), "output": Slot("self_attn.o_proj")}, places, ())
    mine = Architecture("mine", "decoder", ("olmo",), (stack,), "embed_tokens", ("norm",))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plm = load_plm(folder, architecture=mine, dtype=torch.float64)
    assert plm.architecture is mine
    assert plm.architecture.roles(plm.model) == ("query", "output")
    works(plm)


def test_what_cannot_be_told_says_what_to_write(tmp_path):
    config = transformers.AutoConfig.for_model("mamba", **SHORT, hidden_size=16, num_hidden_layers=2, state_size=4)
    transformers.MambaForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises(
        CheckpointError,
        match=r"'mamba' has no architecture row.*no attention made of linear maps.*load_plm\(path, architecture=",
    ):
        load_plm(tmp_path, head="lm")


@pytest.mark.filterwarnings("ignore:.*taken by its structure")
def test_a_type_that_runs_in_single_precision_alone_says_so(tmp_path):
    """XGLM compares its scores with a constant that transformers makes in float32, where the least float64 is none."""
    settings = {**SHORT, "d_model": 16, "num_layers": 2, "attention_heads": 4, "ffn_dim": 24}
    theirs = language_model(tmp_path, "xglm", settings).eval()
    with pytest.raises(
        CheckpointError, match=r"'xglm' is not for deltas.*float64 \(RuntimeError: .*dtype=torch.float32"
    ):
        load_plm(tmp_path, head="lm", dtype=torch.float64)
    ids = torch.tensor([[5, 9, 11, 7]])
    ours = load_plm(tmp_path, head="lm").logits({}, {"input_ids": ids})
    torch.testing.assert_close(ours, theirs(ids).logits, rtol=1e-5, atol=1e-5)


def test_a_configuration_that_names_no_padding_token_is_read(tmp_path):
    settings = {"vocab_size": 60, "n_embd": 16, "n_layer": 2, "n_head": 4, "rotary_dim": 4, "n_positions": 40}
    config = transformers.AutoConfig.for_model("codegen", **settings)
    assert not hasattr(config, "pad_token_id")
    theirs = transformers.CodeGenForCausalLM(config).eval()
    theirs.save_pretrained(tmp_path)
    ids = torch.tensor([[5, 9, 11, 7]])
    with pytest.warns(UserWarning, match="taken by its structure"):
        ours = load_plm(tmp_path, head="lm").logits({}, {"input_ids": ids})
    torch.testing.assert_close(ours, theirs(ids).logits, rtol=1e-5, atol=1e-5)


def images_and_text(folder):
    """A tiny Gemma 3 with its tower for images, as the ones of 4B and more are."""
    text = {**SIZES, "num_key_value_heads": 2, "head_dim": 4, "sliding_window": 8}
    vision = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4,
              "image_size": 28, "patch_size": 14}  # fmt: skip
    config = transformers.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    torch.manual_seed(0)
    model = transformers.Gemma3ForConditionalGeneration(config).eval()
    model.save_pretrained(folder)
    return model


def test_of_a_model_of_images_and_text_the_blocks_are_those_of_text(tmp_path):
    theirs = images_and_text(tmp_path)
    ids = torch.tensor([[5, 9, 11, 7]])
    said = r"blocks in 'language_model.layers'.*no text runs through 'vision_tower.*', which are left alone"
    with pytest.warns(UserWarning, match=said):
        plm = load_plm(tmp_path, head="lm", dtype=torch.float64)
    torch.testing.assert_close(plm.logits({}, {"input_ids": ids}), theirs.double()(ids).logits, rtol=1e-5, atol=1e-5)
    assert plm.n_blocks == 2
    assert plm.architecture.final_norms == ("language_model.norm",)
    with pytest.warns(UserWarning, match=said):
        works(load_plm(tmp_path, dtype=torch.float64))


def test_a_tower_inside_of_the_text_model_is_left_alone(tmp_path):
    """GIT keeps its images' model, which comes first, inside of the one that embeds the text; its own table of classes
    of attention knows transformers' names alone."""
    vision = {**SIZES, "image_size": 32, "patch_size": 16}
    torch.manual_seed(0)
    theirs = transformers.GitForCausalLM(transformers.GitConfig(**SIZES, vision_config=vision)).eval()
    theirs.save_pretrained(tmp_path)
    ids = torch.tensor([[5, 9, 11, 7]])
    said = r"blocks in 'encoder.layer'.*no text runs through 'image_encoder.*', which are left alone"
    with pytest.warns(UserWarning, match=said):
        plm = load_plm(tmp_path, head="lm", dtype=torch.float64)
    torch.testing.assert_close(plm.logits({}, {"input_ids": ids}), theirs.double()(ids).logits, rtol=1e-9, atol=1e-9)
    assert plm.n_blocks == SIZES["num_hidden_layers"]
    assert "image_encoder.vision_model.post_layernorm" not in plm.architecture.final_norms
    with pytest.warns(UserWarning, match=said):
        works(load_plm(tmp_path, dtype=torch.float64))
    delta = Prefix(tokens=2).on(plm)
    assert delta.logits(delta.phi0, {"input_ids": ids}).isfinite().all()


@pytest.mark.filterwarnings("ignore:.*taken by its structure", "ignore:Passing `encoder_outputs`")
@pytest.mark.parametrize(("model_type", "settings", "table"), [
    ("marian", {**TWO_STACKS, "pad_token_id": 0, "eos_token_id": 2}, "model.shared.weight"),
    ("jina_embeddings_v3", SIZES, "lm_head.decoder.weight"),
])  # fmt: skip
def test_a_tied_table_is_found_by_the_one_name_it_has(tmp_path, model_type, settings, table):
    """Marian's is the first of four places, jina's head comes before its words."""
    config = transformers.AutoConfig.for_model(model_type, **settings)
    cls = {"marian": transformers.MarianMTModel}.get(model_type, transformers.AutoModelForMaskedLM)
    torch.manual_seed(0)
    theirs = (cls(config) if model_type == "marian" else cls.from_config(config)).eval()
    theirs.save_pretrained(tmp_path)
    plm = load_plm(tmp_path, head="lm", dtype=torch.float64)
    batch = {"input_ids": torch.tensor([[5, 9, 11, 7]])}
    batch |= {"decoder_input_ids": batch["input_ids"]} if model_type == "marian" else {}
    torch.testing.assert_close(plm.logits({}, batch), theirs.double()(**batch).logits, rtol=1e-6, atol=1e-6)
    assert plm.word_table == table
    assert plm.n_embeddings == 60
    prompt = Prompt(tokens=2).on(plm)
    assert prompt.logits(prompt.phi0, batch).isfinite().all()


@pytest.mark.filterwarnings("ignore:.*taken by its structure")
def test_blocks_that_no_text_runs_through_are_refused(tmp_path):
    images_and_text(tmp_path)
    stack = Stack("vision_tower.encoder.layers", {"query": Slot("self_attn.q_proj")}, {}, ())
    mine = Architecture("mine", "decoder", ("gemma3",), (stack,), "language_model.embed_tokens", ())
    with pytest.raises(CheckpointError, match=r"no text runs through the blocks in 'vision_tower.encoder.layers'"):
        load_plm(tmp_path, head="lm", architecture=mine)


@pytest.mark.parametrize("family", ["gpt_neox", "falcon", "falcon-grouped", "phi3", "modernbert"])
def test_the_parts_of_a_fused_weight_are_what_attention_gets(family):
    """Query, key and value by their matrices are those of the model's own split, up to rotation and order of heads."""
    plm = tiny_plm(family)
    parts = fused_parts(plm.model.config)
    fused = plm.matrices(["qkv"])[0]
    weight = plm.parameters[fused.name]
    found = {role: next(m for m in plm.matrices([role]) if m.block == 0) for role in parts}
    rows = torch.cat([m.of(weight) for m in found.values()])
    assert torch.equal(rows.sort(0).values, fused.of(weight).sort(0).values)  # a partition of the rows
    attention = plm.model.get_submodule(plm.architecture.places(plm.model, "attention")[0].path)
    if family.startswith("falcon"):
        x = torch.randn(1, 3, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        split = attention._split_heads(attention.query_key_value(x))
        for role, theirs in zip(("query", "key", "value"), split, strict=True):
            ours = (x @ found[role].of(weight).mT).unflatten(-1, (-1, 4))
            repeats = theirs.shape[2] // ours.shape[2]
            torch.testing.assert_close(ours.repeat_interleave(repeats, 2), theirs)


@pytest.mark.parametrize(
    ("model", "own"),
    [
        ("CodeGenModel", {"rotary_dim": 4}),
        ("OpenAIGPTModel", {}),
        ("GPT2Model", {}),
        ("GPTBigCodeModel", {"multi_query": True}),
        ("GPTBigCodeModel", {"multi_query": False}),
    ],
)
def test_the_parts_of_a_fused_weight_do_what_their_roles_say(model, own):
    """Without values nothing is attended to; without queries or without keys everything is, alike."""
    settings = {**SHORT, "n_embd": 16, "n_layer": 1, "n_head": 4, "n_positions": 40, **own}
    torch.manual_seed(0)
    config = getattr(transformers, model).config_class(**settings)
    config._attn_implementation = "eager"
    found = getattr(transformers, model)(config).eval()
    architecture = architecture_for(config)
    place = architecture.places(found, "attention")[0]
    attention = found.get_submodule(place.path)
    (fused,) = [m for m in architecture.matrices(found, ("qkv",)) if m.block == 0]
    x = torch.randn(1, 5, 16)
    further = {"position_ids": torch.arange(5)[None]} if model == "CodeGenModel" else {}
    outputs = {}
    for role in ("query", "key", "value"):
        (matrix,) = [m for m in architecture.matrices(found, (role,)) if m.block == 0]
        weight = found.get_parameter(fused.name)
        kept = weight.detach().clone()
        with torch.no_grad():
            weight.copy_(matrix.added(kept, -matrix.of(kept)))
            outputs[role] = attention(x, **further)[0]
            weight.copy_(kept)
    torch.testing.assert_close(outputs["query"], outputs["key"])
    torch.testing.assert_close(outputs["value"], torch.zeros_like(x))
    assert not torch.allclose(outputs["query"], attention(x, **further)[0])


def test_maps_with_unknown_names_are_told_by_order_and_shape():
    block = torch.nn.ModuleDict(
        {
            "attention": torch.nn.ModuleDict({name: torch.nn.Linear(4, 4) for name in ("a", "b", "c", "d")}),
            "mix": torch.nn.ModuleDict({"one": torch.nn.Linear(4, 6), "two": torch.nn.Linear(6, 4)}),
        }
    )
    found = slots_of(block, transformers.LlamaConfig())
    assert {role: slot.module for role, slot in found.items()} == {
        "query": "attention.a", "key": "attention.b", "value": "attention.c", "output": "attention.d",
        "up": "mix.one", "down": "mix.two",
    }  # fmt: skip


def test_an_attention_is_told_by_its_class_where_its_path_says_nothing():
    class SomeAttention(torch.nn.ModuleDict):
        pass

    names = ("q_proj", "k_proj", "v_proj", "o_proj")
    block = torch.nn.ModuleDict({"mixer": SomeAttention({name: torch.nn.Linear(4, 4) for name in names})})
    found = slots_of(block, transformers.LlamaConfig())
    assert [slot.module for slot in found.values()] == [f"mixer.{name}" for name in names]


def test_a_type_without_language_model_is_not_guessed():
    with pytest.raises(ValueError, match=r"'vit' has no architecture row, and its structure is none.*no masked and no"):
        architecture_for(transformers.ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=4))


def test_falcons_slopes_are_taken_once(tmp_path):
    """transformers' eager Falcon (5.23) takes them twice; its SDPA, which it runs by default, once."""
    settings = {**SHORT, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "alibi": True,
                "multi_query": False}  # fmt: skip
    theirs = language_model(tmp_path, "falcon", settings).eval().double()
    assert theirs.config._attn_implementation == "sdpa"
    ids = torch.tensor([[5, 9, 11, 7, 20]])
    plm = load_plm(tmp_path, head="lm", dtype=torch.float64)
    torch.testing.assert_close(plm.logits({}, {"input_ids": ids}), theirs(ids).logits, rtol=0, atol=1e-12)
    eager = transformers.FalconForCausalLM.from_pretrained(tmp_path, attn_implementation="eager").eval().double()
    assert not torch.allclose(eager(ids).logits, theirs(ids).logits, atol=1e-2)


def test_blooms_activation_is_transformers_own_bit_for_bit():
    plm = tiny_plm("bloom")
    (found, *_) = [module for module in plm.model.modules() if isinstance(module, TanhGELU)]
    x = torch.linspace(-4, 4, 50)
    assert torch.equal(found(x), transformers.models.bloom.modeling_bloom.BloomGelu()(x))
