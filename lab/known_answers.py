"""Answers of the theory that are known without the lab, computed by the lab: `deltalab check`.

Each is a number that a derivation or a publication gives, and the code that must reproduce it; the tests assert the
same and far more. All in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor
from torch.func import grad

from lab.control.certificates import first_order_radii
from lab.control.gramian import gramian, minimum_energy
from lab.control.ilqr import ilqr
from lab.control.lqr import lqr
from lab.control.problem import rollout
from lab.control.toys import deep_linear, double_integrator, linear_quadratic
from lab.control.tracking import references, tracking_lqr
from lab.geometry.closed_forms import grouped_sums_minimum, subspace_minimum
from lab.geometry.intrinsic_dimension import intrinsic_dimension
from lab.linalg import LinearOperator, MarchenkoPastur, Matrix, Spectrum, hard_threshold, spike_forward
from lab.projections import PROJECTIONS, Gaussian, OneHot, Projection, hadamard_transform

Values = Tensor | Sequence[float]


@dataclass(frozen=True)
class KnownAnswer:
    """A quantity, what it must be, and the code that computes it.

    Attributes:
        name: what is computed.
        expected: the known values.
        compute: gives as many values.
        source: where the known values come from.
        tolerance: largest absolute difference. Default 1e-10: float64, few operations; wider for estimates, each with
            its reason beside it.
    """

    name: str
    expected: tuple[float, ...]
    compute: Callable[[], Values]
    source: str
    tolerance: float = 1e-10


@dataclass(frozen=True)
class Checked:
    """An answer that was computed: whether it is right, and both sides as text."""

    right: bool
    expected: str
    got: str


def checked(answer: KnownAnswer) -> Checked:
    """Computes an answer; code that raises is a wrong answer, not the end of the check."""
    expected = ", ".join(f"{value:.6g}" for value in answer.expected)
    try:
        got = torch.as_tensor(answer.compute(), dtype=torch.float64).reshape(-1)
    except Exception as error:
        return Checked(False, expected, f"{type(error).__name__}: {error}")
    wanted = torch.tensor(answer.expected, dtype=torch.float64)
    right = got.shape == wanted.shape and bool(((got - wanted).abs() <= answer.tolerance).all())
    return Checked(right, expected, ", ".join(f"{value:.6g}" for value in got.tolist()))


def _drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _adjoint_defect(P: LinearOperator) -> float:
    """|⟨P x, y⟩ − ⟨x, Pᵀ y⟩| / (‖x‖‖y‖) for one random pair."""
    D, d = P.shape
    x, y = _drawn(d, seed=0), _drawn(D, seed=1)
    return float(((P @ x) @ y - x @ (P.T @ y)).abs() / (x.norm() * y.norm()))


def _mean_stretch(projection: type[Projection]) -> float:
    """Mean of ‖P x‖² / ‖x‖² over 200 seeds."""
    x = _drawn(24, seed=0)
    stretches = [(projection(600, 24, seed=seed) @ x).square().sum() / x.square().sum() for seed in range(200)]
    return float(torch.stack(stretches).mean())


def _isotropic(projection: type[Projection]) -> KnownAnswer:
    return KnownAnswer(
        f"{projection.__name__}: E‖Px‖² / ‖x‖²",
        (1.0,),
        lambda: [_mean_stretch(projection)],
        "isotropy; Li et al. 2018",
        tolerance=4 * sqrt(2 / 24 / 200),  # one draw's standard deviation is at most about √(2/d): 4 standard errors
    )


def _adjoint(projection: type[Projection]) -> KnownAnswer:
    return KnownAnswer(
        f"{projection.__name__}: ⟨Px, y⟩ − ⟨x, Pᵀy⟩",
        (0.0,),
        lambda: [_adjoint_defect(projection(1000, 48, seed=3))],
        "definition of the adjoint",
        tolerance=1e-12,
    )


def _gram_defect(projection: type[Projection]) -> float:
    """max |PᵀP − I|, P made dense column by column."""
    columns = torch.eye(16, dtype=torch.float64)
    P = projection(500, 16) @ columns
    return float((P.T @ P - columns).abs().max())


def _toy_dimension() -> list[float]:
    """The toy of Li et al.: the search itself, each score an exact minimum in a random subspace."""
    start = 0.5 * sum(k * k for k in range(1, 11))
    found = intrinsic_dimension(
        lambda d, seeds: [-float(grouped_sums_minimum(Gaussian(1000, d, seed=seed))) for seed in seeds],
        [0.0, 0.0],  # the solution exists: loss 0, whatever the seed
        floor_score=-start,
        fraction=1 - 1e-10,
        max_dimension=1000,
        tolerance=1.0,
        seeds=range(5),
        max_evaluations=60,
    )
    return [float("nan") if found.d is None else found.d, found.high]


def _quadratic_gap() -> float:
    """Mean of F* / (½‖e‖²) for A = I, d/D = 1/4, over 100 random subspaces."""
    D, d = 64, 16
    e, identity = _drawn(D, seed=0), torch.eye(D, dtype=torch.float64)
    subspaces = [Matrix(Gaussian(D, d, seed=seed) @ torch.eye(d, dtype=torch.float64)) for seed in range(100)]
    gaps = [subspace_minimum(identity, P, e)[1] for P in subspaces]
    return float(torch.stack(gaps).mean() / (0.5 * e.square().sum()))


def _ranks() -> list[float]:
    spectrum = Spectrum.of(torch.diag(torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64)))
    return [spectrum.stable_rank, spectrum.effective_rank, spectrum.participation_ratio]


def _noise_edges() -> list[float]:
    """Extreme eigenvalues of XXᵀ/n, X Gaussian 600 × 1200."""
    squares = Spectrum.of(_drawn(600, 1200, seed=0)).values.square() / 1200
    return [float(squares[-1]), float(squares[0])]


def _spike() -> list[float]:
    spike = spike_forward(2.0, 1.0)
    return [spike.sigma, spike.cos2_left, spike.cos2_right]


def _riccati() -> Tensor:
    """P_t of the scalar problem a = b = q = r = 1, from the end: ratios of Fibonacci numbers."""
    return lqr(linear_quadratic(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, T=30)).P.reshape(-1).flip(0)


def _gramian() -> Tensor:
    problem = double_integrator().problem()
    W = gramian(problem, rollout(problem, [torch.zeros(1, dtype=torch.float64)] * 2))
    return W @ torch.eye(2, dtype=torch.float64)  # type: ignore[operator]


def _least_energy() -> list[float]:
    problem = double_integrator().problem()
    rest = rollout(problem, [torch.zeros(1, dtype=torch.float64)] * 2)
    found = minimum_energy(problem, rest, torch.tensor([1.0, 0.0], dtype=torch.float64))
    return [float(found.energy), *found.control.tolist()]


def _deep_linear() -> list[float]:
    """J of deep linear nets solved by iLQR: wide enough, and with a bottleneck beside what Eckart and Young leave."""
    wide, narrow = (
        ilqr(*deep_linear(widths=widths), damping=1e-2, iterations=300) for widths in ((3, 4, 4, 2), (5, 2, 4))
    )
    problem, _ = deep_linear(widths=(5, 2, 4))
    n = len(problem.h0)
    Y = -n * grad(problem.terminal_cost)(torch.zeros(n, 4, dtype=torch.float64))
    least = torch.linalg.svdvals(Y)[2:].square().sum() / (2 * n)
    return [wide.cost, narrow.cost / float(least)]


def _tracked() -> Tensor:
    system = linear_quadratic(1.0, 1.0, 1.0, 1.0, (1 + sqrt(5)) / 2, 0.0, T=40)
    return tracking_lqr(system, linear=references(system, torch.ones(41, 1, dtype=torch.float64))).states[1:4]


def _radius() -> list[float]:
    W = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    x = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    found = first_order_radii(lambda h: h @ W.mT, x, torch.tensor([0]))
    return [float(found.radius), float(found.boundary)]


KNOWN_ANSWERS: tuple[KnownAnswer, ...] = (
    KnownAnswer(
        "an integrator that tracks 1 by LQR, from 0",
        (0.618034, 0.854102, 0.944272),
        _tracked,
        "1 − ((3 − √5)/2)^t, by hand",
        tolerance=1e-6,  # the known values have six decimals
    ),
    KnownAnswer(
        "radius and distance to the boundary of (x₁, −x₁) at (1, 0)",
        (1.0, 1.0),
        _radius,
        "margin/(√2 ‖J‖₂); Tsuzuku et al. 2018",
    ),
    KnownAnswer(
        "Walsh–Hadamard transform of [1,0,1,0,0,1,1,0]",
        (4, 2, 0, -2, 0, 2, 0, 2),
        lambda: hadamard_transform(torch.tensor([1, 0, 1, 0, 0, 1, 1, 0], dtype=torch.float64)),
        "by hand",
    ),
    KnownAnswer(
        "H² = n I, n = 1024: largest deviation from x",
        (0.0,),
        lambda: [
            float((hadamard_transform(hadamard_transform(x)) / 1024 - x).abs().max()) for x in [_drawn(1024, seed=0)]
        ],
        "Sylvester's construction",
    ),
    *map(_isotropic, PROJECTIONS),
    *map(_adjoint, PROJECTIONS),
    KnownAnswer("OneHot: PᵀP − I", (0.0,), lambda: [_gram_defect(OneHot)], "Uni-LoRA, arXiv:2506.00799"),
    KnownAnswer(
        "d_int of the toy with ten sums, D = 1000, and the high end of its interval",
        (10, 10),
        _toy_dimension,
        "Li et al. 2018, section 2",
    ),
    KnownAnswer(
        "quadratic with A = I: E F* / F(θ₀) at d/D = 1/4",
        (0.75,),
        lambda: [_quadratic_gap()],
        "1 − d/D, by hand",
        tolerance=0.03,  # standard deviation of one gap: sqrt(2 (1/4)(3/4) / 64) = 0.077; 4 standard errors of 100
    ),
    KnownAnswer(
        "stable, effective rank and participation ratio of σ = (2, 1, 1)",
        (1.5, 2 * sqrt(2), 2.0),
        _ranks,
        "by hand; Roy & Vetterli 2007",
    ),
    KnownAnswer(
        "Marchenko–Pastur edges, q = 1/2",
        (0.08579, 2.91421),
        lambda: MarchenkoPastur(0.5).edges,
        "σ²(1 ± √q)²",
        tolerance=5e-6,  # the known values have five decimals
    ),
    KnownAnswer(
        "extreme eigenvalues of XXᵀ/n, X Gaussian 600 × 1200",
        (0.08579, 2.91421),
        _noise_edges,
        "Marchenko & Pastur 1967",
        tolerance=0.08,  # Tracy–Widom: about 3 scales (1 + √q)^{4/3} q^{-1/6} n^{-2/3} of the largest
    ),
    KnownAnswer(
        "spike θ = 2 in square noise: σ, cos² left and right",
        (2.5, 0.75, 0.75),
        _spike,
        "Benaych-Georges & Nadakuditi 2012",
    ),
    KnownAnswer(
        "optimal threshold of a square matrix, in medians",
        (2.858,),
        lambda: [hard_threshold(100, 100, median=1.0)],
        "Gavish & Donoho 2014",
        tolerance=5e-4,  # published with three decimals
    ),
    KnownAnswer(
        "scalar LQR, a = b = q = r = 1: P from the end, and its limit",
        (1, 3 / 2, 8 / 5, 21 / 13, 55 / 34, (1 + sqrt(5)) / 2),
        lambda: _riccati()[[0, 1, 2, 3, 4, 30]],
        "Fibonacci ratios, by hand",
    ),
    KnownAnswer("Gramian of the double integrator, two steps", (1, 1, 1, 2), _gramian, "by hand"),
    KnownAnswer(
        "least energy to move it by (1, 0), and the controls",
        (2, 1, -1),
        _least_energy,
        "zᵀW⁻¹z, by hand",
        tolerance=1e-8,  # conjugate gradients stop at a relative residual of 1e-10
    ),
    KnownAnswer(
        "deep linear nets by iLQR: J, and J with a bottleneck over ½ Σ_{j>r} σ_j²/N",
        (0, 1),
        _deep_linear,
        "Y = X M; Eckart & Young 1936",
        tolerance=1e-8,  # iLQR stops at ‖∇J‖ = 1e-8
    ),
)
