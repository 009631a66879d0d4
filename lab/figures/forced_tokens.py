"""k-ε controllability: the share of next tokens that prompts of at most k tokens force."""

from __future__ import annotations

import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, Panel, listed, split
from lab.figures.sources import BHARGAVA_2023, ZOU_2023
from lab.figures.style import Theme, counted
from lab.statistics import Answer, clustered_proportion

_COLUMNS = columns("forced_tokens", "language_model", "state", "start_rank", "tokens", "forced", "rank")


def _shares(part: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for k, found in part.groupby("tokens"):
        share = clustered_proportion({state: own.forced.tolist() for state, own in found.groupby("state")})
        rows.append({"tokens": k, "share": share.estimate, "low": share.low, "high": share.high, "n": share.n})
    return pd.DataFrame(rows)


def _models(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return split(table, "language_model", "model", "task", "seed")


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    """A panel per PLM: a line per rank of the target without a prompt, and one of all targets."""
    grid, ranks = Grid(theme, wrap=2, height=400, share_y=True), sorted(table.start_rank.unique())
    colours = dict(zip(ranks, theme.depths(len(ranks)), strict=True))
    for name, own in _models(table):
        panel = grid.panel(name)
        for i, rank in enumerate(ranks):
            part, aside = own[own.start_rank == rank], 0.035 * (i - len(ranks) / 2)
            if len(part):
                _line(panel, part, f"target of rank {rank:,}", colours[rank], aside, "dot")
        _line(panel, own, "all targets", theme.ink, 0.035 * len(ranks) / 2, "solid")
    grid.x("prompt tokens k [count]", options={"dtick": 1})
    return grid.y("share of targets forced [fraction]", range=(-0.03, 1.03))


def _line(panel: Panel, part: pd.DataFrame, name: str, colour: str, aside: float, dash: str) -> None:
    """Shares with their intervals over states, a little aside of others; that of all targets is thicker.

    An interval from 0 to 1, which few states leave, would be a line across the panel: hovering says it.
    """
    found, (width, size) = _shares(part), (3.0, 8.0) if dash == "solid" else (1.6, 6.0)
    known = found.high - found.low < 1
    panel.line(
        found.tokens + aside, found.share, name, colour=colour, dash=dash, width=width, size=size,
        symbol=panel.grid.symbol(name), error=(found.high - found.share).where(known, 0.0),
        error_down=(found.share - found.low).where(known, 0.0), data=[found.low, found.high],
        hover="k ≤ %{x:.0f}: %{y:.2f} [%{customdata[0]:.2f}, %{customdata[1]:.2f}], "
        + counted(int(found.n.max()), "state"),
    )  # fmt: skip


def _answer(table: pd.DataFrame) -> Answer:
    """Per PLM, target rank and k: share forced with its interval over states, and the median rank reached."""
    rows, told = [], []
    for name, own in _models(table):
        for rank, part in own.groupby("start_rank", sort=False):
            for row in _shares(part).to_dict("records"):
                reached = part["rank"][part.tokens == row["tokens"]].median()
                found = {"PLM": name, "rank without prompt": rank, "k [count]": row["tokens"]}
                found |= {"share forced": row["share"], "low": row["low"], "high": row["high"]}
                rows.append(found | {"states [count]": row["n"], "median rank reached": reached})
        told += [
            f"{name}, k ≤ {row.tokens}: {row.share:.2f} [{row.low:.2f}, {row.high:.2f}]"
            for row in _shares(own).itertuples()
        ]
    return Answer(listed("Share of targets forced", told), pd.DataFrame(rows))


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
    conclude=_answer,
    apart=("model", "task", "seed"),
    caption=(
        "Share of (state, target) pairs for which a prompt of at most k tokens, found by greedy search and greedy "
        "coordinate gradient, makes the target the most probable next token; by the target's rank without a prompt, "
        "and over all. Bars: 95 % intervals over states; none where it is all of 0 to 1."
    ),
    reading=(
        "One minus the height at k estimates ε of k-ε controllability for this set of pairs, from above: a longer "
        "search can only raise the line. Lines of rarer targets lie lower, or rise later. The targets after one state "
        "are not independent trials, so the intervals count states."
    ),
    source=(BHARGAVA_2023, ZOU_2023),
    example=_example,
)
