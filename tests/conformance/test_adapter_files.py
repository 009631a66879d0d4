"""Adapter folders that peft writes and reads: both readers give peft's own numbers, or say in a sentence why not."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lab.checkpoints import CheckpointError
from lab.deltas import from_peft, load_adapter
from lab.geometry import adapter_changes
from lab.linalg import LowRank
from lab.models.tiny import tiny_plm

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore")

FAMILIES = {"bert": "classification", "llama": "lm", "gemma": "lm", "gpt2": "lm", "t5": "lm", "qwen3_moe": "lm"}
FOUND = {"deberta": "classification", "phi3": "lm", "falcon": "lm", "falcon-grouped": "lm", "mt5": "lm"}
FAMILIES |= FOUND
QUERY = {"bert": "query", "gpt2": "c_attn", "t5": "q", "deberta": "query_proj", "phi3": "qkv_proj", "mt5": "q"}
VALUE = {"bert": "value", "gpt2": "c_proj", "t5": "v", "deberta": "value_proj", "phi3": "gate_up_proj", "mt5": "v"}
EMBEDDING = {"bert": "word_embeddings", "gpt2": "wte", "t5": "shared", "deberta": "word_embeddings", "mt5": "shared"}
for _name in ("llama", "gemma", "qwen3_moe"):
    QUERY[_name], VALUE[_name], EMBEDDING[_name] = "q_proj", "v_proj", "embed_tokens"
for _name in ("falcon", "falcon-grouped"):
    QUERY[_name], VALUE[_name], EMBEDDING[_name] = "query_key_value", "dense_h_to_4h", "word_embeddings"
EMBEDDING["phi3"] = "embed_tokens"
POSITIONS = {"bert": ["position_embeddings"], "gpt2": ["wpe"]}
KINDS = (
    "lora", "rslora", "patterns", "pattern of paths", "excluded", "first layer", "dora", "biases", "all-linear",
    "head", "embedding", "embedding dora", "saved embedding", "saved tied embedding", "tokens", "pissa", "olora",
    "loftq", "parameter", "biases of the adapted",
)  # fmt: skip
FIRST = ("all-linear", "dora", "embedding", "embedding dora")
"""Tried at once on the families found by their structure; the others under `slow`."""
OF_EXPERTS = ("experts", "experts alone", "experts of another rank", "router")
UNREAD = {
    "loftq": "changed W₀ before training",
    "gpt2 olora": "nor, for olora, with transposed layers",  # peft's own forward pass fails
    "qwen3_moe saved embedding": "peft changes the one and leaves the other",
    "gemma saved embedding": "peft changes the one and leaves the other",
    "llama saved embedding": "peft changes the one and leaves the other",
    "gpt2 saved embedding": "peft changes the one and leaves the other",
    # peft ties nothing there
    "t5 saved tied embedding": "peft changes the one and leaves the other",
    "gpt2 saved tied embedding": "peft changes the one and leaves the other",
    "t5 saved embedding": "peft changes the one and leaves the other",
}
UNREAD |= {
    f"{family} saved {tied}embedding": "peft changes the one and leaves the other"
    for family in ("falcon", "falcon-grouped", "mt5")
    for tied in ("", "tied ")
}


def options(kind: str, family: str) -> dict:
    query, value, embedding = QUERY[family], VALUE[family], EMBEDDING[family]
    both = {"target_modules": [query, value], "r": 2, "lora_alpha": 5}
    return {
        "lora": both,
        "rslora": both | {"use_rslora": True},
        "patterns": both | {"rank_pattern": {query: 3}, "alpha_pattern": {rf".*\b0\..*{value}": 7}},
        "pattern of paths": both | {"target_modules": rf".*\.(?:0|1)\..*(?:{query}|{value})"},
        "excluded": both | {"exclude_modules": [value]},
        "first layer": both | {"layers_to_transform": [0]},
        "dora": both | {"use_dora": True},
        "biases": both | {"bias": "all"},
        "parameter": {"r": 2, "target_modules": [value], "target_parameters": [f"{query}.weight"]},
        "experts": both | {"target_parameters": ["experts.gate_up_proj", "experts.down_proj"]},
        "experts alone": {"r": 2, "target_modules": [], "target_parameters": ["experts.down_proj"]},
        "experts of another rank": both
        | {"target_parameters": ["experts.down_proj"], "rank_pattern": {"experts.down_proj": 3}, "use_rslora": True},
        "router": both | {"target_parameters": ["mlp.gate.weight"]},
        "biases of the adapted": both | {"bias": "lora_only"},
        "all-linear": both | {"target_modules": "all-linear"},
        "head": both | {"target_modules": [query, "classifier" if FAMILIES[family] == "classification" else "lm_head"]},
        "embedding": both | {"target_modules": [query, embedding, *POSITIONS.get(family, ())]},
        "embedding dora": both | {"target_modules": [embedding], "use_dora": True},
        "saved embedding": both | {"modules_to_save": [embedding]},
        "saved tied embedding": both | {"modules_to_save": [embedding], "ensure_weight_tying": True},
        "tokens": both | {"trainable_token_indices": {embedding: [9, 11, 12]}},
        "pissa": both | {"init_lora_weights": "pissa"},
        "olora": both | {"init_lora_weights": "olora"},
        "loftq": both | {"init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4}},
    }[kind] | ({"fan_in_fan_out": True} if family == "gpt2" else {})


@pytest.fixture(scope="module")
def plms(tmp_path_factory):
    """Family -> (a tiny PLM in float32, the folder it is saved in)."""
    made = {}
    for family, head in FAMILIES.items():
        plm = tiny_plm(family, head=head, dtype=torch.float32)
        folder = tmp_path_factory.mktemp(family)
        plm.model.save_pretrained(folder)
        made[family] = plm, folder
    return made


def written(plm, folder: Path, **chosen) -> None:
    """An adapter that peft wrote, its trained numbers moved."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = peft.get_peft_model(copy.deepcopy(plm.model), peft.LoraConfig(**chosen))
        moved = set()
        for p in model.parameters():
            if p.requires_grad and p.data_ptr() not in moved:
                moved.add(p.data_ptr())
                p.data += 0.1 * torch.randn_like(p)
    model.save_pretrained(folder)


