"""Gradients projected as they appear: those of θ + P x under autograd, in no more memory than a block's."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from lab.deltas import DID, FullFineTuning, row_lookup
from lab.deltas.streamed import Run, Streamed
from lab.linalg import Layout, Part
from lab.models.tiny import tiny_plm
from lab.projections import Fastfood, OneHot
from lab.tasks import load_task
from lab.training import fit


@pytest.fixture(autouse=True)
def _everything_counts_as_large(monkeypatch):
    monkeypatch.setattr(row_lookup, "LARGE", 1)
    monkeypatch.setattr("lab.deltas.additive.LARGE", 1)


def batch_of(plm):
    ids = torch.tensor([[2, 7, 7, 11, 3], [2, 9, 7, 3, 0]])
    return {"input_ids": ids, "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]])}


@pytest.mark.parametrize("family", ["bert", "llama", "gpt2", "t5"])
@pytest.mark.parametrize("head", ["classification", "lm"])
@pytest.mark.parametrize("projection", [Fastfood, OneHot])
def test_a_streamed_step_has_the_dense_step_s_loss_and_gradient(family, head, projection):
    plm = tiny_plm(family, seed=0, head=head)  # float64
    full = FullFineTuning().on(plm)
    delta = full.restrict(projection(full.size, 30, seed=1))
    phi = 0.1 * torch.randn(30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    batch = batch_of(plm)

    dense = phi.clone().requires_grad_(True)
    truth = delta.logits(dense, batch).square().mean()
    (wanted,) = torch.autograd.grad(truth, dense)

    form = delta.unmerged.training()
    overrides, gradient = form.streamed.begun(phi)
    loss = form.plm.logits(overrides, batch).square().mean()
    loss.backward()
    torch.testing.assert_close(loss, truth, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(gradient(), wanted, rtol=1e-10, atol=1e-12)
    assert all(leaf.grad is None for name, leaf in overrides.items() if name in plm.parameters)


def test_what_the_loss_does_not_depend_on_counts_as_zero():
    P = Fastfood(640, 10, seed=0)
    whole = Layout((Part("a", (20, 8)), Part("b", (160,)), Part("c", (320,))))
    runs = [
        Run(Layout(whole.parts[:2]), P.rows(slice(0, 320))),
        Run(Layout(whole.parts[2:]), P.rows(slice(320, 640))),
    ]
    parameters = {part.name: torch.ones(part.shape, dtype=torch.float64) for part in whole}
    x = torch.arange(10.0, dtype=torch.float64)
    streamed = Streamed(x, runs, parameters)
    torch.testing.assert_close(streamed.overrides["b"], 1 + (P @ x)[160:320])
    (3 * streamed.overrides["b"]).sum().backward()
    g = torch.zeros(640, dtype=torch.float64)
    g[160:320] = 3
    torch.testing.assert_close(streamed.gradient(), P.T @ g)
    torch.testing.assert_close(streamed.gradient(), P.T @ g)  # asked twice, the same

    again = Streamed(x, runs, parameters)  # "a" gets nothing, "c" all
    small = (3 * again.overrides["b"]).sum()
    (small + (2 * again.overrides["c"]).sum()).backward()
    g[320:] = 2
    torch.testing.assert_close(again.gradient(), P.T @ g)


def test_one_gradient_is_gone_before_the_next_but_one_appears():
    """Of a chain of blocks, no more than one has a gradient at a time."""
    n, size = 6, 64
    P = OneHot(n * size, 5, seed=0)
    runs = [Run(Layout((Part(str(i), (8, 8)),)), P.rows(slice(i * size, (i + 1) * size))) for i in range(n)]
    parameters = {str(i): torch.eye(8, dtype=torch.float64) for i in range(n)}
    streamed = Streamed(torch.zeros(5, dtype=torch.float64), runs, parameters)
    alive: list[weakref.ref] = []
    most = 0

    def seen(gradient: torch.Tensor) -> None:
        nonlocal most
        gc.collect()
        most = max(most, sum(one() is not None for one in alive))
        alive.append(weakref.ref(gradient))

    h = torch.ones(2, 8, dtype=torch.float64)
    for i in range(n):
        leaf = streamed.overrides[str(i)]
        leaf.register_hook(seen)
        h = torch.tanh(h @ leaf)
    h.sum().backward()
    assert len(alive) == n
    assert most <= 1
    assert streamed._waiting == []


def test_nothing_outlives_a_step():
    plm = tiny_plm("bert", seed=0)
    full = FullFineTuning().on(plm)
    form = full.restrict(Fastfood(full.size, 30, seed=1)).unmerged.training()
    alive: list[weakref.ref] = []

    def step() -> None:
        overrides, gradient = form.streamed.begun(torch.zeros(30, dtype=torch.float64))
        form.plm.logits(overrides, batch_of(plm)).square().mean().backward()
        gradient()
        alive.extend(weakref.ref(leaf) for name, leaf in overrides.items() if name in plm.parameters)

    gc.disable()  # what stands in a cycle would wait for it
    try:
        step()
        assert len(alive) > 20
        assert [one() for one in alive if one() is not None] == []
    finally:
        gc.enable()


def test_a_fit_is_the_same_streamed_or_not(monkeypatch):
    plm = tiny_plm("bert", seed=0, num_labels=5)
    task = load_task("bbc-news").subset(32, 16).encode(plm, max_length=8)
    delta = DID(dimension=20).on(plm)
    settings = {"steps": 4, "lr": 0.1, "batch_size": 4, "seed": 0}
    streamed = fit(delta, task, **settings)
    monkeypatch.setattr(row_lookup.LookedUp, "training", lambda self: super(row_lookup.LookedUp, self).training())
    dense = fit(delta, task, **settings)
    torch.testing.assert_close(streamed.phi, dense.phi, rtol=1e-9, atol=1e-12)
    assert streamed.phi.abs().max() > 1e-3
