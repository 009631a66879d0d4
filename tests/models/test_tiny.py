"""Tiny models: deterministic, offline, and rich enough for tests to see everything."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from lab.models.tiny import CONFIGURATIONS, FAMILIES, tiny_plm


@pytest.mark.parametrize("family", CONFIGURATIONS)
def test_the_seed_is_the_model_and_the_global_state_is_left_alone(family):
    state = torch.random.get_rng_state()
    one, again, other = tiny_plm(family), tiny_plm(family), tiny_plm(family, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(p, again.parameters[name]) for name, p in one.parameters.items())
    differing = {name for name, p in one.parameters.items() if not torch.equal(p, other.parameters[name])}
    assert set(one.parameters) - differing <= one.new_names  # a new head's bias is zero
    single = tiny_plm(family, dtype=torch.float32)
    assert all(torch.equal(p, single.parameters[name].double()) for name, p in one.parameters.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_biases_and_norms_are_neither_zero_nor_one(family):
    plm = tiny_plm(family)
    vectors = [p for n, p in plm.parameters.items() if p.ndim == 1 and n not in plm.new_names]
    assert vectors
    assert all(v.unique().numel() == v.numel() for v in vectors)


@pytest.mark.parametrize("family", ["llama", "gemma"])
def test_decoders_share_keys_and_values_between_heads(family):
    plm = tiny_plm(family)
    assert plm.matrices(["key"])[0].shape == (8, 16)
    assert plm.model.config.num_key_value_heads < plm.model.config.num_attention_heads


@pytest.mark.parametrize("family", FAMILIES)
def test_every_text_has_tokens_and_pairs_are_laid_out(family):
    tokenizer = tiny_plm(family).tokenizer
    one = tokenizer("naïve Ω 漢字 …")["input_ids"]
    assert tokenizer.unk_token_id not in one
    pair = tokenizer("good", "bad")
    assert len(pair["input_ids"]) > len(tokenizer("good")["input_ids"])
    assert ("token_type_ids" in pair) == (family == "bert")
    batch = tokenizer(["good", "it was a bad film"], padding=True)
    assert batch["input_ids"][0][-1] == tokenizer.pad_token_id
    assert batch["attention_mask"][0][-1] == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_the_text_decides_the_logits(family, batch_of):
    plm = tiny_plm(family)
    logits = plm.logits({}, batch_of(plm))
    assert torch.pdist(logits).min() > 0.01


def test_unknown_families_name_the_known_ones():
    with pytest.raises(ValueError, match=r"there is no tiny 'elmo'; choose one of \['bert', 'roberta'"):
        tiny_plm("elmo")


def test_importing_the_lab_does_not_load_transformers_models():
    code = "import sys, lab.models.tiny; sys.exit('transformers.modeling_utils' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