def batch_of(plm) -> dict[str, torch.Tensor]:
    ids = torch.randint(8, plm.model.get_input_embeddings().weight.shape[0], (3, 6), generator=torch.Generator())
    ids[0, :3] = torch.tensor([9, 11, 12])
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return batch | ({"decoder_input_ids": ids} if plm.architecture.kind == "encoder-decoder" else {})


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_all_biases_beside_a_stored_head(family, tmp_path):
    """peft then writes the head's bias three times; only one of them is trained."""
    plm = tiny_plm(family, num_labels=3, dtype=torch.float32)
    written(plm, tmp_path, **options("biases", family), task_type="SEQ_CLS")
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(plm.model), str(tmp_path)).eval()
    delta, phi = load_adapter(plm, tmp_path)
    torch.testing.assert_close(delta.logits(phi, batch_of(plm)), theirs(**batch_of(plm)).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        *(
            pytest.param(f, k, marks=pytest.mark.slow if f in FOUND and k not in FIRST else ())
            for f in FAMILIES
            for k in KINDS
        ),
        *(("qwen3_moe", k) for k in OF_EXPERTS),
    ],
)
def test_both_readers_give_what_peft_gives(family, kind, plms, tmp_path):
    plm, base = plms[family]
    try:
        written(plm, tmp_path, **options(kind, family))
        theirs = peft.PeftModel.from_pretrained(copy.deepcopy(plm.model), str(tmp_path)).eval()
    except (ValueError, RuntimeError, NotImplementedError, TypeError, KeyError, ImportError) as error:
        pytest.skip(f"peft itself refuses: {error}")
    reason = UNREAD.get(f"{family} {kind}", UNREAD.get(kind))
    batch = batch_of(plm)
    wanted = None if reason else theirs(**batch).logits
    inputs = {name: value for name, value in batch.items() if name != "decoder_input_ids"}
    if reason:
        with pytest.raises(CheckpointError, match=reason):
            load_adapter(plm, tmp_path)
    else:
        delta, phi = load_adapter(plm, tmp_path)
        host = delta.plm
        overrides = {p: v for n, v in delta.overrides(phi).items() for p in host._places.get(n, (n,))}
        ours = torch.func.functional_call(host.model, overrides, (), batch, tie_weights=False).logits
        torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-4)
        assert delta.logits(phi, inputs).isfinite().all()
    if reason and "saved" not in kind:
        with pytest.raises(CheckpointError, match=reason):
            adapter_changes(tmp_path, base)
        return
    before = {n: p.detach().clone() for n, p in plm.model.named_parameters(remove_duplicate=False)}
    after = dict(theirs.merge_and_unload().named_parameters(remove_duplicate=False))
    changes = adapter_changes(tmp_path, base)
    found = {change.name: change for change in changes}
    left_out = {name.removeprefix("base_model.model.") for name, _ in changes.excluded}
    for name, old in before.items():
        new = after[name].detach()
        if name in found:
            difference = found[name].difference
            dense = difference.to_dense() if isinstance(difference, LowRank) else difference
            truth = (new - old).T if family == "gpt2" and "c_" in name else new - old
            torch.testing.assert_close(dense.float(), truth, rtol=1e-3, atol=2e-5)
        elif not torch.equal(new, old):
            tied = any(before[other] is not None and torch.equal(before[other], old) for other in found)
            assert name in left_out or name.removesuffix(".bias") + ".base_layer.bias" in left_out or tied, (
                f"{name} changes and is not named"
            )


