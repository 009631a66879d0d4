"""Gauss–Newton, Fisher and kernel of small deltas against dense autograd truth and curvlinops."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils._python_dispatch import TorchDispatchMode

from lab.deltas import LoRA
from lab.geometry.curvature import OutputHessian, empirical_fisher, fisher, gauss_newton, hessian, ntk, on_block
from lab.linalg import Hessian, Layout, RecordedHessian
from lab.models import load_plm
from lab.models.tiny import tiny_plm


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module", params=["bert", "llama"])
def setup(request):
    """(delta, logits, φ, J dense): LoRA of rank 1 on two sentences, away from its start."""
    plm = tiny_plm(request.param, num_labels=3)
    delta = LoRA(rank=1).on(plm, seed=0)
    batch = {"input_ids": torch.tensor([[1, 5, 6, 7], [1, 8, 9, 4]]), "attention_mask": torch.ones(2, 4).long()}
    phi = delta.phi0 + 0.1 * gaussian(delta.size)

    def logits(phi: torch.Tensor) -> torch.Tensor:
        return delta.logits(phi, batch)

    return delta, logits, phi, torch.autograd.functional.jacobian(logits, phi).reshape(6, -1)


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_gauss_newton_equals_dense(setup, loss):
    _, logits, phi, J = setup
    z, labels, targets = logits(phi).detach(), torch.tensor([0, 2]), gaussian(2, 3)
    of_logits = (lambda z: cross_entropy(z, labels)) if loss == "cross_entropy" else (lambda z: mse_loss(z, targets))
    H = torch.autograd.functional.hessian(of_logits, z).reshape(6, 6)
    v = gaussian(len(phi), 3)
    truth = J.T @ (H @ (J @ v))
    for recorded in (True, False):
        G = gauss_newton(logits, phi, loss=loss, recorded=recorded)
        torch.testing.assert_close(G @ v, truth, rtol=1e-9, atol=1e-13)
        torch.testing.assert_close(G.T @ v, truth, rtol=1e-9, atol=1e-13)


def test_hessian_equals_dense_of_the_whole_and_of_a_block(setup):
    delta, logits, phi, _ = setup
    labels = torch.tensor([0, 2])

    def loss(phi: torch.Tensor) -> torch.Tensor:
        return cross_entropy(logits(phi), labels)

    dense = torch.autograd.functional.hessian(loss, phi)
    v, i = gaussian(len(phi), 3), delta.layout.indices(1)
    for recorded in (True, False):
        torch.testing.assert_close(hessian(loss, phi, recorded=recorded) @ v, dense @ v, rtol=1e-9, atol=1e-13)
    block = hessian(*on_block(loss, phi, delta.layout, 1))
    torch.testing.assert_close(block @ v[: len(i)], dense[i][:, i] @ v[: len(i)], rtol=1e-9, atol=1e-13)


def test_fisher_is_the_mean_over_labels_drawn_from_the_model(setup):
    _, logits, phi, _ = setup
    p = logits(phi).detach().softmax(1)
    dense = torch.zeros(len(phi), len(phi), dtype=torch.float64)
    for i in range(2):
        for y in range(3):
            g = torch.func.grad(lambda x, i=i, y=y: logits(x)[i].log_softmax(0)[y])(phi)
            dense += p[i, y] * torch.outer(g, g) / 2
    v = gaussian(len(phi), 2, seed=1)
    torch.testing.assert_close(fisher(logits, phi) @ v, dense @ v, rtol=1e-9, atol=1e-13)


def test_kernel_and_its_blocks(setup):
    delta, logits, phi, J = setup
    torch.testing.assert_close(ntk(logits, phi).to_dense(), J @ J.T)
    blocks = [b for b in (None, *delta.layout.blocks) if len(delta.layout.indices(b))]
    each = [ntk(*on_block(logits, phi, delta.layout, b)).to_dense() for b in blocks]
    torch.testing.assert_close(sum(each), J @ J.T)
    i = delta.layout.indices(1)
    H = OutputHessian(logits(phi).detach(), torch.full((2,), 0.5, dtype=torch.float64), "cross_entropy").to_dense()
    block = gauss_newton(*on_block(logits, phi, delta.layout, 1)).to_dense()
    torch.testing.assert_close(block, J[:, i].T @ H @ J[:, i], rtol=1e-9, atol=1e-13)


def test_weights_leave_rows_out(setup):
    _, logits, phi, _ = setup
    v = gaussian(len(phi))
    first = gauss_newton(lambda x: logits(x)[:1], phi) @ v
    weighted = gauss_newton(logits, phi, weights=torch.tensor([1, 0])) @ v
    torch.testing.assert_close(weighted, first)


def test_linear_logits_have_the_hessian():
    W, labels = gaussian(12, 5), torch.tensor([0, 1, 2, 0])
    logits = lambda x: (W @ x).reshape(4, 3)  # noqa: E731
    phi = gaussian(5, seed=2)
    H = Hessian(lambda x: cross_entropy(logits(x), labels), phi)
    torch.testing.assert_close(gauss_newton(logits, phi).to_dense(), H.to_dense())


def test_empirical_fisher_is_the_second_moment_of_gradients():
    W, labels = gaussian(12, 5), torch.tensor([0, 1, 2, 0])
    losses = lambda x: cross_entropy(torch.tanh(W @ x).reshape(4, 3), labels, reduction="none")  # noqa: E731
    phi = gaussian(5, seed=2)
    g = torch.autograd.functional.jacobian(losses, phi)
    torch.testing.assert_close(empirical_fisher(losses, phi).to_dense(), g.T @ g / 4)


def test_against_curvlinops():
    curvlinops = pytest.importorskip("curvlinops")
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    with torch.no_grad():
        for seed, p in enumerate(model.parameters()):
            p.copy_(gaussian(*p.shape, seed=seed))
    inputs, labels = gaussian(7, 3), torch.tensor([0, 1, 1, 0, 1, 0, 0])
    parameters = dict(model.named_parameters())
    layout = Layout.of(parameters)
    theirs = curvlinops.GGNLinearOperator(model, nn.CrossEntropyLoss(), list(parameters.values()), [(inputs, labels)])
    ours = gauss_newton(
        lambda x: functional_call(model, layout.unflatten(x), (inputs,)), layout.flatten(parameters).detach()
    )
    torch.testing.assert_close(ours.to_dense(), theirs @ torch.eye(layout.size, dtype=torch.float64))


def test_refusals():
    f, phi = lambda x: x.reshape(2, 2), gaussian(4)
    layout = Layout.of({"a": phi}, {"a": 0})
    with pytest.raises(ValueError, match=r"loss must be one of .* got 'hinge'"):
        gauss_newton(f, phi, loss="hinge")
    with pytest.raises(ValueError, match=r"shape \(..., c\)"):
        gauss_newton(lambda x: x, phi)
    for weights in (torch.ones(3), -torch.ones(2)):
        with pytest.raises(ValueError, match="weights must be 2 numbers >= 0"):
            gauss_newton(f, phi, weights=weights)
    with pytest.raises(ValueError, match=r"one loss per example, shape \(N,\)"):
        empirical_fisher(f, phi)
    with pytest.raises(ValueError, match=r"needs phi of shape \(4,\)"):
        on_block(f, phi[:3], layout, 0)
    with pytest.raises(ValueError, match="no part belongs to block 7"):
        on_block(f, phi, layout, 7)


def test_language_model_without_ignored_positions():
    """A vocabulary's Gauss–Newton, padded positions left out by their weights; labels do not enter."""
    plm = tiny_plm("llama", head="lm")
    delta = LoRA(rank=1).on(plm, seed=0)
    ids, mask = torch.tensor([[1, 5, 6, 7], [1, 8, 9, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    phi = delta.phi0 + 0.1 * gaussian(delta.size)
    logits = lambda x: delta.logits(x, {"input_ids": ids, "attention_mask": mask})[:, :-1]  # noqa: E731
    weights = mask[:, 1:] / mask[:, 1:].sum()
    G, v = gauss_newton(logits, phi, weights=weights), gaussian(delta.size)
    J = torch.func.jacrev(logits, chunk_size=256)(phi).reshape(6, -1, delta.size)
    p = logits(phi).detach().reshape(6, -1).softmax(1)
    truth = torch.zeros(delta.size, dtype=torch.float64)
    for i, w in enumerate(weights.reshape(-1).tolist()):
        H = torch.diag(p[i]) - torch.outer(p[i], p[i])
        truth += w * (J[i].T @ (H @ (J[i] @ v)))
    torch.testing.assert_close(G @ v, truth, rtol=1e-9, atol=1e-13)


class LargestTensor(TorchDispatchMode):
    """The largest number of entries of any tensor made inside."""

    entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        made = [x.numel() for x in torch.utils._pytree.tree_leaves(out) if isinstance(x, torch.Tensor)]
        self.entries = max(self.entries, *made, 0)
        return out


@pytest.mark.parametrize("recorded", [True, False])
def test_a_vocabulary_never_meets_the_parameters(recorded):
    """On a language model no product makes anything larger than the logits or the weights; J has many times more."""
    plm = tiny_plm("llama", head="lm")
    delta = LoRA(rank=1).on(plm, seed=0)
    ids = torch.randint(3, plm.model.config.vocab_size, (2, 6), generator=torch.Generator().manual_seed(0))
    logits = lambda x: delta.logits(x, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})  # noqa: E731
    with LargestTensor() as largest:
        G = gauss_newton(logits, delta.phi0, recorded=recorded)
        hessian(lambda x: logits(x).logsumexp(-1).mean(), delta.phi0, recorded=recorded) @ gaussian(delta.size)
        assert bool((G @ gaussian(delta.size)).isfinite().all())
    n_logits = ids.numel() * plm.model.config.vocab_size
    whole = max(n_logits, delta.size, *(value.numel() for value in plm.parameters.values()))
    assert n_logits <= largest.entries <= whole
    assert 50 * whole < n_logits * delta.size


class AsModule(nn.Module):
    """A delta as curvlinops wants it: a module with the parameter φ."""

    def __init__(self, delta, phi):
        super().__init__()
        self.delta, self.phi = delta, nn.Parameter(phi)

    def forward(self, batch):
        return self.delta.logits(self.phi, batch)


@pytest.mark.slow  # on a tiny PLM it is checked above
@pytest.mark.parametrize(("name", "n_layers"), [("minilm", None), ("smollm2", 2)])
def test_against_curvlinops_on_a_pre_trained_model(name, n_layers):
    curvlinops = pytest.importorskip("curvlinops")
    try:
        plm = load_plm(name, num_labels=3, n_layers=n_layers, dtype=torch.float64, attention="eager")
    except ModuleNotFoundError as missing:
        pytest.skip(str(missing))
    delta = LoRA(rank=2).on(plm, seed=0)
    ids = torch.randint(1000, 9000, (3, 6), generator=torch.Generator().manual_seed(0))
    batch, labels = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, torch.tensor([0, 2, 1])
    phi = delta.phi0 + 0.02 * gaussian(delta.size)
    module, v = AsModule(delta, phi.clone()), gaussian(delta.size, seed=1)
    data, options = (
        [(batch, labels)],
        {"batch_size_fn": lambda batch: len(batch["input_ids"]), "check_deterministic": False},
    )
    theirs = curvlinops.GGNLinearOperator(module, nn.CrossEntropyLoss(), [module.phi], data, **options)
    torch.testing.assert_close(
        gauss_newton(lambda x: delta.logits(x, batch), phi) @ v, theirs @ v, rtol=1e-8, atol=1e-12
    )
    if name == "smollm2":
        return  # curvlinops differentiates SiLU's backward pass in forward mode, which torch 2.13 cannot
    theirs = curvlinops.HessianLinearOperator(module, nn.CrossEntropyLoss(), [module.phi], data, **options)
    ours = RecordedHessian(lambda x: cross_entropy(delta.logits(x, batch), labels), phi)
    torch.testing.assert_close(ours @ v, theirs @ v, rtol=1e-8, atol=1e-12)
