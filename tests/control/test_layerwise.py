"""A delta as controls of a PLM's blocks: exact replay, exact gradients, and errors where φ does not split."""

from __future__ import annotations

import pytest
import torch
from torch.func import grad, jacrev
from torch.nn.functional import cross_entropy

from lab.control import (
    adjoint,
    control_jacobian,
    costates,
    hamiltonian_slope,
    hidden_state,
    layerwise,
    minimum_energy,
    msa,
    pmp_residual,
    rollout,
    sign_ascent,
)
from lab.deltas import (
    DID,
    IA3,
    SAID,
    Adapter,
    BitFit,
    DiffPruning,
    FullFineTuning,
    LastLayer,
    LinearProbe,
    LoRA,
    Mask,
    Prefix,
    Prompt,
    SelectiveModule,
)
from lab.models.tiny import FAMILIES, tiny_plm

METHODS = {
    "full": FullFineTuning(),
    "bitfit": BitFit(),
    "last-layer": LastLayer(),
    "selective": SelectiveModule(n_modules=2),
    "probe": LinearProbe(),
    "lora": LoRA(rank=2),
    "adapter": Adapter(bottleneck=3),
    "ia3": IA3(),
    "mask": Mask(),
    "diff-pruning": DiffPruning(gate_scale=1.0),  # at 100 the moved φ of these tests closes whole gates
    "prefix": Prefix(2),
    "prompt": Prompt(3),
}
WITHOUT_BIASES = ("llama", "t5", "gemma")
CASES = [(f, m) for f in FAMILIES for m in METHODS if not (m == "bitfit" and f in WITHOUT_BIASES)]


@pytest.fixture(scope="module")
def plms():
    return {family: tiny_plm(family) for family in FAMILIES}


def off_the_start(delta, seed: int = 1) -> torch.Tensor:
    """φ with every coordinate moved, so that no control is silent."""
    noise = torch.randn(delta.size, generator=torch.Generator().manual_seed(seed), dtype=delta.phi0.dtype)
    return delta.phi0 + 0.05 * noise


def backward_of_the_plm(delta, batch, phi):
    """The PLM's own logits, loss and ∇_φ J at φ, without any stage."""
    x = phi.clone().requires_grad_()
    logits = delta.logits(x, batch)
    loss = cross_entropy(logits, batch["labels"])
    loss.backward()
    return logits, loss, x.grad


@pytest.mark.parametrize(("family", "method"), CASES)
def test_replay_is_the_forward_pass_and_costates_are_its_gradients(plms, make_batch, family, method):
    """Bit for bit in float64: the logits, J, and ∇_u H_t = −∇_{u_t} J with J the PLM's own loss."""
    plm = plms[family]
    delta, batch = METHODS[method].on(plm, seed=1), make_batch(plm)
    problem, phi = layerwise(delta, batch, cross_entropy), off_the_start(delta)
    logits, loss, gradient = backward_of_the_plm(delta, batch, phi)
    at = adjoint(problem, problem.split(phi))
    assert torch.equal(at.trajectory.end, logits)
    assert torch.equal(at.trajectory.cost, loss)
    assert torch.equal(problem.join(at.ascent), -gradient)


@pytest.mark.parametrize(("family", "method"), CASES)
def test_the_costate_recursion_gives_the_gradients_stage_by_stage(plms, make_batch, family, method):
    """p_t by the recursion, then ∇_u H_t of stage t alone: −∇_{u_t} J of the PLM's own loss, to rounding."""
    plm = plms[family]
    delta, batch = METHODS[method].on(plm, seed=1), make_batch(plm)
    problem, phi = layerwise(delta, batch, cross_entropy), off_the_start(delta)
    gradient = backward_of_the_plm(delta, batch, phi)[-1]
    trajectory = rollout(problem, problem.split(phi))
    p = costates(problem, trajectory, recursion=True)
    slopes = [
        hamiltonian_slope(problem, t, trajectory.states[t], p[t + 1], trajectory.controls[t]) for t in range(problem.T)
    ]
    assert float((problem.join(slopes) + gradient).abs().max() / gradient.abs().max()) < 1e-13


@pytest.mark.parametrize("family", FAMILIES)
def test_tied_embeddings_are_carried_as_a_constant_state(make_batch, family):
    """With the language-model head one matrix embeds and reads out; it is a control at "embed", a state after."""
    plm = tiny_plm(family, head="lm", verbalizer=("bad", "good"))
    delta, batch = FullFineTuning().on(plm), make_batch(plm)
    problem, phi = layerwise(delta, batch, cross_entropy), off_the_start(delta)
    at = adjoint(problem, problem.split(phi))
    gradient = backward_of_the_plm(delta, batch, phi)[-1]
    torch.testing.assert_close(problem.join(at.ascent), -gradient, rtol=1e-12, atol=1e-15)
    embedding = f"φ {plm.architecture.embedding_name(plm.model)}.weight"
    carried = [embedding in layout.names for layout in problem.state_layouts]
    assert carried == [False, *[True] * (problem.end), False]


