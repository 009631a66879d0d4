"""Embedding rows looked up in the subspace while training: the function, gradient and result of whole tables."""

from __future__ import annotations

import pytest
import torch

from lab.deltas import DID, FullFineTuning, row_lookup
from lab.deltas.row_lookup import InSubspace, tables
from lab.models.tiny import tiny_plm
from lab.projections import Fastfood, OneHot, Sparse
from lab.tasks import load_task
from lab.training import fit, fit_many

pytestmark = pytest.mark.usefixtures("tables_count_as_large")


def batch_of(plm):
    ids = torch.tensor([[2, 7, 7, 11, 3], [2, 9, 7, 3, 0]])
    return {"input_ids": ids, "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]])}


def value_and_gradient(delta, phi, batch, *, training):
    phi = phi.clone().requires_grad_(True)
    logits = (delta.unmerged if training else delta).logits(phi, batch)
    (gradient,) = torch.autograd.grad(logits.square().sum(), phi)
    return logits.detach(), gradient


@pytest.mark.parametrize("projection", [Fastfood, OneHot])
@pytest.mark.parametrize("family", ["bert", "llama", "gpt2", "t5"])
def test_training_step_is_the_same_function_with_the_same_gradient(family, projection):
    plm = tiny_plm(family, seed=0)
    full = FullFineTuning().on(plm)
    delta = full.restrict(projection(full.size, 30, seed=1))
    assert isinstance(delta, InSubspace)
    assert delta.unmerged is not delta
    phi = 0.1 * torch.randn(30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits, gradient = value_and_gradient(delta, phi, batch_of(plm), training=True)
    truth, true_gradient = value_and_gradient(delta, phi, batch_of(plm), training=False)
    assert torch.allclose(logits, truth, rtol=0, atol=1e-12)
    assert torch.allclose(gradient, true_gradient, rtol=1e-10, atol=1e-12)


def test_the_plm_is_left_as_it_was():
    plm = tiny_plm("bert", seed=0)
    names = list(plm.model.state_dict())
    DID(dimension=30).on(plm)
    assert list(plm.model.state_dict()) == names


def test_tables_that_read_out_are_projected_whole():
    plm = tiny_plm("gpt2", seed=0, head="lm")  # word embeddings tied with the language-model head
    shared = plm.model.get_input_embeddings().weight
    found = tables(plm, plm.layout)
    assert all(plm.parameters[name] is not shared for name in found)


def test_small_tables_and_dear_rows_are_projected_whole(monkeypatch):
    plm = tiny_plm("bert", seed=0)
    full = FullFineTuning().on(plm)
    assert not isinstance(full.restrict(Sparse(full.size, 30)), InSubspace)
    monkeypatch.setattr(row_lookup, "LARGE", 1 << 20)
    assert not isinstance(full.restrict(Fastfood(full.size, 30)), InSubspace)


def test_fit_is_the_same_with_lookups_alone_and_under_vmap(monkeypatch):
    plm = tiny_plm("bert", num_labels=5, seed=0)
    task = load_task("bbc-news").subset(64, 32, seed=0).encode(plm, max_length=16)
    settings = {"steps": 4, "batch_size": 8}
    looked_up = DID(dimension=30).on(plm)
    result = fit(looked_up, task, lr=1e-2, seed=3, **settings)
    many = fit_many(looked_up, task, lrs=[1e-2, 2e-2], seeds=[3, 4], **settings)
    monkeypatch.setattr(row_lookup, "LARGE", 1 << 30)
    whole = DID(dimension=30).on(plm)
    assert isinstance(looked_up, InSubspace)
    assert not isinstance(whole, InSubspace)
    assert torch.allclose(result.phi, fit(whole, task, lr=1e-2, seed=3, **settings).phi, rtol=0, atol=1e-9)
    assert torch.allclose(many[0].phi, result.phi, rtol=0, atol=1e-9)


@pytest.mark.parametrize("projection", [Fastfood, OneHot])
@pytest.mark.parametrize("padding", [None, 3, 9])
def test_rows_read_are_those_of_the_whole_image_and_padding_gets_no_gradient(padding, projection):
    table = torch.nn.Embedding(12, 5, padding_idx=padding, dtype=torch.float64)
    P = projection(500, 7, seed=2)
    lookup = row_lookup.RowLookup(P, 20, table)
    ids, weight = torch.tensor([[3, 1, 3], [11, 0, 1]]), torch.arange(30.0, dtype=torch.float64).view(2, 3, 5)

    def whole(x):
        return torch.nn.functional.embedding(ids, (P @ x)[20:80].view(12, 5), padding)

    x = torch.randn(7, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    found = torch.func.functional_call(lookup, {"x": x}, (ids,))
    assert torch.allclose(found, whole(x), rtol=0, atol=1e-14)
    gradients = [torch.autograd.grad((weight * value).sum(), x)[0] for value in (found, whole(x))]
    assert torch.allclose(*gradients, rtol=1e-12, atol=1e-12)