@pytest.mark.parametrize("family", ["roberta", "distilbert"])
def test_nothing_is_adapted_inside_of_a_stored_head(family, tmp_path):
    """The head is two linear maps there; "dense" and "all-linear" mean the first one too."""
    plm = tiny_plm(family, num_labels=3)
    chosen = {"roberta": "all-linear", "distilbert": ["q_lin", "lin1"]}[family]
    heads = {"roberta": ["classifier"], "distilbert": ["pre_classifier", "classifier"]}[family]
    for name, config in {
        "DoRA": peft.LoraConfig(r=2, use_dora=True, bias="all", target_modules=chosen, modules_to_save=heads),
        "LoHa": peft.LoHaConfig(r=2, target_modules=chosen, modules_to_save=heads),
    }.items():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = peft.get_peft_model(copy.deepcopy(plm.model), config, autocast_adapter_dtype=False)
            for p in model.parameters():
                p.data += 0.1 * torch.randn_like(p) if p.requires_grad else 0.0
        model.save_pretrained(tmp_path / name)
        delta, phi = load_adapter(plm, tmp_path / name)
        batch = batch_of(plm)
        torch.testing.assert_close(delta.logits(phi, batch), model.eval()(**batch).logits, rtol=0, atol=1e-9)


def tied_once(plm, folder: Path, **chosen):
    """peft's model with an adapter of tied weights, moved and saved; and how many numbers peft trains, shared once."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = peft.LoraConfig(r=2, ensure_weight_tying=True, **chosen)
        model = peft.get_peft_model(copy.deepcopy(plm.model), config, autocast_adapter_dtype=False)
        moved: dict[int, int] = {}
        for p in model.parameters():
            if p.requires_grad and p.data_ptr() not in moved:
                moved[p.data_ptr()] = p.numel()
                p.data += 0.1 * torch.randn_like(p)
    model.save_pretrained(folder)
    return model.eval(), sum(moved.values())


TIED = {
    "factors": {"target_modules": ["q_proj", "embed_tokens"]},
    "factors under magnitudes": {"target_modules": ["embed_tokens"], "use_dora": True},
    "a saved table": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
}


@pytest.mark.parametrize("kind", TIED)
@pytest.mark.parametrize("family", ["llama", "gemma", "opt"])
def test_what_peft_ties_is_one_in_phi(family, kind, tmp_path):
    """peft gives a tied head the embedding's factors, transposed, or the embedding's saved table: one memory, one φ."""
    plm = tiny_plm(family, head="lm")
    model, size = tied_once(plm, tmp_path, **copy.deepcopy(TIED[kind]))
    batch = batch_of(plm)
    delta, phi = load_adapter(plm, tmp_path)
    assert delta.size == phi.numel() == size
    torch.testing.assert_close(delta.logits(phi, batch), model(**batch).logits, rtol=0, atol=1e-9)
    method = from_peft(peft.LoraConfig(r=2, ensure_weight_tying=True, **copy.deepcopy(TIED[kind])))
    fresh = method.body(plm, 0)
    assert fresh.size == size
    moved = fresh.phi0 + 0.1 * torch.randn(size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    parts = fresh.layout.unflatten(moved)
    last = fresh.layout.names[-1]
    overrides, of_one = fresh.overrides(moved), fresh.overrides_of({last: parts[last]})
    assert all(torch.equal(value, overrides[name]) for name, value in of_one.items())
    assert not torch.allclose(fresh.logits(moved, batch), plm.logits({}, batch))


@pytest.mark.parametrize("family", ["llama", "gemma", "opt"])
def test_a_tied_heads_factors_are_the_embeddings(family, tmp_path):
    """peft then stores them twice, and its own merge adds the one update to the one weight twice."""
    plm = tiny_plm(family, head="lm")
    plm.model.save_pretrained(tmp_path / "base")
    model, _ = tied_once(plm, tmp_path / "adapter", target_modules=["q_proj", "embed_tokens"])
    changes = adapter_changes(tmp_path / "adapter", tmp_path / "base")
    (table,) = (change for change in changes if change.role == "embedding")
    truth = model.get_input_embeddings().get_delta_weight("default")
    torch.testing.assert_close(table.difference.to_dense(), truth, rtol=0, atol=1e-9)
    assert {why for name, why in changes.excluded if "lm_head" in name} == {
        f"tied: the same numbers as {table.name}, counted once"
    }


@pytest.mark.parametrize("table", [(), ("table",)])
@pytest.mark.parametrize("family", ["gpt2", "bloom", "llama"])
def test_a_tied_head_that_the_file_does_not_name_is_read_as_it_was_trained(family, table, tmp_path):
    """Asked for a LoRA of the head peft ties the embedding to it, and names that alone in the file; of GPT-2 and BLOOM
    it then reads the folder without the head's factors."""
    plm = tiny_plm(family, head="lm")
    plm.model.save_pretrained(tmp_path / "base")
    embedding = {"gpt2": "wte", "bloom": "word_embeddings", "llama": "embed_tokens"}[family]
    query = {"gpt2": "c_attn", "bloom": "query_key_value", "llama": "q_proj"}[family]
    chosen = {"target_modules": [query, "lm_head", *(embedding for _ in table)]}
    model, size = tied_once(plm, tmp_path / "adapter", **chosen, fan_in_fan_out=family == "gpt2")
    named = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["target_modules"]
    assert "lm_head" not in named
    delta, phi = load_adapter(plm, tmp_path / "adapter")
    assert delta.size == size
    batch = batch_of(plm)
    torch.testing.assert_close(delta.logits(phi, batch), model(**batch).logits, rtol=0, atol=1e-9)
    (change,) = (c for c in adapter_changes(tmp_path / "adapter", tmp_path / "base") if c.role == "embedding")
    truth = model.get_input_embeddings().get_delta_weight("default")
    torch.testing.assert_close(change.difference.to_dense(), truth, rtol=0, atol=1e-9)


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_factors_of_several_tied_tables_say_what_to_do(family, tmp_path):
    plm = tiny_plm(family, head="lm")
    plm.model.save_pretrained(tmp_path / "base")
    query = {"t5": "q", "bart": "q_proj"}[family]
    tied_once(plm, tmp_path / "adapter", target_modules=[query, "lm_head"])
    for read in (lambda: load_adapter(plm, tmp_path / "adapter"),
                 lambda: adapter_changes(tmp_path / "adapter", tmp_path / "base")):  # fmt: skip
        with pytest.raises(CheckpointError, match=r"table that is tied to others.*Adapt the shared table alone"):
            read()


