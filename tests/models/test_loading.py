"""Folders that `save_pretrained` wrote load as they are; every other folder is refused with the reason."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from lab.models import CheckpointError, load_plm
from lab.models.checkpoint import configuration
from lab.models.tiny import CONFIGURATIONS, FOUND, tiny_plm
from lab.tasks import Examples, Task
from lab.tasks.metrics import ACCURACY

COVERING = [
    pytest.param(
        family, marks=pytest.mark.slow if family in FOUND and family not in ("deberta", "bart", "phi3") else ()
    )
    for family in CONFIGURATIONS
]
"""Every tiny model; of those found by their structure most under `slow`."""


@pytest.fixture
def saved(tmp_path):
    """(family, **arguments of tiny_plm) -> (the PLM, the folder it is saved in)."""

    def save(family, **arguments):
        plm = tiny_plm(family, **arguments)
        folder = tmp_path / family
        plm.model.save_pretrained(folder)
        plm.tokenizer.save_pretrained(folder)
        return plm, folder

    return save


def edit_tensors(folder, change):
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def edit_config(folder, **entries):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


@pytest.mark.parametrize("family", CONFIGURATIONS)
def test_a_saved_classifier_comes_back_bit_for_bit(family, saved, batch_of):
    plm, folder = saved(family, num_labels=3)
    loaded = load_plm(folder, dtype=torch.float64)
    batch = batch_of(plm)
    assert batch_of(loaded).keys() == batch.keys()
    assert all(torch.equal(x, batch[name]) for name, x in batch_of(loaded).items())
    assert torch.equal(loaded.logits({}, batch), plm.logits({}, batch))
    assert loaded.name == family
    assert loaded.num_labels == 3
    assert not loaded.new_names
    assert loaded.layout == plm.layout
    assert set(loaded.provenance["files"]) == {"model.safetensors"}
    assert loaded.provenance["unused"] == ()


@pytest.mark.parametrize("family", COVERING)
def test_another_head_is_new_and_the_rest_is_the_checkpoints(family, saved, batch_of):
    plm, folder = saved(family, head="lm")
    loaded = load_plm(folder, num_labels=4, dtype=torch.float64)
    assert loaded.num_labels == 4
    assert loaded.logits({}, batch_of(loaded)).shape == (3, 4)
    base = loaded.architecture.base_path(loaded.model)
    own = plm.architecture.base_path(plm.model)
    pooler = {base + name for name in loaded.architecture.poolers} & set(loaded.parameters)
    new = {n for n in loaded.parameters if not n.startswith(base)} | pooler
    shared = {n for n in new if n.startswith("head.")} if family == "modernbert" else set()  # with the language model
    assert loaded.new_names == new - shared
    for name, parameter in loaded.parameters.items():
        if name not in loaded.new_names | shared:
            assert torch.equal(parameter, plm.parameters[own + name.removeprefix(base)])


@pytest.mark.parametrize("family", COVERING)
def test_a_saved_language_model_comes_back_with_its_verbalizer(family, saved, batch_of):
    plm, folder = saved(family, head="lm", verbalizer=("bad", "good"))
    loaded = load_plm(str(folder), head="lm", verbalizer=["bad", "good"], dtype=torch.float64)
    batch = batch_of(loaded, masked=True)
    assert torch.equal(loaded.logits({}, batch), plm.logits({}, batch))


def test_an_untied_language_model_head_is_a_parameter_of_its_own(saved, batch_of):
    # T5 v1.1: transformers' configuration says tied whatever the file says
    plm, folder = saved("t5", head="lm")
    own = torch.randn(plm.parameters["shared.weight"].shape, generator=torch.Generator().manual_seed(0))
    edit_tensors(folder, lambda tensors: tensors.update({"lm_head.weight": own.double()}))
    loaded = load_plm(folder, head="lm", dtype=torch.float64)
    assert torch.equal(loaded.parameters["lm_head.weight"], own.double())
    assert loaded.size == plm.size + own.numel()
    assert not torch.equal(loaded.logits({}, batch_of(plm)), plm.logits({}, batch_of(plm)))


def test_a_checkpoint_without_a_wrapper_loads(saved, batch_of):
    # MiniLM is a bare BertModel: its names have no "bert." in front
    plm, folder = saved("bert")
    plm.model.bert.save_pretrained(folder)
    loaded = load_plm(folder, dtype=torch.float64)
    assert loaded.new_names == {"classifier.weight", "classifier.bias"}
    name = "bert.encoder.layer.1.output.dense.weight"
    assert torch.equal(loaded.parameters[name], plm.parameters[name])
    with pytest.raises(CheckpointError, match=r"holds no language-model head .*cls\.predictions.*would be random"):
        load_plm(folder, head="lm")


def test_a_stored_head_is_kept_where_the_configuration_forgets_its_width(saved, batch_of):
    # transformers writes no number of labels where it is 2, and BART's own default is 3
    plm, folder = saved("bart", num_labels=2)
    assert not {"num_labels", "id2label"} & json.loads((folder / "config.json").read_text()).keys()
    loaded = load_plm(folder, dtype=torch.float64)
    assert (loaded.num_labels, loaded.new_names) == (2, frozenset())
    assert torch.equal(loaded.logits({}, batch_of(plm)), plm.logits({}, batch_of(plm)))


def test_a_head_of_another_width_is_replaced(saved):
    _, folder = saved("bert", num_labels=3)
    loaded = load_plm(folder, num_labels=2)
    assert loaded.new_names == {"classifier.weight", "classifier.bias"}
    assert loaded.provenance["unused"] == ("classifier.bias", "classifier.weight")
    regression = load_plm(folder, head="regression")
    assert regression.num_labels == 1
    assert regression.new_names == loaded.new_names


@pytest.mark.parametrize("family", ["bert", "roberta", "t5", "llama"])
def test_the_new_head_depends_on_the_seed_alone(family, saved):
    _, folder = saved(family, head="lm")
    state = torch.random.get_rng_state()
    one = load_plm(folder, num_labels=3, seed=5)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(7)
    again, double = load_plm(folder, num_labels=3, seed=5), load_plm(folder, num_labels=3, seed=5, dtype=torch.float64)
    other, shallow = load_plm(folder, num_labels=3, seed=6), load_plm(folder, num_labels=3, seed=5, n_layers=1)
    for name in one.new_names:
        value = one.parameters[name]
        assert torch.equal(value, again.parameters[name])
        assert torch.equal(value.double(), double.parameters[name])
        assert torch.equal(value, shallow.parameters[name])
        assert not value.any() or not torch.equal(value, other.parameters[name])


@pytest.mark.parametrize("family", COVERING)
def test_fewer_layers_are_the_first_ones(family, saved, batch_of):
    plm, folder = saved(family)
    loaded = load_plm(folder, n_layers=1, dtype=torch.float64)
    first = (0, 2) if plm.architecture.kind == "encoder-decoder" else (0,)
    if family == "albert":  # one block for all layers
        assert loaded.n_blocks == plm.n_blocks == 1
        assert not torch.equal(loaded.logits({}, batch_of(plm)), plm.logits({}, batch_of(plm)))
        return
    assert loaded.n_blocks == len(first)
    kept = [part.name for part in plm.layout if part.block in (*first, None)]
    assert list(loaded.parameters) == kept
    assert all(torch.equal(loaded.parameters[name], plm.parameters[name]) for name in kept)
    assert loaded.logits({}, batch_of(plm)).isfinite().all()
    assert loaded.provenance["n_layers"] == 1
    with pytest.raises(ValueError, match=r"n_layers must be in 1\.\.2 for this PLM; got 3"):
        load_plm(folder, n_layers=3)


def test_shards_are_put_together(saved, batch_of):
    plm, folder = saved("llama")
    (folder / "model.safetensors").unlink()
    plm.model.save_pretrained(folder, max_shard_size="10KB")
    shards = sorted(file.name for file in folder.glob("*.safetensors"))
    assert len(shards) > 1
    loaded = load_plm(folder, dtype=torch.float64)
    assert torch.equal(loaded.logits({}, batch_of(plm)), plm.logits({}, batch_of(plm)))
    (folder / shards[0]).unlink()
    with pytest.raises(CheckpointError, match=rf"index\.json names the shard '{shards[0]}', which is not in"):
        load_plm(folder)


def test_one_file_goes_before_shards_of_another_training(saved, batch_of):
    plm, folder = saved("bert")
    other = tiny_plm("bert", seed=1)
    whole = (folder / "model.safetensors").read_bytes()
    other.model.save_pretrained(folder, max_shard_size="10KB")
    (folder / "model.safetensors").write_bytes(whole)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float64).eval()
    ours = load_plm(folder, dtype=torch.float64).logits({}, batch_of(plm))
    assert torch.equal(ours, plm.logits({}, batch_of(plm)))
    inputs = {name: value for name, value in batch_of(plm).items() if name != "labels"}
    torch.testing.assert_close(theirs(**inputs).logits, ours)


@pytest.mark.parametrize("shard", ["../../elsewhere.safetensors", "/etc/passwd", 3])
def test_an_index_cannot_name_files_elsewhere(shard, saved):
    _, folder = saved("bert")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": shard}}))
    with pytest.raises(CheckpointError, match=r"names the shard .*, which is not in"):
        load_plm(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not readable JSON"),
        ("[]", "holds no JSON object but a list"),
        ('{"weight_map": 3}', "is not a readable index of shards"),
        ("{}", "is not a readable index of shards"),
    ],
)
def test_a_broken_index_is_refused(text, message, saved):
    _, folder = saved("bert")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(text)
    with pytest.raises(CheckpointError, match=rf"model\.safetensors\.index\.json {message}"):
        load_plm(folder)


def test_a_tensor_in_two_shards_is_refused(saved):
    _, folder = saved("bert")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    save_file(tensors, folder / "a.safetensors")
    save_file({"classifier.bias": torch.ones(2)}, folder / "b.safetensors")
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"classifier.bias": "a.safetensors", "classifier.weight": "b.safetensors"}})
    )
    with pytest.raises(CheckpointError, match=r"'classifier.bias' is in both .*a.safetensors and .*b.safetensors"):
        load_plm(folder)


def test_codes_are_no_weights_and_buffers_are_left_out(saved, batch_of):
    plm, folder = saved("bert")
    edit_tensors(folder, lambda t: t.update({"bert.embeddings.position_ids": torch.arange(64)[None]}))
    loaded = load_plm(folder, dtype=torch.float64)
    assert loaded.provenance["unused"] == ()
    assert torch.equal(loaded.logits({}, batch_of(plm)), plm.logits({}, batch_of(plm)))
    name = "bert.encoder.layer.0.output.dense.weight"
    for dtype, stored in ((torch.int8, "I8"), (torch.bool, "BOOL"), (torch.float8_e4m3fn, "F8_E4M3")):
        edit_tensors(folder, lambda t, dtype=dtype: t.update({name: t[name].float().to(dtype)}))
        with pytest.raises(CheckpointError, match=rf"'{name}' is stored as {stored}, not as floating point"):
            load_plm(folder)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model."])
def test_names_under_a_wrapper_are_named(prefix, saved):
    _, folder = saved("bert")
    tensors = load_file(folder / "model.safetensors")
    save_file({prefix + name: tensor for name, tensor in tensors.items()}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=rf"the names in model.safetensors begin with '{prefix}', as something"):
        load_plm(folder)


def test_a_stored_head_of_another_width_than_the_configuration_says(saved, batch_of):
    plm, folder = saved("bert", num_labels=3)
    edit_config(folder, id2label={str(i): f"LABEL_{i}" for i in range(5)})
    with pytest.warns(UserWarning, match=r"classifier.* has the shape \(3.*a new head is drawn.* say num_labels=3"):
        assert load_plm(folder).num_labels == 5
    kept = load_plm(folder, num_labels=3, dtype=torch.float64)
    assert torch.equal(kept.logits({}, batch_of(plm)), plm.logits({}, batch_of(plm)))


def test_a_quantisation_that_is_null_is_none(saved):
    _, folder = saved("bert")
    edit_config(folder, quantization_config=None)
    assert load_plm(folder).new_names == frozenset()


@pytest.mark.parametrize("keep", [0, 4, 300, 20_000])
def test_a_truncated_file_is_refused(keep, saved):
    _, folder = saved("bert")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged or no safetensors file \("):
        load_plm(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["bert.encoder.layer.1.output.dense.weight", "classifier.bias"])
def test_non_finite_tensors_are_refused_by_file_name_and_index(value, name, saved):
    _, folder = saved("bert")

    def spoil(tensors):
        tensors[name].view(-1)[-1] = value

    edit_tensors(folder, spoil)
    index = r"\(15, 23\)" if "dense" in name else r"\(1,\)"
    with pytest.raises(CheckpointError, match=rf"model\.safetensors: tensor '{name}' holds {value} at index {index}"):
        load_plm(folder)


def test_huge_but_finite_tensors_are_fine(saved):
    _, folder = saved("bert")
    huge = torch.finfo(torch.float64).max

    def enlarge(tensors):
        tensors["classifier.weight"].fill_(huge)  # its sum overflows

    edit_tensors(folder, enlarge)
    assert load_plm(folder, dtype=torch.float64).parameters["classifier.weight"].eq(huge).all()


def test_missing_tensors_are_refused(saved):
    _, folder = saved("llama")
    edit_tensors(folder, lambda tensors: tensors.pop("model.layers.1.self_attn.k_proj.weight"))
    with pytest.raises(CheckpointError, match=r"lacks 1 tensors of this llama model, first \['model\.layers\.1\.self"):
        load_plm(folder)


def test_tensors_of_another_shape_are_refused(saved):
    _, folder = saved("gpt2")
    edit_tensors(folder, lambda tensors: tensors.update({"transformer.wte.weight": torch.zeros(7, 16)}))
    with pytest.raises(
        CheckpointError, match=r"'transformer\.wte\.weight' .* has shape \(7, 16\), .*asks for \(319, 16\)"
    ):
        load_plm(folder)


def test_tensors_without_a_place_are_stated_and_warned_of_when_they_are_blocks(saved):
    _, folder = saved("bert")
    edit_tensors(folder, lambda tensors: tensors.update({"cls.other": torch.zeros(2)}))
    assert load_plm(folder).provenance["unused"] == ("cls.other",)
    edit_config(folder, num_hidden_layers=1)
    with pytest.warns(UserWarning, match=r"tensors of the weights have no place in the model.*smaller model"):
        assert load_plm(folder).n_blocks == 1


def test_pickles_are_never_read(saved):
    plm, folder = saved("bert")
    (folder / "model.safetensors").unlink()
    torch.save(plm.model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"only as \['pytorch_model\.bin'\], which can run code when read"):
        load_plm(folder)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors; a model folder is what"):
        load_plm(folder)


def test_code_named_in_the_configuration_is_ignored(saved, batch_of):
    plm, folder = saved("llama")
    marker = folder / "ran"
    (folder / "modeling_evil.py").write_text(f"open({str(marker)!r}, 'w').close()\nclass Evil: pass\n")
    evil = {"AutoConfig": "modeling_evil.Evil", "AutoModelForSequenceClassification": "modeling_evil.Evil"}
    edit_config(
        folder, auto_map=evil, _attn_implementation="someone/kernel", _attn_implementation_internal="someone/kernel"
    )
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer["auto_map"] = {"AutoTokenizer": ["modeling_evil.Evil", None]}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "someone/model"}))
    loaded = load_plm(folder, dtype=torch.float64)
    assert torch.equal(loaded.logits({}, batch_of(plm)), plm.logits({}, batch_of(plm)))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"config\.json is not readable JSON"),
        ("\xff", r"config\.json is not readable JSON"),
        ("[]", r"config\.json holds no JSON object but a list"),
        ('{"a": ' * 900 + "1" + "}" * 900, r"config\.json is nested (too deeply|more than 64 levels deep)"),
        ('{"a": ' * 99999 + "1" + "}" * 99999, r"config\.json is nested too deeply"),
        ('{"model_type": 3}', r'config\.json names no "model_type"'),
        ('{"model_type": "mamba"}', r"'mamba' has no architecture row.*no attention.*load_plm\(path, architecture="),
        (
            '{"model_type": "bart", "architectures": ["BartForCausalLM"], "is_encoder_decoder": false}',
            r"is of a BartForCausalLM: the decoder of an encoder-decoder by itself, which is not read",
        ),
        ('{"model_type": "bart", "architectures": 3}', r"configuration and weights do not belong together"),
        ('{"model_type": "mine"}', r"transformers .* has no model type 'mine'; its code would have to come with"),
        ('{"model_type": "bert", "quantization_config": {}}', r"holds quantised weights; deltas need floats"),
        ('{"model_type": "bert", "hidden_size": "wide"}', r"hidden_size is 'wide'; expected a whole number from 1 on"),
        ('{"model_type": "bert", "hidden_act": 3}', r"config\.json is not a valid configuration|no model that can be"),
    ],
)
def test_broken_configurations_are_refused(text, message, saved):
    _, folder = saved("bert")
    (folder / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(CheckpointError, match=message):
        load_plm(folder)


SIZES = {
    "bert": ("num_hidden_layers", "hidden_size", "vocab_size", "intermediate_size", "num_attention_heads",
             "max_position_embeddings", "num_labels"),
    "llama": ("num_hidden_layers", "hidden_size", "vocab_size", "num_key_value_heads", "head_dim", "num_labels"),
    "gpt2": ("n_layer", "n_embd", "vocab_size", "n_positions", "n_inner"),
    "t5": ("num_layers", "num_decoder_layers", "d_model", "d_kv", "d_ff", "num_heads"),
}  # fmt: skip


@pytest.mark.parametrize(("family", "name"), [(f, name) for f, names in SIZES.items() for name in names])
def test_sizes_beyond_the_weights_are_refused_before_anything_is_built(family, name, saved):
    _, folder = saved(family)
    for value in (10**6, 10**9, 10**30, -1, 0, True, 2.5, [2]):
        edit_config(folder, **{name: value})
        start = time.process_time()
        with pytest.raises(CheckpointError, match=r"config\.json"):
            load_plm(folder)
        assert time.process_time() - start < 5


def test_a_broken_tokenizer_is_refused_and_a_missing_one_is_none(saved):
    _, folder = saved("bert")
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"the tokenizer in .* cannot be read"):
        load_plm(folder)
    for file in folder.glob("tokenizer*"):
        file.unlink()
    assert load_plm(folder).tokenizer is None
    _, lm = saved("roberta", head="lm")
    for file in lm.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ValueError, match=r"a verbalizer needs a tokenizer"):
        load_plm(lm, head="lm", verbalizer=("bad", "good"))


def test_models_without_a_padding_token_pad_with_their_end(saved, batch_of):
    plm, folder = saved("gpt2")
    edit_config(folder, pad_token_id=None)
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    del tokenizer["pad_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    loaded = load_plm(folder, dtype=torch.float64)
    assert loaded.tokenizer.pad_token == loaded.tokenizer.eos_token == "<|endoftext|>"
    assert loaded.model.config.pad_token_id == loaded.tokenizer.eos_token_id
    torch.testing.assert_close(loaded.logits({}, batch_of(loaded)), plm.logits({}, batch_of(plm)))


def test_a_folder_without_configuration_and_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no config\.json; a model folder is what"):
        load_plm(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"holds an adapter, and no model: load_adapter\(load_plm"):
        load_plm(tmp_path)
    for name in (tmp_path / "nowhere", "./nowhere", "a/b/c"):
        with pytest.raises(FileNotFoundError, match=r"there is no folder .*give a folder with config\.json"):
            load_plm(name)


def test_a_padding_id_of_minus_one_is_none(saved):
    """As LLaMA 1's conversions have it; the end token pads then."""
    _, folder = saved("llama")
    edit_config(folder, pad_token_id=-1)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != "pad_token"}))
    loaded = load_plm(folder)
    assert loaded.tokenizer.pad_token_id == loaded.tokenizer.eos_token_id
    assert loaded.tokenizer.model_max_length == 10**9  # rotary: no end of positions


