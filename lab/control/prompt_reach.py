"""What extra tokens can do to one attention head: the reach bound of Bhargava et al. 2023, per token.

A head maps text tokens x_1 … x_n and control tokens u_1 … u_k (a prompt) to

    y_i(u) = (D_i ŷ_i + Σ_j e^{s_ij} v(u_j)) / (D_i + Σ_j e^{s_ij}),
    s_ij = q(x_i)·κ(u_j)/√d_k,   D_i = Σ_m e^{q(x_i)·κ(x_m)/√d_k},

with ŷ_i the output without a prompt: y_i = (1 − λ_i) ŷ_i + λ_i Σ_j w_j v(u_j), λ_i the softmax mass on the prompt. The
part of y_i orthogonal to ŷ_i comes from the prompt alone, so with s_ij ≤ a_i and ‖P_⊥ v(u_j)‖ ≤ b_i

    ‖y_i,⊥‖ ≤ λ_i b_i ≤ k e^{a_i}/(D_i + k e^{a_i}) · b_i:

a target y* whose orthogonal part is longer than this is unreachable, and every prompt misses at least the rest of it.
For ‖u_j‖ ≤ M_u, "published" takes a = σ_q σ_k M_u M_x/√d_k and b = σ_v M_u from norms alone; "sharp" takes the exact
maximum of a_i over that ball, which knows the query, and only what of v is orthogonal to ŷ_i.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, log, sqrt
from typing import Any, Literal

import torch
from torch import Tensor

from lab.faces import outlined
from lab.models.plm import PLM


@outlined
@dataclass(frozen=True, eq=False)
class AttentionHead:
    """One head: q(x) = W_q x + b_q and likewise for keys and values.

    Attributes:
        query: W_q, (d_k, d).
        key: W_k, (d_k, d).
        value: W_v, (d_v, d).
        query_bias: b_q, (d_k,).
        key_bias: b_k, (d_k,).
        value_bias: b_v, (d_v,).
    """

    query: Tensor
    key: Tensor
    value: Tensor
    query_bias: Tensor
    key_bias: Tensor
    value_bias: Tensor

    @property
    def scaling(self) -> float:
        """1/√d_k."""
        return 1 / sqrt(self.query.shape[0])

    def scores(self, x: Tensor, u: Tensor) -> Tensor:
        """q(x_i)·κ(u_j)/√d_k; x (n, d), u (k, d) -> (n, k)."""
        return (x @ self.query.mT + self.query_bias) @ (u @ self.key.mT + self.key_bias).mT * self.scaling

    def values(self, u: Tensor) -> Tensor:
        """v(u_j), (k, d_v)."""
        return u @ self.value.mT + self.value_bias

    def outputs(self, x: Tensor, u: Tensor | None = None) -> Tensor:
        """y_i for the text tokens, (n, d_v); without u the bare ŷ_i."""
        seen = x if u is None else torch.cat([u, x])
        return torch.softmax(self.scores(x, seen), dim=-1) @ self.values(seen)

    def mass(self, x: Tensor, u: Tensor) -> Tensor:
        """λ_i, (n,)."""
        return torch.softmax(self.scores(x, torch.cat([u, x])), dim=-1)[:, : len(u)].sum(-1)


def first_heads(plm: PLM, block: int = 0) -> tuple[AttentionHead, ...]:
    """The heads of an encoder's block, as functions of the hidden states that enter it.

    Raises:
        ValueError: no encoder with plain query, key and value matrices: in decoders rotations, masks or a norm before
            the attention stand between.
    """
    if plm.architecture.kind != "encoder":
        raise ValueError(f"{plm.name!r} is no encoder; the bound is for attention over all tokens without rotations.")
    by_role = {m.role: m for m in plm.matrices(("query", "key", "value")) if m.block == block}
    n_heads = int(plm.model.config.num_attention_heads)  # type: ignore[union-attr, arg-type]
    weights = {role: m.of(plm.parameters[m.name]).chunk(n_heads) for role, m in by_role.items()}
    biases = {
        role: plm.parameters[f"{m.name.removesuffix('weight')}bias"].chunk(n_heads) for role, m in by_role.items()
    }
    roles = ("query", "key", "value")
    return tuple(AttentionHead(*(weights[r][h] for r in roles), *(biases[r][h] for r in roles)) for h in range(n_heads))


def unreached_without_prompt(head: AttentionHead, x: Tensor, u: Tensor) -> Tensor:
    """y_i,⊥, the part of the output orthogonal to the bare output ŷ_i, (n, d_v); 0 without a prompt."""
    bare, moved = head.outputs(x), head.outputs(x, u)
    along = (moved * bare).sum(-1, keepdim=True) / bare.square().sum(-1, keepdim=True)
    return moved - along * bare


@dataclass(frozen=True, eq=False)
class ReachBound:
    """How far from ŷ_i, orthogonally, any k control tokens of norm ≤ M_u can take the output; all (n,).

    Attributes:
        mass: the largest possible λ_i.
        length: the largest possible ‖P_⊥ v(u)‖, or a bound of it.
    """

    mass: Tensor
    length: Tensor

    @property
    def radius(self) -> Tensor:
        """mass · length: ‖y_i,⊥‖ beyond it is unreachable."""
        return self.mass * self.length


def reach_bound(
    head: AttentionHead, x: Tensor, n_tokens: int, norm: float, kind: Literal["published", "sharp"] = "sharp"
) -> ReachBound:
    """The bound for every text token.

    "published" (Bhargava et al. 2023, theorem on self-attention): norms of whole matrices. Biases enter by writing
    W x + b as [W b](x, 1), whose input has norm √(M² + 1); without biases it is the paper's formula.
    "sharp": a_i = (‖W_kᵀq_i‖ M_u + q_i·b_k)/√d_k is max q_i·κ(u)/√d_k over the ball, and
    b_i = ‖P_⊥W_v‖ M_u + ‖P_⊥b_v‖, or ‖P_⊥[W_v b_v]‖·√(M_u² + 1) where that is less. Never above the published one.

    Args:
        head: the attention head.
        x: text tokens as they enter it, (n, d).
        n_tokens: k ≥ 1.
        norm: M_u, the largest norm of a control token.
        kind: see above.

    Raises:
        ValueError: k < 1, a norm that is not positive, or an unknown kind.
    """
    if n_tokens < 1 or not norm > 0:
        raise ValueError(
            f"the bound needs one control token or more, of positive norm; got k = {n_tokens}, M_u = {norm}."
        )
    log_D = torch.logsumexp(head.scores(x, x), dim=-1)
    if kind == "published":
        sigma = [_augmented_norm(W, b) for W, b in (
            (head.query, head.query_bias), (head.key, head.key_bias), (head.value, head.value_bias)
        )]  # fmt: skip
        biased = [bool(b.any()) for b in (head.query_bias, head.key_bias, head.value_bias)]
        longest = float(torch.linalg.vector_norm(x, dim=-1).max())
        M_x, M_k, M_v = (sqrt(m * m + 1) if has else m for m, has in zip((longest, norm, norm), biased, strict=True))
        largest = (sigma[0] * sigma[1] * M_k * M_x * head.scaling).expand_as(log_D)
        length = (sigma[2] * M_v).expand_as(log_D)
    elif kind == "sharp":
        q = x @ head.query.mT + head.query_bias
        largest = (torch.linalg.vector_norm(q @ head.key, dim=-1) * norm + q @ head.key_bias) * head.scaling
        length = _orthogonal_length(head, head.outputs(x), norm)
    else:
        raise ValueError(f'kind must be "published" or "sharp"; got {kind!r}.')
    return ReachBound(torch.sigmoid(largest + log(n_tokens) - log_D), length)  # k e^a/(D + k e^a), without overflow


def _augmented_norm(W: Tensor, b: Tensor) -> Tensor:
    """‖[W b]‖₂; ‖W‖₂ without bias."""
    return torch.linalg.matrix_norm(torch.cat([W, b[:, None]], dim=1), 2)


def _orthogonal_length(head: AttentionHead, bare: Tensor, norm: float) -> Tensor:
    """b_i for the complement of each ŷ_i, (n,)."""
    found = []
    for y in bare:
        e = y / torch.linalg.vector_norm(y)
        W = head.value - torch.outer(e, e @ head.value)
        b = head.value_bias - e * (e @ head.value_bias)
        apart = torch.linalg.matrix_norm(W, 2) * norm + torch.linalg.vector_norm(b)
        found.append(torch.minimum(apart, _augmented_norm(W, b) * sqrt(norm * norm + 1)))
    return torch.stack(found)


@dataclass(frozen=True, eq=False)
class Reached:
    """The furthest point a search found.

    Attributes:
        prompt: u, (k, d), rows of norm ≤ M_u.
        length: ‖y_i,⊥‖ there.
        mass: λ_i there.
    """

    prompt: Tensor
    length: float
    mass: float


def furthest_reach(
    head: AttentionHead, x: Tensor, token: int, n_tokens: int, norm: float, *, steps: int = 100, seed: int = 0
) -> Reached:
    """Soft control tokens that take y_i as far from ŷ_i, orthogonally, as projected gradient ascent finds.

    A lower bound on what is reachable, to stand beside `reach_bound`'s upper one.

    Args:
        head: the attention head.
        x: text tokens, (n, d).
        token: i.
        n_tokens: k.
        norm: M_u.
        steps: of the ascent. Default 100.
        seed: of the random start on the sphere.
    """

    def length(u: Tensor) -> Tensor:
        return torch.linalg.vector_norm(unreached_without_prompt(head, x, u)[token])

    at, best = _search(length, x, n_tokens, norm, steps, seed)
    return Reached(at, best, float(head.mass(x, at)[token]))


def orthogonal_part(head: AttentionHead, x: Tensor, target: Tensor) -> Tensor:
    """P_⊥y* of a wanted output y* (d_v,): its part orthogonal to the bare output of every text token, (n, d_v)."""
    bare = head.outputs(x)
    return target - (bare @ target / bare.square().sum(-1))[:, None] * bare


def unreachable_share(length: Tensor, bound: ReachBound) -> Tensor:
    """max(0, 1 − radius/‖P_⊥y*‖): the share of a target's orthogonal part that every prompt misses, shape of `length`.

    Since ‖y_⊥ − P_⊥y*‖ ≥ ‖P_⊥y*‖ − ‖y_⊥‖ and ‖y_⊥‖ ≤ radius.

    Args:
        length: ‖P_⊥y*‖ per text token.
        bound: of the same tokens.
    """
    return (1 - bound.radius / length).clamp_min(0)


@dataclass(frozen=True, eq=False)
class Approach:
    """The prompt that comes nearest to a target, of those that a search found.

    Attributes:
        prompt: u, (k, d), as it enters the block.
        missed: ‖y_⊥ − P_⊥y*‖/‖P_⊥y*‖ there: 1 without a prompt, never below `unreachable_share`.
        mass: λ_i there.
    """

    prompt: Tensor
    missed: float
    mass: float


def nearest_reach(
    head: AttentionHead,
    x: Tensor,
    token: int,
    target: Tensor,
    n_tokens: int,
    norm: float,
    *,
    entrance: Callable[[Tensor], Tensor] | None = None,
    steps: int = 100,
    seed: int = 0,
) -> Approach:
    """Soft control tokens that bring y_i as near to a target, orthogonally to ŷ_i, as projected gradient descent finds.

    Args:
        head: the attention head.
        x: text tokens, (n, d).
        token: i.
        target: y*, (d_v,), not a multiple of ŷ_i.
        n_tokens: k.
        norm: M_u. With an entrance: of what goes into it.
        entrance: (k, d) -> (k, d), what a prompt has to pass before the head; `prompt_entrance` gives an encoder's.
            Default: none, tokens are free where they enter the head.
        steps: of the descent. Default 100.
        seed: of the random start on the sphere.
    """
    wanted = orthogonal_part(head, x, target)[token]
    enter = entrance or (lambda p: p)

    def closeness(p: Tensor) -> Tensor:
        return -torch.linalg.vector_norm(unreached_without_prompt(head, x, enter(p))[token] - wanted)

    at, best = _search(closeness, x, n_tokens, norm, steps, seed)
    u = enter(at)
    return Approach(u, -best / float(torch.linalg.vector_norm(wanted)), float(head.mass(x, u)[token]))


def prompt_entrance(plm: PLM) -> tuple[Callable[[Tensor], Tensor], float]:
    """What an encoder makes of soft tokens before block 0, p ↦ γ ⊙ normalised(p) + β, and the largest norm of that.

    A soft token's position and type are added to p before the LayerNorm; as p is free, they restrict nothing. The map
    is in the dtype of p. The norm is at most √d·max|γ| + ‖β‖.

    Raises:
        ValueError: no encoder.
    """
    if plm.architecture.kind != "encoder":
        raise ValueError(f"{plm.name!r} is no encoder; only encoders send soft tokens through a LayerNorm.")
    norm: Any = plm.model.get_submodule(f"{plm.architecture.base_path(plm.model)}embeddings.LayerNorm")
    gamma, beta, eps = norm.weight.detach(), norm.bias.detach(), norm.eps

    def enter(p: Tensor) -> Tensor:
        return torch.nn.functional.layer_norm(p, p.shape[-1:], gamma.to(p), beta.to(p), eps)

    return enter, float(sqrt(len(gamma)) * gamma.abs().max() + torch.linalg.vector_norm(beta))


def _search(
    objective: Callable[[Tensor], Tensor], like: Tensor, n_tokens: int, norm: float, steps: int, seed: int
) -> tuple[Tensor, float]:
    """The best prompt (k, d), rows in the ball, that projected gradient ascent from the sphere visits, and its value.

    Steps have length M_u/10, decaying to 0; rows are scaled back into the ball.
    """
    generator = torch.Generator().manual_seed(seed)
    u = torch.randn(n_tokens, like.shape[1], generator=generator, dtype=torch.float64).to(like)
    u = norm * u / torch.linalg.vector_norm(u, dim=-1, keepdim=True)
    best, at = -inf, u
    for step in range(steps + 1):
        u = u.detach().requires_grad_()
        with torch.enable_grad():
            value = objective(u)
            (g,) = torch.autograd.grad(value, u)
        if float(value.detach()) > best:
            best, at = float(value.detach()), u.detach()
        size = norm / 10 * (1 - step / (steps + 1))
        u = u.detach() + size * g / torch.linalg.vector_norm(g, dim=-1, keepdim=True).clamp_min(1e-30)
        u = u * (norm / torch.linalg.vector_norm(u, dim=-1, keepdim=True)).clamp_max(1.0)
    return at, best
