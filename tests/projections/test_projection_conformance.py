"""What every projection promises, run over the registry."""

from __future__ import annotations

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck
from torch.autograd.functional import hessian, jacobian

from lab.projections import PROJECTIONS, Fastfood, OneHot, Sparse

SHAPES = [(5, 3), (7, 7), (100, 1), (1000, 17), (3000, 256), (40_000, 300)]
VARIANTS = {
    **{P.name: P for P in PROJECTIONS},
    "fastfood, published": lambda D, d, seed=0: Fastfood(D, d, seed=seed, form="published"),
    "one_hot, unsigned": lambda D, d, seed=0: OneHot(D, d, seed=seed, signed=False),
    "sparse, a tenth": lambda D, d, seed=0: Sparse(D, d, seed=seed, density=0.1),
}
every = pytest.mark.parametrize("make", VARIANTS.values(), ids=VARIANTS)
registered = pytest.mark.parametrize("make", PROJECTIONS, ids=[P.name for P in PROJECTIONS])


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_adjoint(P, seed: int = 0) -> None:
    x, y = draw(P.shape[1], seed=seed), draw(P.shape[0], seed=seed + 1)
    forward, backward = (P @ x) @ y, x @ (P.T @ y)
    assert abs(forward - backward) <= 1e-12 * max(1.0, float(x.norm() * y.norm()))


@every
@pytest.mark.parametrize(("D", "d"), SHAPES)
def test_adjoint_identity(make, D, d):
    assert_adjoint(make(D, d, seed=3))


@every
@given(data=st.data())
@settings(max_examples=15, deadline=None, derandomize=True)
def test_adjoint_identity_on_any_shape(make, data):
    D = data.draw(st.integers(1, 600))
    assert_adjoint(make(D, data.draw(st.integers(1, D)), seed=data.draw(st.integers(-(2**70), 2**70))))


@every
def test_columns_are_vectors_side_by_side(make):
    P, X, Y = make(1000, 17), draw(17, 11), draw(1000, 11)  # more columns than share one drawing
    assert (P @ X).shape == (1000, 11)
    assert torch.allclose(P @ X, torch.stack([P @ x for x in X.T], dim=1), rtol=0, atol=1e-13)
    assert torch.allclose(P.T @ Y, torch.stack([P.T @ y for y in Y.T], dim=1), rtol=0, atol=1e-11)


@every
def test_is_isotropic(make):
    # E‖Px‖² = ‖x‖² over seeds; the bound is 5 standard errors of the mean of 300 draws, from the draws themselves.
    x = draw(13)
    ratios = torch.stack([(make(150, 13, seed=seed) @ x).square().sum() for seed in range(300)]) / x.square().sum()
    assert abs(ratios.mean() - 1) <= 5 * ratios.std() / 300**0.5 + 1e-12


@every
def test_rows_are_isotropic_too(make):
    # Not only the norm: E P Pᵀ is (d/D) I, so each coordinate of the image gets its share.
    D, d, draws = 36, 12, 2000  # 36: whole strata of `Sparse`, whole stretches of `OneHot`
    x = torch.ones(d, dtype=torch.float64)
    energy = torch.stack([(make(D, d, seed=seed) @ x).square() for seed in range(draws)])
    standard_error = energy.std(0).clamp_min(1e-12) / draws**0.5
    assert ((energy.mean(0) - d / D).abs() <= 5 * standard_error + 1e-12).all()


@every
def test_one_seed_one_map(make):
    x = draw(17)
    assert torch.equal(make(1000, 17, seed=5) @ x, make(1000, 17, seed=5) @ x)
    assert not torch.allclose(make(1000, 17, seed=5) @ x, make(1000, 17, seed=6) @ x)


@every
def test_threads_do_not_change_the_map(make):
    P, x, y = make(40_000, 300), draw(300), draw(40_000)
    threads = torch.get_num_threads()
    results = []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            results.append((P @ x, P.T @ y))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@every
def test_dtype_follows_the_vector(make):
    P, x, y = make(3000, 256), draw(256), draw(3000)
    assert (P @ x.float()).dtype == torch.float32
    assert torch.allclose((P @ x.float()).double(), P @ x, rtol=0, atol=1e-5)
    assert torch.allclose((P.T @ y.float()).double(), P.T @ y, rtol=0, atol=1e-5 * 50)


@every
def test_derivatives(make):
    P = make(20, 5)
    assert gradcheck(lambda x: P @ x, (draw(5).requires_grad_(),), check_forward_ad=True)
    assert gradcheck(lambda y: P.T @ y, (draw(20).requires_grad_(),), check_forward_ad=True)
    assert gradgradcheck(lambda x: (P @ x) ** 2, (draw(5).requires_grad_(),), check_fwd_over_rev=True)


@every
def test_function_transforms(make):
    P, X, v, y = make(300, 20), draw(20, 4), draw(20, seed=1), draw(300, seed=2)
    assert torch.allclose(torch.vmap(lambda x: P @ x, in_dims=1, out_dims=1)(X), P @ X, rtol=0, atol=1e-13)
    image, tangent = torch.func.jvp(lambda x: P @ x, (X[:, 0],), (v,))
    assert torch.equal(image, P @ X[:, 0])
    assert torch.equal(tangent, P @ v)
    _, pull = torch.func.vjp(lambda x: P @ x, X[:, 0])
    assert torch.equal(pull(y)[0], P.T @ y)
    jacobian = torch.func.jacrev(lambda x: P @ x)(v)
    assert torch.allclose(jacobian, P @ torch.eye(20, dtype=torch.float64), rtol=0, atol=1e-13)