def test_a_sentencepiece_model_alone_is_named(saved):
    _, folder = saved("llama")
    (folder / "tokenizer.json").rename(folder / "tokenizer.model")
    with pytest.warns(UserWarning, match=r"has its tokenizer as tokenizer\.model alone, which cannot be read here"):
        loaded = load_plm(folder)
    assert loaded.tokenizer is None


def test_numbers_that_json_has_none_for_are_read_as_transformers_writes_them(tmp_path):
    entries = {"model_type": "bert", "mine": [0.0, {"__float__": "Infinity"}], "other": {"__float__": "x"}}
    config = configuration(tmp_path / "config.json", entries)
    assert config.mine == [0.0, float("inf")]
    assert config.other == {"__float__": "x"}


def test_tokens_that_the_model_has_no_row_for(saved, batch_of):
    """Padding is another token then, as the mask hides it; a text with such a token is refused before it is run."""
    plm, folder = saved("llama")
    n = plm.n_embeddings
    plm.tokenizer.add_special_tokens({"pad_token": "[PAD]", "additional_special_tokens": ["[NEW]"]})
    assert plm.tokenizer.pad_token_id >= n
    plm.tokenizer.save_pretrained(folder)
    loaded = load_plm(folder)
    batch = batch_of(loaded)
    assert int(batch["input_ids"].max()) < n
    assert loaded.logits({}, batch).isfinite().all()
    fine = Examples(("a film", "good"), (0, 1))
    task = Task("toy", "classification", ("a", "b"), fine, fine, ACCURACY)
    assert task.encode(loaded).train
    new = replace(task, train=Examples(("a [NEW] film", "good"), (0, 1)))
    with pytest.raises(
        ValueError, match=rf"a text has the token '\[NEW\]', number {n + 1}.*embeddings of {n} tokens.*resize"
    ):
        new.encode(loaded)


def test_a_file_of_a_model_is_not_its_folder(tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
        with pytest.raises(FileNotFoundError, match=rf"{name}' is a file, and a model is a folder; give the one that"):
            load_plm(str(tmp_path / name))
