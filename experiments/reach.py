"""What prompts and prefixes can reach: attention mass, the reach bound of a head, next tokens forced by short "
"prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from experiments.planner import SCALES as RUNS
from experiments.planner import Planner
from lab.control import (
    AttentionHead,
    NextToken,
    controllable_share,
    first_heads,
    force_token,
    furthest_reach,
    nearest_reach,
    orthogonal_part,
    prompt_entrance,
    reach_bound,
    unreachable_share,
    unreached_without_prompt,
)
from lab.control.skeleton import record_blocks
from lab.deltas import Delta, method_from_json, prefix_mass
from lab.models import PLM
from lab.statistics import Interval, Verdict, clustered_proportion
from lab.study import (
    TRAINING_RUN,
    Config,
    Experiment,
    Finding,
    Lab,
    Result,
    TrainingRun,
    open_plm,
    open_task,
    setting,
)
from lab.tasks import first_words

PARTS = ("prefix", "prompt", "attention", "targets", "next tokens")
NORMS = (1.0, 0.1)
"""Balls for the tokens of a prompt, in units of the norm that training produces: in the smaller one the bound bites."""
LENGTHS = (0.1, 0.5, 1.0, 2.0)
"""Of targets off the bare output, in units of the bound."""


@dataclass(frozen=True, kw_only=True)
class Reach(Config):
    """One part; the training runs are the planner's. Fields of other parts stay at their defaults."""

    part: str = setting("which one", choices=PARTS)
    runs: Planner | None = setting("the planner's runs", None)
    n_texts: int = setting("on which attention is measured", 0, unit="example", low=0)
    tokens: int = setting("of the prompt; 0: those of the planner's prefix", 0, unit="token", low=0)
    lengths: tuple[int, ...] = setting("of prompts", (), unit="token", low=1)
    ascent: int = setting("steps of the search for the furthest prompt", 0, low=0)
    n_heads: int = setting("of block 0", 0, low=0)
    task: str | None = setting("whose texts next tokens follow", None, role="task")
    language_model: str | None = setting("whose next tokens are forced", None, role="model")
    n_states: int = setting("texts to continue", 0, low=0)
    target_ranks: tuple[int, ...] = setting("of the target token before the prompt", (), low=1)
    longest: int = setting("longest prompt of the search", 0, unit="token", low=0)
    width: int = setting("candidates kept per round of the search", 0, low=0)
    rounds: int = setting("of the search per length", 0, low=0)
    state_words: int = setting("kept of each text", 0, unit="word", low=0)


@dataclass(frozen=True, kw_only=True)
class Pair(Config):
    """One state and one target token."""

    task: str = setting("whose texts next tokens follow", role="task")
    language_model: str = setting("whose next tokens are forced", role="model")
    longest: int = setting("longest prompt of the search", unit="token", low=0)
    width: int = setting("candidates kept per round", low=1)
    rounds: int = setting("of the search per length", low=1)
    state_words: int = setting("kept of each text", unit="word", low=1)
    state: int = setting("which text", low=0)
    start_rank: int = setting("of the target token before the prompt", low=1)


@dataclass(frozen=True, kw_only=True)
class Plan(Reach):
    """The mass of a prefix and of a prompt, the bound of attention heads, targets beside the bound, forced tokens."""

    part: str = setting("unused: `parts`", "")
    parts: tuple[str, ...] = setting("which ones", PARTS, choices=PARTS)
    model: str = setting("encoder for all but the last part", role="model")
    fixed = ("tokens",)

    def configs(self) -> tuple[Reach, ...]:
        assert self.runs is not None
        assert self.task is not None
        runs = replace(self.runs, model=self.model, task=self.task)
        of_attention = {name: getattr(self, name) for name in ("n_texts", "lengths", "ascent", "n_heads")}
        search = ("task", "language_model", "n_states", "target_ranks", "longest", "width", "rounds", "state_words")
        settings: dict[str, dict[str, Any]] = {
            "prefix": {"runs": runs, "n_texts": self.n_texts},
            "prompt": {"runs": runs, "n_texts": self.n_texts, "tokens": self.lengths[-1]},
            "attention": {"runs": runs} | of_attention,
            "targets": {"runs": runs} | of_attention,
            "next tokens": {name: getattr(self, name) for name in search},
        }
        return tuple(Reach(part=part, **settings[part]) for part in PARTS if part in self.parts)


