"""Subspaces of activations, the robust prefix, and steering: planted subspaces, closed forms, LQR by Riccati."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from lab.control import (
    ActivationSubspace,
    ControlProblem,
    activation_subspaces,
    energy,
    injected_energy,
    layerwise,
    linear_quadratic,
    lqr,
    lqr_of_energy,
    lqr_steering,
    off_subspace,
    output_states,
    pid_of_energy,
    pid_steering,
    random_of_energy,
    robust_control,
    rollout,
    steering,
)
from lab.deltas import LinearProbe, LoRA, Prefix, Prompt
from lab.models import head_position
from lab.models.tiny import tiny_plm


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_planted_subspace_is_found_and_deviations_are_what_lies_outside():
    basis = torch.linalg.qr(normal(7, 3, seed=1)).Q
    states = (2 + normal(50, 1, 3) @ basis.mT).expand(50, 2, 7)
    found = activation_subspaces(states, share=1.0)
    assert [s.basis.shape for s in found] == [(7, 3), (7, 3)]
    outside = normal(5, 7, seed=2)
    outside -= outside @ basis @ basis.mT
    torch.testing.assert_close(found[0].deviation(states[:5, 0] + outside), outside, rtol=0, atol=1e-12)
    assert float(off_subspace(found, states[:5].transpose(0, 1))) < 1e-24


def test_the_rank_is_the_least_that_reaches_the_share_of_sigma():
    """Singular values 6, 3, 1 (of centred rows ±σ/√2): shares 0.6, 0.9, 1."""
    rows = torch.cat(
        [torch.diag(torch.tensor([6.0, 3.0, 1.0]).double()), -torch.diag(torch.tensor([6.0, 3.0, 1.0]).double())]
    )
    states = (rows / 2**0.5)[:, None]
    for share, rank in ((0.59, 1), (0.6, 1), (0.61, 2), (0.9, 2), (0.91, 3), (1.0, 3)):
        (found,) = activation_subspaces(states, share=share)
        assert found.basis.shape[1] == rank
        assert float(found.spread) == pytest.approx(46 / 6)


def test_off_subspace_counts_in_units_of_the_spread():
    space = ActivationSubspace(
        torch.zeros(2).double(), torch.tensor([[1.0], [0.0]]).double(), torch.tensor(4.0).double()
    )
    assert float(off_subspace([space], torch.tensor([[[5.0, 2.0], [1.0, 0.0]]]).double())) == 0.5  # (4 + 0)/2/4


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_output_states_are_what_the_head_reads(family):
    """With a padded batch and soft tokens in front: the last block's state at the position gives the logits."""
    plm = tiny_plm(family, num_labels=2)
    batch = dict(plm.tokenizer(["a good film", "a very bad one indeed"], padding=True, return_tensors="pt"))
    for delta in (Prefix(2).on(plm), Prompt(3).on(plm)):
        states, logits = output_states(delta.plm, delta.overrides(delta.phi0), batch)
        torch.testing.assert_close(logits, delta.logits(delta.phi0, batch), rtol=0, atol=0)
        model, last = delta.plm.model, states[-1]
        if family == "llama":
            read = model.score(model.model.norm(last))
        else:
            read = model.classifier(torch.tanh(model.bert.pooler.dense(last)))
        torch.testing.assert_close(read, logits, rtol=0, atol=1e-12)


def test_two_chains_are_refused():
    plm = tiny_plm("t5", num_labels=2)
    with pytest.raises(ValueError, match="two chains of blocks and no common output position"):
        output_states(plm, {}, {"input_ids": torch.ones(1, 3, dtype=torch.long)})


def trained_prefix():
    plm = tiny_plm("bert", num_labels=2)
    delta = Prefix(2).on(plm, seed=1)
    phi = delta.phi0 + 0.3 * normal(delta.size, seed=3)
    words = ["good", "bad", "film", "plot", "actor", "scene", "music", "story", "slow", "bright"]
    texts = [" ".join(words[(i * j) % 10] for j in range(1, 5)) for i in range(1, 9)]
    batch = dict(plm.tokenizer(texts, padding=True, return_tensors="pt")) | {"labels": torch.arange(8) % 2}
    return delta, phi, batch


def test_robust_control_lowers_what_it_should_and_leaves_the_head():
    delta, phi, batch = trained_prefix()
    with torch.no_grad():
        states, _ = output_states(delta.plm, delta.overrides(phi), batch)
    spaces = activation_subspaces(states.transpose(0, 1), share=0.8)
    found = robust_control(delta, phi, batch, spaces, steps=8, lr=0.01)
    assert 0 < found.after < found.before
    torch.testing.assert_close(found.logits, delta.logits(found.phi, batch), rtol=0, atol=1e-12)
    moved = delta.layout.unflatten(found.phi - phi)
    assert {part.name for part in delta.layout if moved[part.name].any()} == {
        part.name for part in delta.layout if part.block is not None
    }
    still = robust_control(delta, phi, batch, spaces, steps=0)
    assert torch.equal(still.phi, phi)
    assert still.before == still.after == pytest.approx(float(off_subspace(spaces, states)))


