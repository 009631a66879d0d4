from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lab.deltas import Adapter
from lab.deltas.additive import grafted
from lab.models import Graft

AFTER = {
    "bert": ("attention.output.dense", "output.dense"),
    "llama": ("self_attn.o_proj", "mlp.down_proj"),
    "gpt2": ("attn.c_proj", "mlp.c_proj"),
    "t5": ("SelfAttention.o", "EncDecAttention.o", "DenseReluDense.wo"),
}


@pytest.mark.parametrize("family", AFTER)
def test_houlsby_stands_after_every_sublayer_and_pfeiffer_after_the_last(plm_of, family):
    owners = {n.rpartition(".adapter.")[0] for n in Adapter(head="frozen").on(plm_of(family)).layout.names}
    assert all(owner.endswith(AFTER[family]) for owner in owners)
    assert len(owners) == (4 * 2 + 2 if family == "t5" else 2 * 2)
    pfeiffer = Adapter(placement="pfeiffer", head="frozen").on(plm_of(family)).layout.names
    owners = {n.rpartition(".adapter.")[0] for n in pfeiffer}
    assert all(owner.endswith(AFTER[family][-1]) for owner in owners)
    assert len(owners) == (4 if family == "t5" else 2)


@pytest.mark.parametrize(
    ("activation", "function"), [("silu", F.silu), ("gelu", F.gelu), ("relu", F.relu), ("tanh", torch.tanh)]
)
def test_the_map_is_h_plus_up_of_activation_of_down(plm_of, batch_of, noise, activation, function):
    """Every adapted module's output, recomputed from what the bare module gives on the same input."""
    plm = plm_of()
    delta = Adapter(bottleneck=3, activation=activation, head="frozen").on(plm, seed=1)
    values = delta.overrides(delta.phi0 + 0.3 * noise(delta.size))
    seen = {}
    for path in {name.rpartition(".adapter.")[0] for name in delta.layout.names}:
        module = delta.plm.model.get_submodule(path)
        module.register_forward_hook(lambda m, a, out, path=path: seen.update({path: (a[0], out)}))
    delta.plm.logits(values, batch_of(plm))
    assert len(seen) == 4
    for path, (x, output) in seen.items():
        h = F.linear(x, plm.parameters[f"{path}.weight"], plm.parameters[f"{path}.bias"])
        W_down, b_down, W_up, b_up = (values[f"{path}.adapter.{p}"] for p in PARTS)
        expected = h + function(h @ W_down.mT + b_down) @ W_up.mT + b_up
        torch.testing.assert_close(output, expected, rtol=0, atol=1e-13)


PARTS = ("down.weight", "down.bias", "up.weight", "up.bias")


def test_only_the_down_projection_starts_away_from_zero(plm_of):
    delta = Adapter(bottleneck=5).on(plm_of(), seed=0)
    for name, value in delta.plm.parameters.items():
        if name in delta.plm.grafted_names:
            assert bool(value.any()) == name.endswith("down.weight")
            assert value.abs().max() <= 1 / 4  # 1/√16


def test_the_defaults_are_the_source_texts():
    assert (Adapter().bottleneck, Adapter().activation, Adapter().placement) == (64, "silu", "houlsby")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bottleneck": 0}, "bottleneck >= 1; got 0"),
        ({"bottleneck": 2.5}, "whole bottleneck >= 1; got 2.5"),
        ({"activation": "sine"}, "activation must be one of .*; got 'sine'"),
        ({"placement": "everywhere"}, "placement must be one of .*; got 'everywhere'"),
    ],
)
def test_misuse_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Adapter(**options)


def test_two_adapters_with_labels_stack(plm_of, batch_of):
    plm = plm_of()
    both = Adapter(bottleneck=2, head="frozen").on(plm) + Adapter(bottleneck=3, label="second", head="frozen").on(plm)
    assert torch.equal(both.logits(both.phi0, batch_of(plm)), plm.logits({}, batch_of(plm)))


@pytest.mark.parametrize(
    ("attach", "said"),
    [
        (lambda model: None, "has no effect"),
        (lambda model: model.register_forward_pre_hook(broken), r"fails \(IndexError: nothing there\)"),
    ],
)
def test_a_graft_is_tried_where_the_architecture_was_only_found(plm_of, monkeypatch, attach, said):
    monkeypatch.setattr("lab.deltas.additive.is_tried", lambda model_type: False)

    def attached(model):
        model.register_parameter("loose", torch.nn.Parameter(torch.ones(2, dtype=torch.float64)))
        attach(model)

    with pytest.raises(ValueError, match=rf"a graft 'x' in a model of type 'bert'.*{said}.*; take LoRA"):
        grafted(plm_of("bert"), Graft("x", attached), at_identity=True)


def broken(model, args):
    raise IndexError("nothing there")