def measure(c: Reach, lab: Lab) -> Result:
    """The part that the config names."""
    parts = {"prefix": _mass, "prompt": _mass, "attention": _attention, "targets": _targets}
    return parts.get(c.part, _next_tokens)(c, lab)


def _subject(c: Reach) -> dict[str, str]:
    """PLM and task, as columns for filters."""
    return {"model": _runs(c).model, "task": _runs(c).task}


def _trained(c: Reach, lab: Lab, method: dict[str, Any]) -> tuple[Delta, Tensor, Finding[TrainingRun]]:
    """A delta of the first seed and its trained φ; the delta on eager attention, which returns its weights."""
    runs = _runs(c)
    seed = runs.seeds[0]
    run = lab.one(TRAINING_RUN, runs.run(method, seed), method["method"])
    plm = open_plm(runs.model, runs.data.num_labels, seed=seed).with_attention("eager")
    delta = method_from_json(method).on(plm, seed=seed)
    return delta, torch.from_numpy(run.arrays["phi"]).to(delta.phi0), run


def _runs(c: Reach) -> Planner:
    assert c.runs is not None
    return c.runs


def _texts(c: Reach, plm: PLM) -> dict[str, Tensor]:
    """The first validation texts, all cut to one length so that token positions are comparable."""
    runs = _runs(c)
    encoded = runs.data.encode(plm, max_length=runs.max_length).validation
    order = np.argsort(-encoded.lengths, kind="stable")[: c.n_texts]
    return encoded.batch(order)


def _mass(c: Reach, lab: Lab) -> Result:
    """λ(x) per layer, head and token, at the start and after training, beside the share of an unused key."""
    method, tokens = c.part, c.tokens or _runs(c).tokens
    delta, phi, run = _trained(c, lab, {"method": method, "tokens": tokens})
    batch = _texts(c, delta.plm)
    n_text = batch["attention_mask"].sum(1).double()
    even = float((tokens / (tokens + n_text)).mean())  # if every key got the same mass
    rows, means = [], {}
    for stage, point in (("start", delta.phi0), ("trained", phi)):
        masses = prefix_mass(delta, point, batch)
        stacked = torch.stack(list(masses.values())).double()  # (blocks, batch, heads, tokens)
        means[stage] = float(stacked.mean())
        mean, spread = stacked.mean(1), stacked.std(1)
        for block, head, position in np.ndindex(*mean.shape):
            rows.append(
                {"label": method, "stage": stage, "block": block, "head": head, "position": position, "even": even,
                 "mass": float(mean[block, head, position]), "spread": float(spread[block, head, position])}
            )  # fmt: skip
    metrics = {"tokens": tokens, "n_texts": len(n_text), "even": even, "mass_start": means["start"],
               "mass_trained": means["trained"], "score": run.metrics["score"]}  # fmt: skip
    return Result(metrics, {"prefix_mass": pd.DataFrame(rows).assign(**_subject(c))})


@dataclass(frozen=True, eq=False)
class _Entrance:
    """What enters block 0, in float64.

    Attributes:
        plm: without grafts.
        heads: of block 0.
        x: a text, (n, d).
        other: another one.
        trained: the tokens of a soft prompt trained on the task, (k, d); the same in every text.
        shifted: x behind that prompt, whose positions moved on.
        run: of the training.
    """

    plm: PLM
    heads: list[AttentionHead]
    x: Tensor
    other: Tensor
    trained: Tensor
    shifted: Tensor
    run: Finding[TrainingRun]

    @property
    def norm(self) -> float:
        """The largest norm of the trained tokens."""
        return float(torch.linalg.vector_norm(self.trained, dim=-1).max())


