"""What prompts and prefixes can reach: attention mass, the reach bound of a head, next tokens forced by short prompts.

Question: where does a trained prefix act, how far can a prompt move a head, and which next tokens can k tokens force?
Source: He et al. 2022, eq. 7 (λ); Bhargava et al. 2023 (reach bound of self-attention; k-ε controllability).
Varied: layer, head and token (λ); prompt length (bound, k-ε); rank of the target token before the prompt (k-ε).
Tuned: the prefix's and prompt's step size, as in experiments/planner.py.
Fixed: PLM, task, steps, batch; the search's width and rounds.
Expected: λ grows in training and differs between heads; no prompt passes the bound, and trained ones stay far below it;
    the share of forced targets grows with k and falls with the target's rank.
Cost: demo: about 5 minutes on two cores (MiniLM and SmolLM2-135M). smoke: seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from experiments.planner import SCALES as RUNS
from experiments.planner import run_of
from experiments.training_run import device, plm_of, subset
from experiments.training_run import measure as train
from lab.control import (
    NextToken,
    controllable_share,
    first_heads,
    force_token,
    furthest_reach,
    reach_bound,
    unreached_without_prompt,
)
from lab.control.skeleton import record_blocks
from lab.deltas import Delta, method_from_json, prefix_mass
from lab.execution import Local
from lab.models import PLM, load_plm
from lab.models.tiny import tiny_plm
from lab.runs import Interval, Job, Record, Store, Verdict, proportion_interval
from lab.tasks import first_words

NAME = "reach"
FIGURES = ("prefix_mass", "reach_bound", "forced_tokens")

SCALES: dict[str, dict[str, Any]] = {
    "smoke": {"language_model": "tiny-llama", "n_texts": 4, "lengths": [1, 3], "ascent": 5, "n_heads": 2,
              "n_states": 2, "target_ranks": [2, 10], "longest": 2, "width": 4, "rounds": 1, "state_words": 2},
    "demo": {"language_model": "smollm2", "n_texts": 32, "lengths": [1, 2, 4, 8, 16], "ascent": 60, "n_heads": 12,
             "n_states": 3, "target_ranks": [2, 10, 100, 1000], "longest": 3, "width": 16, "rounds": 1,
             "state_words": 4},
    "paper": {"language_model": "smollm2", "n_texts": 256, "lengths": [1, 2, 4, 8, 16, 32], "ascent": 500,
              "n_heads": 12, "n_states": 50, "target_ranks": [2, 10, 100, 1000, 10000], "longest": 10, "width": 128,
              "rounds": 30, "state_words": 8},
}  # fmt: skip
PAIR = "reach_pair"
_SEARCH = ("language_model", "n_states", "target_ranks", "longest", "width", "rounds", "state_words")
PARTS = ("prefix", "attention", "next tokens")


def jobs(scale: str, *, model: str | None = None, task: str = "bbc-news", part: str | None = None) -> list[Job]:
    """Three measurements: the mass of a prefix, the bound of attention heads, forced next tokens.

    Args:
        scale: "smoke", "demo" or "paper".
        model: encoder for the first two; default: the planner's of the scale.
        task: name for `load_task`.
        part: only "prefix", "attention" or "next tokens".
    """
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}; choose one of {sorted(SCALES)}.")
    if part is not None and part not in PARTS:
        raise ValueError(f"unknown part {part!r}; choose one of {PARTS}.")
    runs = RUNS[scale] | {"task": task} | ({"model": model} if model else {})
    c = SCALES[scale]
    of_attention = ("n_texts", "lengths", "ascent", "n_heads")
    configs = {
        "prefix": {"runs": runs, "n_texts": c["n_texts"]},
        "attention": {"runs": runs} | {name: c[name] for name in of_attention},
        "next tokens": {"task": task} | {name: c[name] for name in _SEARCH},
    }
    return [Job(NAME, {"part": p, **configs[p]}) for p in PARTS if part in (None, p)]


def measure(job: Job, store: Store) -> Record:
    """The part that the job names."""
    return {"prefix": _prefix, "attention": _attention, "next tokens": _next_tokens}[job.config["part"]](job, store)


def _subject(job: Job) -> dict[str, str]:
    """PLM and task, as columns for filters."""
    return {name: job.config["runs"][name] for name in ("model", "task")}


def _trained(job: Job, store: Store, method: dict[str, Any]) -> tuple[Delta, Tensor, Record]:
    """A delta of the first seed and its trained φ; the delta on eager attention, which returns its weights."""
    runs = job.config["runs"]
    seed = runs["seeds"][0]
    (record,) = Local(store).run([run_of(runs, method, seed)], train, label=method["method"])
    task = subset(runs["task"], runs["n_train"], runs["n_validation"])
    plm = plm_of(runs["model"], task.num_labels, seed, "pretrained").with_attention("eager")
    delta = method_from_json(method).on(plm, seed=seed)
    return delta, torch.from_numpy(record.arrays["phi"]).to(delta.phi0), record


def _texts(c: dict[str, Any], plm: PLM) -> dict[str, Tensor]:
    """The first validation texts, all cut to one length so that token positions are comparable."""
    runs = c["runs"]
    task = subset(runs["task"], runs["n_train"], runs["n_validation"])
    encoded = task.encode(plm, max_length=runs["max_length"]).validation
    order = np.argsort(-encoded.lengths, kind="stable")[: c["n_texts"]]
    return encoded.batch(order)


def _prefix(job: Job, store: Store) -> Record:
    """λ(x) per layer, head and token, at the start and after training, beside the share of an unused key."""
    tokens = job.config["runs"]["tokens"]
    delta, phi, record = _trained(job, store, {"method": "prefix", "tokens": tokens})
    batch = _texts(job.config, delta.plm)
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
                {"stage": stage, "block": block, "head": head, "position": position, "even": even,
                 "mass": float(mean[block, head, position]), "spread": float(spread[block, head, position])}
            )  # fmt: skip
    metrics = {"tokens": tokens, "n_texts": len(n_text), "even": even, "mass_start": means["start"],
               "mass_trained": means["trained"], "score": record.metrics["score"]}  # fmt: skip
    return Record(job, metrics, {"prefix_mass": pd.DataFrame(rows).assign(**_subject(job))})


def _attention(job: Job, store: Store) -> Record:
    """Bounds of block 0's heads at [CLS], the furthest point found, random prompts, and a trained soft prompt."""
    c = job.config
    longest = c["lengths"][-1]
    delta, phi, record = _trained(job, store, {"method": "prompt", "tokens": longest})
    batch = _texts(c, delta.plm)
    bare_plm = plm_of(c["runs"]["model"], delta.plm.num_labels, c["runs"]["seeds"][0], "pretrained")
    with torch.no_grad():
        text = record_blocks(bare_plm, {}, batch)[0][0].arguments[0].double()  # what enters block 0, (batch, seq, d)
        with_prompt = record_blocks(delta.plm, delta.overrides(phi), batch)[0][0].arguments[0].double()
    trained = with_prompt[0, 1 : 1 + longest]  # after [CLS]; the same in every text
    norm = float(torch.linalg.vector_norm(trained, dim=-1).max())
    x = text[0][batch["attention_mask"][0].bool()]
    # positions after the prompt moved on, so the prompt's effect is measured against the text as it then enters
    shifted = torch.cat([with_prompt[0, :1], with_prompt[0, 1 + longest :]])[batch["attention_mask"][0].bool()]
    generator = torch.Generator().manual_seed(0)
    rows = []
    for index, head in enumerate(_double(h) for h in first_heads(bare_plm)[: c["n_heads"]]):
        for k in c["lengths"]:
            sharp, published = (reach_bound(head, x, k, norm, kind) for kind in ("sharp", "published"))
            common = {"head": index, "tokens": k, "norm": norm, "sharp": float(sharp.radius[0]),
                      "published": float(published.radius[0]),
                      "bare": float(torch.linalg.vector_norm(head.outputs(x)[0]))}  # fmt: skip
            found = furthest_reach(head, x, 0, k, norm, steps=c["ascent"])
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
    table = pd.DataFrame(rows).assign(**_subject(job))
    return Record(job, _bound_metrics(table, record), {"reach_bound": table})


