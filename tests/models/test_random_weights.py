"""The null of pre-training keeps everything but the pre-trained weights."""

from __future__ import annotations

import pytest
import torch

from lab.models import Graft, graft, random_weights
from lab.models.tiny import CONFIGURATIONS, STD, tiny_plm


@pytest.mark.parametrize("family", CONFIGURATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_only_the_pretrained_part_is_drawn_again(family, dtype, batch_of):
    plm = tiny_plm(family, dtype=dtype)
    before = {name: p.clone() for name, p in plm.parameters.items()}
    state = torch.random.get_rng_state()
    null, again, other = (random_weights(plm, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert null.layout == plm.layout
    assert null.new_names == plm.new_names
    assert null.dtype == dtype
    for name, value in before.items():
        assert torch.equal(plm.parameters[name], value)
        assert torch.equal(null.parameters[name], again.parameters[name])
        assert torch.equal(null.parameters[name], value) == (name in plm.new_names)
        if value.ndim == 2 and name not in plm.new_names and "pooler" not in name:
            assert not torch.equal(null.parameters[name], other.parameters[name])
    logits = null.logits({}, batch_of(plm))
    assert logits.isfinite().all()
    assert not torch.equal(logits, plm.logits({}, batch_of(plm)))
    assert not any(p.requires_grad for p in null.model.parameters())
    assert null.provenance["weights"] == "random, seed 0"


def test_the_weights_follow_the_configurations_initialiser():
    null = random_weights(tiny_plm("bert", seed=4))
    weights = torch.cat([null.parameters[m.name].flatten() for m in null.matrices(["query", "key", "up", "down"])])
    assert weights.std().item() == pytest.approx(STD, rel=0.05)
    assert not null.parameters["bert.encoder.layer.0.output.dense.bias"].any()
    assert null.parameters["bert.encoder.layer.0.output.LayerNorm.weight"].eq(1).all()


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_attention_stays(attention):
    plm = tiny_plm("llama", attention=attention)
    assert random_weights(plm).model.config._attn_implementation == plm.model.config._attn_implementation


def test_hosts_are_refused():
    def attach(host):
        host.add_module("extra", torch.nn.Linear(1, 1))

    host = graft(tiny_plm("bert"), Graft("extra", attach))
    with pytest.raises(ValueError, match=r"needs a PLM without grafts; this one has \['extra'\]"):
        random_weights(host)