@pytest.mark.parametrize("kind", ["tokens", "factors"])
@pytest.mark.parametrize("family", ["gpt2", "bert", "bloom"])
def test_what_changes_a_tied_head_alone_is_compared_with_the_table_that_it_is(family, kind, tmp_path):
    """The base does not store it: W₀ is its word embedding."""
    plm = tiny_plm(family, head="lm")
    plm.model.save_pretrained(tmp_path / "base")
    head = "decoder" if family == "bert" else "lm_head"
    query = {"gpt2": "c_attn", "bloom": "query_key_value", "bert": "query"}[family]
    chosen = {"tokens": {"target_modules": [query], "trainable_token_indices": {head: [9, 11, 12]}},
              "factors": {"target_modules": [query, head]}}[kind]  # fmt: skip
    written(plm, tmp_path / "adapter", r=2, **chosen, fan_in_fan_out=family == "gpt2")
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(plm.model), str(tmp_path / "adapter"))
    name = "cls.predictions.decoder" if family == "bert" else head
    before = plm.model.get_submodule(name).weight.detach().clone()
    after = theirs.merge_and_unload().get_submodule(name).weight.detach()
    (change,) = (c for c in adapter_changes(tmp_path / "adapter", tmp_path / "base") if c.name == f"{name}.weight")
    difference = change.difference
    dense = difference.to_dense() if isinstance(difference, LowRank) else difference
    torch.testing.assert_close(dense, (after - before).double(), rtol=1e-5, atol=1e-6)


def test_a_tied_head_under_a_magnitude_of_its_own_is_listed(tmp_path):
    plm = tiny_plm("llama", head="lm")
    plm.model.save_pretrained(tmp_path / "base")
    tied_once(plm, tmp_path / "adapter", target_modules=["embed_tokens"], use_dora=True)
    changes = adapter_changes(tmp_path / "adapter", tmp_path / "base")
    assert [change.name for change in changes] == ["model.embed_tokens.weight"]
    assert {why for name, why in changes.excluded if "lm_head" in name} == {
        "tied: the factors of model.embed_tokens.weight under a magnitude of their own, which no one matrix has"
    }


