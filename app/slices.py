"""Which records and rows a page shows: of one PLM and task, the newest first; every choice is in the address."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import pandas as pd
import streamlit as st

from app.filters import first, keep, one, passing, word
from app.loading import identity, table_of
from app.markdown import literal
from app.naming import in_words, labelled, setting, told_by_number
from app.panel import panels
from app.states import warn
from lab.figures import Figure
from lab.runs import Manifest
from lab.study.alike import differences, drawn_together
from lab.study.catalogue import Outline

Pick = Callable[[pd.DataFrame, str, str], pd.DataFrame]
"""Leaves the rows with one value of a column: table, column, what to call it."""

ALL = "all"
"""The choice of every PLM, where a figure's statement is over PLMs."""

MOST_PANELS = 6
"""Panels that are drawn before anyone chooses, where the filters of a figure can make it so."""

LONGEST_OPTION = 24
"""Characters of a setting that its box shows at a desk; a longer one is written out below."""

_IDENTITY = {"model": "PLM", "task": "Task", "label": "Run"}
"""What rows of different records differ in, and what to call it."""

FILTERS = {
    "label": "Method", "comparison": "Comparison", "side": "Side", "role": "Role", "block": "Block", "plane": "Plane",
    "line": "Line", "variant": "Variant", "scope": "Coordinates", "what": "What", "seed": "Seed",
}  # fmt: skip
"""Columns by which the rows of a figure can be narrowed, and what to call them."""

_POOLED = ("seed", "seeds", "how", "methods", "batch_sizes", "rounds", "sizes", "solver")
"""Settings that may differ under one label: figures average over seeds, and say by a column what was only counted."""


def newest(
    manifests: Sequence[Manifest], outline: Outline, drawn: Figure | None = None, *, count: bool = True
) -> tuple[Manifest, ...]:
    """The records that answer a question before anyone chooses: of the newest record's PLM and task.

    Of all PLMs where the figure's statement is over PLMs. Where the tasks are what a question repeats over, all are
    taken, or as few of the newest as leave six panels.

    Args:
        manifests: records of the question, the newest first.
        outline: the question.
        drawn: the figure.
        count: whether its panels are counted, which draws it.
    """
    if not over_plms(drawn):
        manifests = _with(manifests, "model", _values(manifests, "model")[:1])
    manifests = next(iter(settings(manifests, outline).values()), ())
    return _with(manifests, "task", _shown(_values(manifests, "task"), outline, manifests, drawn if count else None))


def over_plms(drawn: Figure | None) -> bool:
    """Whether what a figure says is over several PLMs, such as a correlation whose points are PLMs and tasks."""
    return drawn is not None and "model" in drawn.averages


def choose(manifests: Sequence[Manifest], outline: Outline, drawn: Figure | None = None) -> tuple[Manifest, ...]:
    """The records of the PLM and the tasks that the reader chooses; those of `newest` before that.

    Of one task where the figure would take several for one.

    Args:
        manifests: records of the question, the newest first.
        outline: the question.
        drawn: the figure.
    """
    models = _values(manifests, "model")
    if len(models) > 1:
        offered = [ALL, *models] if over_plms(drawn) else models
        model = st.selectbox("PLM", offered, key="model", bind="query-params") or offered[0]
        manifests = manifests if model == ALL else _with(manifests, "model", [model])
    known = settings(manifests, outline)
    if len(known) > 1:
        name = st.selectbox("Settings", list(known), key="settings", bind="query-params")
        manifests = known.get(name) or next(iter(known.values()))
        if len(name or "") > LONGEST_OPTION:
            st.caption(literal(name))
    tasks = _values(manifests, "task")
    if len(tasks) > 1 and drawn is not None and "task" in _mixed(rows(manifests, drawn)[0], drawn):
        task = st.selectbox("Task", tasks, key="task", bind="query-params") or tasks[0]
        manifests = _with(manifests, "task", [task])
    elif len(tasks) > 1:
        shown = _shown(tasks, outline, manifests, drawn)
        wanted = st.multiselect("Task", tasks, default=shown, key="task", bind="query-params")
        manifests = _with(manifests, "task", wanted or shown)
    return tuple(manifests)


