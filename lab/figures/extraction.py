"""A full fine-tuning as LoRAs of many ranks: what each keeps of the score."""

from __future__ import annotations

import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, around, listed, split
from lab.figures.sources import GAVISH_2014, HU_2021
from lab.figures.style import Theme, score_title
from lab.statistics import Answer

_COLUMNS = columns("extraction", "kind", "rule", "mean_rank", "score")
NEARLY = 0.95
"""Share of full fine-tuning's score from which a rank is called enough, as of a run that has converged."""

_OPTIONAL = columns("extraction", "stored", "relative_error", "metric")


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, wrap=2, height=400)
    for title, part in _runs(table):
        panel, made = grid.panel(title), part[part.kind == "extracted"]
        plain_rank = made.rule.str.startswith("rank ")
        fixed = made[plain_rank].groupby("mean_rank", as_index=False).score.mean()
        panel.line(fixed.mean_rank, fixed.score, "one rank for all matrices", symbol=grid.symbol(""), size=7, width=2)
        for rule, own in split(made[~plain_rank], "rule") if (~plain_rank).any() else ():
            panel.points(own.mean_rank, own.score, rule, symbol=grid.symbol(rule), size=10)
        for kind, own in split(part[part.kind != "extracted"], "kind") if (part.kind != "extracted").any() else ():
            panel.rule(y=float(own.score.mean()), name=kind, dash=grid.dash(kind), width=1.5)
    metric = score_title(table.metric) if "metric" in table else "validation score [fraction]"
    scores = table.score.astype(float)
    return grid.x("mean rank of the extracted LoRA [count]", log=True).y(metric, range=around(scores))


def _runs(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """One part per PLM, task and seed where the table says which."""
    known = [name for name in ("model", "task", "seed") if name in table]
    return split(table, *known) if known else [("", table)]


def _answer(table: pd.DataFrame) -> Answer:
    columns = {
        "mean_rank": "mean rank [count]",
        "stored": "stored [count]",
        "relative_error": "relative error [1]",
        "score": "score [fraction]",
    }
    present = [name for name in columns if name in table]
    named = table.assign(named=table.rule.where(table.rule != "", table.kind))
    of = [name for name in ("model", "task", "seed") if named.get(name, pd.Series()).nunique() > 1]
    found = named.groupby([*of, "named"], sort=False)[present].mean().reset_index()
    told = []
    for title, part in _runs(table):
        before = f"{title}: " if of else ""
        told += [f"{before}{said}" for said in (*_enough(part), *_scores(part))]
    found = found.rename(columns=columns | {"named": "LoRA or reference"})
    return Answer(listed("", told), found)


def _scores(part: pd.DataFrame) -> list[str]:
    """The references, then the lowest and the highest rank."""
    made, others = part[part.kind == "extracted"].sort_values("mean_rank"), part[part.kind != "extracted"]
    said = [f"{kind}: {own.score.mean():.3f}" for kind, own in (split(others, "kind") if len(others) else ())]
    return said + [f"LoRA of mean rank {row.mean_rank:.3g}: {row.score:.3f}" for row in made.iloc[[0, -1]].itertuples()]


def _enough(part: pd.DataFrame) -> list[str]:
    """The least rank for all matrices that keeps nearly all of full fine-tuning's score, and what it keeps."""
    full = part.score[part.kind == "full fine-tuning"].mean()
    made = part[(part.kind == "extracted") & part.rule.str.startswith("rank ")].sort_values("mean_rank")
    if made.empty or not full > 0:
        return []
    enough = made[made.score >= NEARLY * full]
    row = (enough if len(enough) else made.iloc[[-1]]).iloc[0]
    least = f"the least that keeps {NEARLY:.0%}" if len(enough) else f"the largest, and none keeps {NEARLY:.0%}"
    return [f"A LoRA of rank {row.mean_rank:g} keeps {row.score / full:.0%} of full fine-tuning's score, {least}"]


def _example() -> pd.DataFrame:
    """Made-up scores that rise with the rank."""
    rows = [
        {"kind": "extracted", "rule": f"rank {r}", "mean_rank": float(r), "score": 0.9 - 0.4 / r} for r in (1, 2, 4, 8)
    ]
    rows += [{"kind": "extracted", "rule": "null", "mean_rank": 5.5, "score": 0.85}]
    rows += [
        {"kind": kind, "rule": "", "mean_rank": float("nan"), "score": score}
        for kind, score in (("full fine-tuning", 0.92), ("trained head alone", 0.4))
    ]
    return pd.DataFrame(rows)


EXTRACTION = Figure(
    name="extraction",
    title="Full fine-tuning as a LoRA",
    columns=_COLUMNS,
    optional=_OPTIONAL,
    build=_build,
    conclude=_answer,
    group="weights",
    order=12,
    apart=("model", "task", "seed"),
    caption=(
        "Validation score of the best LoRA of a full fine-tuning's difference (truncated singular value decomposition "
        "of each block matrix, written as a peft checkpoint and read back), over its mean rank; diamonds choose the "
        "rank of each matrix by a rule; lines are references."
    ),
    reading=(
        "Where the curve meets full fine-tuning's line, the update is of that rank as far as the score can tell. The "
        "gap between full fine-tuning and its block matrices is what a LoRA cannot hold at any rank: embeddings, "
        "biases, norms. The trained head alone says how much of the score needs no change of the weights at all. A "
        "small error ‖ΔW − BA‖ is not needed for a good score: most of a difference can be noise of training."
    ),
    source=(HU_2021, GAVISH_2014),
    example=_example,
)