def _entrance(c: Reach, lab: Lab) -> _Entrance:
    longest = c.lengths[-1]
    delta, phi, run = _trained(c, lab, {"method": "prompt", "tokens": longest})
    batch = _texts(c, delta.plm)
    bare_plm = open_plm(_runs(c).model, delta.plm.num_labels, seed=_runs(c).seeds[0])
    with torch.no_grad():
        text = record_blocks(bare_plm, {}, batch)[0][0].arguments[0].double()  # what enters block 0, (batch, seq, d)
        with_prompt = record_blocks(delta.plm, delta.overrides(phi), batch)[0][0].arguments[0].double()
    here = batch["attention_mask"].bool()
    return _Entrance(
        plm=bare_plm,
        heads=[_double(head) for head in first_heads(bare_plm)[: c.n_heads]],
        x=text[0][here[0]],
        other=text[1][here[1]],
        trained=with_prompt[0, 1 : 1 + longest],  # after [CLS]
        shifted=torch.cat([with_prompt[0, :1], with_prompt[0, 1 + longest :]])[here[0]],
        run=run,
    )


def _attention(c: Reach, lab: Lab) -> Result:
    """Bounds of block 0's heads at [CLS], the furthest point found, random prompts, and a trained soft prompt."""
    at = _entrance(c, lab)
    x, trained, norm, longest = at.x, at.trained, at.norm, len(at.trained)
    shifted = at.shifted  # the trained prompt's effect is measured against the text as it then enters
    generator = torch.Generator().manual_seed(0)
    rows = []
    for index, head in enumerate(at.heads):
        for k in c.lengths:
            sharp, published = (reach_bound(head, x, k, norm, kind) for kind in ("sharp", "published"))
            common = {"head": index, "tokens": k, "norm": norm, "sharp": float(sharp.radius[0]),
                      "published": float(published.radius[0]),
                      "bare": float(torch.linalg.vector_norm(head.outputs(x)[0]))}  # fmt: skip
            found = furthest_reach(head, x, 0, k, norm, steps=c.ascent)
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
    table = pd.DataFrame(rows).assign(**_subject(c))
    return Result(_bound_metrics(table, at.run), {"reach_bound": table})


def _targets(c: Reach, lab: Lab) -> Result:
    """How near prompts bring block 0's heads at [CLS] to wanted outputs, beside what the bound rules out.

    A target is the bare output plus a step orthogonal to it: towards the head's output for another text, as far as that
    lies or a multiple of the bound. Prompts: free at the entrance of the block; soft ones, which the embedding's
    LayerNorm stands before; and the one trained on the task.
    """
    at = _entrance(c, lab)
    enter, largest = prompt_entrance(at.plm)
    balls = [("free", share * at.norm) for share in NORMS] + [("soft", largest)]
    rows = []
    for index, head in enumerate(at.heads):
        natural = orthogonal_part(head, at.x, head.outputs(at.other)[0])[0]
        length = float(torch.linalg.vector_norm(natural))
        for prompt, norm in balls:
            for k in (c.lengths[0], c.lengths[-1]):
                bound = reach_bound(head, at.x, k, norm)
                wanted = {"another text's output": length} | {
                    f"{share:g} × the bound": share * float(bound.radius[0]) for share in LENGTHS
                }
                for name, w in wanted.items():
                    target = head.outputs(at.x)[0] + w / length * natural
                    entrance = enter if prompt == "soft" else None
                    size = at.x.shape[1] ** 0.5 if entrance else norm  # a LayerNorm ignores the length of what enters
                    found = nearest_reach(head, at.x, 0, target, k, size, entrance=entrance, steps=c.ascent)
                    rows.append(
                        {"head": index, "tokens": k, "norm": norm, "prompt": prompt, "target": name, "wanted": w,
                         "bound": float(bound.radius[0]), "missed": found.missed, "mass": found.mass,
                         "least": float(unreachable_share(torch.full_like(bound.radius, w), bound)[0])}
                    )  # fmt: skip
        rows.append(_trained_row(head, index, at))
    table = pd.DataFrame(rows).assign(**_subject(c))
    excluded = table[table.least > 0]
    missed = table[table.target == "another text's output"].groupby("prompt").missed.median()
    metrics = {
        "norm": at.norm, "largest_norm": largest, "points": len(table), "excluded": len(excluded),
        "violations": int((table.missed < table.least - 1e-9).sum()), "prompt_score": at.run.metrics["score"],
        **{f"missed_{prompt}": float(value) for prompt, value in missed.items()},
    }  # fmt: skip
    return Result(metrics, {"reach_targets": table})


