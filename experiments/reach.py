"""What prompts and prefixes reach: attention mass, the reach bound of a head, next tokens forced by short prompts."""

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
from lab.control import NextToken, controllable_share, force_token, prompt_entrance
from lab.control.block_entrance import Entrance, bound_table, target_table
from lab.deltas import Delta
from lab.deltas.prefix_mass import mass_table
from lab.models import PLM
from lab.statistics import Evidence, Interval, Verdict, clustered_proportion, worst_case
from lab.study import (
    TRAINING_RUN,
    Config,
    Experiment,
    Finding,
    Lab,
    Result,
    RunSize,
    TrainingRun,
    open_plm,
    open_task,
    setting,
)
from lab.tasks import first_words

PARTS = ("prefix", "prompt", "attention", "targets", "next tokens")


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
class Plan(Reach, RunSize):
    """The mass of a prefix and of a prompt, the bound of attention heads, targets beside the bound, forced tokens."""

    part: str = setting("unused: `parts`", "")
    parts: tuple[str, ...] = setting("which ones", PARTS, choices=PARTS)
    model: str = setting("encoder for all but the last part", role="model")
    fixed = ("tokens",)

    def configs(self) -> tuple[Reach, ...]:
        assert self.runs is not None
        assert self.task is not None
        runs = replace(self.runs, model=self.model, task=self.task, **self.sizes())
        heads = {name: getattr(self, name) for name in ("n_texts", "lengths", "ascent", "n_heads")}
        settings: dict[str, dict[str, Any]] = {
            "prefix": {"runs": runs, "n_texts": self.n_texts},
            "prompt": {"runs": runs, "n_texts": self.n_texts, "tokens": self.lengths[-1]},
            "attention": {"runs": runs} | heads,
            "targets": {"runs": runs} | heads,
            "next tokens": self.shared(Pair) | {"n_states": self.n_states, "target_ranks": self.target_ranks},
        }
        return tuple(Reach(part=part, **settings[part]) for part in PARTS if part in self.parts)


def measure(c: Reach, lab: Lab) -> Result:
    """The part that the config names."""
    parts = {"prefix": _mass, "prompt": _mass, "attention": _attention, "targets": _targets}
    return parts.get(c.part, _next_tokens)(c, lab)


def _runs(c: Reach) -> Planner:
    assert c.runs is not None
    return c.runs


def _subject(c: Reach) -> dict[str, str]:
    """PLM and task, as columns for filters."""
    return {"model": _runs(c).model, "task": _runs(c).task}


def _trained(c: Reach, lab: Lab, method: dict[str, Any]) -> tuple[Delta, Tensor, Finding[TrainingRun]]:
    """A delta of the first seed and its trained φ; the delta on eager attention, which returns its weights."""
    run = lab.one(TRAINING_RUN, _runs(c).run(method, _runs(c).seeds[0]), method["method"])
    delta = run.config.analysed()
    return delta, torch.from_numpy(run.arrays["phi"]).to(delta.phi0), run


def _texts(c: Reach, plm: PLM) -> dict[str, Tensor]:
    """The first validation texts, all cut to one length so that token positions are comparable."""
    encoded = _runs(c).data.encode(plm, max_length=_runs(c).max_length).validation
    return encoded.batch(np.argsort(-encoded.lengths, kind="stable")[: c.n_texts])


def _mass(c: Reach, lab: Lab) -> Result:
    """λ(x) per layer, head and token, at the start and after training, beside the share of an unused key."""
    tokens = c.tokens or _runs(c).tokens
    delta, phi, run = _trained(c, lab, {"method": c.part, "tokens": tokens})
    batch = _texts(c, delta.plm)
    table = mass_table(delta, {"start": delta.phi0, "trained": phi}, batch, tokens)
    means = table.groupby("stage").mass.mean()
    metrics = {
        "tokens": tokens, "n_texts": len(batch["attention_mask"]), "even": float(table.even.iloc[0]),
        "mass_start": float(means["start"]), "mass_trained": float(means["trained"]), "score": run.metrics["score"],
    }  # fmt: skip
    return Result(metrics, {"prefix_mass": table.assign(label=c.part, **_subject(c))})


def _entrance(c: Reach, lab: Lab) -> tuple[Entrance, Finding[TrainingRun]]:
    longest = c.lengths[-1]
    delta, phi, run = _trained(c, lab, {"method": "prompt", "tokens": longest})
    plm = open_plm(run.config.model, delta.plm.num_labels, seed=run.config.seed)
    return Entrance.of(plm, delta, phi, _texts(c, delta.plm), longest, c.n_heads), run


def _attention(c: Reach, lab: Lab) -> Result:
    """How far prompts move the outputs of block 0's heads, beside the bound."""
    at, run = _entrance(c, lab)
    table = bound_table(at, c.lengths, c.ascent)
    ratio = table.reached / table.sharp
    metrics = {
        "norm": float(table.norm.iloc[0]), "violations": int((ratio > 1 + 1e-9).sum()), "points": len(table),
        "tightness_optimised": float(ratio[table.prompt == "optimised"].median()),
        "tightness_trained": float(ratio[table.prompt == "trained"].median()),
        "sharp_to_published": float((table.sharp / table.published).median()), "prompt_score": run.metrics["score"],
    }  # fmt: skip
    return Result(metrics, {"reach_bound": table.assign(**_subject(c))})


