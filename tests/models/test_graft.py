"""Grafts: a host shares θ, carries more, and leaves the PLM it came from alone."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.func import grad

from lab.models import Graft, graft
from lab.models.graft import structural_copy
from lab.models.tiny import FAMILIES, HIDDEN, tiny_plm


def add_child(module, args, output, *, name):
    """The hook of a test graft: output + b, with b a child of the hooked module."""
    return output + module.get_submodule(name).bias


def bias_after_feed_forward(plm, name="tuned"):
    """A graft that adds a vector to what every feed-forward sublayer gives to the residual stream."""
    places = plm.architecture.places(plm.model, "after_feed_forward")

    def attach(host):
        for place in places:
            module = host.get_submodule(place.path)
            child = nn.Module()
            child.bias = nn.Parameter(torch.zeros(HIDDEN, dtype=torch.float64))
            module.add_module(name, child)
            module.register_forward_hook(partial(add_child, name=name))

    return Graft(name, attach)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_structural_copy_shares_every_tensor_and_no_module(family, batch_of):
    plm = tiny_plm(family)
    copy = structural_copy(plm.model)
    assert all(a is b for a, b in zip(copy.parameters(), plm.model.parameters(), strict=True))
    assert all(a is b for a, b in zip(copy.buffers(), plm.model.buffers(), strict=True))
    assert not set(map(id, copy.modules())) & set(map(id, plm.model.modules()))
    assert copy.config is not plm.model.config
    batch = batch_of(plm)
    assert torch.equal(copy(**batch).logits, plm.logits({}, batch))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_graft_at_zero_is_the_plm_and_its_parameters_can_be_overridden(family, batch_of):
    plm = tiny_plm(family)
    batch = batch_of(plm)
    names, modules = set(plm.parameters), [name for name, _ in plm.model.named_modules()]
    host = graft(plm, bias_after_feed_forward(plm))
    assert torch.equal(host.logits({}, batch), plm.logits({}, batch))
    assert len(host.grafted_names) == plm.n_blocks
    assert set(host.parameters) - host.grafted_names == names
    assert host.layout == plm.layout
    assert all(host.parameters[name] is plm.parameters[name] for name in names)
    assert {host.architecture.block_of(host.model, n) for n in host.grafted_names} == set(range(plm.n_blocks))

    def loss(bias):
        return host.logits(dict.fromkeys(host.grafted_names, bias), batch).square().sum()

    assert grad(loss)(torch.ones(HIDDEN, dtype=torch.float64)).norm() > 0
    assert [name for name, _ in plm.model.named_modules()] == modules
    assert set(plm.model.state_dict()) == set(tiny_plm(family).model.state_dict())


def test_a_bias_graft_equals_a_change_of_the_native_bias(batch_of):
    plm = tiny_plm("bert")
    batch = batch_of(plm)
    host = graft(plm, bias_after_feed_forward(plm))
    shift = torch.linspace(-1, 1, HIDDEN, dtype=torch.float64)
    native = [m.name.removesuffix("weight") + "bias" for m in plm.matrices(["down"])]
    by_native = plm.logits({name: plm.parameters[name] + shift for name in native}, batch)
    torch.testing.assert_close(host.logits(dict.fromkeys(host.grafted_names, shift), batch), by_native)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_host_can_be_grafted_again(family, batch_of):
    plm = tiny_plm(family)
    batch = batch_of(plm)
    once = graft(plm, bias_after_feed_forward(plm, "first"))
    twice = graft(once, bias_after_feed_forward(plm, "second"))
    together = graft(plm, bias_after_feed_forward(plm, "first"), bias_after_feed_forward(plm, "second"))
    assert set(once.parameters) < set(twice.parameters) == set(together.parameters)
    first = {name: torch.ones(HIDDEN, dtype=torch.float64) for name in once.grafted_names}
    # the first graft's hooks must reach the second host's children: an override there must count
    assert torch.equal(twice.logits(first, batch), once.logits(first, batch))
    assert not torch.equal(twice.logits(first, batch), plm.logits({}, batch))
    assert torch.equal(together.logits(first, batch), once.logits(first, batch))


def test_names_taken_are_refused():
    plm = tiny_plm("llama")
    host = graft(plm, bias_after_feed_forward(plm))
    with pytest.raises(ValueError, match=r"a graft named 'tuned' is already on this PLM"):
        graft(host, bias_after_feed_forward(plm))


def test_a_graft_without_parameters_is_refused():
    with pytest.raises(ValueError, match=r"graft 'empty' added no parameter"):
        graft(tiny_plm("bert"), Graft("empty", lambda host: None))


def test_a_hook_that_holds_on_to_a_module_is_refused():
    plm = tiny_plm("gpt2")

    def attach(host):
        child = nn.Linear(HIDDEN, HIDDEN, dtype=torch.float64)
        host.get_submodule("transformer.h.0.mlp").add_module("held", child)
        host.transformer.h[0].mlp.register_forward_hook(lambda module, args, output: output + child(output))

    with pytest.raises(ValueError, match=r"a hook on 'transformer.h.0.mlp' holds on to a module.*`module` argument"):
        graft(plm, Graft("held", attach))
    assert "held" not in dict(plm.model.transformer.h[0].mlp.named_children())


def test_a_graft_that_fails_leaves_the_plm_as_it_was(batch_of):
    plm = tiny_plm("t5")
    batch = batch_of(plm)
    before = plm.logits({}, batch)

    def attach(host):
        bias_after_feed_forward(plm).attach(host)
        raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        graft(plm, Graft("half", attach))
    assert torch.equal(plm.logits({}, batch), before)
    assert set(plm.model.state_dict()) == set(tiny_plm("t5").model.state_dict())
