"""Published models without weights: their counts are the published ones."""

from __future__ import annotations

import pytest
import torch

from lab.models import MODELS, load_plm, meta_plm, untrained_plm
from lab.models.tiny import tiny_plm


@pytest.mark.parametrize(
    ("name", "head", "size"),
    [
        ("roberta-large", "mlm", 355_412_057),  # Ding et al. 2023, table 2, counts against this
        ("bert-base-uncased", "lm", 109_514_298),  # with its masked-language-model head
        ("roberta-base", "mlm", 124_697_433),
        ("gpt2", "lm", 124_439_808),
        ("gpt2-xl", "lm", 1_557_611_200),
        ("t5-v1.1-small", "lm", 76_961_152),
        ("t5-v1.1-base", "lm", 247_577_856),
        ("t5-v1.1-large", "lm", 783_150_080),
        ("t5-v1.1-xl", "lm", 2_849_757_184),
        ("t5-v1.1-xxl", "lm", 11_135_332_352),
        ("llama-2-7b", "lm", 6_738_415_616),
        ("smollm2", "lm", 134_515_008),
    ],
)
def test_parameter_counts(name, head, size):
    assert meta_plm(name, head=head).size == size


@pytest.mark.parametrize("name", [model.name for model in MODELS])
def test_a_bare_configuration_has_no_values_and_knows_its_matrices(name):
    plm = meta_plm(name, num_labels=3)
    assert plm.name == name
    assert plm.num_labels == 3
    assert {parameter.device.type for parameter in plm.parameters.values()} == {"meta"}
    assert plm.matrices(["query", "value"])
    assert plm.new_names
    assert not any(name.startswith(plm.architecture.base_path(plm.model)) for name in plm.new_names)


def test_its_names_are_those_of_a_real_model():
    meta, real = meta_plm("roberta-base"), tiny_plm("roberta")
    assert {n for n in meta.parameters if ".layer." not in n} == {n for n in real.parameters if ".layer." not in n}


@pytest.mark.parametrize("name", ["minilm", "smollm2"])
def test_packaged_models_have_the_layout_of_their_weights(name):
    assert meta_plm(name, num_labels=3).layout == load_plm(name, num_labels=3).layout


def test_random_weights_are_a_function_of_the_seed_and_move_no_global_state():
    state = torch.random.get_rng_state()
    one, two, other = (untrained_plm("minilm", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    name = "bert.encoder.layer.0.output.dense.weight"
    assert torch.equal(one.parameters[name], two.parameters[name])
    assert not torch.equal(one.parameters[name], other.parameters[name])
    assert one.layout == meta_plm("minilm").layout
    assert bool(one.logits({}, {"input_ids": torch.arange(8)[None]}).isfinite().all())


@pytest.mark.parametrize("name", ["gpt2", "llama-2-7b", "t5-v1.1-small"])
def test_a_batch_goes_through_without_values(name):
    plm = meta_plm(name, num_labels=3)
    ids = torch.zeros(2, 5, dtype=torch.int64, device="meta")
    assert plm.logits({}, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}).shape == (2, 3)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ValueError, match=r"no built-in configuration 'bert'; there are \['bert-base-uncased'"):
        meta_plm("bert")
