"""The reachability planner: which layers get how much of a parameter budget, from what can be known before training.

A *site* is a weight matrix (or a layer) that a rank r_i ≥ 0 can be spent on, at c_i parameters per rank. Let g_i(r) be
the fall of the loss expected of rank r at site i, with increments that shrink in r. Then

    max Σ_i g_i(r_i)   subject to   Σ_i c_i r_i ≤ C

has the Lagrangian Σ_i [g_i(r_i) − μ c_i r_i]: every site buys rank as long as its next increment per parameter is above
one common level μ. Two models of g_i:

    spectral      g_i(r) = (η_i/2)·Σ_{j≤r} σ_ij²    the best rank-r step against a quadratic model of the loss
    logarithmic   g_i(r) = s_i·ln(1 + r)            when only one score s_i per site is known: water-filling
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.func import grad, jvp

from lab.control.layerwise import Loss, layerwise
from lab.control.pontryagin import Adjoint, adjoint
from lab.control.problem import ControlProblem, advance
from lab.control.reachability import trace_share
from lab.deltas import Additive, Delta, DeltaMethod, LoRA
from lab.faces import outlined
from lab.models.architecture import WeightMatrix
from lab.models.plm import PLM, Batch

Rule = Literal["gramian", "kernel", "layer score", "spectrum"]
RULES: tuple[Rule, ...] = get_args(Rule)
"""What `plan` can decide by; see there."""


@dataclass(frozen=True)
class Allocation:
    """Ranks bought from a budget.

    Attributes:
        ranks: r_i per site.
        cost: Σ c_i r_i, at most the budget.
        gain: Σ_i g_i(r_i).
        level: μ, the gain per parameter of the last rank bought; 0 when everything was bought or nothing could be.
    """

    ranks: tuple[int, ...]
    cost: int
    gain: float
    level: float


def allocate(increments: Tensor, costs: Sequence[int], budget: int) -> Allocation:
    """Buys one rank after the other, always where the next one gains most per parameter.

    Exact when all costs are equal (the chosen ranks are the budget's largest increments); otherwise the gain is short
    of the best by less than one increment, that of the first rank that no longer fits.

    Args:
        increments: g_i(j) − g_i(j−1) in column j−1, shape (sites, largest rank), ≥ 0 and not increasing in j.
        costs: c_i, parameters per rank.
        budget: C.

    Returns:
        Allocation; ties go to the first site.

    Raises:
        ValueError: increments that grow, are negative or not finite; costs that are not positive or not one per site.
    """
    if increments.ndim != 2 or len(costs) != len(increments) or min(costs, default=0) < 1:
        raise ValueError(
            f"one positive cost per site is needed; got {len(costs)} costs for increments of shape "
            f"{tuple(increments.shape)}."
        )
    if not bool(torch.isfinite(increments).all() and (increments >= 0).all() and (increments.diff(dim=1) <= 0).all()):
        raise ValueError("increments must be finite, not negative and not increasing in the rank: gains are concave.")
    table = increments.tolist()
    ranks, cost, gain, level = [0] * len(costs), 0, 0.0, 0.0
    waiting = [(-row[0] / c, i) for i, (row, c) in enumerate(zip(table, costs, strict=True)) if row]
    heapq.heapify(waiting)
    while waiting:
        price, i = heapq.heappop(waiting)
        if cost + costs[i] > budget:  # a cheaper site may still fit
            continue
        gain, level = gain + table[i][ranks[i]], -price
        ranks[i], cost = ranks[i] + 1, cost + costs[i]
        if ranks[i] < len(table[i]):
            heapq.heappush(waiting, (-table[i][ranks[i]] / costs[i], i))
    everything = all(rank == len(row) for rank, row in zip(ranks, table, strict=True))
    return Allocation(tuple(ranks), cost, gain, 0.0 if everything else level)


def logarithmic_gains(scores: Tensor, largest: int) -> Tensor:
    """Increments s_i·ln((j + 1)/j) of g_i(r) = s_i·ln(1 + r), shape (sites, largest).

    For a score per site and nothing else. `water_filling` is the optimum over real ranks: proportional to the scores
    where the budget is large, and 0 below the water level.

    Args:
        scores: s_i ≥ 0, (sites,).
        largest: the largest rank.
    """
    j = torch.arange(1, largest + 1, dtype=scores.dtype, device=scores.device)
    return scores[:, None] * torch.log((j + 1) / j)


def spectral_gains(spectra: Sequence[Tensor], steps: Tensor) -> Tensor:
    """Increments η_i·σ_ij²/2 of the best fall that a rank-r change of W_i can make, shape (sites, largest rank).

    With G = −∂J/∂W and curvature κ = 1/η, max_{rank ΔW ≤ r} ⟨G, ΔW⟩ − (κ/2)‖ΔW‖² = (η/2)·Σ_{j≤r} σ_j(G)², attained by
    ΔW = η·(the rank-r part of G): complete the square, then Eckart & Young 1936.

    Args:
        spectra: singular values of G_i, decreasing; shorter ones are filled with 0.
        steps: η_i, (sites,): inverse curvatures along the gradients.
    """
    squares = torch.nn.utils.rnn.pad_sequence([sigma.square() for sigma in spectra], batch_first=True)
    return steps[:, None] * squares / 2


def water_filling(scores: Tensor, costs: Tensor, budget: float) -> Tensor:
    """The real ranks that maximise Σ s_i·ln(1 + r_i) under Σ c_i r_i = C: max(0, s_i/(μ c_i) − 1), shape (sites,).

    Stationarity s_i/(1 + r_i) = μ c_i where r_i > 0; the active sites A are those of largest s_i/c_i, and summing their
    costs gives 1/μ = (C + Σ_A c_i)/Σ_A s_i.

    Known answer: s = (6, 3, 1), c = 1, C = 7: all active, 1/μ = 1, r = (5, 2, 0); C = 1: one active, r = (1, 0, 0).

    Args:
        scores: s_i ≥ 0, at least one above 0.
        costs: c_i > 0.
        budget: C > 0.
    """
    order = torch.argsort(scores / costs, descending=True)
    s, c = scores[order], costs[order].to(scores)
    inverse_levels = (budget + c.cumsum(0)) / s.cumsum(0)  # 1/μ with the first 1, 2, … sites active
    active = int((s * inverse_levels > c).sum())  # holds for a first part of the order, and only for it
    filled = (s * inverse_levels[max(active, 1) - 1] / c - 1).clamp_min(0)
    return torch.empty_like(filled).scatter_(0, order, filled)


def gauss_newton_falls(problem: ControlProblem, at: Adjoint) -> tuple[Tensor, Tensor]:
    """The fall of J that each stage buys alone with its best step along its gradient, and that step; both (T,).

    With g_t = ∇_uH_t and the Gauss–Newton curvature κ_t = g_tᵀ(J_tᵀ ℓ'' J_t)g_t/‖g_t‖², J_t = ∂h_T/∂u_t: step 1/κ_t,
    fall ‖g_t‖²/(2κ_t). Layer scores (`layer_scores`) take the curvature of J itself instead. That is not positive along
    many a layer's gradient at the start of training, and then no step is best; ℓ'' ≥ 0 for convex losses, so here one
    always is. The two agree where h_T is linear in each u_t alone (deep linear nets).

    Args:
        problem: without running costs on the state; its terminal cost should be convex.
        at: the result of `adjoint`. Cost: one jvp from stage t on, for every t.
    """
    us, hs = at.trajectory.controls, at.trajectory.states
    falls, steps = [], []
    for t, g in enumerate(at.ascent):
        slope, bend = g.square().sum(), g.new_zeros(())
        if g.numel():
            moved = jvp(lambda u, t=t: advance(problem, t, hs[t], [u, *us[t + 1 :]]), (us[t],), (g,))[1]
            bend = (moved * jvp(grad(problem.terminal_cost), (hs[-1],), (moved,))[1]).sum()
        step = torch.where(bend > 0, slope / torch.where(bend > 0, bend, 1.0), 0.0)
        falls.append(step * slope / 2)
        steps.append(step)
    return torch.stack(falls).detach(), torch.stack(steps).detach()


@outlined
@dataclass(frozen=True, eq=False)
class Survey:
    """What one batch says of the weight matrices before training.

    Attributes:
        matrices: the sites, block by block.
        gramian: tr W_t of each block: how far unit changes of its matrices move the end state, (blocks,).
        kernel: ‖g_t‖² of each block: its part rᵀK_t r of the kernel's form at the residual r, i.e. the rate at which
            gradient flow through it lowers J, (blocks,).
        layer_score: the fall of J that block t buys alone with its own best step, (blocks,); `gauss_newton_falls`.
        steps: η_t, that step, (blocks,).
        spectra: label of the matrix -> singular values of ∂J/∂W, decreasing.
    """

    matrices: tuple[WeightMatrix, ...]
    gramian: Tensor
    kernel: Tensor
    layer_score: Tensor
    steps: Tensor
    spectra: dict[str, Tensor]


def survey(
    plm: PLM,
    batch: Batch,
    loss: Loss,
    *,
    targets: Sequence[str] = ("query", "value"),
    n_samples: int = 16,
    seed: int = 0,
) -> Survey:
    """Gramian traces, kernel, layer scores and gradient spectra of the matrices that a low-rank update could change.

    Everything is taken at the PLM itself (ΔW = 0), for the dense update of these matrices, so that it depends on no
    random factor of a LoRA. Cost on a PLM of T blocks: about T jvps and `n_samples` vjps.

    Args:
        plm: with attention "eager" (forward mode).
        batch: a fixed batch with "labels".
        loss: (logits, labels) -> scalar batch mean.
        targets: roles of the matrices, as for LoRA.
        n_samples: vjps for the Gramian's traces. Default 16: 10 % of error per trace is less than layers differ by.
        seed: of the random signs of the traces.
    """
    matrices = plm.matrices(targets)
    delta = Additive(plm, dict.fromkeys(m.name for m in matrices))  # GPT-2 keeps several in one parameter
    problem = layerwise(delta, batch, loss)
    at = adjoint(problem, problem.split(delta.phi0.contiguous()))
    falls, best = gauss_newton_falls(problem, at)
    traces = trace_share(problem, at.trajectory, n_samples=n_samples, seed=seed).traces
    stages = [problem.names.index(f"block {b}") for b in range(plm.n_blocks)]
    gradients = delta.layout.unflatten(problem.join(at.ascent))
    spectra = {m.label: torch.linalg.svdvals(m.of(gradients[m.name]).double()) for m in matrices}
    slopes = torch.stack([g.square().sum() for g in at.ascent])
    gramian, kernel, score, steps = (x.detach()[stages].double() for x in (traces, slopes, falls, best))
    return Survey(matrices, gramian, kernel, score, steps, spectra)


def plan(found: Survey, rule: Rule, budget: int) -> Allocation:
    """The ranks of a LoRA on the surveyed matrices: `LoRA(rank=plan(…).ranks)`.

    Args:
        found: see `survey`.
        rule: what decides. "gramian", "kernel", "layer score": the block's score, shared by its matrices, with
            logarithmic gains. "spectrum": spectral gains, matrix by matrix, each with its block's best step.
        budget: parameters to spend; a rank of a matrix (m, n) costs m + n.

    Raises:
        ValueError: an unknown rule, or a budget below the cheapest rank.
    """
    if rule not in RULES:
        raise ValueError(f"unknown rule {rule!r}; choose one of {RULES}.")
    costs = [sum(m.shape) for m in found.matrices]
    if budget < min(costs):
        raise ValueError(f"a budget of {budget} parameters buys no rank; the cheapest costs {min(costs)}.")
    blocks = [m.block for m in found.matrices]
    if rule == "spectrum":
        return allocate(
            spectral_gains([found.spectra[m.label] for m in found.matrices], found.steps[blocks]), costs, budget
        )
    scores = {"gramian": found.gramian, "kernel": found.kernel, "layer score": found.layer_score}[rule][blocks]
    largest = min(min(m.shape) for m in found.matrices)
    return allocate(logarithmic_gains(scores.clamp_min(0), largest), costs, budget)


def promised_fall(delta: Delta, batch: Batch, loss: Loss) -> float:
    """Σ_t of `gauss_newton_falls` over the blocks at φ₀: what a method's first steps promise, the head left out.

    Each layer is scored as if it moved alone, so the sum counts common gains several times; it ranks methods of one
    size, it does not forecast a loss.

    Args:
        delta: of any method that splits over layers, on a PLM with attention "eager".
        batch: a fixed batch with "labels".
        loss: (logits, labels) -> scalar.

    Returns:
        Nats, for a loss in nats.
    """
    problem = layerwise(delta, batch, loss)
    falls, _ = gauss_newton_falls(problem, adjoint(problem, problem.split(delta.phi0.contiguous())))
    blocks = [t for t, name in enumerate(problem.names) if name.startswith("block ")]
    return float(falls[blocks].sum())


@outlined
@dataclass(frozen=True, eq=False)
class Recommendation:
    """What to train under a budget.

    Attributes:
        method: the candidate that promises most; a LoRA has the planned ranks.
        promises: candidate -> fall of the loss its first steps promise [nats]; only those within the budget.
        allocation: how the ranks were bought; None for other methods than LoRA.
    """

    method: DeltaMethod
    promises: dict[str, float]
    allocation: Allocation | None


def recommend(
    plm: PLM,
    candidates: Mapping[str, DeltaMethod],
    batch: Batch,
    loss: Loss,
    budget: int,
    *,
    rule: Rule = "kernel",
    seed: int = 0,
) -> Recommendation:
    """Method, layers and ranks for a number of parameters, before any training.

    The candidate whose layers promise the largest fall (`promised_fall`) is chosen among those that fit; if it is a
    LoRA, its ranks are shared out by `plan`. Whether that helps is measured by experiments/planner.py.

    Args:
        plm: with attention "eager".
        candidates: name -> method.
        batch: a fixed batch with "labels".
        loss: (logits, labels) -> scalar.
        budget: parameters, a freely trained head not counted.
        rule: how ranks are shared out; see `plan`. Default "kernel", with "gramian" one of the two that lowered the
            loss (docs/planner.md), and the one that knows the labels.
        seed: of the candidates' random choices, and of the survey.

    Raises:
        ValueError: no candidate fits the budget.
    """
    deltas = {name: method.on(plm, seed=seed) for name, method in candidates.items()}
    sizes = {name: delta.size - delta.head_size for name, delta in deltas.items()}
    fitting = [name for name, size in sizes.items() if size <= budget]
    if not fitting:
        raise ValueError(f"no candidate fits a budget of {budget} parameters; they have {sizes}.")
    promises = {name: promised_fall(deltas[name], batch, loss) for name in fitting}
    chosen = candidates[max(fitting, key=lambda name: promises[name])]
    if not isinstance(chosen, LoRA):
        return Recommendation(chosen, promises, None)
    allocation = plan(survey(plm, batch, loss, targets=chosen.targets, seed=seed), rule, budget)
    return Recommendation(replace(chosen, rank=allocation.ranks), promises, allocation)
