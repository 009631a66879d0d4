"""The square roots of curvatures: equal to the operators, dense, on tiny models; their spectra and coordinates."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from lab.deltas import BitFit, LoRA
from lab.geometry.curvature import empirical_fisher, gauss_newton, ntk, on_block
from lab.geometry.curvature_factor import (
    covariance_factor,
    factor_spectrum,
    gauss_newton_factor,
    gauss_newton_target,
    kernel_factor,
    kernel_target,
    output_jacobian,
)
from lab.models.tiny import tiny_plm

BATCH = {
    "input_ids": torch.tensor([[1, 5, 6, 7], [1, 8, 9, 0], [1, 4, 4, 6]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1]]),
    "labels": torch.tensor([0, 2, 1]),
}


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module", params=[("bert", LoRA(rank=1)), ("bert", BitFit()), ("llama", LoRA(rank=1))], ids=str)
def setup(request):
    family, method = request.param
    delta = method.on(tiny_plm(family, num_labels=3), seed=0)
    phi = delta.phi0 + 0.1 * gaussian(delta.size)
    return delta, phi, *output_jacobian(delta, phi, BATCH, chunk_size=2)


def test_jacobian_is_the_one_of_the_whole_batch(setup):
    delta, phi, logits, J = setup
    torch.testing.assert_close(logits, delta.logits(phi, BATCH))
    dense = torch.autograd.functional.jacobian(lambda x: delta.logits(x, BATCH), phi)
    torch.testing.assert_close(J, dense)


def test_factors_are_square_roots_of_the_operators(setup):
    delta, phi, logits, J = setup
    of_phi = lambda x: delta.logits(x, BATCH)  # noqa: E731
    losses = lambda x: cross_entropy(of_phi(x), BATCH["labels"], reduction="none")  # noqa: E731
    v = gaussian(delta.size)
    for M, operator in (
        (gauss_newton_factor(logits, J), gauss_newton(of_phi, phi)),
        (covariance_factor(logits, J, BATCH["labels"]), empirical_fisher(losses, phi)),
    ):
        torch.testing.assert_close(M.T @ (M @ v), operator @ v, rtol=1e-9, atol=1e-13)
    K = kernel_factor(logits, J)
    torch.testing.assert_close(3 * K @ K.T, ntk(of_phi, phi).to_dense(), rtol=1e-9, atol=1e-12)


def test_weights_enter_as_in_the_operator(setup):
    delta, phi, logits, J = setup
    weights, v = torch.tensor([0.5, 0.0, 2.0], dtype=torch.float64), gaussian(delta.size, seed=1)
    M = gauss_newton_factor(logits, J, weights)
    operator = gauss_newton(lambda x: delta.logits(x, BATCH), phi, weights=weights)
    torch.testing.assert_close(M.T @ (M @ v), operator @ v, rtol=1e-9, atol=1e-13)


def test_columns_of_one_block_give_its_diagonal_block(setup):
    delta, phi, logits, J = setup
    i = delta.layout.indices(1)
    M = gauss_newton_factor(logits, J[..., i])
    block = gauss_newton(*on_block(lambda x: delta.logits(x, BATCH), phi, delta.layout, 1))
    v = gaussian(len(i))
    torch.testing.assert_close(M.T @ (M @ v), block @ v, rtol=1e-9, atol=1e-13)


def test_targets_give_the_gradient(setup):
    delta, phi, logits, J = setup
    gradient = torch.func.grad(lambda x: cross_entropy(delta.logits(x, BATCH), BATCH["labels"]))(phi)
    for factor, target in ((gauss_newton_factor, gauss_newton_target), (kernel_factor, kernel_target)):
        torch.testing.assert_close(factor(logits, J).T @ target(logits, BATCH["labels"]), -gradient)


def test_a_class_whose_probability_is_zero_adds_nothing_to_the_target():
    """A float32 softmax is exactly 0 from logits 104 below the largest; −√p is 0 there, and (0 − p)/√p was 0/0."""
    logits = torch.tensor([[0.0, 1.0, -200.0]])
    found = gauss_newton_target(logits, torch.tensor([1]))
    p = torch.sigmoid(torch.tensor(1.0))
    torch.testing.assert_close(found, torch.tensor([-((1 - p) ** 0.5), (1 - p) / p**0.5, 0.0]))


def test_spectrum_equals_dense_truth():
    M = gaussian(5, 12) * torch.tensor([3.0, 1, 1, 0.1, 0], dtype=torch.float64)[:, None]
    found = factor_spectrum(M)
    dense = torch.linalg.eigh(M.T @ M)
    torch.testing.assert_close(found.eigenvalues, dense.eigenvalues.flip(0)[:4])
    assert found.trace == pytest.approx(float(dense.eigenvalues.sum()))
    V = found.eigenvectors(4)
    torch.testing.assert_close(V.T @ V, torch.eye(4, dtype=torch.float64))
    torch.testing.assert_close(M.T @ (M @ V), V * found.eigenvalues)
    e, t = gaussian(12), gaussian(5)
    torch.testing.assert_close(found.coordinates(e), V.T @ e)
    solution = torch.linalg.lstsq(M[:4], t[:4, None], driver="gelsd").solution[:, 0]  # row 5 of M is 0
    torch.testing.assert_close(found.solution_coordinates(t), V.T @ solution)


def test_refusals():
    lm = LoRA(rank=1).on(tiny_plm("llama", head="lm"))
    with pytest.raises(ValueError, match=r"logits \(n, c\); those of one example have shape"):
        output_jacobian(lm, lm.phi0, BATCH)
    for weights in (torch.ones(2), -torch.ones(3)):
        with pytest.raises(ValueError, match="weights must be 3 numbers >= 0"):
            gauss_newton_factor(gaussian(3, 2), gaussian(3, 2, 4), weights)
    for M in (gaussian(3), torch.full((2, 2), float("nan"))):
        with pytest.raises(ValueError, match="finite matrix"):
            factor_spectrum(M)
    with pytest.raises(ValueError, match="there is no curvature"):
        factor_spectrum(torch.zeros(2, 3))
