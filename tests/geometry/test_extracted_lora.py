"""A difference written as a LoRA that peft reads: the best of its rank, and the same through peft and through us."""

from __future__ import annotations

import pytest
import torch

from lab.deltas import FullFineTuning, load_adapter
from lab.geometry import WeightChanges, delta_changes, extract_lora, folder_changes
from lab.geometry.weight_changes import WeightChange
from lab.linalg import LowRank
from lab.models.tiny import tiny_plm


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def tuned():
    """A full fine-tuning of a tiny BERT with a random φ."""
    delta = FullFineTuning().on(tiny_plm("bert"))
    return delta, 0.1 * gaussian(delta.size)


def test_the_written_adapter_is_the_truncated_difference(tuned, tmp_path):
    delta, phi = tuned
    changes = delta_changes(delta, phi)
    made = extract_lora(changes, rank=3, dtype=torch.float64)
    lora, values = load_adapter(delta.plm, made.write(tmp_path / "adapter"))
    read = lora.weight_difference(values)
    assert set(read) == set(made.table["matrix"])
    assert len(read) == len(delta.plm.matrices(delta.plm.architecture.roles(delta.plm.model)))
    error = total = 0.0
    for name, product in read.items():
        difference = changes.read(name).difference
        U, S, Vh = torch.linalg.svd(difference)
        torch.testing.assert_close(product.to_dense(), U[:, :3] @ torch.diag(S[:3]) @ Vh[:3])
        error += float((difference - product.to_dense()).square().sum())
        total += float(difference.square().sum())
    assert made.relative_error == pytest.approx((error / total) ** 0.5)
    assert made.size == sum(3 * sum(changes.read(name).difference.shape) for name in read)
    reasons = dict(made.excluded)
    assert reasons["bert.embeddings.word_embeddings.weight"] == "outside of the blocks"
    assert "vector" in reasons.values()


def test_full_rank_and_saved_head_give_the_tuned_logits_but_for_vectors(tuned, tmp_path):
    delta, phi = tuned
    plm = delta.plm
    overrides = delta.overrides(phi)
    head = {name: overrides[name] for name in plm.new_names}
    made = extract_lora(delta_changes(delta, phi), energy=1.0, saved=head, dtype=torch.float64)
    assert made.relative_error < 1e-12
    lora, values = load_adapter(plm, made.write(tmp_path / "adapter"))
    batch = {"input_ids": torch.arange(8).reshape(2, 4), "attention_mask": torch.ones(2, 4, dtype=torch.long)}
    held = {*made.table["matrix"], *head}
    expected = plm.logits({name: value for name, value in overrides.items() if name in held}, batch)
    torch.testing.assert_close(lora.logits(values, batch), expected)


def test_ranks_that_differ_are_patterns_and_rank_zero_writes_nothing(tmp_path):
    names = [f"bert.encoder.layer.{i}.attention.self.query.weight" for i in range(2)] + [
        "bert.encoder.layer.0.attention.self.value.weight"
    ]
    plm = tiny_plm("bert")
    parts = {
        names[0]: gaussian(16, 2) @ gaussian(2, 16, seed=1),
        names[1]: gaussian(16, 5, seed=2) @ gaussian(5, 16, seed=3),
        names[2]: torch.zeros(16, 16, dtype=torch.float64),
    }
    changes = WeightChanges(tuple(parts), lambda n: WeightChange(n, "query", 0, parts[n], None, "float64"))
    made = extract_lora(changes, energy=1.0, dtype=torch.float64)
    assert made.table["rank"].tolist() == [2, 5, 0]
    lora, values = load_adapter(plm, made.write(tmp_path / "adapter"))
    read = lora.weight_difference(values)
    assert set(read) == set(names[:2])
    for name in names[:2]:
        torch.testing.assert_close(read[name].to_dense(), parts[name])