@pytest.mark.parametrize(("family", "method"), [("bert", "lora"), ("llama", "full"), ("t5", "full"), ("t5", "prompt")])
def test_costates_are_the_derivatives_of_the_cost_in_every_state(plms, make_batch, family, method):
    plm = plms[family]
    delta = METHODS[method].on(plm, seed=1)
    problem = layerwise(delta, make_batch(plm), cross_entropy, running_cost=1e-2)
    controls = problem.split(off_the_start(delta))
    at = adjoint(problem, controls)
    generator = torch.Generator().manual_seed(0)
    for t in range(1, problem.T + 1):
        h = at.trajectory.states[t]
        v = torch.randn(h.shape, generator=generator, dtype=h.dtype)

        def tail(h, t=t):
            total = torch.zeros((), dtype=h.dtype)
            for s in range(t, problem.T):
                total = total + problem.running_costs[s](h, controls[s])
                h = problem.dynamics[s](h, controls[s])
            return total + problem.terminal_cost(h)

        step = 1e-6  # central difference: independent of autograd
        slope = (tail(h + step * v) - tail(h - step * v)) / (2 * step)
        torch.testing.assert_close((at.costates[t] * v).sum(), -slope, rtol=1e-6, atol=1e-9)


def test_stages_of_every_kind(plms, make_batch):
    def stages(family, method):
        plm = plms[family]
        problem = layerwise(METHODS[method].on(plm), make_batch(plm), cross_entropy)
        return dict(zip(problem.names, problem.sizes, strict=True)), problem

    prompt, problem = stages("bert", "prompt")
    assert prompt == {"embed": 3 * 16, "block 0": 0, "block 1": 0, "readout": 34}  # an initial-condition control
    assert problem.end == 3
    last, problem = stages("bert", "last-layer")
    assert last["block 0"] == 0 < last["block 1"]
    assert "embed" not in last
    assert problem.end == 2
    full, _ = stages("t5", "full")
    assert list(full) == ["embed", "block 0", "block 1", "link", "block 2", "block 3", "readout"]
    assert full["link"] == 16  # the encoder's final norm
    assert min(full.values()) > 0


def test_t5_decoder_states_carry_the_encoder(plms, make_batch):
    plm = plms["t5"]
    delta, batch = METHODS["lora"].on(plm, seed=1), make_batch(plm)
    problem = layerwise(delta, batch, cross_entropy)
    names = [layout.names for layout in problem.state_layouts]
    coupled = ("hidden", "encoder_hidden_states")
    assert names == [("hidden",)] * 3 + [coupled, coupled, ("hidden",), ("hidden",)]
    trajectory = rollout(problem, problem.split(off_the_start(delta)))
    assert hidden_state(problem, 3, trajectory.states[3]).shape == (*batch["input_ids"].shape, 16)
    # the encoder is steered through the cross-attention alone: its costates do not vanish
    assert all(p.any() for p in adjoint(problem, trajectory.controls).costates)


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_jacobian_of_the_logits_equals_the_one_of_the_plm(plms, make_batch, family):
    plm = plms[family]
    delta, batch = LoRA(rank=1, head="frozen").on(plm, seed=1), make_batch(plm)
    problem, phi = layerwise(delta, batch, cross_entropy), off_the_start(delta)
    trajectory = rollout(problem, problem.split(phi))
    dense = jacrev(lambda x: delta.logits(x, batch))(phi).reshape(-1, delta.size)
    ours = control_jacobian(problem, trajectory, at="logits").to_dense()
    torch.testing.assert_close(ours, dense, rtol=1e-10, atol=1e-12)


def test_minimum_energy_moves_a_logit_margin(plms, make_batch):
    plm = plms["bert"]
    delta, batch = METHODS["lora"].on(plm, seed=1), make_batch(plm)
    problem, phi = layerwise(delta, batch, cross_entropy), off_the_start(delta)
    trajectory = rollout(problem, problem.split(phi))

    def margins(logits):
        return logits[:, 1] - logits[:, 0]

    least = minimum_energy(problem, trajectory, torch.tensor([1e-4, -1e-4]).double(), at=margins)
    moved = margins(delta.logits(phi + least.control, batch)) - margins(delta.logits(phi, batch))
    torch.testing.assert_close(moved, torch.tensor([1e-4, -1e-4]).double(), rtol=1e-2, atol=0)
    torch.testing.assert_close(moved, least.achieved, rtol=1e-9, atol=1e-15)


def test_running_cost_is_weight_decay(plms, make_batch):
    plm = plms["gpt2"]
    delta, batch = METHODS["lora"].on(plm, seed=1), make_batch(plm)
    phi = off_the_start(delta)
    number = layerwise(delta, batch, cross_entropy, running_cost=0.1)
    function = layerwise(delta, batch, cross_entropy, running_cost=lambda u: 0.05 * u.square().sum())
    expected = grad(lambda x: cross_entropy(delta.logits(x, batch), batch["labels"]) + 0.05 * x.square().sum())(phi)
    for problem in (number, function):
        at = adjoint(problem, problem.split(phi))
        torch.testing.assert_close(problem.join(at.ascent), -expected, rtol=1e-12, atol=1e-15)