def settings(manifests: Sequence[Manifest], outline: Outline) -> dict[str, Sequence[Manifest]]:
    """What sets them apart → the records that may be drawn together, the newest first."""
    groups = [part for group in drawn_together(manifests, outline.replicates) for part in _of_one_setting(group)]
    groups.sort(key=_cut)  # what pre-training made first
    names = [in_words(own) for own in differences(groups, outline.replicates, lists=True)]
    for name in [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        places = [i for i, other in enumerate(names) if other == name]
        for i, own in zip(places, differences([groups[i] for i in places], (), lists=True), strict=True):
            names[i] = ", ".join(filter(None, (name, in_words(own))))
    return {
        name if name and names.count(name) == 1 else f"{name or 'other'} (record {group[0].key[:8]})": group
        for name, group in zip(names, groups, strict=True)
    }


def _cut(manifests: Sequence[Manifest]) -> bool:
    """Whether the smallest PLM of a series is the first blocks of another, "minilm:1", which no pre-training made."""
    return any(":" in str(size) for manifest in manifests for size in manifest.job.config.get("sizes") or ())


def _of_one_setting(manifests: Sequence[Manifest]) -> list[list[Manifest]]:
    """The records in groups in which no curve needs a number to be told from others of its method."""
    names = told_by_number(manifests, _POOLED)
    groups: dict[str, list[Manifest]] = {}
    for manifest in manifests:
        groups.setdefault(repr([manifest.settings.get(name) for name in names]), []).append(manifest)
    return list(groups.values())


def rows(manifests: Sequence[Manifest], drawn: Figure) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The labelled rows of a figure's table in these records, and a sentence for each record that is damaged."""
    table, damage = table_of(manifests, drawn.table, drawn.also)
    names = (drawn.table, *drawn.also)
    return (table if table.empty else _labelled(identity(manifests), names, table, manifests)), damage


@st.cache_resource(max_entries=32, show_spinner=False)
def _labelled(
    identity: tuple[tuple[str, str], ...], names: tuple[str, ...], _table: pd.DataFrame, _manifests: Sequence[Manifest]
) -> pd.DataFrame:
    """A table of records with its labels, worked out once for all sessions; it is read, and never written to."""
    return labelled(_table, _manifests, pool=_POOLED)


def rows_or_stop(manifests: Sequence[Manifest], drawn: Figure, damaged: Iterable[str]) -> pd.DataFrame:
    """As `rows`; names damaged records, and ends the page without any row."""
    table, damage = rows(manifests, drawn)
    warn([*damaged, *damage])
    if table.empty:
        st.stop()
    return table


def narrowed(table: pd.DataFrame, drawn: Figure, columns: Mapping[str, str] = FILTERS) -> pd.DataFrame:
    """The rows that the page's filters pass, after `unmixed` with the reader's choice.

    The filters are folded away until one of them is used.

    Args:
        table: with a `label`, rows of the newest record first.
        drawn: the figure; what it names are its columns.
        columns: column → what to call it; offered are those that the figure knows and that hold two values or more;
            seeds also where it draws each apart.
    """
    mixed = _mixed(table, drawn)
    table = unmixed(table, drawn, one)
    offered = _offered(table, drawn, columns, mixed)
    if not offered:
        return table
    shown = readable(table, drawn, list(offered))
    used = any(shown.get(name) or st.session_state.get(name) for name in offered)
    with st.expander(f"Narrow by {', '.join(title.lower() for title in offered.values())}", expanded=used):
        return keep(table, offered, shown)


def at_first(table: pd.DataFrame, drawn: Figure) -> pd.DataFrame:
    """The rows that `narrowed` leaves before anyone chooses: what a page shows first, and a card of it."""
    mixed = _mixed(table, drawn)
    table = unmixed(table, drawn)
    for name, words in readable(table, drawn, list(_offered(table, drawn, FILTERS, mixed))).items():
        table = passing(table, name, words)
    return table


def _offered(table: pd.DataFrame, drawn: Figure, columns: Mapping[str, str], but: Sequence[str]) -> dict[str, str]:
    """The columns that hold two values or more of what a figure knows, and of seeds where it draws each apart."""
    known = {"label", *drawn.columns, *drawn.optional, *({"seed"} - {*drawn.averages, *drawn.apart})} - {*but}
    return {name: t for name, t in columns.items() if name in known and name in table and table[name].nunique() > 1}


def readable(table: pd.DataFrame, drawn: Figure, columns: Sequence[str]) -> dict[str, list[str]]:
    """Column → the one value that is drawn before anyone chooses, of as few columns as leave six panels or fewer."""
    chosen: dict[str, list[str]] = {}
    table = thinned(table, columns)
    for name in sorted(columns, key=lambda name: -table[name].nunique()):
        now = panels(drawn, table)
        if now <= MOST_PANELS:
            break
        part = first(table, name)
        if panels(drawn, part) < now:
            table, chosen[name] = part, [word(part[name].dropna().iloc[0])]
    return chosen


def thinned(table: pd.DataFrame, columns: Sequence[str], rows: int = 4) -> pd.DataFrame:
    """The first rows of every combination of words and choices: enough to count panels by, of a table however long."""
    words = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    told = [name for name in dict.fromkeys((*columns, *FILTERS, *_IDENTITY, *words)) if name in table]
    told = [name for name in told if table[name].nunique(dropna=False) > 1]
    return table.groupby(told, dropna=False, sort=False).head(rows) if told else table


def unmixed(table: pd.DataFrame, drawn: Figure, pick: Pick = first) -> pd.DataFrame:
    """The rows of one PLM, task or run, where the figure would take several for one; else all.

    Such as two PLMs under one label in a figure that does not name the PLM: the newest record's is drawn, unless `pick`
    lets a reader choose.
    """
    for name in _IDENTITY:
        if name in _mixed(table, drawn):
            table = pick(table, name, _IDENTITY[name])
    return table


def _mixed(table: pd.DataFrame, drawn: Figure) -> list[str]:
    """Columns of `_IDENTITY` in which rows differ that agree in all that the figure tells apart or averages over."""
    known = {*drawn.columns, *drawn.optional, *drawn.averages}
    told = [name for name in _IDENTITY if name in table and name in known]
    return [name for name in _IDENTITY if name in table and name not in told and _several(table, name, told)]


def _several(table: pd.DataFrame, name: str, told: list[str]) -> bool:
    """Whether rows that agree in the columns `told` differ in this one."""
    counts = table.groupby(told, dropna=False)[name].nunique() if told else pd.Series([table[name].nunique()])
    return bool((counts > 1).any())


def _values(manifests: Iterable[Manifest], name: str) -> list[str]:
    """What records say of a setting, in their order."""
    found = (setting(manifest, name) for manifest in manifests)
    return list(dict.fromkeys(str(value) for value in found if value is not None))


def _shown(tasks: Sequence[str], outline: Outline, manifests: Sequence[Manifest], drawn: Figure | None) -> list[str]:
    """The tasks that are drawn before anyone chooses: all that a question repeats over, or what six panels hold."""
    shown = list(tasks if "task" in outline.replicates else tasks[:1])
    if drawn is None or len(shown) < 2:
        return shown
    now = _panels(manifests, shown, drawn)
    if now > MOST_PANELS and _panels(manifests, shown[:1], drawn) == now:
        return shown  # panels of something else, which fewer tasks would not make fewer
    while now > MOST_PANELS and len(shown) > 1:
        shown = shown[: max(1, len(shown) * MOST_PANELS // now)]
        now = _panels(manifests, shown, drawn)
    return shown


def _panels(manifests: Sequence[Manifest], tasks: Sequence[str], drawn: Figure) -> int:
    """In how many panels these tasks are drawn."""
    table, _ = rows(_with(manifests, "task", tasks), drawn)
    return panels(drawn, thinned(unmixed(table, drawn), ())) if len(table) else 0


def _with(manifests: Sequence[Manifest], name: str, values: Sequence[str | None]) -> tuple[Manifest, ...]:
    """The records with one of these values of a setting, and those without the setting."""
    return tuple(m for m in manifests if (own := setting(m, name)) is None or str(own) in values)
