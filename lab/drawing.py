"""`show`: the figure of anything that has one."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, nan
from typing import TYPE_CHECKING, Any

from lab.deferred import pandas as pd
from lab.figures.definition import Figure
from lab.figures.registry import every, figure
from lab.figures.style import LIGHT, SCREEN, Size, Theme
from lab.runs import Record, everything, table_with

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from lab.geometry import IntrinsicDimension
    from lab.linalg import Spectrum
    from lab.statistics import Verdict
    from lab.training import Fit

Drawable = tuple[Figure, "pd.DataFrame"]


def show(
    x: object, table: pd.DataFrame | None = None, *, label: str = "", theme: Theme = LIGHT, size: Size = SCREEN
) -> go.Figure:
    """Draws anything that has a figure; in a notebook the drawing shows itself.

    Args:
        x: a `Fit` (its learning curve), a `Spectrum`, an `IntrinsicDimension` (scores over dimension), a `Record` (the
            first figure that one of its tables is for), a `Verdict` (the figure that shows it, of the records in the
            store and the gallery); or a `Figure`, or the name of one, with a table.
        table: for a figure; default: of the records in the store and the gallery.
        label: what the legend calls it; default: what kind of thing it is.
        theme, size: as of `Figure.draw`.

    Raises:
        TypeError: nothing draws this.
        TableError, StoreError: there is no table to draw, or it cannot be drawn.

    Example:
        >>> import torch
        >>> from lab.linalg import Spectrum
        >>> show(Spectrum.of(torch.eye(4))).data[0].y
        [1.0, 1.0, 1.0, 1.0]
    """
    if isinstance(x, str):
        x = figure(x)
    if isinstance(x, Figure):
        found = table if table is not None else table_with(everything(), tuple(x.columns), name=x.table)[1]
        return x.draw(found, theme, size)
    kinds = [f"{kind.__module__}.{kind.__qualname__}" for kind in type(x).__mro__]
    made = next((_DRAWN[kind] for kind in kinds if kind in _DRAWN), None)
    if made is None:
        names = ", ".join(sorted(name.rpartition(".")[2] for name in _DRAWN))
        raise TypeError(f"nothing draws a {type(x).__name__}; what can be drawn: {names}, Figure, or its name.")
    drawn, rows = made(x, label or type(x).__name__)
    return drawn.draw(rows, theme, size)


def _fit(fit: Fit, label: str) -> Drawable:
    columns = ["step", "seconds", "split", "loss", "score"]
    rows = pd.DataFrame(fit.history, columns=columns).assign(label=label, seed=0, metric=fit.metric)
    return figure("learning_curves"), rows


def _spectrum(spectrum: Spectrum, label: str) -> Drawable:
    sigma = spectrum.values.tolist()
    own: dict[str, Any] = {"label": label, "matrix": label, "role": " × ".join(map(str, spectrum.shape)), "block": nan}
    rows = pd.DataFrame({"index": range(1, len(sigma) + 1), "sigma": sigma, "null_low": nan, "null_high": nan})
    return figure("weight_difference_spectra"), rows.assign(**own)


def _dimension(found: IntrinsicDimension, label: str) -> Drawable:
    rows = [
        {"kind": "subspace", "d": d, "seed": seed, "score": score}
        for d, scores in found.scores.items()
        for seed, score in enumerate(scores)
    ]
    rows += [{"kind": "fit", "d": d, "score": score} for d, score in found.curve]
    for kind, d in {"d90": found.d, "d90_low": found.low, "d90_high": found.high}.items():
        rows.append({"kind": kind, "d": nan if d is None or d == inf else d, "score": found.line})
    table = pd.DataFrame(rows).assign(label=label, model="", task="", metric="score")
    return figure("intrinsic_dimension"), table


def _record(record: Record, label: str) -> Drawable:
    for drawn in every():
        rows = record.tables.get(drawn.table)
        if rows is not None and set(drawn.columns) <= {*rows.columns, *record.job.config}:
            joined = {name: record.job.config[name] for name in drawn.columns if name not in rows.columns}
            return drawn, rows.assign(**joined)
    raise TypeError(f"no figure draws a table of this record; its tables are {', '.join(record.tables) or '(none)'}.")


def _verdict(verdict: Verdict, label: str) -> Drawable:
    drawn = figure(verdict.figure)
    return drawn, table_with(everything(), tuple(drawn.columns), name=drawn.table)[1]


_DRAWN: dict[str, Callable[[Any, str], Drawable]] = {
    "lab.training.fit.Fit": _fit,
    "lab.linalg.spectrum.Spectrum": _spectrum,
    "lab.geometry.intrinsic_dimension.IntrinsicDimension": _dimension,
    "lab.runs.record.Record": _record,
    "lab.statistics.verdict.Verdict": _verdict,
}
"""By qualified names, so that none of these modules, and no torch, is imported to draw another."""
