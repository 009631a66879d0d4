"""The learning coefficient λ of singular learning theory: closed forms, and the local estimate by Langevin dynamics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, log, sqrt

import torch
from torch import Tensor


@dataclass(frozen=True)
class Singularity:
    """Free energy n L + λ ln n − (m − 1) ln ln n: d/2 and 1 for a regular model of d parameters."""

    coefficient: float
    multiplicity: int = 1


def reduced_rank_singularity(inputs: int, outputs: int, hidden: int, rank: int) -> Singularity:
    """λ and m of y = B A x + noise, A (hidden, inputs), B (outputs, hidden), where the truth has a rank r ≤ hidden.

    Aoyagi & Watanabe 2005, main theorem. With M inputs, N outputs, H hidden units, if each of N + r, M + r and H + r is
    at most what the other two of M, N, H sum to (M + H, N + H, M + N): λ = [c − (H+r)² − M² − N² + 2(H+r)(M+N) + 2MN]/8
    with c = 0, m = 1 where M + N + H + r is even and c = 1, m = 2 where it is odd. Else, m = 1: (HM − Hr + Nr)/2 where
    M + H < N + r, (HN − Hr + Mr)/2 where N + H < M + r, MN/2 where M + N < H + r.

    LoRA on one matrix is this model; its λ is far below half of its (M + N) H numbers where the truth needs fewer
    directions than it has.

    Args:
        inputs, outputs, hidden: M, N, H, each 1 or more.
        rank: r of the truth, at most min(M, N, H).

    Raises:
        ValueError: sizes out of range.

    Example:
        >>> reduced_rank_singularity(1, 1, 1, 0)  # (ab)²
        Singularity(coefficient=0.5, multiplicity=2)
        >>> reduced_rank_singularity(384, 384, 8, 8).coefficient  # a LoRA that is needed whole
        3040.0
    """
    M, N, H, r = inputs, outputs, hidden, rank
    if min(M, N, H) < 1 or not 0 <= r <= min(M, N, H):
        raise ValueError(f"expected sizes of 1 or more and 0 <= rank <= all of them; got {M}, {N}, {H} and rank {r}.")
    if N + r > M + H:
        return Singularity((H * M - H * r + N * r) / 2)
    if M + r > N + H:
        return Singularity((H * N - H * r + M * r) / 2)
    if H + r > M + N:
        return Singularity(M * N / 2)
    odd = (M + N + H + r) % 2
    eightfold = odd - (H + r) ** 2 - M**2 - N**2 + 2 * (H + r) * (M + N) + 2 * M * N
    return Singularity(eightfold / 8, 1 + odd)


def effective_dimension(eigenvalues: Tensor, gamma: float) -> float:
    """N(γ) = Σ λ_i/(λ_i + γ): directions of a curvature that stand out from γ.

    Of a quadratic loss with these curvatures, twice the local learning coefficient at localisation γ/(nβ).

    Args:
        eigenvalues: (k,) of the curvature; negative ones, which are rounding or saddles, count as 0.
        gamma: γ > 0, in the curvature's unit.

    Raises:
        ValueError: γ is not positive.
    """
    if not gamma > 0:
        raise ValueError(f"expected gamma > 0; got {gamma}.")
    kept = eigenvalues.detach().double().clamp(min=0)
    return float((kept / (kept + gamma)).sum())


@dataclass(frozen=True)
class Langevin:
    """How a posterior is sampled near a point (Lau et al. 2023; devinterp's settings).

    Args:
        step: ε; stable while ε (nβ h + γ) < 4 for the largest curvature h, and biased by 1/(1 − ε (nβ h + γ)/4).
        localisation: γ of the prior exp(−½ γ ‖w − w*‖²) that keeps a chain near its start. Default 100, devinterp's.
        draws: losses that are averaged, per chain. Default 200.
        burn_in: steps before them. Default 100.
        chains: independent ones; their spread is the estimate's error. Default 4.
    """

    step: float
    localisation: float = 100.0
    draws: int = 200
    burn_in: int = 100
    chains: int = 4

    def __post_init__(self) -> None:
        if not self.step > 0 or self.localisation < 0 or min(self.draws, self.chains) < 1 or self.burn_in < 0:
            raise ValueError(
                "expected step > 0, localisation >= 0, draws and chains >= 1 and burn_in >= 0; got "
                f"{self.step}, {self.localisation}, {self.draws}, {self.chains}, {self.burn_in}."
            )


@dataclass(frozen=True, eq=False)
class LearningCoefficient:
    """λ̂ with its spread over chains.

    Attributes:
        estimate: mean over chains.
        per_chain: (chains,).
        losses: (chains, draws), L_n along each.
        status: "finished", or "diverged" where a loss was not finite.
    """

    estimate: float
    per_chain: Tensor
    losses: Tensor
    status: str


def learning_coefficient(
    loss: Callable[[Tensor], Tensor], w: Tensor, n: int, how: Langevin, *, generator: torch.Generator | None = None,
    temperature: float = 1.0,
) -> LearningCoefficient:  # fmt: skip
    """λ̂ = nβ (E_β[L_n] − L_n(w*)), β = temperature/ln n, by localised stochastic-gradient Langevin dynamics.

    w ← w − ½ ε (nβ ∇L(w) + γ (w − w*)) + √ε ξ (Welling & Teh 2011; Lau et al. 2023, equations 12 to 14). It measures
    how many dimensions of the valley about w* a posterior at this temperature does not see: half of d in a regular
    minimum that is steep against γ, less where the loss is flat to high order or the same along a manifold.

    Args:
        loss: w -> mean loss per example over the n, or over a batch drawn anew at each call [nats].
        w: (d,) w*, a minimum; a point from where loss falls gives a negative estimate.
        n: examples that the posterior is of, 2 or more.
        how: chains, step, localisation.
        generator: of the noise.
        temperature: β ln n. Default 1, where λ̂ has its meaning.

    Raises:
        ValueError: fewer than two examples, or w is not a vector.
    """
    if n < 2 or w.ndim != 1:
        raise ValueError(f"expected a vector and n >= 2; got shape {tuple(w.shape)} and n = {n}.")
    scale = n * temperature / log(n)
    start = w.detach()
    with torch.no_grad():
        at_start = float(loss(start))
    losses = torch.full((how.chains, how.draws), inf, dtype=torch.float64)
    for chain in range(how.chains):
        x = start.clone()
        for t in range(how.burn_in + how.draws):
            x = x.detach().requires_grad_(True)
            value = loss(x)
            if t >= how.burn_in:
                losses[chain, t - how.burn_in] = float(value.detach())
            (slope,) = torch.autograd.grad(value, x)
            noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
            drift = scale * slope + how.localisation * (x.detach() - start)
            x = x.detach() - how.step / 2 * drift + sqrt(how.step) * noise
    per_chain = scale * (losses.mean(dim=1) - at_start)
    finished = bool(torch.isfinite(losses).all())
    return LearningCoefficient(float(per_chain.mean()), per_chain, losses, "finished" if finished else "diverged")