@pytest.mark.filterwarnings("ignore")
def test_peft_itself_merges_it(tuned, tmp_path):
    peft = pytest.importorskip("peft")
    import copy

    delta, phi = tuned
    made = extract_lora(delta_changes(delta, phi), energy=0.5)
    made.write(tmp_path / "adapter")
    model = peft.PeftModel.from_pretrained(copy.deepcopy(delta.plm.model), tmp_path / "adapter").merge_and_unload()
    merged = dict(model.named_parameters())
    for name in made.table["matrix"]:
        key = f"base_model.model.{name.removesuffix('.weight')}"
        product = made.tensors[key + ".lora_B.weight"] @ made.tensors[key + ".lora_A.weight"]
        torch.testing.assert_close((merged[name] - delta.plm.parameters[name]).float(), product, rtol=1e-4, atol=1e-6)


def test_an_adapter_can_be_lowered_in_rank():
    change = WeightChange(
        "encoder.layer.0.attention.self.query.weight",
        "query",
        0,
        LowRank(gaussian(6, 4), gaussian(4, 5)),
        None,
        "float64",
    )
    made = extract_lora(WeightChanges((change.name,), lambda _: change), rank=10)
    assert made.table["rank"].tolist() == [4]
    assert made.relative_error < 1e-12


def test_nothing_to_extract_and_parts_of_parameters_are_refused():
    name = "encoder.layer.0.attention.self.query.weight"
    zero = WeightChange(name, "query", 0, torch.zeros(4, 4, dtype=torch.float64), None, "float64")
    for chosen in ({"rule": "null"}, {"rank": 2}):
        with pytest.raises(ValueError, match="nothing to extract: 1 matrices that peft can adapt changed"):
            extract_lora(WeightChanges((name,), lambda _: zero), **chosen)
    with pytest.raises(ValueError, match=r"only a part of 'h.0.attn.c_attn.weight' changes"):
        extract_lora(WeightChanges(("h.0.attn.c_attn.weight[query]",), lambda _: zero), rank=1)


def test_what_is_saved_is_told_by_its_own_module_and_the_base_by_its_name(tuned):
    delta, phi = tuned
    norm = "bert.encoder.layer.0.output.LayerNorm"
    saved = {f"{norm}.weight": torch.ones(16), f"{norm}.bias": torch.zeros(16), "classifier.weight": torch.ones(3, 16)}
    made = extract_lora(delta_changes(delta, phi), energy=0.9, max_rank=1, saved=saved, base="someone/model")
    assert made.config["modules_to_save"] == [norm, "classifier"]
    assert made.config["base_model_name_or_path"] == "someone/model"
    assert made.table["rank"].max() == 1
    with pytest.raises(ValueError, match="max_rank must be >= 1; got 0"):
        extract_lora(delta_changes(delta, phi), energy=0.9, max_rank=0)


@pytest.mark.filterwarnings("ignore")
def test_a_family_without_a_row_is_extracted_whole_and_merges_to_the_stated_error(tmp_path):
    """OPT: fc1, fc2 and out_proj are in no row; peft's own merge is the oracle."""
    import copy

    import transformers

    peft = pytest.importorskip("peft")
    sizes = {"hidden_size": 16, "ffn_dim": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 50}
    config = transformers.OPTConfig(**sizes, max_position_embeddings=32, word_embed_proj_dim=16)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.OPTForCausalLM(config)
        after = copy.deepcopy(model)
        with torch.no_grad():
            for name, p in after.named_parameters():
                if p.ndim == 2:
                    p += (0.01 if "embed" in name else 0.1) * torch.randn_like(p)
    model.save_pretrained(tmp_path / "base")
    after.save_pretrained(tmp_path / "tuned")
    made = extract_lora(folder_changes(tmp_path / "base", tmp_path / "tuned"), energy=1.0)
    assert len(made.table) == 2 * 6
    made.write(tmp_path / "lora")
    merged = peft.PeftModel.from_pretrained(copy.deepcopy(model), str(tmp_path / "lora")).merge_and_unload()
    lost = total = 0.0
    for name, old in model.named_parameters():
        if old.ndim == 2:
            wanted, got = after.get_parameter(name) - old, merged.get_parameter(name) - old
            lost += float((wanted - got).square().sum())
            total += float(wanted.square().sum())
            assert ("embed" in name) == (name in dict(made.excluded))
    assert made.relative_error < 1e-6
    assert made.merged_error == pytest.approx((lost / total) ** 0.5, rel=1e-4)