def _trained_row(head: AttentionHead, index: int, at: _Entrance) -> dict[str, Any]:
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


def _bound_metrics(table: pd.DataFrame, run: Finding[TrainingRun]) -> dict[str, Any]:
    ratio = table.reached / table.sharp
    return {
        "norm": float(table.norm.iloc[0]),
        "violations": int((ratio > 1 + 1e-9).sum()),
        "points": len(table),
        "tightness_optimised": float(ratio[table.prompt == "optimised"].median()),
        "tightness_trained": float(ratio[table.prompt == "trained"].median()),
        "sharp_to_published": float((table.sharp / table.published).median()),
        "prompt_score": run.metrics["score"],
    }


def _next_tokens(c: Reach, lab: Lab) -> Result:
    """Searches a prompt for every (state, target) pair, each a child record; one row per pair and k."""
    shared = {
        name: getattr(c, name) for name in ("task", "language_model", "longest", "width", "rounds", "state_words")
    }
    children = [Pair(**shared, state=state, start_rank=r) for state in range(c.n_states) for r in c.target_ranks]
    pairs = lab.run(PAIR, children, "pairs of state and target")
    table = pd.concat([pair.tables["forced_tokens"] for pair in pairs], ignore_index=True)
    shares = {f"share_k{k}": float(part.forced.mean()) for k, part in table.groupby("tokens")}
    return Result({"pairs": len(pairs), **shares}, {"forced_tokens": table})


def _pair(c: Pair, lab: Lab) -> Result:
    """One search: the target is the token of the given rank after the state."""
    plm = open_plm(c.language_model, head="lm")
    text = first_words(open_task(c.task).validation.texts[c.state], c.state_words)
    ids = plm.tokenizer(text, add_special_tokens=False)["input_ids"]
    state = torch.tensor(ids, device=plm.device)
    order = NextToken(plm, state, 0).logits(state.new_zeros(1, 0))[0].argsort(descending=True)
    target = int(order[c.start_rank - 1])
    question = NextToken(plm, state, target)
    found = force_token(question, c.longest, width=c.width, rounds=c.rounds, seed=c.state)
    rows = []
    for k in range(c.longest + 1):
        last = min(k, len(found.ranks) - 1)
        rows.append(
            {"language_model": c.language_model, "task": c.task, "state": c.state, "target": target,
             "start_rank": c.start_rank, "tokens": k, "forced": controllable_share([found], k)[0],
             "rank": found.ranks[last], "loss": found.losses[last], "evaluations": found.evaluations}
        )  # fmt: skip
    return Result({"length": found.length, "evaluations": found.evaluations}, {"forced_tokens": pd.DataFrame(rows)})


def _share(table: pd.DataFrame, k: int) -> Interval:
    chosen = table[table.tokens == k]
    return clustered_proportion({state: part.forced.tolist() for state, part in chosen.groupby("state")})


