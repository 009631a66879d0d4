"""Eigenvalues of the curvature of each delta, before and after training, beside random weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed, split
from lab.figures.sources import GHORBANI_2019, SCHRAUDOLPH_2002
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = columns("curvature_spectrum", "label", "state", "scope", "index", "eigenvalue")
_RANDOM = ", random weights"
_WHEN = {"start": "at the start"}


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    """Left: all of φ, a line per method and state. Right: the largest eigenvalue of every block."""
    grid = Grid(theme, wrap=2, height=380, labels=table.label)
    left, right = grid.panel("all coordinates"), grid.panel("largest eigenvalue of each block")
    scopes = ordered_scopes(table.scope[table.scope != "all"])
    for label, own in _by_label(table):
        look = grid.look(label)
        for state, rows in split(own, "state"):
            whole = rows[(rows.scope == "all") & (rows.eigenvalue > 0)].sort_values("index")
            top = rows[rows.scope != "all"].groupby("scope").eigenvalue.max()
            said: dict[str, Any] = {"hover": "λ<sub>%{x}</sub> = %{y:.3g}", "colour": look.colour}
            if _leading(own):
                left.points(whole["index"], whole.eigenvalue, label, symbol=f"{look.symbol}-open", size=7, **said)
                continue
            style: dict[str, Any] = {
                "symbol": look.symbol,
                "dash": "solid" if state == "trained" else "dot",
            }
            style |= {"width": 1.4 if _RANDOM in label else 2, "size": 5, "key": state}
            left.line(whole["index"], whole.eigenvalue, label, **style, **said)
            if len(top):
                said |= {"hover": "%{x}: %{y:.3g}"}
                right.line(_short(scopes), top.reindex(scopes), label, **style, **said)
    left.x("index [count]", log=True)
    right.x("coordinates of φ [block]", categories=_short(scopes))
    return grid.y("eigenvalue [nats per unit of φ²]", log=True)


def _by_label(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """A part per label: methods before their nulls, those whose whole spectrum is known first."""
    return sorted(split(table, "label"), key=lambda named: (_leading(named[1]), _RANDOM in named[0]))


def _leading(own: pd.DataFrame) -> bool:
    """Whether only the largest eigenvalues of a label are known: by products alone, no block has a spectrum either."""
    return bool((own.scope == "all").all())


def _short(scopes: list[str]) -> list[str]:
    """ "block 3" is 3 on the axis; head and embeddings are the rest."""
    return [scope.removeprefix("block ") if scope != "outside the blocks" else "rest" for scope in scopes]


def ordered_scopes(scopes: pd.Series) -> list[str]:
    """`block b` by number, the rest last."""
    present = list(dict.fromkeys(scopes))
    number = {scope: int(scope.split()[-1]) for scope in present if scope.split()[-1].isdigit()}
    return sorted(number, key=number.__getitem__) + [scope for scope in present if scope not in number]


def _answer(table: pd.DataFrame) -> Answer:
    """Per method and state: largest eigenvalue, trace, participation ratio, how many hold 90 % of the trace.

    The largest eigenvalues alone have no such ratio: what they are a share of is not known.
    """
    rows, told = [], []
    for label, own in _by_label(table):
        words, leading = [], _leading(own)
        for state, part in split(own[own.scope == "all"], "state"):
            values = np.sort(part.eigenvalue.clip(lower=0).to_numpy(float))[::-1]
            total = float(values.sum())
            ratio = total**2 / float((values**2).sum()) if total else 0.0
            most = int(np.searchsorted(np.cumsum(values), 0.9 * total) + 1)
            whole = (np.nan,) * 3 if leading else (total, ratio, most)
            rows.append((label, state, len(values), values[0], *whole))
            words.append(
                f"only the {len(values)} largest known"
                if leading
                else f"{ratio:.1f} of {len(values)} {_WHEN.get(state, state)}"
            )
        if words:
            told.append(f"{label}: {', '.join(words)}")
    names = ["label", "state", "eigenvalues [count]", "largest", "trace", "participation ratio"]
    if not rows:
        return Answer("Only blocks are known, none of all coordinates together.", table.head(1))
    found = pd.DataFrame(rows, columns=[*names, "for 90 % of the trace [count]"])
    return Answer(listed("Stiff directions (participation ratio of the curvature)", told), found)


def _example() -> pd.DataFrame:
    """Made-up spectra: a few stiff directions over a bulk that training lowers; four blocks and a head."""
    rows = []
    for label, height in (("LoRA r = 8", 1.0), ("BitFit", 3.0), ("LoRA r = 8, random weights", 0.05)):
        for state, fall in (("start", 1.0), ("trained", 0.2)):
            for scope, share in (("all", 1.0), *((f"block {b}", 0.1 * (b + 1)) for b in range(4)), ("head", 0.6)):
                index = np.arange(1, 41 if scope == "all" else 11)
                values = height * share * np.where(index <= 4, 1.0, 0.03 * fall * index**-0.8)
                rows.append(
                    pd.DataFrame({"label": label, "state": state, "scope": scope, "index": index, "eigenvalue": values})
                )
    return pd.concat(rows, ignore_index=True)


CURVATURE_SPECTRUM = Figure(
    name="curvature_spectrum",
    title="Curvature of the loss in a delta's vector",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="loss",
    order=1,
    caption=(
        "Eigenvalues of the Gauss-Newton matrix of each delta on one fixed batch, before training (dotted) and after "
        "(solid), with random weights in grey; left all of φ on logarithmic axes (single points: the largest alone are "
        "known), right the largest eigenvalue of the diagonal block of every layer."
    ),
    reading=(
        "A line that starts high and drops steeply means few stiff directions: along all others the loss hardly "
        "changes, so many vectors solve the task, and a random subspace need only meet the few. The rank is at most "
        "(classes − 1) times the number of sentences, whatever the length of φ, so the end of each line is the "
        "batch's, not the model's. Heights of different methods are in units of their own φ and cannot be compared; "
        "shapes can. A null that lies as high as its method says that pre-training did not make these directions."
    ),
    source=(SCHRAUDOLPH_2002, GHORBANI_2019),
    example=_example,
)
