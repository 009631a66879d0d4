"""A drawing that is too tall for a page, on several sheets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

import plotly.graph_objects as go

from lab.figures.grammar import Grid


def sheets(grid: Grid, drawn: Callable[[Grid], go.Figure], tallest: float | None) -> tuple[go.Figure, ...]:
    """The panels of a grid in their order, on as few sheets of equal number as they fit on.

    What stands in a row of its own stays together where it can.

    Args:
        grid: all panels.
        drawn: draws them, or a part of them.
        tallest: height of a page [px]; None: as tall as it gets.

    Returns:
        One drawing where all panels fit, and where even a single one is too tall.
    """
    whole = drawn(grid)
    if tallest is None or whole.layout.height <= tallest:
        return (whole,)
    numbers = range(len(grid.panels))
    rows = [i for i in numbers if i == 0 or grid.panels[i].new_row]
    for units in (_spans(rows, len(numbers)), [[i] for i in numbers]):
        for n in range(2, len(units) + 1):
            each = -(-len(units) // n)
            made = []
            for i in range(0, len(units), each):
                made.append(drawn(grid.part([*chain(*units[i : i + each])])))
                if made[-1].layout.height > tallest:
                    break
            else:
                return tuple(made)
    return (whole,)


def numbered(name: str, drawings: Sequence[go.Figure]) -> dict[str, go.Figure]:
    """The drawings by the names of their files: NAME, and NAME-2, … of further sheets."""
    return {name if i == 0 else f"{name}-{i + 1}": drawing for i, drawing in enumerate(drawings)}


def _spans(starts: Sequence[int], end: int) -> list[list[int]]:
    """The numbers from each start to the next."""
    return [list(range(start, after)) for start, after in zip(starts, [*starts[1:], end], strict=True)]