def test_activations_inside_their_subspaces_are_left_alone():
    delta, phi, batch = trained_prefix()
    with torch.no_grad():
        states, _ = output_states(delta.plm, delta.overrides(phi), batch)
    found = robust_control(delta, phi, batch, activation_subspaces(states.transpose(0, 1), share=1.0), steps=1, lr=0.0)
    assert found.before < 1e-20


def test_nothing_to_control_is_refused():
    plm = tiny_plm("bert", num_labels=2)
    probe = LinearProbe().on(plm)
    with pytest.raises(ValueError, match="no coordinate of this delta acts inside a block"):
        robust_control(probe, probe.phi0, {}, ())


def test_subspaces_need_data_and_a_share():
    with pytest.raises(ValueError, match="two activations or more"):
        activation_subspaces(normal(1, 2, 3))
    with pytest.raises(ValueError, match=r"must lie in \(0, 1\]; got 0"):
        activation_subspaces(normal(4, 2, 3), share=0)


def linear_blocks(A: torch.Tensor, h0: torch.Tensor) -> ControlProblem:
    return ControlProblem(
        h0=h0[None, None],
        dynamics=tuple((lambda h, u, M=M: h @ M.mT) for M in A),
        terminal_cost=lambda h: h.sum(),
        sizes=(0,) * len(A),
        names=tuple(f"block {t}" for t in range(len(A))),
    )


