"""The learning coefficient where it is known: reduced-rank regression, which is a LoRA on one matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch

from lab.geometry.learning_coefficient import Langevin, learning_coefficient, reduced_rank_singularity
from lab.statistics import Evidence, Verdict, mean_interval
from lab.study import Config, Experiment, Finding, Lab, Result, setting

CLOSE = 0.2
"""Relative difference below which an estimate agrees: at finite n a multiplicity of 2 lowers it by 1/ln n."""


@dataclass(frozen=True, kw_only=True)
class ReducedRank(Config):
    """One size of the matrix, every rank of the truth."""

    inputs: int = setting("M", 6, low=1)
    outputs: int = setting("N", 5, low=1)
    hidden: int = setting("H, the rank of the model", 3, low=1)
    n: int = setting("examples that the posterior is of", 1_000_000, unit="example", low=2)
    step: float = setting("ε of the Langevin steps", 2e-6, low=0)
    draws: int = setting("losses averaged per chain", 20_000, low=1)
    burn_in: int = setting("steps before them", 5_000, low=0)
    chains: int = setting("independent chains", 4, low=1)
    seed: int = setting("of truth and noise", 0, low=0)


def measure(c: ReducedRank, lab: Lab) -> Result:
    """λ̂ at the most singular point of each truth, beside λ."""
    generator = torch.Generator().manual_seed(c.seed)
    how = Langevin(step=c.step, localisation=1.0, draws=c.draws, burn_in=c.burn_in, chains=c.chains)
    M, N, H = c.inputs, c.outputs, c.hidden
    rows = []
    for rank in range(min(M, N, H) + 1):
        A, B = torch.zeros(H, M, dtype=torch.float64), torch.zeros(N, H, dtype=torch.float64)
        for i in range(rank):  # orthonormal factors: every direction of the truth has size 1
            A[i, i] = B[i, i] = 1.0
        truth, start = B @ A, torch.cat([A.flatten(), B.flatten()])

        def loss(w: torch.Tensor, truth: torch.Tensor = truth) -> torch.Tensor:
            """½ ‖BA − T‖²: the mean over normal inputs and noise of variance 1, but for a constant."""
            difference = w[H * M :].view(N, H) @ w[: H * M].view(H, M) - truth
            return 0.5 * difference.square().sum()

        found = learning_coefficient(loss, start, c.n, how, generator=generator)
        known, interval = reduced_rank_singularity(M, N, H, rank), mean_interval(found.per_chain.tolist())
        rows.append(
            {"label": f"rank {rank}", "place": f"{M} → {H} → {N}", "dimension": len(start), "estimate": found.estimate,
             "low": interval.low, "high": interval.high, "closed_form": known.coefficient, "quadratic": float("nan"),
             "multiplicity": known.multiplicity, "seed": c.seed}
        )  # fmt: skip
    table = pd.DataFrame(rows)
    worst = float((table.estimate / table.closed_form - 1).abs().max())
    return Result({"worst_relative_difference": worst, "tunable": len(start)}, {"learning_coefficient": table})


def claims(found: Sequence[Finding[ReducedRank]]) -> list[Verdict]:
    """That the estimate is the closed form, at every rank of the truth."""
    c = found[0].config
    where = f"{c.inputs} → {c.hidden} → {c.outputs}, every rank of the truth, n = {c.n:,}"
    evidence = Evidence("Aoyagi & Watanabe 2005; Lau et al. 2023", where, "learning_coefficient", "seeds")
    worst = [f.metrics["worst_relative_difference"] for f in found]
    claim = "Langevin dynamics finds the learning coefficient of reduced-rank regression, to a fifth."
    return [evidence.below(CLOSE, mean_interval(worst), claim, "largest |λ̂/λ − 1| over the ranks [1]")]


EXPERIMENT = Experiment(
    name="reduced_rank",
    question="does the estimate of the learning coefficient find the closed form of a matrix in two factors?",
    source="Aoyagi & Watanabe 2005 (closed form); Lau et al. 2023 (local estimate by Langevin dynamics).",
    varied="the rank of the truth.",
    tuned="nothing: the step is small against the curvature of the factors.",
    fixed="sizes, chains, number of examples; the chain starts at the most singular point of the truth.",
    expected="λ rises with the rank of the truth and stays below half of the number of parameters; at finite n the "
    "estimate lies a little lower where the multiplicity is 2.",
    cost="demo: a minute on one core. smoke: a second.",
    view="optimisation",
    config=ReducedRank,
    scales={
        "smoke": ReducedRank(inputs=2, outputs=2, hidden=1, n=10_000, step=2e-4, draws=200, burn_in=50, chains=2),
        "demo": tuple(ReducedRank(seed=seed) for seed in range(5)),
        "paper": tuple(
            ReducedRank(inputs=12, outputs=10, hidden=5, draws=100_000, burn_in=20_000, seed=seed) for seed in range(5)
        ),
    },
    measure=measure,
    figures=("learning_coefficient",),
    claims=claims,
    replicates=("seed",),
)
