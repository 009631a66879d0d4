"""Which experiments a figure is drawn from, where several have the columns that it needs."""

from __future__ import annotations

from lab.runs.store import Records
from lab.study.catalogue import outlines


def recorded_makers(figure: str, table: str, runs: Records) -> list[str]:
    """The experiments that draw a figure themselves and of which there are records with its table.

    The records of the first are what the figure is drawn from by default; where there is none, any table with the
    figure's columns will do.

    Args:
        figure: its name.
        table: the name of its table.
        runs: where to look; records that cannot be read are passed over.

    Returns:
        Names, in the order of `outlines`.
    """
    return [
        outline.name
        for outline in outlines()
        if figure in outline.figures
        and any(table in manifest.tables for manifest in runs.manifests(outline.name, damaged={}))
    ]
