"""One text's states, costates and Hamiltonian by token, against the control problem; and the plane of paths."""

from __future__ import annotations

import pytest
import torch

from lab.control import adjoint, hamiltonian, hidden_state, layerwise
from lab.control.token_view import plane_of, token_view
from lab.deltas import DID, BitFit, LoRA, Prefix, Prompt
from lab.models import hidden_states
from lab.models.tiny import tiny_plm

IDS = torch.tensor([[2, 17, 5, 40, 3]])


def one(plm, label=1):
    batch = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS), "labels": torch.tensor([label])}
    return batch | ({"token_type_ids": torch.zeros_like(IDS)} if plm.architecture.kind == "encoder" else {})


def moved(delta):
    noise = torch.randn(delta.size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return delta.phi0 + 0.05 * noise.to(delta.phi0)


def loss(logits, labels):
    return torch.nn.functional.cross_entropy(logits, labels)


@pytest.mark.parametrize("family", ["bert", "llama", "gpt2"])
@pytest.mark.parametrize("method", [LoRA(rank=2), Prefix(tokens=2)], ids=["lora", "prefix"])
def test_the_view_is_that_of_the_control_problem(family, method):
    plm = tiny_plm(family, seed=0)
    delta = method.on(plm, seed=0)
    batch, phi = one(plm), moved(delta)
    problem = layerwise(delta, batch, loss)
    exact = adjoint(problem, problem.split(phi))
    view = token_view(delta, phi, batch, label=1)
    assert view.loss == pytest.approx(float(exact.trajectory.cost), rel=1e-12)
    for t in range(plm.n_blocks + 1):
        h = hidden_state(problem, t, exact.trajectory.states[t])[0]
        p = hidden_state(problem, t, exact.costates[t])[0]
        torch.testing.assert_close(view.states[t], h, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(view.costates[t], p, rtol=1e-8, atol=1e-12)
    whole = hamiltonian(problem, exact.trajectory, exact.costates)[: plm.n_blocks]
    torch.testing.assert_close(view.hamiltonian.sum(1), whole, rtol=1e-8, atol=1e-12)


def test_a_delta_that_splits_over_no_blocks_has_a_view_too():
    plm = tiny_plm("bert", seed=0)
    delta = DID(dimension=8).on(plm, seed=0)
    with pytest.raises(ValueError, match="does not split over blocks"):
        layerwise(delta, one(plm), loss)
    view = token_view(delta, moved(delta), one(plm))
    assert view.label == int(view.logits.argmax())
    assert bool(view.costate_norms[-1].any())


def test_costates_are_the_slopes_of_the_loss():
    """A push of the first state by ε changes J by −ε⟨p_0, direction⟩, to first order."""
    plm = tiny_plm("bert", seed=0)
    delta = BitFit().on(plm, seed=0)
    batch, phi = one(plm), moved(delta)
    problem = layerwise(delta, batch, loss)
    view = token_view(delta, phi, batch, label=1)
    direction = torch.zeros_like(view.states[0])
    direction[2, 3] = 1.0
    start = 1 if problem.names[0] == "embed" else 0
    first = (
        problem.h0 if start == 0 else hidden_state(problem, 1, problem.dynamics[0](problem.h0, problem.split(phi)[0]))
    )

    def J(step: float) -> float:
        h = first + step * direction[None]
        for f, u in list(zip(problem.dynamics, problem.split(phi), strict=True))[start:]:
            h = f(h, u)
        return float(loss(h, batch["labels"]))

    slope = (J(1e-4) - J(-1e-4)) / 2e-4
    assert slope == pytest.approx(-float(view.costates[0][2, 3]), rel=1e-5)


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_soft_tokens_are_left_out(family):
    plm = tiny_plm(family, seed=0)
    delta = Prompt(tokens=3).on(plm, seed=0)
    view = token_view(delta, delta.phi0, one(plm))
    assert view.states.shape[1] == IDS.shape[1]
    whole = hidden_states(delta.plm, delta.overrides(delta.phi0), one(plm))
    start = 1 if family == "bert" else 0  # a prompt stands after [CLS]
    text = [i for i in range(IDS.shape[1] + 3) if not start <= i < start + 3]
    torch.testing.assert_close(view.states[1], whole[1][0, text])


def test_what_cannot_be_viewed_is_refused():
    plm = tiny_plm("bert", seed=0)
    delta = BitFit().on(plm, seed=0)
    two = {name: tensor.repeat(2, 1) if tensor.ndim == 2 else tensor for name, tensor in one(plm).items()}
    with pytest.raises(ValueError, match="one text without padding"):
        token_view(delta, delta.phi0, two)
    t5 = LoRA(rank=1).on(tiny_plm("t5", seed=0), seed=0)
    with pytest.raises(ValueError, match="two chains"):
        token_view(t5, t5.phi0, one(t5.plm))


def test_a_plane_holds_paths_that_lie_in_it():
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(7, 2, generator=generator, dtype=torch.float64)).Q.mT
    path, other = (torch.randn(4, 2, generator=generator, dtype=torch.float64) @ basis for _ in range(2))
    plane = plane_of(path, other)
    assert float(plane.shares.sum()) == pytest.approx(1.0)
    torch.testing.assert_close(plane.of(path) @ plane.axes + plane.origin, path)
    assert bool((plane.of(path)[-1] >= 0).all())