def _double(head: Any) -> Any:
    return type(head)(**{name: value.detach().double() for name, value in vars(head).items()})


def _effect(head: Any, x: Tensor, u: Tensor) -> dict[str, float]:
    return {"reached": float(torch.linalg.vector_norm(unreached_without_prompt(head, x, u)[0])),
            "mass": float(head.mass(x, u)[0])}  # fmt: skip


def _bound_metrics(table: pd.DataFrame, record: Record) -> dict[str, Any]:
    ratio = table.reached / table.sharp
    return {
        "norm": float(table.norm.iloc[0]),
        "violations": int((ratio > 1 + 1e-9).sum()),
        "points": len(table),
        "tightness_optimised": float(ratio[table.prompt == "optimised"].median()),
        "tightness_trained": float(ratio[table.prompt == "trained"].median()),
        "sharp_to_published": float((table.sharp / table.published).median()),
        "prompt_score": record.metrics["score"],
    }


def _next_tokens(job: Job, store: Store) -> Record:
    """Searches a prompt for every (state, target) pair, each a child record; one row per pair and k."""
    c = job.config
    shared = {name: c[name] for name in _SEARCH if name not in ("n_states", "target_ranks")} | {"task": c["task"]}
    children = [
        Job(PAIR, {**shared, "state": state, "start_rank": rank})
        for state in range(c["n_states"])
        for rank in c["target_ranks"]
    ]
    records = Local(store).run(children, _pair, label="pairs of state and target")
    table = pd.concat([record.tables["forced_tokens"] for record in records], ignore_index=True)
    shares = {f"share_k{k}": float(part.forced.mean()) for k, part in table.groupby("tokens")}
    return Record(job, {"pairs": len(records), **shares}, {"forced_tokens": table})


