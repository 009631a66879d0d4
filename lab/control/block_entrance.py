"""Prompts before block 0: how far they move its heads' outputs, and which outputs are out of their reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from lab.control.prompt_reach import (
    AttentionHead,
    first_heads,
    furthest_reach,
    nearest_reach,
    orthogonal_part,
    prompt_entrance,
    reach_bound,
    unreachable_share,
    unreached_without_prompt,
)
from lab.control.skeleton import record_blocks
from lab.deltas import Delta
from lab.models import PLM
from lab.models.plm import Batch

NORMS = (1.0, 0.1)
"""Balls for the tokens of a prompt, in units of the norm that training produces: in the smaller one the bound bites."""

LENGTHS = (0.1, 0.5, 1.0, 2.0)
"""Of targets off the bare output, in units of the bound."""


@dataclass(frozen=True, eq=False)
class Entrance:
    """What enters block 0, in float64.

    Attributes:
        plm: without grafts.
        heads: of block 0.
        x: a text, (n, d).
        other: another one.
        trained: the tokens of a soft prompt trained on the task, (k, d); the same in every text.
        shifted: x behind that prompt, whose positions moved on.
    """

    plm: PLM
    heads: list[AttentionHead]
    x: Tensor
    other: Tensor
    trained: Tensor
    shifted: Tensor

    @staticmethod
    @torch.no_grad()
    def of(plm: PLM, delta: Delta, phi: Tensor, batch: Batch, tokens: int, n_heads: int) -> Entrance:
        """The first two texts of a batch at block 0.

        Args:
            plm: without grafts.
            delta, phi: the trained prompt, of so many tokens.
            batch: of texts.
            tokens: of the prompt.
            n_heads: of block 0, the first ones.
        """
        text = record_blocks(plm, {}, batch)[0][0].arguments[0].double()  # what enters block 0, (batch, seq, d)
        with_prompt = record_blocks(delta.plm, delta.overrides(phi), batch)[0][0].arguments[0].double()
        here = batch["attention_mask"].bool()
        return Entrance(
            plm=plm, heads=[_double(head) for head in first_heads(plm)[:n_heads]], x=text[0][here[0]],
            other=text[1][here[1]], trained=with_prompt[0, 1 : 1 + tokens],  # after [CLS]
            shifted=torch.cat([with_prompt[0, :1], with_prompt[0, 1 + tokens :]])[here[0]],
        )  # fmt: skip

    @property
    def norm(self) -> float:
        """The largest norm of the trained tokens."""
        return float(torch.linalg.vector_norm(self.trained, dim=-1).max())


def bound_table(at: Entrance, lengths: Sequence[int], steps: int) -> pd.DataFrame:
    """Bounds of block 0's heads at [CLS], the furthest point found, random prompts, and the trained soft prompt.

    Args:
        at: the entrance.
        lengths: of prompts, in tokens.
        steps: of the search for the furthest point.
    """
    x, trained, norm, longest = at.x, at.trained, at.norm, len(at.trained)
    shifted = at.shifted  # the trained prompt's effect is measured against the text as it then enters
    generator = torch.Generator().manual_seed(0)
    rows = []
    for index, head in enumerate(at.heads):
        for k in lengths:
            sharp, published = (reach_bound(head, x, k, norm, kind) for kind in ("sharp", "published"))
            common = {"head": index, "tokens": k, "norm": norm, "sharp": float(sharp.radius[0]),
                      "published": float(published.radius[0]),
                      "bare": float(torch.linalg.vector_norm(head.outputs(x)[0]))}  # fmt: skip
            found = furthest_reach(head, x, 0, k, norm, steps=steps)
            rows.append(common | {"prompt": "optimised", "reached": found.length, "mass": found.mass})
            for _ in range(3):
                u = torch.randn(k, x.shape[1], generator=generator, dtype=torch.float64)
                u = norm * u / torch.linalg.vector_norm(u, dim=-1, keepdim=True)
                rows.append(common | {"prompt": "random", **_effect(head, x, u)})
        sharp, published = (reach_bound(head, shifted, longest, norm, kind) for kind in ("sharp", "published"))
        rows.append(
            {"head": index, "tokens": longest, "sharp": float(sharp.radius[0]), "published": float(published.radius[0]),
             "norm": norm, "bare": float(torch.linalg.vector_norm(head.outputs(shifted)[0])),
             "prompt": "trained", **_effect(head, shifted, trained)}
        )  # fmt: skip
    return pd.DataFrame(rows)


def target_table(at: Entrance, lengths: Sequence[int], steps: int) -> pd.DataFrame:
    """How near prompts bring block 0's heads at [CLS] to wanted outputs, beside what the bound rules out.

    A target is the bare output plus a step orthogonal to it: towards the head's output for another text, as far as that
    lies or a multiple of the bound. Prompts: free at the entrance of the block; soft ones, which the embedding's
    LayerNorm stands before; and the one trained on the task.

    Args:
        at: the entrance.
        lengths: of prompts, in tokens.
        steps: of the search for the nearest point.
    """
    enter, largest = prompt_entrance(at.plm)
    balls = [("free", share * at.norm) for share in NORMS] + [("soft", largest)]
    rows = []
    for index, head in enumerate(at.heads):
        natural = orthogonal_part(head, at.x, head.outputs(at.other)[0])[0]
        length = float(torch.linalg.vector_norm(natural))
        for prompt, norm in balls:
            for k in lengths:
                bound = reach_bound(head, at.x, k, norm)
                wanted = {"another text's output": length} | {
                    f"{share:g} × the bound": share * float(bound.radius[0]) for share in LENGTHS
                }
                for name, w in wanted.items():
                    target = head.outputs(at.x)[0] + w / length * natural
                    entrance = enter if prompt == "soft" else None
                    size = at.x.shape[1] ** 0.5 if entrance else norm  # a LayerNorm ignores the length of what enters
                    found = nearest_reach(head, at.x, 0, target, k, size, entrance=entrance, steps=steps)
                    rows.append(
                        {"head": index, "tokens": k, "norm": norm, "prompt": prompt, "target": name, "wanted": w,
                         "bound": float(bound.radius[0]), "missed": found.missed, "mass": found.mass,
                         "least": float(unreachable_share(torch.full_like(bound.radius, w), bound)[0])}
                    )  # fmt: skip
        rows.append(_trained_row(head, index, at))
    return pd.DataFrame(rows)


def _trained_row(head: AttentionHead, index: int, at: Entrance) -> dict[str, Any]:
    """How near the prompt trained on the task happens to bring the head to its output for another text."""
    wanted = orthogonal_part(head, at.shifted, head.outputs(at.other)[0])[0]
    length = torch.linalg.vector_norm(wanted)
    bound = reach_bound(head, at.shifted, len(at.trained), at.norm)
    apart = unreached_without_prompt(head, at.shifted, at.trained)[0] - wanted
    return {
        "head": index, "tokens": len(at.trained), "norm": at.norm, "prompt": "trained",
        "target": "another text's output", "wanted": float(length), "bound": float(bound.radius[0]),
        "missed": float(torch.linalg.vector_norm(apart) / length),
        "mass": float(head.mass(at.shifted, at.trained)[0]),
        "least": float(unreachable_share(length.expand_as(bound.radius), bound)[0]),
    }  # fmt: skip


def _double(head: AttentionHead) -> AttentionHead:
    return AttentionHead(**{name: value.detach().double() for name, value in vars(head).items()})


def _effect(head: Any, x: Tensor, u: Tensor) -> dict[str, float]:
    return {"reached": float(torch.linalg.vector_norm(unreached_without_prompt(head, x, u)[0])),
            "mass": float(head.mass(x, u)[0])}  # fmt: skip
