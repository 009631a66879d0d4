"""A full fine-tuning as LoRAs of many ranks: what each keeps of the score."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from lab.figures.figure import TEXT, Column, Figure
from lab.figures.sources import GAVISH_2014, HU_2021
from lab.figures.style import Theme, log_ticks, plain, score_title

_COLUMNS = {
    "kind": Column("extracted, or the name of a reference", TEXT),
    "rule": Column("how the rank of each matrix was chosen; empty for references", TEXT),
    "mean_rank": Column("mean rank over matrices; missing for references without one", "count"),
    "score": Column("validation score", "fraction"),
}
_OPTIONAL = {
    "stored": Column("numbers in the factors", "count"),
    "relative_error": Column("‖ΔW − BA‖/‖ΔW‖ over the block matrices", "1"),
    "metric": Column("name of the score", TEXT),
    "model": Column("the PLM", TEXT),
}


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    figure = go.Figure()
    made = table[table["kind"] == "extracted"]
    fixed = made[made["rule"].str.startswith("rank ")].groupby("mean_rank", as_index=False)["score"].mean()
    figure.add_scatter(
        x=fixed["mean_rank"], y=fixed["score"], mode="lines+markers", name="one rank for all matrices",
        line={"color": theme.colour(0), "width": 2}, marker={"size": 7},
    )  # fmt: skip
    others = made[~made["rule"].str.startswith("rank ")]
    for i, (rule, part) in enumerate(others.groupby("rule", sort=False), start=1):
        figure.add_scatter(
            x=part["mean_rank"], y=part["score"], mode="markers", name=plain(rule),
            marker={"color": theme.colour(i), "symbol": "diamond", "size": 10},
        )  # fmt: skip
    ranks = made["mean_rank"].dropna()
    low, high = (float(ranks.min()) / 1.2, float(ranks.max()) * 1.2) if len(ranks) else (1.0, 64.0)
    dashes = ("solid", "dash", "dot", "dashdot", "longdash")
    for i, (kind, part) in enumerate(table[table["kind"] != "extracted"].groupby("kind", sort=False)):
        level = float(part["score"].mean())
        figure.add_scatter(
            x=[low, high], y=[level, level], mode="lines", name=plain(kind),
            line={"color": theme.muted, "dash": dashes[i % len(dashes)], "width": 1.5},
        )  # fmt: skip
    figure.update_xaxes(title_text="mean rank of the extracted LoRA [count]", type="log", tickvals=log_ticks(low, high))
    metrics = table["metric"] if "metric" in table else pd.Series(dtype=object)
    figure.update_yaxes(title_text=score_title(metrics) if len(metrics) else "validation score [fraction]")
    figure.update_layout(height=400)
    return figure


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    columns = {
        "mean_rank": "mean rank [count]", "stored": "stored [count]", "relative_error": "relative error [1]",
        "score": "score [fraction]",
    }  # fmt: skip
    present = [name for name in columns if name in table]
    names = table["rule"].where(table["rule"] != "", table["kind"]).rename("LoRA or reference")
    return table.groupby(names, sort=False)[present].mean().reset_index().rename(columns=columns)


def _describe(table: pd.DataFrame) -> str:
    references = table[table["kind"] != "extracted"].groupby("kind", sort=False)["score"].mean()
    made = table[table["kind"] == "extracted"].sort_values("mean_rank")
    parts = [f"{kind} {score:.3f}" for kind, score in references.items()]
    if len(made):
        first, last = made.iloc[0], made.iloc[-1]
        parts.append(
            f"extracted LoRA from {first['score']:.3f} at mean rank {first['mean_rank']:.3g} to {last['score']:.3f} at "
            f"{last['mean_rank']:.3g}"
        )
    return "Validation scores: " + "; ".join(parts) + "."


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
    summary=_summary,
    describe=_describe,
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