def test_tied_factors_that_differ_are_refused(tmp_path):
    plm = tiny_plm("llama", head="lm")
    tied_once(plm, tmp_path, target_modules=["embed_tokens", "lm_head"])
    file = tmp_path / "adapter_model.safetensors"
    tensors = load_file(file)
    save_file({k: 2 * v if "lm_head.lora_A" in k else v for k, v in tensors.items()}, file, {"format": "pt"})
    entries = json.loads((tmp_path / "adapter_config.json").read_text())
    entries["target_modules"] = ["embed_tokens", "lm_head"]  # of which peft writes the first alone
    (tmp_path / "adapter_config.json").write_text(json.dumps(entries))
    with pytest.raises(CheckpointError, match=r"factors 'lm_head.*' and '.*embed.*' of tied matrices hold different"):
        load_adapter(plm, tmp_path)


@pytest.mark.parametrize(
    ("tying", "remedy"), [(True, "peft tied nothing here"), (False, "set ensure_weight_tying=True")]
)
def test_a_part_of_a_tied_weight_is_not_saved_alone(tying, remedy):
    config = peft.LoraConfig(
        r=2, target_modules=["c_attn"], modules_to_save=["wte"], ensure_weight_tying=tying, fan_in_fan_out=True
    )
    with pytest.raises(
        ValueError, match=rf"saves 'transformer.wte.weight', which .* shares with 'lm_head.weight'.*{remedy}"
    ):
        from_peft(config).body(tiny_plm("gpt2", head="lm"), 0)


@pytest.mark.parametrize("family", FOUND)
def test_a_stored_head_beside_scales(family, tmp_path):
    """IA³ on a classifier, whose head peft stores: logits, unmerged logits and merged weights."""
    plm = tiny_plm(family, num_labels=3)
    plm.model.save_pretrained(tmp_path / "base")
    down = {"deberta": "output.dense", "phi3": "down_proj", "mt5": "wo"}.get(family, "dense_4h_to_h")
    config = peft.IA3Config(target_modules=[QUERY[family], down], feedforward_modules=[down], task_type="SEQ_CLS")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = peft.get_peft_model(copy.deepcopy(plm.model), config, autocast_adapter_dtype=False)
        for p in model.parameters():
            p.data += 0.1 * torch.randn_like(p) if p.requires_grad else 0.0
    model.save_pretrained(tmp_path / "adapter")
    ids = torch.randint(8, 100, (3, 6), generator=torch.Generator().manual_seed(0))
    ids[:, -1] = plm.model.config.eos_token_id or 8
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    delta, phi = load_adapter(plm, tmp_path / "adapter")
    logits = model.eval()(**batch).logits
    close = {"rtol": 0, "atol": 1e-5 if family in ("phi3", "mt5") else 1e-9}  # float32 inside of their norms
    torch.testing.assert_close(delta.logits(phi, batch), logits, **close)
    torch.testing.assert_close(delta.unmerged.logits(phi, batch), logits, **close)
    changes = {change.name: change.difference for change in adapter_changes(tmp_path / "adapter", tmp_path / "base")}
    after = dict(model.merge_and_unload().named_parameters())
    moved = [
        n for n, old in plm.parameters.items() if old.ndim == 2 and n not in plm.new_names and not old.equal(after[n])
    ]
    assert sorted(changes) == sorted(moved)
    for name in moved:
        torch.testing.assert_close(changes[name], after[name] - plm.parameters[name], rtol=0, atol=1e-9)


OTHERS = {
    "t5": lambda: peft.LoHaConfig(r=2, target_modules=["q"]),  # its classifier has other names
    "gemma": lambda: peft.TrainableTokensConfig(token_indices=[9, 11]),  # beside the tied head, which no classifier has
}


@pytest.mark.parametrize("family", OTHERS)
def test_other_types_on_a_language_model_are_merged_as_by_peft(family, plms, tmp_path):
    plm, base = plms[family]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = peft.get_peft_model(copy.deepcopy(plm.model), OTHERS[family]())
        for p in model.parameters():
            if p.requires_grad:
                p.data += 0.1 * torch.randn_like(p)
    model.save_pretrained(tmp_path)
    changes = {change.name: change.difference for change in adapter_changes(tmp_path, base)}
    after = dict(model.merge_and_unload().named_parameters())
    moved = [name for name, old in plm.parameters.items() if not torch.equal(after[name], old)]
    assert moved
    assert sorted(changes) == sorted(moved)
    for name in moved:
        torch.testing.assert_close(changes[name].float(), after[name] - plm.parameters[name], rtol=1e-3, atol=2e-5)