def test_float32_replays_bit_for_bit_too(make_batch):
    plm = tiny_plm("llama", dtype=torch.float32)
    delta, batch = METHODS["lora"].on(plm, seed=1), make_batch(plm)
    problem, phi = layerwise(delta, batch, cross_entropy), off_the_start(delta)
    assert torch.equal(rollout(problem, problem.split(phi)).end, delta.logits(phi, batch))


def test_composed_deltas_split_too(plms, make_batch):
    plm = plms["bert"]
    delta = LoRA(rank=2, head="frozen").on(plm, seed=1) + BitFit().on(plm)
    batch = make_batch(plm)
    problem, phi = layerwise(delta, batch, cross_entropy), off_the_start(delta)
    assert torch.equal(rollout(problem, problem.split(phi)).end, delta.logits(phi, batch))


def test_the_plm_is_left_as_it_was(make_batch):
    plm = tiny_plm("bert")
    before = {name: p.clone() for name, p in plm.parameters.items()}
    layerwise(METHODS["full"].on(plm), make_batch(plm), cross_entropy)
    assert all(torch.equal(before[name], p) and not p.requires_grad for name, p in plm.parameters.items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in plm.model.modules())


def test_pmp_residual_falls_under_gradient_steps(plms, make_batch):
    plm = plms["bert"]
    delta, batch = METHODS["lora"].on(plm, seed=1), make_batch(plm)
    problem = layerwise(delta, batch, cross_entropy, running_cost=0.1)
    phi = delta.phi0
    first = pmp_residual(problem, problem.split(phi)).total
    for _ in range(60):
        phi = phi + 0.5 * problem.join(adjoint(problem, problem.split(phi)).ascent)
    assert pmp_residual(problem, problem.split(phi)).total < 0.3 * first


def test_sign_ascent_over_the_whole_box_gives_a_binary_mask(plms, make_batch):
    """Bang-bang: with a radius as large as the box, one step puts every score that has a gradient at a bound."""
    plm = plms["bert"]
    delta, batch = Mask(head="frozen").on(plm), make_batch(plm)
    problem = layerwise(delta, batch, cross_entropy)
    box = (0.0, 0.04)  # around the threshold 0.01: below it a weight is masked
    start = problem.split(delta.phi0)
    solution = msa(problem, start, update=sign_ascent(box[1] - box[0]), iterations=1, box=box)
    ascent, score = problem.join(adjoint(problem, start).ascent), problem.join(solution.controls)
    assert int(ascent.ne(0).sum()) > 0.9 * len(ascent)
    assert bool((score[ascent > 0] == box[1]).all())
    assert bool((score[ascent < 0] == box[0]).all())
    masks = [delta.overrides(score)[name] / plm.parameters[name] for name in delta.overrides(score)]
    kept = torch.cat([m.reshape(-1) for m in masks]).nan_to_num(1.0)
    assert set(kept.tolist()) == {0.0, 1.0}
    residual = pmp_residual(problem, start, box=box).total
    assert float(residual) > 0  # the start lies inside the box
    assert float(solution.residual) < float(pmp_residual(problem, solution.controls).total)  # bounds take their part


@pytest.mark.parametrize("method", [DID(dimension=20), SAID(dimension=20), DID(dimension=20, head="free")])
def test_coupled_deltas_are_refused_with_the_reason(plms, make_batch, method):
    plm = plms["bert"]
    with pytest.raises(ValueError, match=r"φ does not split over blocks: \['z'\].*DID, SAID"):
        layerwise(method.on(plm), make_batch(plm), cross_entropy)


def test_misfiled_parts_are_found_by_the_replay(plms, make_batch):
    plm = plms["bert"]
    delta = LoRA(rank=2, head="frozen").on(plm, seed=1)
    swapped = tuple(type(p)(p.name, p.shape, 1 - p.block) for p in delta.layout)
    delta.layout = type(delta.layout)(swapped)
    with pytest.raises(ValueError, match="do not give the PLM's logits"):
        layerwise(delta, make_batch(plm), cross_entropy)


def test_misuse(plms, make_batch):
    plm = plms["bert"]
    delta, batch = METHODS["lora"].on(plm), make_batch(plm)
    with pytest.raises(ValueError, match=r'needs batch\["labels"\]'):
        layerwise(delta, {k: v for k, v in batch.items() if k != "labels"}, cross_entropy)
    problem = layerwise(METHODS["prompt"].on(plm), batch, cross_entropy)
    with pytest.raises(ValueError, match="state 0 of this problem has no hidden tensor"):
        hidden_state(problem, 0, problem.h0)
