"""Which next tokens a discrete prompt can force: k-ε controllability of a language model (Bhargava et al. 2023).

A state is a text x; the control is a prompt u of k tokens in front of it; the target y is reached iff it is the argmax
of P(· | u x). A set of (state, target) pairs is k-ε controllable if prompts of at most k tokens reach a share ≥ 1 − ε
of it. There are |V|^k prompts, so a search can show that a target is reached, never that it is not: shares are lower
bounds.

Searches use the gradient in the prompt's one-hot vectors. ∂ℓ/∂onehot = E ∂ℓ/∂e, and the e_i are the soft tokens of a
`Prompt` delta: a discrete prompt is the point of its φ where every row is a row of E.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.func import grad
from torch.nn.functional import cross_entropy

from lab.deltas import Prompt
from lab.faces import outlined
from lab.models.heads import NextTokenHead
from lab.models.plm import PLM


@outlined
@dataclass(frozen=True, eq=False)
class NextToken:
    """One question: force `target` after `state`.

    Attributes:
        plm: a decoder with its language-model head.
        state: token ids of the text, (n,).
        target: id of the wanted next token.
    """

    plm: PLM
    state: Tensor
    target: int

    def __post_init__(self) -> None:
        if self.plm.architecture.kind != "decoder" or self.plm.new_names:
            raise ValueError(
                f'{self.plm.name!r} does not predict next tokens; load a decoder with head="lm", '
                'e.g. load_plm("smollm2", head="lm").'
            )
        object.__setattr__(self, "plm", replace(self.plm, head=NextTokenHead()))

    @property
    def embedding(self) -> Tensor:
        """E, (vocabulary, hidden)."""
        return self.plm.parameters[self.plm.word_table]

    @torch.no_grad()
    def logits(self, prompts: Tensor) -> Tensor:
        """Logits of the next token after each prompt and the state; prompts (m, k) -> (m, vocabulary)."""
        ids = torch.cat([prompts, self.state.expand(len(prompts), -1)], dim=1)
        return self.plm.logits({}, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})

    def scored(self, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """−log P(target) [nats] and the target's rank (1: argmax) for each prompt, both (m,)."""
        logits = self.logits(prompts)
        loss = cross_entropy(logits, torch.full((len(logits),), self.target, device=logits.device), reduction="none")
        return loss, (logits > logits[:, self.target, None]).sum(-1) + 1

    def onehot_gradient(self, prompt: Tensor) -> Tensor:
        """∂(−log P(target))/∂onehot of each prompt token, (k, vocabulary)."""
        soft = Prompt(tokens=len(prompt), head="frozen").on(self.plm)
        start = next(iter(soft.overrides(soft.phi0).values()))  # the soft tokens at φ₀
        wanted = torch.tensor([self.target], device=self.state.device)
        text = {"input_ids": self.state[None], "attention_mask": torch.ones_like(self.state)[None]}
        E = self.embedding
        phi = (E[prompt] - start).reshape(-1)
        g = grad(lambda phi: cross_entropy(soft.logits(phi, text), wanted))(phi)
        return g.reshape(len(prompt), -1) @ E.mT


@dataclass(frozen=True, eq=False)
class ForcedToken:
    """How a search went.

    Attributes:
        prompts: the best prompt of each length 0, 1, …, (k,).
        ranks: the target's rank under each; the search stops at the first 1.
        losses: −log P(target) [nats] under each.
        evaluations: prompts scored.
    """

    prompts: tuple[Tensor, ...]
    ranks: tuple[int, ...]
    losses: tuple[float, ...]
    evaluations: int

    @property
    def length(self) -> int | None:
        """The shortest prompt found that makes the target the argmax; None if none was."""
        return len(self.ranks) - 1 if self.ranks[-1] == 1 else None


def force_token(
    question: NextToken, longest: int, *, width: int = 32, rounds: int = 2, seed: int = 0, filler: int = 0
) -> ForcedToken:
    """Looks for the shortest prompt that makes the target the most probable next token.

    For k = 1, 2, …: *greedy*, put in front of the last prompt the best of `width` tokens that the one-hot gradient at a
    filler token ranks first (Bhargava et al. 2023 try the whole vocabulary; the gradient's short list costs |V|/width
    times less); then *greedy coordinate gradient* (Zou et al. 2023): `rounds` times, score `width` single-token
    substitutions, drawn evenly over positions from each position's `width` best by gradient, and keep the best one if
    it lowers the loss.

    Args:
        question: state and target.
        longest: the largest k.
        width: candidates per step.
        rounds: substitution steps per k.
        seed: of the draws.
        filler: token whose one-hot vector a new position starts from.

    Raises:
        ValueError: longest < 1 or width < 1.
    """
    if longest < 1 or width < 1:
        raise ValueError(f"the search needs longest >= 1 and width >= 1; got {longest} and {width}.")
    generator = torch.Generator().manual_seed(seed)
    prompt = question.state.new_zeros(0)
    loss, rank = question.scored(prompt[None])
    prompts, ranks, losses, evaluations = [prompt], [int(rank)], [float(loss)], 1
    while ranks[-1] > 1 and len(prompt) < longest:
        longer = torch.cat([prompt.new_tensor([filler]), prompt])
        short_list = (-question.onehot_gradient(longer)[0]).topk(min(width, len(question.embedding))).indices
        prompt, loss, rank = _best(question, torch.stack([torch.cat([t[None], prompt]) for t in short_list]))
        evaluations += len(short_list)
        for _ in range(rounds):
            if rank == 1:
                break
            candidates = substitutions(prompt, question.onehot_gradient(prompt), width, generator)
            other, other_loss, other_rank = _best(question, candidates)
            evaluations += len(candidates)
            if other_loss < loss:
                prompt, loss, rank = other, other_loss, other_rank
        prompts, ranks, losses = [*prompts, prompt], [*ranks, int(rank)], [*losses, float(loss)]
    return ForcedToken(tuple(prompts), tuple(ranks), tuple(losses), evaluations)


def substitutions(prompt: Tensor, gradient: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """`width` copies of the prompt (k,), each with one token replaced, (width, k).

    Positions take turns; the new token is drawn from the position's `width` most negative one-hot gradients.
    """
    best = (-gradient).topk(min(width, gradient.shape[1]), dim=1).indices  # (k, width)
    positions = torch.arange(width, device=prompt.device) % len(prompt)
    choices = torch.randint(0, best.shape[1], (width,), generator=generator).to(prompt.device)
    changed = prompt.repeat(width, 1)
    changed[torch.arange(width, device=prompt.device), positions] = best[positions, choices]
    return changed


def controllable_share(found: Sequence[ForcedToken], k: int) -> tuple[int, int]:
    """(how many questions were answered with at most k tokens, how many there are): an estimate of 1 − ε from below."""
    return sum(f.length is not None and f.length <= k for f in found), len(found)


def _best(question: NextToken, prompts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The prompt of lowest loss, with its loss and rank; a prompt that already reaches the target wins."""
    losses, ranks = question.scored(prompts)
    i = int(torch.where(ranks == 1, losses - losses.max() - 1, losses).argmin())
    return prompts[i], losses[i], ranks[i]
