"""Does a controllability score rank the methods as training does?"""

from __future__ import annotations

import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed, split
from lab.figures.sources import DING_2022
from lab.figures.style import Theme, score_title
from lab.statistics import Answer
from lab.statistics.controllability import ranking_correlations

_COLUMNS = columns(
    "controllability_ranking", "label", "model", "task", "score", "metric", "trace", "effective_rank", "unit_norm"
)
_AXES = {
    "trace": "tr W at the logits [logits² / unit²]",
    "effective_rank": "effective rank [1]",
    "cheapness": "1 / ‖δφ‖ of one logit [1 / unit]",
}


def _prepared(table: pd.DataFrame) -> pd.DataFrame:
    """One row per PLM, task and method: the mean over its seeds, which are no new pairs for a rank correlation."""
    measured = table.assign(cheapness=1 / table.unit_norm.where(table.unit_norm > 0))
    return measured.groupby(["label", "model", "task", "metric"], sort=False, as_index=False).mean(numeric_only=True)


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    found = _prepared(table)
    grid = Grid(theme, wrap=3, height=400, share_y=True, labels=found.label)
    for name, title in _AXES.items():
        panel = grid.panel()
        panel.x(title, log=name != "effective_rank")
        for task, part in split(found, "model", "task"):
            part = part.sort_values(name)
            panel.line(part[name], part.score, colour=theme.muted, width=1, dash=grid.dash(task), key=task)
            for label, own in split(part, "label"):
                look, x, data, hover = (
                    grid.look(label),
                    own[name],
                    [[task] * len(own)],
                    "%{x:.3g}: %{y:.3f}, %{customdata[0]}",
                )
                panel.points(
                    x, own.score, label, colour=look.colour, symbol=look.symbol, size=10, data=data, hover=hover
                )
    return grid.y(score_title(found.metric))


def _answer(table: pd.DataFrame) -> Answer:
    """Spearman's ρ of each candidate with the score, ranked within each PLM and task, with its 95 % interval."""
    found = ranking_correlations(_prepared(table), tuple(_AXES))
    estimates = {f"ρ of {title.split(' [')[0]}": found[name] for name, title in _AXES.items()}
    rows = [(_AXES[name], rho.estimate, rho.low, rho.high, rho.n) for name, rho in found.items()]
    names = ["candidate", "Spearman's ρ", "low", "high", "methods [count]"]
    told = [f"{title.split(' [')[0]}: {rho:.2f} [{low:.2f}, {high:.2f}]" for title, rho, low, high, _ in rows]
    summary = pd.DataFrame(rows, columns=names).head(max(1, len(table)))
    return Answer(listed("Rank correlation with the trained score", told), summary, estimates)


def _example() -> pd.DataFrame:
    """Made-up methods on two tasks: a larger trace goes with a better score, roughly."""
    rows = []
    for j, task in enumerate(("bbc-news", "rotten-tomatoes")):
        for i, label in enumerate(("full fine-tuning", "LoRA", "adapter", "prefix", "prompt")):
            rows.append(
                (
                    label,
                    "minilm",
                    task,
                    0.9 - 0.05 * i - 0.1 * j + 0.03 * (i % 2),
                    "accuracy",
                    100.0 * 0.3**i,
                    12.0 - i + 2 * (i % 2),
                    0.01 * 2**i,
                )
            )
    return pd.DataFrame(rows, columns=list(_COLUMNS))


CONTROLLABILITY_RANKING = Figure(
    name="controllability_ranking",
    title="Does controllability rank the methods?",
    columns=_COLUMNS,
    build=_build,
    group="control",
    order=10,
    conclude=_answer,
    averages=("model", "task", "seed"),
    caption=(
        "Validation score after training against three candidates for a controllability score, all known before "
        "training: trace of the Gramian at the logits, effective rank of ∂logits/∂φ, and one over the norm of the "
        "least control that raises every margin by one logit. One point per method and task; lines join the points of "
        "a PLM and task."
    ),
    reading=(
        "If controllability explained which method trains best, points of one PLM and task (one symbol) would rise "
        "from left to right. The table gives the rank correlation within tasks, with its interval over methods: one "
        "that holds zero means that these runs cannot tell. Traces and norms are in each method's own coordinates."
    ),
    source=(DING_2022,),
    example=_example,
)
