"""`show`: the figure of anything that has one."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, nan
from typing import TYPE_CHECKING, Any

from lab.deferred import pandas as pd
from lab.figures.definition import Figure
from lab.figures.forest import forest
from lab.figures.registry import every, figure
from lab.figures.style import LIGHT, SCREEN, Size, Theme
from lab.runs import Manifest, Record, everything, newest_first, table_with
from lab.runs.folder import read_folder
from lab.statistics import Verdict
from lab.study.catalogue import outlines
from lab.study.makers import recorded_makers

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from lab.geometry import IntrinsicDimension, WeightDifferenceSpectra
    from lab.geometry.collections import Portrait
    from lab.linalg import Spectrum
    from lab.training import Fit

Drawable = tuple[Figure, "pd.DataFrame"]


def show(
    x: object, table: pd.DataFrame | None = None, *, label: str = "", theme: Theme = LIGHT, size: Size = SCREEN
) -> go.Figure:
    """Draws anything that has a figure; in a notebook the drawing shows itself.

    Args:
        x: a `Fit` (its learning curve), a `Spectrum`, the `WeightDifferenceSpectra` of an update, an
            `IntrinsicDimension` (scores over dimension), the `Portrait` of a collection (directions that its members
            share), a `Record` or its `Manifest` (the first figure of its experiment that it has a table for, else any),
            a `Verdict` (the figure that shows it, of the records in the store and the gallery), several in a list
            (estimates and intervals beside their thresholds), a table (the figure that uses most of its columns); or a
            `Figure`, or the name of one, with a table.
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
        return x.draw(table if table is not None else _recorded(x), theme, size)
    if isinstance(x, list | tuple) and x and all(isinstance(one, Verdict) for one in x):
        return forest(x, theme).figure(size)
    kinds = [f"{kind.__module__}.{kind.__qualname__}" for kind in type(x).__mro__]
    made = next((_DRAWN[kind] for kind in kinds if kind in _DRAWN), None)
    if made is None:
        names = ", ".join(sorted({name.rpartition(".")[2] for name in _DRAWN}))
        raise TypeError(f"nothing draws a {type(x).__name__}; what can be drawn: {names}, Figure, or its name.")
    drawn, rows = made(x, label or type(x).__name__)
    return drawn.draw(rows, theme, size)


def _recorded(drawn: Figure) -> pd.DataFrame:
    """The rows of the records in the store and the gallery, without those that a newer record contradicts.

    They are of the first experiment that draws the figure itself, or else of the only one that has its columns.
    """
    runs = everything()
    maker = next(iter(recorded_makers(drawn.name, drawn.table, runs)), None)
    experiment, rows = table_with(runs, tuple(drawn.columns), name=drawn.table, also=drawn.also, experiment=maker)
    newest = newest_first(runs.manifests(experiment))
    return rows[~rows["key"].isin(drawn.outdated(rows, [manifest.key for manifest in newest]))]


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
    columns = ["kind", "d", "seed", "score"]  # a search that ended early has no seed, and no fit
    table = pd.DataFrame(rows, columns=columns).assign(label=label, model="", task="", metric="score")
    return figure("intrinsic_dimension"), table


def _update(spectra: WeightDifferenceSpectra, label: str) -> Drawable:
    return figure("weight_difference_spectra"), spectra.values.assign(label=label)


def _portrait(found: Portrait, label: str) -> Drawable:
    rows = found.tables["shared_directions"]
    return figure("shared_directions"), rows.assign(label=label) if label != type(found).__name__ else rows


def _table(table: pd.DataFrame, label: str) -> Drawable:
    rows = table if "label" in table.columns else table.assign(label=label)
    fitting = [drawn for drawn in every() if set(drawn.columns) <= set(rows.columns)]
    if not fitting:
        raise TypeError(
            f"no figure draws a table with the columns {', '.join(map(str, table.columns))}; name one, as in "
            'show("cka", table), and its refusal says which columns it needs.'
        )
    return max(fitting, key=lambda drawn: len(drawn.columns)), rows


def _record(record: Record, label: str) -> Drawable:
    asked = next((outline.figures for outline in outlines() if outline.name == record.job.experiment), ())
    for drawn in sorted(every(), key=lambda drawn: asked.index(drawn.name) if drawn.name in asked else len(asked)):
        rows = record.tables.get(drawn.table)
        if rows is not None and set(drawn.columns) <= {*rows.columns, *record.job.config}:
            others = [record.tables[name] for name in drawn.also if name in record.tables]
            rows = pd.concat([rows, *others], ignore_index=True)
            joined = {name: record.job.config[name] for name in drawn.columns if name not in rows.columns}
            return drawn, rows.assign(**joined)
    raise TypeError(f"no figure draws a table of this record; its tables are {', '.join(record.tables) or '(none)'}.")


def _manifest(manifest: Manifest, label: str) -> Drawable:
    return _record(read_folder(manifest.folder), label)


def _verdict(verdict: Verdict, label: str) -> Drawable:
    drawn = figure(verdict.figure)
    return drawn, _recorded(drawn)


_DRAWN: dict[str, Callable[[Any, str], Drawable]] = {
    "lab.training.fit.Fit": _fit,
    "lab.linalg.spectrum.Spectrum": _spectrum,
    "lab.geometry.weight_differences.WeightDifferenceSpectra": _update,
    "lab.geometry.intrinsic_dimension.IntrinsicDimension": _dimension,
    "lab.geometry.collections.portrait.Portrait": _portrait,
    "lab.runs.record.Record": _record,
    "lab.runs.manifest.Manifest": _manifest,
    "lab.statistics.verdict.Verdict": _verdict,
    "pandas.core.frame.DataFrame": _table,
    "pandas.DataFrame": _table,
}
"""By qualified names, so that none of these modules, and no torch, is imported to draw another."""
