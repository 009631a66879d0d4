"""All weights in a Kronecker subspace, layers with the factors beside them: the function of whole changes."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lab.deltas import DID, SAID, FullFineTuning
from lab.deltas.cores import LookupCore
from lab.deltas.in_factors import InFactors
from lab.deltas.row_lookup import tables
from lab.models.tiny import FAMILIES, tiny_plm
from lab.projections import Kronecker
from lab.tasks import load_task
from lab.training import fit, fit_many

pytestmark = pytest.mark.usefixtures("tables_count_as_large")


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def value_and_gradient(delta, phi, batch):
    phi = phi.clone().requires_grad_(True)
    logits = delta.logits(phi, batch)
    (gradient,) = torch.autograd.grad(logits.square().sum(), phi)
    return logits.detach(), gradient


@pytest.mark.parametrize("head", ["classification", "lm"])
@pytest.mark.parametrize("family", FAMILIES)
def test_training_step_is_the_same_function_with_the_same_gradient(family, head, batch_of):
    if head == "lm" and family not in ("bert", "llama", "gpt2", "t5"):
        pytest.skip("tied tables are met in the first four")
    plm = tiny_plm(family, seed=0, head=head)
    delta = DID(dimension=30, projection="kronecker", head="inside" if plm.new_names else "frozen").on(plm, seed=1)
    assert isinstance(delta, InFactors)
    assert delta.unmerged is not delta
    phi, batch = drawn(30), batch_of(plm)
    logits, gradient = value_and_gradient(delta.unmerged, phi, batch)
    truth, true_gradient = value_and_gradient(delta, phi, batch)
    assert torch.allclose(logits, truth, rtol=0, atol=1e-11)
    assert torch.allclose(gradient, true_gradient, rtol=1e-9, atol=1e-11)
    assert torch.equal(delta.unmerged.logits(delta.phi0, batch), plm.logits({}, batch))


def test_a_head_trained_freely_adds_up_with_the_factors(batch_of):
    plm = tiny_plm("bert", num_labels=3, seed=0)
    delta = DID(dimension=30, projection="kronecker", head="free").on(plm)
    phi, batch = drawn(delta.size), batch_of(plm)
    found, truth = value_and_gradient(delta.unmerged, phi, batch), value_and_gradient(delta, phi, batch)
    assert delta.unmerged is not delta
    assert torch.allclose(found[0], truth[0], rtol=0, atol=1e-11)
    assert torch.allclose(found[1], truth[1], rtol=1e-9, atol=1e-11)


def test_the_merged_form_is_a_kronecker_product_of_the_factors_in_every_matrix():
    full = FullFineTuning().on(tiny_plm("bert", seed=0))
    P, x = Kronecker.over(full.layout, 30, seed=1), drawn(30)
    moved = full.layout.unflatten(P @ x)
    for i, part in enumerate(full.layout):
        U, V = P.factors(i, x)
        truth = (torch.kron(U, V)[:, :30] @ x)[: part.size]
        assert torch.allclose(moved[part.name].reshape(-1), truth, rtol=0, atol=1e-13)


def test_many_phi_share_a_pass_under_vmap(batch_of):
    plm = tiny_plm("bert", seed=0)
    delta, phis, batch = DID(dimension=30, projection="kronecker").on(plm).unmerged, drawn(3, 30), batch_of(plm)
    together = torch.vmap(lambda phi: delta.logits(phi, batch))(phis)
    assert torch.allclose(together, torch.stack([delta.logits(phi, batch) for phi in phis]), rtol=0, atol=1e-12)


def test_fit_is_the_same_alone_under_vmap_and_with_whole_changes(monkeypatch):
    plm = tiny_plm("bert", num_labels=5, seed=0)
    task = load_task("bbc-news").subset(64, 32, seed=0).encode(plm, max_length=16)
    settings = {"steps": 4, "batch_size": 8}
    delta = DID(dimension=30, projection="kronecker").on(plm)
    result = fit(delta, task, lr=1e-2, seed=3, **settings)
    many = fit_many(delta, task, lrs=[1e-2, 2e-2], seeds=[3, 4], **settings)
    assert torch.allclose(many[0].phi, result.phi, rtol=0, atol=1e-9)
    monkeypatch.setattr(InFactors, "unmerged", property(lambda self: self))
    assert torch.allclose(result.phi, fit(delta, task, lr=1e-2, seed=3, **settings).phi, rtol=0, atol=1e-9)


class Shapes(TorchDispatchMode):
    """Shapes of the tensors that operations make, views left out."""

    def __init__(self):
        super().__init__()
        self.made = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and not func.is_view:
            self.made.add(tuple(result.shape))
        return result


@pytest.mark.parametrize("family", FAMILIES)
def test_no_change_or_gradient_of_the_shape_of_a_block_matrix_or_table_is_formed(family, batch_of):
    plm = tiny_plm(family, seed=0)
    names = [m.name for m in plm.matrices(plm.architecture.roles(plm.model))] + list(tables(plm, plm.layout))
    shapes = {part.shape for part in plm.layout if part.name in names}
    shapes -= {part.shape for part in plm.layout if part.name not in names}  # BERT's pooler changes as a whole
    delta = DID(dimension=16, projection="kronecker", head="frozen").on(plm)
    for form, formed in ((delta.unmerged, set()), (delta, shapes)):
        phi = form.phi0.clone().requires_grad_(True)
        with Shapes() as seen:
            form.logits(phi, batch_of(plm)).sum().backward()
        assert seen.made & shapes == formed


@pytest.mark.parametrize("padding", [None, 3, 9])
def test_rows_looked_up_are_those_of_the_table_and_padding_gets_no_gradient(padding):
    left, right, ids = drawn(12, 3), drawn(5, 3, seed=1), torch.tensor([[3, 1, 3], [11, 0, 1]])
    weight, core = drawn(2, 3, 5, seed=2), LookupCore(left, right, padding)
    Z = drawn(3, 3, seed=3).requires_grad_()
    found = torch.func.functional_call(core, {"Z": Z}, (ids,))
    whole = torch.nn.functional.embedding(ids, left @ Z @ right.T, padding)
    assert torch.allclose(found, whole, rtol=0, atol=1e-13)
    gradients = [torch.autograd.grad((weight * value).sum(), Z)[0] for value in (found, whole)]
    assert torch.allclose(*gradients, rtol=1e-12, atol=1e-12)


def test_layer_scales_and_other_shapes_change_weights_as_a_whole(batch_of):
    """SAID's scales come after P; and a P that folds the whole vector has no factors of a layer's matrix."""
    plm = tiny_plm("bert", seed=0)
    full = FullFineTuning().on(plm)
    assert not isinstance(full.restrict(Kronecker(full.size, 30)), InFactors)
    said = SAID(dimension=30, projection="kronecker").on(plm)
    assert torch.equal(said.logits(said.phi0, batch_of(plm)), plm.logits({}, batch_of(plm)))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_streamed_step_has_the_same_value_and_gradient(family, batch_of):
    plm = tiny_plm(family, seed=0)
    delta = DID(dimension=30, projection="kronecker").on(plm, seed=1)
    phi, batch = drawn(30), batch_of(plm)
    truth, true_gradient = value_and_gradient(delta, phi, batch)
    form = delta.unmerged.training().streamed
    overrides, gradient = form.begun(phi)
    logits = form.plm.logits(overrides, batch)
    logits.square().sum().backward()
    assert torch.allclose(logits, truth, rtol=0, atol=1e-11)
    assert torch.allclose(gradient(), true_gradient, rtol=1e-9, atol=1e-11)


def test_bfloat16_products_give_the_same_run_to_their_precision():
    plm = tiny_plm("bert", num_labels=5, seed=0, dtype=torch.float32)
    task = load_task("bbc-news").subset(64, 32, seed=0).encode(plm, max_length=16)
    delta = DID(dimension=30, projection="kronecker").on(plm)
    settings = {"steps": 4, "batch_size": 8, "lr": 1e-2, "seed": 3}
    exact, rough = (fit(delta, task, precision=p, **settings).phi for p in ("float32", "bfloat16"))
    assert 0 < (exact - rough).norm() < 0.1 * exact.norm()