@every
def test_derivatives_batched_by_autograd(make):
    """`vectorize=True` and gradcheck's batched gradient use a vmap of torch.autograd's own, older than torch.func's."""
    P, v = make(30, 5), draw(5)
    dense = P @ torch.eye(5, dtype=torch.float64)
    for strategy in ("reverse-mode", "forward-mode"):
        found = jacobian(lambda x: (P @ x) ** 2, v, vectorize=True, strategy=strategy)
        torch.testing.assert_close(found, 2 * (P @ v)[:, None] * dense, rtol=1e-12, atol=1e-13)
        adjoint = jacobian(lambda y: P.T @ y, P @ v, vectorize=True, strategy=strategy)
        torch.testing.assert_close(adjoint, dense.T, rtol=1e-12, atol=1e-13)
        second = hessian(lambda x: ((P @ x) ** 3).sum(), v, vectorize=True, outer_jacobian_strategy=strategy)
        torch.testing.assert_close(second, dense.T @ torch.diag(6 * P @ v) @ dense, rtol=1e-11, atol=1e-12)
    assert gradcheck(
        lambda x: P @ x,
        (v.requires_grad_(),),
        check_batched_grad=True,
        check_batched_forward_grad=True,
        check_forward_ad=True,
    )


@every
def test_is_a_config(make):
    P = make(100, 7, seed=2)
    assert make(100, 7, seed=2) == P
    assert hash(P) == hash(make(100, 7, seed=2))
    assert make(100, 7, seed=3) != P
    assert repr(P).startswith(f"{type(P).__name__}(D=100, d=7, seed=2")
    assert pickle.loads(pickle.dumps(P)) == P
    with pytest.raises(AttributeError, match="cannot assign"):
        P.seed = 4


@every
def test_is_an_operator(make):
    P = make(50, 6)
    dense = P @ torch.eye(6, dtype=torch.float64)
    x = draw(6)
    assert P.shape == (50, 6)
    assert torch.allclose(P.to_dense().double(), dense, rtol=0, atol=1e-6)  # to_dense works in float32
    assert torch.allclose((P.T @ P) @ x, dense.T @ dense @ x, rtol=0, atol=1e-12)
    assert torch.allclose(P[10:30, :] @ x, dense[10:30] @ x, rtol=0, atol=1e-12)


def test_the_registry_can_be_built_by_name():
    names = [P.name for P in PROJECTIONS]
    assert len(set(names)) == len(names)
    assert all(P.drawn and P(10, 2, seed=1).shape == (10, 2) for P in PROJECTIONS)


@registered
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, 11), r"1 <= d <= D; got d = 11, D = 10\. Choose d"),
        ((10, 0), r"got d = 0, D = 10"),
        ((10, -1), r"got d = -1, D = 10"),
        ((0, 0), r"got d = 0, D = 0"),
        ((10, 2.0), r"needs an int d; got 2\.0"),
        (("10", 2), r"needs an int D; got '10'"),
        ((10, True), r"needs an int d; got True"),
        ((10, 2, None), r"needs an int seed; got None"),
    ],
)
def test_bad_hyperparameters_are_refused(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(*arguments)


@registered
def test_bad_vectors_are_refused(make):
    P = make(10, 3)
    with pytest.raises(ValueError, match=r"acts on vectors \(3,\) or columns \(3, k\); got a tensor of shape \(4,\)"):
        P @ torch.zeros(4)
    with pytest.raises(ValueError, match=r"acts on vectors \(10,\)"):
        P.T @ torch.zeros(3)
    with pytest.raises(ValueError, match=r"float32 or float64 vectors; got torch\.int64"):
        P @ torch.ones(3, dtype=torch.int64)


@every
@pytest.mark.parametrize(("D", "d"), [(100, 10), (40_000, 300)])
def test_rows_are_those_of_the_whole_map(make, D, d):
    P, x = make(D, d, seed=2), draw(d, 3)
    some = torch.randperm(D, generator=torch.Generator().manual_seed(0))[: D // 7].sort().values
    for places in (some, some[:1], slice(D // 3, D), slice(0, D // 2), slice(D // 3, D // 3 + 1), slice(None)):
        part = P.rows(places)
        truth = (P @ x)[places]
        assert part.shape == (len(truth), d)
        assert torch.equal(part @ x, truth)
        assert_adjoint(part)
        padded = torch.zeros(D, 3, dtype=torch.float64)
        padded[places] = y = draw(len(truth), 3)
        assert torch.allclose(part.T @ y, P.T @ padded, rtol=0, atol=1e-12 * D**0.5)


@registered
def test_rows_are_differentiable(make):
    rows = make(40, 4).rows(torch.tensor([0, 3, 17, 39]))
    assert gradcheck(lambda x: rows @ x, draw(4).requires_grad_(), check_forward_ad=True)
    assert gradgradcheck(lambda x: (rows @ x).square(), draw(4).requires_grad_())
    gradients = torch.func.vmap(torch.func.grad(lambda x: (rows @ x).square().sum()))(X := draw(5, 4))
    assert torch.allclose(gradients, torch.stack([2 * (rows.T @ (rows @ x)) for x in X]), rtol=0, atol=1e-13)


@registered
@pytest.mark.parametrize("places", [torch.tensor([3, 1]), torch.tensor([2, 2]), torch.tensor([40]), torch.tensor([-1])])
def test_rows_refuse_places_out_of_order_or_range(make, places):
    with pytest.raises(ValueError, match="distinct ascending places within 0 … 39"):
        make(40, 4).rows(places)


@registered
@pytest.mark.parametrize("places", [slice(0, 10, 2), slice(5, 5)])
def test_rows_refuse_slices_with_steps_or_nothing(make, places):
    with pytest.raises(ValueError, match="a slice that is not empty and has no step"):
        make(40, 4).rows(places)
