"""Spectra of the controllability Gramian: what each method can move, and how easily."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, Panel, listed, split
from lab.figures.sources import DING_2022
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = columns("gramian_spectra", "label", "model", "task", "at", "kind", "index", "sigma")
SEED = columns("gramian_spectra", "seed")
NULL = "random subspace"
_MOST_PANELS = 6
_KINDS = ("at the start", "after training", "random weights")
_PLACES = {"logits": "logits", "read": "state read", "end": "last state"}


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    """Six panels at most, shared among PLMs and tasks, whole spectra first; a line per method and seed."""
    grid = Grid(theme, wrap=3, height=380, labels=[label for label in table.label if label != NULL])
    runs, places = [name for name in SEED if name in table], split(table, "model", "task")
    for place, own in places:
        before = f"{place}\n" if len(places) > 1 else ""
        panels = [
            (at, kind, part)
            for at in _in_order(own["at"], _PLACES)
            for kind in _in_order(own.kind[own["at"] == at], _KINDS)
            if len(part := own[(own["at"] == at) & (own.kind == kind)])
        ]
        for at, kind, part in panels[: max(1, _MOST_PANELS // len(places))]:
            panel = grid.panel(f"{before}{_PLACES.get(at, at)}, {kind}")
            panel.y("singular value [y per unit of φ]", log=True, range=_ends(own.sigma[own["at"] == at]))
            for (label, *_), run in part.sort_values("index").groupby(["label", *runs], sort=False):
                _line(panel, run, str(label))
    return grid.x("index [count]")


def _ends(sigma: pd.Series) -> tuple[float, float] | None:
    """Of an axis for all spectra of one y, so that its panels can be compared."""
    known = sigma[(sigma > 0) & np.isfinite(sigma)]
    return (0.7 * float(known.min()), 1.4 * float(known.max())) if len(known) else None


def _in_order(values: pd.Series, known: Collection[str]) -> list[str]:
    """The values that are there, those known first, in their order."""
    there = set(values)
    return [value for value in known if value in there] + sorted(there - set(known))


def _line(panel: Panel, run: pd.DataFrame, label: str) -> None:
    y, hover = run.sigma.where(run.sigma > 0), "σ<sub>%{x}</sub> = %{y:.4g}"
    if label == NULL:
        panel.line(run["index"], y, label, colour=panel.grid.theme.muted, width=4, opacity=0.55, hover=hover)
        return
    look = panel.grid.look(label)
    panel.line(run["index"], y, label, colour=look.colour, symbol=look.symbol, hover=hover)


def _answer(table: pd.DataFrame) -> Answer:
    """Per spectrum: how many values, how many above 0, the largest, Σσ², effective rank exp(−Σ p ln p)."""
    rows = []
    several = ["seed"] if "seed" in table and table.seed.nunique() > 1 else []
    names = ["label", "model", "task", "at", "kind", *several]
    for values, part in table.groupby(names, sort=False):
        sigma = np.sort(part.sigma.to_numpy(float))[::-1]
        p = sigma[sigma > 0] / sigma.sum() if sigma.sum() > 0 else np.empty(0)
        row = dict(zip(names, values, strict=True))
        row |= {"values [count]": len(sigma), "rank [count]": int((sigma > 0).sum())}
        row |= {"largest σ": float(sigma[0]), "Σσ²": float((sigma**2).sum())}
        rows.append(row | {"effective rank": float(np.exp(-(p * np.log(p)).sum())) if len(p) else 0.0})
    found = pd.DataFrame(rows)
    start = found[(found["at"] == "logits") & (found.kind == "at the start")]
    shown = start if len(start) else found
    told = [f"{name}: {row['effective rank'].mean():.1f}" for name, row in split(shown, "label", "model", "task")]
    lead = "Effective rank of what each method can move" + (" at the logits before training" if len(start) else "")
    return Answer(listed(lead, told), found.rename(columns={"label": "method", "kind": "when"}))


def _example() -> pd.DataFrame:
    """Made-up spectra of two methods and of a random subspace."""
    rows = []
    for label, size in (("LoRA", 2.0), ("prompt", 0.5), (NULL, 0.2)):
        for kind, grown in (
            (("at the start", 1.0), ("random weights", 0.3)) if label != NULL else (("at the start", 1),)
        ):
            for at, n in (("logits", 20), ("end", 5)):
                if at == "end" and (kind != "at the start" or label == NULL):
                    continue
                rows += [(label, "minilm", "bbc-news", at, kind, i, size * grown * 0.8**i) for i in range(1, n + 1)]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


GRAMIAN_SPECTRA = Figure(
    name="gramian_spectra",
    title="Spectra of the controllability Gramian",
    columns=_COLUMNS,
    build=_build,
    group="control",
    order=7,
    conclude=_answer,
    caption=(
        "Singular values of J = ∂y/∂φ on one batch for methods of about equal budget, y the logits, the state that "
        "the head reads (all values), or the whole state after the last block (the largest): before training, after "
        "it, and on random weights, a panel each, beside a random subspace of all weights of the same dimension "
        "(grey). Their squares are the eigenvalues of the controllability Gramian."
    ),
    reading=(
        "σ is how far y moves along a direction per unit of control, so a change of size z along it costs (z/σ)². A "
        "line that stays high moves many directions cheaply; one that falls fast moves few. A method above the grey "
        "line does better than its number of coordinates alone would. Each method has its own units of control: a "
        "larger σ is also what a mere rescaling of φ gives, so compare shapes first. A method that is as high on "
        "random weights owes nothing to pre-training."
    ),
    source=(DING_2022,),
    example=_example,
    optional=SEED,
)