def _pair(job: Job, store: Store) -> Record:
    """One search: the target is the token of the given rank after the state."""
    c = job.config
    plm = _language_model(c["language_model"])
    text = first_words(subset(c["task"], None, None).validation.texts[c["state"]], c["state_words"])
    ids = plm.tokenizer(text, add_special_tokens=False)["input_ids"]
    state = torch.tensor(ids, device=plm.device)
    order = NextToken(plm, state, 0).logits(state.new_zeros(1, 0))[0].argsort(descending=True)
    target = int(order[c["start_rank"] - 1])
    question = NextToken(plm, state, target)
    found = force_token(question, c["longest"], width=c["width"], rounds=c["rounds"], seed=c["state"])
    rows = []
    for k in range(c["longest"] + 1):
        last = min(k, len(found.ranks) - 1)
        rows.append(
            {"language_model": c["language_model"], "task": c["task"], "state": c["state"], "target": target,
             "start_rank": c["start_rank"], "tokens": k, "forced": controllable_share([found], k)[0],
             "rank": found.ranks[last], "loss": found.losses[last], "evaluations": found.evaluations}
        )  # fmt: skip
    return Record(
        job, {"length": found.length, "evaluations": found.evaluations}, {"forced_tokens": pd.DataFrame(rows)}
    )


@lru_cache(maxsize=1)
def _language_model(name: str) -> PLM:
    if name.startswith("tiny-"):
        return tiny_plm(name.removeprefix("tiny-"), head="lm", dtype=torch.float32)
    return load_plm(name, head="lm", device=device(), attention="sdpa")


def _share(table: pd.DataFrame, k: int) -> Interval:
    chosen = table[table.tokens == k]
    return proportion_interval(int(chosen.forced.sum()), len(chosen))


def summary(store: Store, records: list[Record]) -> str:
    """Mass, bound and share of forced targets."""
    lines = []
    for record in records:
        m, part = record.metrics, record.job.config["part"]
        if part == "prefix":
            lines.append(
                f"prefix of {m['tokens']}: mean λ {m['mass_start']:.3f} at the start, {m['mass_trained']:.3f} trained "
                f"(even share {m['even']:.3f})"
            )
        elif part == "attention":
            lines.append(
                f"block 0, ‖u‖ ≤ {m['norm']:.2f}: {m['violations']} of {m['points']} prompts beyond the bound; median "
                f"reached/bound {m['tightness_optimised']:.3f} optimised, {m['tightness_trained']:.3f} trained; sharp "
                f"is {m['sharp_to_published']:.3f} of the published bound"
            )
        else:
            table = record.tables["forced_tokens"]
            shares = [(k, _share(table, k)) for k in sorted(table.tokens.unique())]
            lines.append(f"{m['pairs']} pairs of state and target on {record.job.config['language_model']}:")
            lines += [f"  k ≤ {k}: {s.estimate:.2f} forced [{s.low:.2f}, {s.high:.2f}]" for k, s in shares]
    return "\n".join(lines)


def verdicts(records: Sequence[Record]) -> list[Verdict]:
    """Is the bound kept, and do short prompts force most of the likely next tokens?"""
    found = []
    for record in records:
        c = record.job.config
        if c["part"] == "attention":
            table = record.tables["reach_bound"]
            worst = float((table.reached / table.sharp).max())
            found.append(
                Verdict(
                    claim="no prompt moves a head's output further off its bare output than the bound allows",
                    source="Bhargava et al. 2023",
                    quantity="largest reached/bound over heads, lengths and prompts (a maximum, not a mean)",
                    measured=Interval(worst, worst, worst, len(table)), threshold=1.0, side="below",
                    setting=f"{c['runs']['model']}, block 0 at the first token", figure="reach_bound",
                )
            )  # fmt: skip
        elif c["part"] == "next tokens":
            table = record.tables["forced_tokens"]
            found.append(
                Verdict(
                    claim=f"prompts of at most {c['longest']} tokens force most of the targets tried",
                    source="Bhargava et al. 2023 (97 % of the 75 likeliest tokens with k ≤ 10, on larger models)",
                    quantity="share of (state, target) pairs, exact binomial interval",
                    measured=_share(table, c["longest"]), threshold=0.5, side="above",
                    setting=f"{c['language_model']}, {c['n_states']} states, target ranks "
                    f"{', '.join(map(str, c['target_ranks']))}, width {c['width']}",
                    figure="forced_tokens",
                )
            )  # fmt: skip
    return found