def _targets(c: Reach, lab: Lab) -> Result:
    """How near prompts bring the outputs of block 0's heads to targets, beside what the bound rules out."""
    at, run = _entrance(c, lab)
    table = target_table(at, (c.lengths[0], c.lengths[-1]), c.ascent)
    missed = table[table.target == "another text's output"].groupby("prompt").missed.median()
    metrics = {
        "norm": at.norm, "largest_norm": prompt_entrance(at.plm)[1], "points": len(table),
        "excluded": int((table.least > 0).sum()), "violations": int((table.missed < table.least - 1e-9).sum()),
        "prompt_score": run.metrics["score"],
        **{f"missed_{prompt}": float(value) for prompt, value in missed.items()},
    }  # fmt: skip
    return Result(metrics, {"reach_targets": table.assign(**_subject(c))})


def _next_tokens(c: Reach, lab: Lab) -> Result:
    """Searches a prompt for every (state, target) pair, each a child record; one row per pair and k."""
    n_states = min(c.n_states, len(open_task(c.task or "").validation))
    children = [c.to(Pair, state=state, start_rank=r) for state in range(n_states) for r in c.target_ranks]
    pairs = lab.run(PAIR, children, "pairs of state and target")
    table = pd.concat([pair.tables["forced_tokens"] for pair in pairs], ignore_index=True)
    shares = {f"share_k{k}": float(part.forced.mean()) for k, part in table.groupby("tokens")}
    return Result({"pairs": len(pairs), **shares}, {"forced_tokens": table})


def _pair(c: Pair, lab: Lab) -> Result:
    """One search: the target is the token of the given rank after the state."""
    plm = open_plm(c.language_model, head="lm")
    text = first_words(open_task(c.task).validation.texts[c.state], c.state_words)
    state = torch.tensor(plm.tokenizer(text, add_special_tokens=False)["input_ids"], device=plm.device)
    order = NextToken(plm, state, 0).logits(state.new_zeros(1, 0))[0].argsort(descending=True)
    target = int(order[c.start_rank - 1])
    found = force_token(NextToken(plm, state, target), c.longest, width=c.width, rounds=c.rounds, seed=c.state)
    place = {"language_model": c.language_model, "task": c.task, "state": c.state, "target": target}
    rows = []
    for k in range(c.longest + 1):
        last = min(k, len(found.ranks) - 1)
        rows.append(
            {**place, "start_rank": c.start_rank, "tokens": k, "forced": controllable_share([found], k)[0],
             "rank": found.ranks[last], "loss": found.losses[last], "evaluations": found.evaluations}
        )  # fmt: skip
    return Result({"length": found.length, "evaluations": found.evaluations}, {"forced_tokens": pd.DataFrame(rows)})


def _share(table: pd.DataFrame, k: int) -> Interval:
    chosen = table[table.tokens == k]
    return clustered_proportion({state: part.forced.tolist() for state, part in chosen.groupby("state")})


def claims(findings: Sequence[Finding[Reach]]) -> list[Verdict]:
    """Is the bound kept, and do short prompts force most of the likely next tokens?"""
    return [CLAIMS[finding.config.part](finding) for finding in findings if finding.config.part in CLAIMS]


BOUND = "Bhargava et al. 2023"


def _heads(c: Reach) -> str:
    return f"{_runs(c).model}, block 0 at the first token"


def _bound_is_kept(finding: Finding[Reach]) -> Verdict:
    table = finding.tables["reach_bound"]
    evidence = Evidence(BOUND, _heads(finding.config), "reach_bound", "heads, lengths and prompts", exact=True)
    return evidence.below(
        1.0, worst_case((table.reached / table.sharp).tolist()),
        "no prompt moves a head's output further off its bare output than the bound allows",
        "largest reached/bound over heads, lengths and prompts [1]",
    )  # fmt: skip


def _targets_are_missed(finding: Finding[Reach]) -> Verdict:
    table = finding.tables["reach_targets"].query("least > 0")
    return Evidence(BOUND, _heads(finding.config), "reach_targets", "targets", exact=True).below(
        1.0, worst_case((table.least / table.missed).tolist()),
        "no prompt comes nearer to a wanted output than its unreachable part",
        "largest unreachable/missed over targets beyond the bound [1]",
    )  # fmt: skip


def _tokens_are_forced(finding: Finding[Reach]) -> Verdict:
    c = finding.config
    ranks = ", ".join(map(str, c.target_ranks))
    where = f"{c.language_model}, {c.n_states} states, target ranks {ranks}, width {c.width}"
    source = "Bhargava et al. 2023 (97 % of the 75 likeliest tokens with k ≤ 10, on larger models)"
    return Evidence(source, where, "forced_tokens", "states").above(
        0.5, _share(finding.tables["forced_tokens"], c.longest),
        f"prompts of at most {c.longest} tokens force most of the targets tried",
        "share of the targets of a state, mean over states; interval over states [1]",
    )  # fmt: skip


CLAIMS = {"attention": _bound_is_kept, "targets": _targets_are_missed, "next tokens": _tokens_are_forced}
"""Part -> the claim that it tests."""

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
