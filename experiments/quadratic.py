"""Problems whose answer is known: d90 curves of quadratics, the toy of Li et al., and the bounds of the theory.

Question: do random subspaces of a quadratic recover what the closed form predicts, and do the bounds hold?
Source: Li et al. 2018, section 2 (the toy); Derezinski et al. 2020 (the equivalent behind the prediction); Ding et al.
    2022 (low-dimensional solution and function space).
Varied: the curvature spectrum; the draw of the subspace.
Tuned: nothing.
Fixed: D = 200, Gaussian subspaces, an isotropic displacement.
Expected: the prediction inside the interval of the simulation from d = 8 on; the toy at d/10 and done at d = 10; no
    bound is ever exceeded.
Cost: seconds.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from lab.geometry import predicted_intrinsic_dimension
from lab.geometry.closed_forms import (
    function_space_gaps,
    grouped_sums_loss,
    grouped_sums_minimum,
    lipschitz_gap,
    subspace_minimum,
)
from lab.linalg import Matrix
from lab.projections import Gaussian
from lab.runs import Job, Record, Store
from lab.statistics import Verdict, mean_interval

NAME = "quadratic"
FIGURES = ("d90_curves",)

D = 200
SPECTRA = {
    "isotropic": lambda i: np.ones_like(i),
    "λ = 1/i": lambda i: 1 / i,
    "λ = 1/i²": lambda i: 1 / i**2,
    "ten stiff of 200": lambda i: np.where(i <= 10, 1.0, 1e-4),
}
TOY, BOUNDS = "toy of Li et al.", "bounds"
DIMENSIONS = (1, 2, 3, 4, 6, 8, 10, 12, 16, 24, 32, 48, 64, 96, 128, 160, 190)
DRAWS = {"smoke": 5, "demo": 40, "paper": 400}


def jobs(scale: str, *, draws: int | None = None, seed: int = 0) -> list[Job]:
    """One job per problem.

    Args:
        scale: "smoke", "demo" or "paper".
        draws: random subspaces per dimension; default: the scale's.
        seed: of the first.
    """
    names = (*SPECTRA, TOY, BOUNDS)
    return [Job(NAME, {"problem": name, "draws": draws or DRAWS[scale], "seed": seed}) for name in names]


def measure(job: Job, store: Store) -> Record:
    """Simulate and predict, or check the bounds."""
    problem = job.config["problem"]
    seeds = range(job.config["seed"], job.config["seed"] + job.config["draws"])
    if problem == BOUNDS:
        return _bounds(job, seeds)
    curve, d90 = (_toy if problem == TOY else _quadratic)(problem, seeds)
    inside = curve[curve.kind == "simulated"]
    worst = float((inside.share - inside.expected).abs()[inside.d >= 8].max())
    metrics = {"predicted_d90": d90, "worst_difference": worst}
    return Record(job, metrics, {"d90_curves": curve.assign(label=problem)})


def _rows(d: int, shares: list[float], expected: float) -> list[dict[str, object]]:
    found = mean_interval(shares)
    return [
        {"kind": "predicted", "variant": "closed form", "d": d, "share": expected},
        {"kind": "simulated", "variant": "random subspaces", "d": d, "share": found.estimate, "low": found.low,
         "high": found.high, "expected": expected},
    ]  # fmt: skip


def _quadratic(problem: str, seeds: range) -> tuple[pd.DataFrame, int]:
    spectrum = SPECTRA[problem](np.arange(1.0, D + 1))
    A, e = torch.diag(torch.from_numpy(spectrum)), torch.ones(D, dtype=torch.float64)
    start = 0.5 * float(e @ A @ e)
    found = predicted_intrinsic_dimension(spectrum, dimensions=DIMENSIONS)
    rows = []
    for d, expected in found.curve:
        drawn = [torch.randn(D, d, generator=_generator(seed, d), dtype=torch.float64) for seed in seeds]
        shares = [1 - float(subspace_minimum(A, Matrix(P), e)[1]) / start for P in drawn]
        rows += _rows(d, shares, expected)
    return pd.DataFrame(rows), found.d


def _toy(problem: str, seeds: range) -> tuple[pd.DataFrame, int]:
    """D = 1000, ten sums to meet: a random subspace of d < 10 leaves (1 − d/10) of the loss on average."""
    start = float(grouped_sums_loss(torch.zeros(1000, dtype=torch.float64)))
    dimensions = range(1, 13)
    rows = []
    for d in dimensions:
        shares = [1 - float(grouped_sums_minimum(Gaussian(1000, d, seed=1000 * d + seed))) / start for seed in seeds]
        rows += _rows(d, shares, min(1.0, d / 10))
    return pd.DataFrame(rows), next(d for d in dimensions if d / 10 >= 0.9)


def _generator(seed: int, d: int) -> torch.Generator:
    return torch.Generator().manual_seed(1000 * d + seed)


def _bounds(job: Job, seeds: range) -> Record:
    """Ratios of what happens to what the bound allows: at most 1 each."""
    rows = []
    for seed in seeds:
        gap, bound = lipschitz_gap(seed=seed)
        rows.append({"bound": "Lipschitz", "seed": seed, "gap": gap, "allowed": bound})
        values, regret, epsilon = function_space_gaps(seed=seed)
        rows.append({"bound": "minimum values", "seed": seed, "gap": values, "allowed": epsilon})
        rows.append({"bound": "value at the other minimiser", "seed": seed, "gap": regret, "allowed": 2 * epsilon})
    table = pd.DataFrame(rows)
    ratio = table.gap / table.allowed
    return Record(job, {"largest_ratio": float(ratio.max())}, {"bounds": table.assign(ratio=ratio)})


REPLICATES = ("problem",)
"""What differs between records that are judged together."""


def verdicts(records: list[Record]) -> list[Verdict]:
    """That the bounds hold: one counterexample would do."""
    tables = [record.tables["bounds"] for record in records if "bounds" in record.tables]
    if not tables:
        return []
    ratios = pd.concat(tables, ignore_index=True).ratio
    n, largest = len(ratios), ratios.max()
    bounded = Verdict(
        claim="What a low-dimensional solution or function space costs is bounded by the distance to it.",
        source="Ding et al. 2022 (optimisation view)", quantity="gap / bound, mean over random problems [1]",
        measured=mean_interval(ratios.tolist()), threshold=1.0, side="below",
        setting=f"Lipschitz and uniformly close random functions, {n} checks; largest ratio {largest:.3f}",
        figure="d90_curves", number=11,
    )  # fmt: skip
    return [bounded]


def summary(store: Store, records: list[Record]) -> str:
    """Predicted d90 and how far the simulation is from the prediction; the bounds' largest ratio."""
    lines = []
    for record in records:
        m, problem = dict(record.metrics), record.job.config["problem"]
        if problem == BOUNDS:
            lines.append(f"bounds: largest gap/bound {m['largest_ratio']:.3f}")
        else:
            lines.append(
                f"{problem:18s} predicted d90 {m['predicted_d90']:4d}; simulation differs by at most "
                f"{m['worst_difference']:.3f} from d = 8 on"
            )
    return "\n".join(lines)
