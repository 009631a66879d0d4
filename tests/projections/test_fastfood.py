"""Fastfood against dense products of its factors, kernels against reference, published gradient against the true."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.linalg import hadamard
from torch.autograd import gradcheck
from torch.autograd.gradcheck import GradcheckError

from lab.projections import Fastfood, counter, fastfood_cpu, fastfood_reference
from lab.projections.fastfood_plan import GROUP, Plan


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def H(n: int) -> torch.Tensor:
    return torch.from_numpy(hadamard(n)).double()


def permutation_matrix(pi: torch.Tensor) -> torch.Tensor:
    """(Π v)_i = v_π(i)."""
    return torch.eye(len(pi), dtype=torch.float64)[pi]


@pytest.mark.parametrize(("D", "d"), [(100, 10), (64, 64), (65, 33), (1000, 3), (700, 700)])
def test_published_form_is_the_padded_product_of_dense_factors(D, d):
    # Written as published: x padded to L, H_L G Π H_L B, cut to D, over √(L Σ G²) √(D / L).
    seed, L = 4, 1 << (D - 1).bit_length()
    rows = torch.arange(L)
    B = counter.signs(counter.stream_key(seed, counter.Stream.SIGNS), rows, torch.float64)
    G = counter.gaussians(counter.stream_key(seed, counter.Stream.GAUSSIANS), rows, torch.float64)
    pi = counter.permute(counter.stream_key(seed, counter.Stream.PERMUTATION), 0, rows, L.bit_length() - 1)
    # only the first 2^⌈log2 d⌉ entries of H B x differ from their repetition
    P = H(L) @ torch.diag(G) @ permutation_matrix(pi) @ H(L) @ torch.diag(B) @ torch.eye(L, d, dtype=torch.float64)
    P = P[:D] / (math.sqrt(L * (G**2).sum()) * math.sqrt(D / L))
    assert torch.allclose(Fastfood(D, d, seed=seed, form="published") @ torch.eye(d).double(), P, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("D", "d"), [(100, 10), (64, 64), (300, 3), (1000, 100), (3000, 1024)])
def test_stacked_form_is_the_product_of_dense_factors(D, d):
    plan = Plan.stacked(D, d, seed=4)
    n, lanes = plan.length, plan.lanes
    blocks = torch.zeros(plan.groups, n, lanes, d, dtype=torch.float64)
    sign_key, gaussian_key, permutation_key = plan.keys
    for group in range(plan.groups):
        pi = counter.permute(permutation_key, group, torch.arange(n), n.bit_length() - 1)
        for lane in range(lanes):
            places = (group * n + torch.arange(n)) * lanes + lane
            B = torch.diag(counter.signs(sign_key, places, torch.float64))
            G = torch.diag(counter.gaussians(gaussian_key, places, torch.float64))
            block = H(n) @ G @ permutation_matrix(pi) @ H(n) @ B
            blocks[group, :, lane] = block[:, :d] / math.sqrt(D * G.square().sum())
    truth = blocks.reshape(-1, d)[:D]
    assert torch.allclose(Fastfood(D, d, seed=4) @ torch.eye(d).double(), truth, rtol=0, atol=1e-13)


@pytest.mark.parametrize("form", ["stacked", "published"])
@pytest.mark.parametrize(
    ("D", "d"),
    # lanes 128, 16, 8, 2, 1; a tile longer than the cache; two halves of a tile; D just above a power of two
    [
        pytest.param(40_000, 100, marks=pytest.mark.slow),  # each number of lanes is compiled anew
        (40_000, 1000),
        pytest.param(40_000, 2000, marks=pytest.mark.slow),
        pytest.param(40_000, 5000, marks=pytest.mark.slow),
        (40_000, 9000),
        (150_000, 66_000),
        (100_000, 70_000),
        (16_385, 16_385),
    ],
)
def test_kernels_equal_the_reference(form, D, d):
    P = Fastfood(D, d, seed=1, form=form)
    X, Y = draw(d, 2), draw(D, 2)
    forward, backward = fastfood_reference.product(P.plan, X), fastfood_reference.adjoint(P.plan, Y)
    assert torch.allclose(fastfood_cpu.product(P.plan, X), forward, rtol=0, atol=1e-13)
    assert torch.allclose(fastfood_cpu.adjoint(P.plan, Y), backward, rtol=0, atol=1e-13)
    assert torch.allclose(fastfood_cpu.product(P.plan, X.float()).double(), forward, rtol=0, atol=1e-5)
    assert abs(((P @ X) * Y).sum() - (X * (P.T @ Y)).sum()) <= 1e-12 * X.norm() * Y.norm()


@pytest.mark.parametrize("chunk", [1, 1 << 13, 1 << 16])
def test_any_chunking_gives_the_same_map(chunk, monkeypatch):
    P, x, y = Fastfood(60_000, 300), draw(300, 1), draw(60_000, 1)
    forward, backward = fastfood_reference.product(P.plan, x), fastfood_reference.adjoint(P.plan, y)
    monkeypatch.setattr(fastfood_reference, "CHUNK", chunk)
    assert torch.equal(fastfood_reference.product(P.plan, x), forward)
    assert torch.allclose(fastfood_reference.adjoint(P.plan, y), backward, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("D", "form"), [(4 * GROUP, "stacked"), (1 << 12, "stacked"), (1 << 12, "published")])
def test_columns_have_norm_one_where_blocks_are_whole(D, form):
    P = Fastfood(D, 200, form=form)
    norms = (P @ torch.eye(200, dtype=torch.float64)).norm(dim=0)
    assert torch.allclose(norms, torch.ones_like(norms), rtol=0, atol=1e-12)


def test_a_keyed_permutation_costs_no_isotropy():
    # ‖Px‖² over seeds, for x that a poor permutation would favour: a spike, a constant, one Hadamard row. The spread
    # of a full block is that of Σ G² u_π² over ‖u‖² Σ G²; a uniform permutation is drawn beside it.
    n, draws = 256, 400
    generator = torch.Generator().manual_seed(0)
    spike = torch.zeros(n, dtype=torch.float64)
    spike[3] = 1
    mixed = torch.where(torch.arange(n) < n // 4, 1.0, 0.1).double()
    for x in (spike, mixed, H(n)[77] + H(n)[78]):
        ours, uniform = [], []
        for seed in range(draws):
            plan = Plan.published(n, n, seed)
            B = counter.signs(plan.keys[0], torch.arange(n), torch.float64)
            G = counter.gaussians(plan.keys[1], torch.arange(n), torch.float64)
            u = H(n) @ (B * x)
            pi = torch.randperm(n, generator=generator)
            uniform.append((G * u[pi]).square().sum() * n / (n * G.square().sum()))
            ours.append((Fastfood(n, n, seed=seed, form="published") @ x).square().sum())
        ours, uniform = torch.stack(ours) / x.square().sum(), torch.stack(uniform) / x.square().sum()
        assert abs(ours.mean() - 1) <= 5 * ours.std() / draws**0.5 + 1e-12
        assert ours.std() <= 1.25 * uniform.std() + 1e-12  # standard error of a ratio of deviations: 5 %


def test_the_published_gradient_is_rejected_by_gradcheck():
    x = draw(10).requires_grad_()
    exact, published = Fastfood(100, 10), Fastfood(100, 10, backward="published")
    assert gradcheck(lambda x: exact @ x, (x,))
    with pytest.raises(GradcheckError, match="Jacobian mismatch"):
        gradcheck(lambda x: published @ x, (x,))


@pytest.mark.parametrize("form", ["stacked", "published"])
def test_the_published_gradient_is_the_true_one_over_the_length(form):
    exact, published = Fastfood(100, 10, form=form), Fastfood(100, 10, form=form, backward="published")
    x, y = draw(10).requires_grad_(), draw(100)
    true, scaled = (torch.autograd.grad((P @ x) @ y, x)[0] for P in (exact, published))
    assert torch.equal(exact @ x, published @ x)
    assert torch.allclose(scaled * published.plan.length, true, rtol=1e-12, atol=0)
    assert published.plan.length == (16 if form == "stacked" else 128)
    assert torch.equal(published.T @ y, exact.T @ y)  # the adjoint itself stays the adjoint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "dense"}, r"form must be 'stacked' or 'published'; got 'dense'"),
        ({"backward": "wrong"}, r"backward must be 'exact' or 'published'; got 'wrong'"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Fastfood(10, 2, **options)
