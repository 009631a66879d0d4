"""k-ε controllability: the share of next tokens that prompts of at most k tokens force."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from lab.figures.definition import TEXT, Column, Figure
from lab.figures.sources import BHARGAVA_2023, ZOU_2023
from lab.figures.style import Theme, plain
from lab.statistics import proportion_interval

_COLUMNS = {
    "language_model": Column("the PLM", TEXT),
    "state": Column("number of the text that the next token follows", "count"),
    "start_rank": Column("rank of the target token without a prompt (1: argmax)", "count"),
    "tokens": Column("k, tokens of the prompt at most", "count"),
    "forced": Column("1 where a prompt of at most k tokens made the target the argmax, else 0", "count"),
    "rank": Column("the target's rank under the best prompt of that length", "count"),
}


def _shares(part: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for k, found in part.groupby("tokens"):
        share = proportion_interval(int(found.forced.sum()), len(found))
        rows.append({"tokens": k, "share": share.estimate, "low": share.low, "high": share.high, "n": share.n})
    return pd.DataFrame(rows)


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    figure = go.Figure()
    several = table.language_model.nunique() > 1
    lines = [
        (f"{plain(model)}, " if several else "", rank, part)
        for model, own in table.groupby("language_model", sort=False)
        for rank, part in [*own.groupby("start_rank"), (None, own)]
    ]
    colours = theme.depths(max(len(lines) - 1, 1))
    for i, (prefix, rank, part) in enumerate(lines):
        found = _shares(part)
        every = rank is None
        name = f"{prefix}all targets" if every else f"{prefix}target of rank {rank:,}"
        colour = theme.ink if every else colours[min(i, len(colours) - 1)]
        figure.add_scatter(
            x=found.tokens + 0.035 * (i - len(lines) / 2), y=found.share, name=name, mode="lines+markers",
            line={"color": colour, "width": 3 if every else 1.6, "dash": "solid" if every else "dot"},
            marker={"symbol": theme.symbol(0 if every else 1), "size": 8 if every else 6},
            error_y={"type": "data", "symmetric": False, "array": found.high - found.share,
                     "arrayminus": found.share - found.low, "thickness": 1.6 if every else 0.8, "width": 0},
            hovertemplate=f"k ≤ %{{x:.0f}}: %{{y:.2f}}<extra>{name}, {found.n.max()} pairs</extra>",
        )  # fmt: skip
    models = ", ".join(plain(model) for model in dict.fromkeys(table.language_model))
    figure.update_xaxes(title_text=f"prompt tokens k, {models} [count]", dtick=1)
    figure.update_yaxes(title_text="share of targets forced [fraction]", range=[-0.03, 1.03])
    figure.update_layout(height=400)
    return figure


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per PLM, target rank and k: share forced with its exact binomial interval, and the median rank reached."""
    rows = []
    for (model, rank), part in table.groupby(["language_model", "start_rank"], sort=False):
        for row in _shares(part).to_dict("records"):
            reached = part["rank"][part.tokens == row["tokens"]].median()
            rows.append(
                {"PLM": model, "rank without prompt": rank, "k [count]": row["tokens"], "share forced": row["share"],
                 "low": row["low"], "high": row["high"], "pairs [count]": row["n"], "median rank reached": reached}
            )  # fmt: skip
    return pd.DataFrame(rows)


def _describe(table: pd.DataFrame) -> str:
    sentences = []
    for model, own in table.groupby("language_model", sort=False):
        parts = [
            f"k ≤ {row.tokens}: {row.share:.2f} [{row.low:.2f}, {row.high:.2f}]" for row in _shares(own).itertuples()
        ]
        pairs = own[own.tokens == own.tokens.min()]
        sentences.append(f"{model}, {len(pairs)} pairs of state and target, share forced: {'; '.join(parts)}.")
    return " ".join(sentences)


def _example() -> pd.DataFrame:
    """Made-up searches: likely targets need fewer tokens."""
    rows = []
    for state in range(6):
        for start, needed in ((2, 1), (100, 2), (1000, 4)):
            for k in range(5):
                done = k >= needed + (state % 3 == 0) and start > 1
                rows.append(("smollm2", state, start, k, int(done), 1 if done else max(start // (k + 1), 2)))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


FORCED_TOKENS = Figure(
    name="forced_tokens",
    title="Next tokens that short prompts force",
    columns=_COLUMNS,
    build=_build,
    group="control",
    order=18,
    summary=_summary,
    describe=_describe,
    caption=(
        "Share of (state, target) pairs for which a prompt of at most k tokens, found by greedy search and greedy "
        "coordinate gradient, makes the target the most probable next token; by the target's rank without a prompt, "
        "and over all. Bars: exact 95 % binomial intervals."
    ),
    reading=(
        "One minus the height at k estimates ε of k-ε controllability for this set of pairs, from above: a longer "
        "search can only raise the line. Lines of rarer targets lie lower, or rise later. Pairs share states, so that "
        "the intervals, which take pairs for independent, are somewhat too short."
    ),
    source=(BHARGAVA_2023, ZOU_2023),
    example=_example,
)