def test_lqr_steering_is_the_riccati_solution_of_linear_blocks():
    T, n, effort, spread = 4, 3, 0.7, 2.0
    A, h0 = normal(T, n, n), normal(n, seed=1)
    basis = torch.linalg.qr(normal(n, 1, seed=2)).Q
    space = ActivationSubspace(torch.zeros(n).double(), basis, torch.tensor(spread).double())
    found = steering(linear_blocks(A, h0), [h0.new_zeros(0)] * T, [space] * T, effort=effort)
    controls = lqr_steering(found, iterations=50, tolerance=1e-14)
    Q = (torch.eye(n).double() - basis @ basis.mT) / spread
    identity = torch.eye(n).double()
    system = linear_quadratic(A, identity, Q, effort * identity, Q, h0)
    expected = lqr(system)
    for u, v in zip(controls, expected.controls, strict=True):
        torch.testing.assert_close(u, v, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(rollout(found.problem, controls).cost + h0 @ Q @ h0 / 2, expected.cost)


def test_proportional_control_puts_activations_back():
    n = 3
    basis = torch.eye(n, 1).double()
    space = ActivationSubspace(torch.zeros(n).double(), basis, torch.tensor(1.0).double())
    h0 = torch.tensor([1.0, 2.0, -1.0]).double()
    problem = linear_blocks(2 * torch.eye(n).double().expand(3, n, n), h0)
    found = steering(problem, [h0.new_zeros(0)] * 3, [space] * 3, effort=0.0)  # nothing holds the gain down
    controls = pid_steering(found, gain=1.0, integral=0.0, derivative=0.0)
    torch.testing.assert_close(controls[0], torch.tensor([0.0, -4.0, 2.0]).double())
    assert energy(controls[1:]) == 0  # it stays in the subspace
    torch.testing.assert_close(rollout(found.problem, controls).end[0, 0], torch.tensor([8.0, 0.0, 0.0]).double())
    half = pid_steering(found, gain=0.5, integral=1.0, derivative=1.0)
    torch.testing.assert_close(half[0], controls[0])  # ½ (e + Σe), no change yet


def test_proportional_control_is_the_myopic_optimum_of_each_block():
    """u_t = −e_t/(1 + ρ spread_t) minimises the cost of its own stage, so blocks count as they do in J."""
    n, spreads, effort = 3, (0.01, 1.0, 25.0), 0.7
    basis = torch.linalg.qr(normal(n, 1, seed=2)).Q
    spaces = [ActivationSubspace(torch.zeros(n).double(), basis, torch.tensor(s).double()) for s in spreads]
    problem = linear_blocks(normal(3, n, n), normal(n, seed=1))
    found = steering(problem, [torch.zeros(0).double()] * 3, spaces, effort=effort)
    controls = pid_steering(found, gain=1.0, integral=0.0, derivative=0.0)
    h = problem.h0
    for f, space, u in zip(problem.dynamics, spaces, controls, strict=True):
        met = f(h, u)[:, 0]
        v = u.clone().requires_grad_()
        stage = space.deviation(met + v).square().sum() / space.spread + effort * v.square().sum()
        (slope,) = torch.autograd.grad(stage, v)
        assert float(slope.norm()) < 1e-12 * float(met.norm() / space.spread)
        h = (met + u)[:, None]


@pytest.mark.parametrize("delta_of", [Prefix(2), Prompt(3)])
def test_steering_acts_where_a_decoder_reads(delta_of):
    """Llama reads the last token that is no padding: the cost is that of `output_states`, and only it is moved."""
    plm = tiny_plm("llama", num_labels=2).with_attention("eager")
    delta = delta_of.on(plm, seed=1)
    batch = dict(plm.tokenizer(["a good film", "a very bad one indeed"], padding=True, return_tensors="pt"))
    batch["labels"] = torch.arange(2)
    phi = delta.phi0 + 0.3 * normal(delta.size, seed=3)
    with torch.no_grad():
        states, logits = output_states(delta.plm, delta.overrides(phi), batch)
    hidden = states.shape[-1]
    space = ActivationSubspace(torch.zeros(hidden).double(), torch.eye(hidden, 2).double(), torch.tensor(2.0).double())
    spaces = [space] * len(states)
    problem = layerwise(delta, batch, cross_entropy)
    found = steering(problem, problem.split(phi), spaces, position=head_position(plm, batch))
    nothing = rollout(found.problem, found.problem.zero_controls())
    torch.testing.assert_close(2 * nothing.cost / 2, off_subspace(spaces, states))  # J = ½ Σ over a batch of two
    torch.testing.assert_close(found.logits(nothing.controls), logits, rtol=0, atol=1e-12)
    elsewhere = steering(problem, problem.split(phi), spaces)
    assert abs(float(rollout(elsewhere.problem, nothing.controls).cost / nothing.cost) - 1) > 1e-3
    last = [*nothing.controls[:-1], normal(2 * hidden, seed=4)]
    moved = rollout(found.problem, last).end - nothing.end
    rows = torch.arange(2)
    torch.testing.assert_close(moved[rows, found.position].reshape(-1), last[-1])
    assert moved.ne(0).any(-1).sum() == 2  # one position per example
    assert float((found.logits(last) - logits).abs().min()) > 1e-6


def test_controls_of_equal_energy():
    delta, phi, batch = trained_prefix()
    with torch.no_grad():
        states, logits = output_states(delta.plm, delta.overrides(phi), batch)
    spaces = activation_subspaces(states.transpose(0, 1), share=0.8)
    problem = layerwise(delta, batch, cross_entropy)
    found = steering(problem, problem.split(phi), spaces)
    torch.testing.assert_close(found.logits(found.problem.zero_controls()), logits, rtol=0, atol=1e-12)
    lookahead = lqr_steering(found)
    zero = float(rollout(found.problem, found.problem.zero_controls()).cost)
    assert float(rollout(found.problem, lookahead).cost) < zero
    wanted = energy(lookahead)
    for share in (1e-9, 1.0, 1e3):  # gains far on either side of 1
        assert energy(pid_of_energy(found, share * wanted)) == pytest.approx(share * wanted, rel=0.02)
        scaled = lqr_of_energy(found, share * wanted)
        assert energy(scaled) == pytest.approx(share * wanted, rel=1e-9)
        torch.testing.assert_close(scaled[0], share**0.5 * lookahead[0], rtol=1e-9, atol=0)
    assert energy(random_of_energy(found, wanted, seed=0)) == pytest.approx(wanted, rel=1e-12)


def test_what_a_delta_injects_by_hand():
    """h ↦ h + u of one token: 3 in the first block and 4 in the second make 25; beside φ₀ = (1, 0) they make 20."""
    h0 = torch.zeros(1, 2, 1).double()
    problem = ControlProblem(h0, (lambda h, u: h + u,) * 2, lambda h: h.sum(), (1, 1), names=("block 0", "block 1"))
    u, position = [torch.tensor([3.0]).double(), torch.tensor([4.0]).double()], torch.zeros(1).long()
    nothing = problem.zero_controls()
    assert injected_energy(problem, u, nothing, position) == 25.0
    assert injected_energy(problem, u, [nothing[0] + 1, nothing[1]], position) == 20.0
    assert injected_energy(problem, u, u, position) == 0.0


def test_steering_refusals():
    h0 = torch.zeros(2).double()
    problem = linear_blocks(torch.eye(2).double().expand(2, 2, 2), h0)
    with pytest.raises(ValueError, match="one subspace per block is needed; got 0 for 2 blocks"):
        steering(problem, [h0.new_zeros(0)] * 2, [])
    space = ActivationSubspace(h0, torch.eye(2, 1).double(), torch.tensor(1.0).double())
    found = steering(problem, [h0.new_zeros(0)] * 2, [space] * 2)
    with pytest.raises(ValueError, match="the control energy must be positive; got 0"):
        pid_of_energy(found, 0.0)
    with pytest.raises(ArithmeticError, match=r"PID spends 0 at gain .*, not the 1 asked for, after 5 gains"):
        pid_of_energy(found, 1.0, rounds=5)  # no deviation, no control


def test_lora_has_activations_too():
    plm = tiny_plm("bert", num_labels=2)
    delta = LoRA(rank=1).on(plm)
    batch = dict(plm.tokenizer(["a good film"], return_tensors="pt"))
    states, _ = output_states(delta.plm, delta.overrides(delta.phi0), batch)
    assert states.shape == (2, 1, 16)
