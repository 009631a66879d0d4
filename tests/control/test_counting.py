"""What a block is asked for, counted by hooks: once per vector, whoever asks and in whatever mode."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
import torch
from torch.func import grad, hessian, jacrev, jvp, vmap

from lab.control import (
    adjoint,
    best_layer_ascent,
    control_gauss_newton,
    costates,
    deep_linear,
    extended_msa,
    full_maximization,
    gauss_newton_cg,
    gradient_ascent,
    ilqr,
    msa,
    residual_toy,
    rollout,
)
from lab.control.counting import counted


@pytest.fixture(name="toy")
def _toy():
    """A problem of 3 stages whose blocks count, its controls, J as a function of φ, and the counts."""
    problem, controls = residual_toy(n_layers=3, width=2, n_samples=4)
    spent: Counter = Counter()

    def tell(what: str, amount: float) -> None:
        spent[what] += int(amount)

    watched = counted(problem, tell)
    return watched, controls, lambda phi: rollout(watched, watched.split(phi)).cost, spent


def test_counting_changes_no_bit(toy):
    watched, controls, J, _ = toy
    problem, _ = residual_toy(n_layers=3, width=2, n_samples=4)
    phi = problem.join(controls)
    plain = lambda phi: rollout(problem, problem.split(phi)).cost  # noqa: E731
    assert torch.equal(J(phi), plain(phi))
    assert torch.equal(grad(J)(phi), grad(plain)(phi))
    assert torch.equal(hessian(J)(phi), hessian(plain)(phi))
    assert all(
        torch.equal(p, q)
        for p, q in zip(adjoint(watched, controls).costates, adjoint(problem, controls).costates, strict=True)
    )


def test_one_pass_and_one_backward_sweep(toy):
    """T evaluations and T products with J_tᵀ: by autograd, by torch.func, by `adjoint`, stage by stage."""
    watched, controls, J, spent = toy
    phi = watched.join(controls)
    J(phi)
    assert spent == {"evaluations": 3}
    for sweep in (
        lambda: grad(J)(phi),
        lambda: adjoint(watched, controls),
        lambda: torch.autograd.grad(J(leaf := phi.clone().requires_grad_()), leaf),
    ):
        spent.clear()
        sweep()
        assert spent == {"evaluations": 3, "block products": 3}
    trajectory = rollout(watched, controls)
    spent.clear()
    costates(watched, trajectory, recursion=True)
    assert spent == {"evaluations": 3, "block products": 3}


def test_forward_mode_and_batches_count_per_vector(toy):
    watched, controls, J, spent = toy
    phi = watched.join(controls)
    jvp(J, (phi,), (phi,))
    assert spent == {"evaluations": 3, "block products": 3}
    spent.clear()
    end = lambda phi: rollout(watched, watched.split(phi)).end.reshape(-1)  # noqa: E731
    jacrev(end)(phi)
    assert spent == {"evaluations": 3, "block products": 3 * 8}  # 4 samples × 2
    spent.clear()
    vmap(grad(J))(torch.stack([phi, 2 * phi]))
    assert spent == {"evaluations": 2 * 3, "block products": 2 * 3}


def test_products_with_curvature_count_their_two_backward_passes(toy):
    """Reverse over reverse: the sweep (T); then the derivative of the sweep (T), and along the chain again (T)."""
    watched, controls, J, spent = toy
    phi = watched.join(controls).clone().requires_grad_()
    (g,) = torch.autograd.grad(J(phi), phi, create_graph=True)
    assert spent["block products"] == 3
    torch.autograd.grad(g, phi, torch.ones_like(g))
    assert 3 * 2 <= spent["block products"] <= 3 * 3


def test_a_recorded_product_is_one_backward_pass_each_way(toy):
    """JᵀCJ v of the trajectory: J v through the recorded sweep (T), Jᵀ(C J v) back (T); the chain is not run again."""
    watched, controls, _, spent = toy
    G = control_gauss_newton(watched, controls)
    spent.clear()
    v = torch.ones(watched.size, dtype=torch.float64)
    G @ v
    assert spent == {"block products": 2 * 3}
    spent.clear()
    G @ torch.stack([v, 2 * v, -v], dim=1)  # batched by torch.autograd's own vmap
    assert spent == {"block products": 3 * 2 * 3}


SOLVERS = {
    "gradient": lambda problem, u: msa(problem, u, update=gradient_ascent(0.01), iterations=3),
    "msa": lambda problem, u: msa(problem, u, update=full_maximization(4), iterations=3),
    "e-msa": lambda problem, u: extended_msa(problem, u, iterations=3, inner_iterations=4),
    "best layer": lambda problem, u: msa(problem, u, update=best_layer_ascent(), iterations=3),
    "ilqr": lambda problem, u: ilqr(problem, u, iterations=3),
    "gauss-newton": lambda problem, u: ilqr(problem, u, direction=gauss_newton_cg(iterations=4), iterations=3),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_logs_its_block_products(name):
    problem, controls = deep_linear(decay=0.1)
    history = SOLVERS[name](problem, controls).history
    spent = [row["block_products"] for row in history]
    assert spent[0] == problem.T  # the first sweep
    assert all(after - before >= problem.T for before, after in pairwise(spent))
    if name == "gradient":
        assert spent == [problem.T * (k + 1) for k in range(4)]
    else:
        assert spent[-1] > problem.T * len(history)  # more than the sweeps it calls its iterations


def test_one_adjoint_of_extended_msa_hides_tens_of_backward_passes():
    problem, controls = residual_toy(n_layers=4, n_samples=6)
    history = extended_msa(problem, controls, iterations=2, inner_iterations=10).history
    first, last = history[0], history[-1]
    adjoints = last["adjoints"] - first["adjoints"]
    assert adjoints == 2
    assert last["block_products"] - first["block_products"] > 20 * adjoints * problem.T