def claims(findings: Sequence[Finding[Reach]]) -> list[Verdict]:
    """Is the bound kept, and do short prompts force most of the likely next tokens?"""
    found = []
    for finding in findings:
        c = finding.config
        if c.part == "attention":
            table = finding.tables["reach_bound"]
            worst = float((table.reached / table.sharp).max())
            found.append(
                Verdict(
                    claim="no prompt moves a head's output further off its bare output than the bound allows",
                    source="Bhargava et al. 2023",
                    quantity="largest reached/bound over heads, lengths and prompts (a maximum, not a mean)",
                    measured=Interval(worst, worst, worst, len(table)), threshold=1.0, side="below",
                    setting=f"{_runs(c).model}, block 0 at the first token", figure="reach_bound",
                )
            )  # fmt: skip
        elif c.part == "targets":
            table = finding.tables["reach_targets"]
            worst = float((table.least / table.missed)[table.least > 0].max())
            found.append(
                Verdict(
                    claim="no prompt comes nearer to a wanted output than its unreachable part",
                    source="Bhargava et al. 2023",
                    quantity="largest unreachable/missed over targets beyond the bound (a maximum, not a mean)",
                    measured=Interval(worst, worst, worst, int((table.least > 0).sum())), threshold=1.0, side="below",
                    setting=f"{_runs(c).model}, block 0 at the first token", figure="reach_targets",
                )
            )  # fmt: skip
        elif c.part == "next tokens":
            table = finding.tables["forced_tokens"]
            found.append(
                Verdict(
                    claim=f"prompts of at most {c.longest} tokens force most of the targets tried",
                    source="Bhargava et al. 2023 (97 % of the 75 likeliest tokens with k ≤ 10, on larger models)",
                    quantity="share of the targets of a state, mean over states; interval over states",
                    measured=_share(table, c.longest), threshold=0.5, side="above",
                    setting=f"{c.language_model}, {c.n_states} states, target ranks "
                    f"{', '.join(map(str, c.target_ranks))}, width {c.width}",
                    figure="forced_tokens",
                )
            )  # fmt: skip
    return found


PAIR = Experiment(
    name="reach_pair",
    question="how short a prompt forces one next token after one text?",
    view="control",
    config=Pair,
    measure=_pair,
)


def _scale(name: str, **own: Any) -> Plan:
    return Plan(runs=RUNS[name], model=RUNS[name].model, task="bbc-news", **own)


EXPERIMENT = Experiment(
    name="reach",
    question="where does a trained prefix act, how far can a prompt move a head, and which next tokens can k "
    "tokens force?",
    source="He et al. 2022, eq. 7 (λ); Bhargava et al. 2023 (reach bound of self-attention; k-ε controllability).",
    varied="layer, head and token (λ); prompt length (bound, k-ε); rank of the target token before the prompt (k-ε).",
    tuned="the prefix's and prompt's step size, as in experiments/planner.py.",
    fixed="PLM, task, steps, batch; the search's width and rounds.",
    expected="λ grows in training and differs between heads; no prompt passes the bound, and trained ones stay "
    "far below it; targets beyond the bound are missed by at least what the bound says, others are met; the "
    "share of forced targets grows with k and falls with the target's rank.",
    cost="demo: about 10 minutes on one core (MiniLM and SmolLM2-135M), most of it for the search. smoke: seconds.",
    view="control",
    config=Reach,
    scales={
        "smoke": _scale(
            "smoke", language_model="tiny-llama", n_texts=4, lengths=(1, 3), ascent=5, n_heads=2, n_states=2,
            target_ranks=(2, 10), longest=2, width=4, rounds=1, state_words=2,
        ),
        "demo": _scale(
            "demo", language_model="smollm2", n_texts=32, lengths=(1, 2, 4, 8, 16), ascent=60, n_heads=12, n_states=5,
            target_ranks=(2, 10, 100, 1000), longest=6, width=16, rounds=2, state_words=4,
        ),
        "paper": _scale(
            "paper", language_model="smollm2", n_texts=256, lengths=(1, 2, 4, 8, 16, 32), ascent=500, n_heads=12,
            n_states=50, target_ranks=(2, 10, 100, 1000, 10000), longest=10, width=128, rounds=30, state_words=8,
        ),
    },
    measure=measure,
    figures=("prefix_mass", "reach_bound", "reach_targets", "forced_tokens"),
    claims=claims,
)  # fmt: skip
