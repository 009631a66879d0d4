"""Which records are laid side by side before anyone chooses, and what sets the chosen ones apart, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from app.naming import describe, number_or_word, quantity
from lab.figures import Figure, figure
from lab.runs import Manifest
from lab.study.again import CONTENT
from lab.study.catalogue import outline_of

SHOWN = 3
"""Records that are compared before anyone chooses."""

MOST = 6
"""Records that can be compared at once."""

_LITTLE = 2
"""Settings in which records differ that are compared before others are."""

_NAMED = 3
"""Settings that a sentence names."""

_LONGEST = 24
"""Characters of a value that a sentence names."""


def comparable(manifests: Sequence[Manifest]) -> dict[str, list[Manifest]]:
    """Experiment -> its records that draw something, of experiments with two or more.

    Those whose newest record has one beside it that is set in the same way but for little come first.
    """
    groups: dict[str, list[Manifest]] = {}
    for manifest in manifests:
        if figures_of([manifest]):
            groups.setdefault(manifest.job.experiment, []).append(manifest)
    several = {name: group for name, group in groups.items() if len(group) > 1} or groups
    far = {name: not 0 < len(differing(alike(group)[:2])) <= _LITTLE for name, group in several.items()}
    return dict(sorted(several.items(), key=lambda group: far[group[0]]))


def alike(manifests: Sequence[Manifest]) -> list[Manifest]:
    """The newest record and those whose settings differ least from it, in more than the seed where there are such."""
    newest, apart = manifests[0], {m.key: differing([manifests[0], m]) for m in manifests[1:]}
    others = sorted(manifests[1:], key=lambda other: (set(apart[other.key]) == {"seed"}, len(apart[other.key])))
    return [newest, *others[: SHOWN - 1]]


def figures_of(manifests: Sequence[Manifest]) -> dict[str, Figure]:
    """Title -> figure, of the figures that each of these records of one experiment can draw."""
    own = map(figure, outline_of(manifests[0].job.experiment).figures)
    return {drawn.title: drawn for drawn in own if all(drawn.table in m.tables for m in manifests)}


def differing(manifests: Sequence[Manifest]) -> dict[str, list[object]]:
    """Setting -> its value in each record, of those settings that are not the same in all of them."""
    configs = [manifest.settings for manifest in manifests]
    names = dict.fromkeys(name for config in configs for name in config if not name.startswith(f"{CONTENT}."))
    values = {name: [config.get(name) for config in configs] for name in names}
    return {name: found for name, found in values.items() if len(set(map(repr, found))) > 1}


def in_words(differing: Mapping[str, Sequence[object]]) -> str:
    """What differs, as a sentence: "They differ in task (imdb, subj) and seed (0, 1)."."""
    if not differing:
        return "Nothing that was asked differs."
    told = []
    for name, values in list(differing.items())[:_NAMED]:
        shown = list(dict.fromkeys(map(number_or_word, values)))
        brief = ", ".join(shown) if len(", ".join(shown)) <= _LONGEST * len(shown) else f"{len(shown)} values"
        told.append(f"{quantity(name)} ({brief})")
    if more := len(differing) - len(told):
        told.append(f"{more} more setting{'s' if more > 1 else ''}")
    return f"They differ in {', '.join(told[:-1])}{' and ' if told[1:] else ''}{told[-1]}."


def columns_of(manifests: Sequence[Manifest]) -> list[str]:
    """What heads the column of each record: its description, with digits of its key where that is not its own."""
    names = [describe(manifest) for manifest in manifests]
    return [
        name if names.count(name) == 1 else f"{name} ({manifest.key[:8]})"
        for name, manifest in zip(names, manifests, strict=True)
    ]


def side_by_side(manifests: Sequence[Manifest], metrics: pd.DataFrame, *, every: bool = False) -> pd.DataFrame:
    """What was asked and what was measured, a row each, a column per record.

    Args:
        manifests: the records.
        metrics: their metrics, with their `key`.
        every: also what is the same in all of them.
    """
    of = metrics.set_index("key").reindex([manifest.key for manifest in manifests])
    asked = dict.fromkeys(name for m in manifests for name in m.settings if not name.startswith(f"{CONTENT}."))
    ours = ("experiment", "job.seed")
    found = map(str, of)
    measured = [name for name in found if name not in (*asked, *ours) and not name.startswith(f"{CONTENT}.")]
    rows = {("asked", name): [m.settings.get(name) for m in manifests] for name in asked}
    rows |= {("measured", name): of[name].tolist() for name in measured}
    units = [str(unit) for unit in of["metric"]] if "metric" in of else []
    shown = [
        [kind, quantity(name, units[0] if len(set(units)) == 1 else ""), *map(_brief, values)]
        for (kind, name), values in rows.items()
        if every or len(set(map(_brief, values))) > 1
    ]
    return pd.DataFrame(shown, columns=["", "what", *columns_of(manifests)])


def _brief(value: object) -> str:
    """A setting or result beside others: four digits of a number."""
    return f"{value:,.4g}" if isinstance(value, float) and value == value else number_or_word(value)
