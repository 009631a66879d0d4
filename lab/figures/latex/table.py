"""A table as LaTeX with booktabs rules and siunitx columns."""

from __future__ import annotations

from collections.abc import Mapping

from lab.deferred import pandas as pd
from lab.figures.latex.columns import HEADER, Set, columns

_BETWEEN = 1.2
"""Room between two columns [em]: twice LaTeX's 6 pt at 10 pt."""

NEEDS = "% needs \\usepackage{booktabs,siunitx}\n"


def booktabs(table: pd.DataFrame, *, best: Mapping[str, str] | None = None, width: float = float("inf")) -> str:
    r"""A ``tabular`` with booktabs rules: text left, numbers at their decimal point, missing values as a dash.

    An estimate stands with its interval, and has the digits that the interval leaves it. Counts are grouped in
    thousands; other numbers have three digits of their column's median. A table wider than there is room for is
    continued below, the names of its rows repeated.

    Args:
        table: few rows; column names are the header, "quantity [unit]"; "x ±" after x, or "low" and "high", are its
            interval.
        best: column -> "highest" or "lowest": set in bold are the best of it and those whose interval overlaps its
            interval; none where that are all.
        width: room [em].
    """
    return NEEDS + "\n".join(tabulars(table, best=best, width=width))


def tabulars(
    table: pd.DataFrame,
    *,
    best: Mapping[str, str] | None = None,
    width: float = float("inf"),
    header: float = HEADER,
) -> list[str]:
    """The ``tabular`` environments of a table: several, where one would be too wide.

    Args:
        table, best, width: as of `booktabs`.
        header: width from which on a header is broken at a space [em].
    """
    return [_tabular(block) for block in _blocks(columns(table, best or {}, header), width)]


def _blocks(made: list[Set], width: float) -> list[list[Set]]:
    first = next((i for i, column in enumerate(made) if not column.words), len(made))
    names, rest = made[:first], made[first:]
    room = width - sum(column.width + _BETWEEN for column in names)
    blocks: list[list[Set]] = [[]]
    filled = 0.0
    for column in rest:
        if blocks[-1] and filled + column.width + _BETWEEN > room:
            blocks.append([])
            filled = 0.0
        blocks[-1].append(column)
        filled += column.width + _BETWEEN
    return [[*names, *block] for block in blocks]


def _tabular(block: list[Set]) -> str:
    rows = [" & ".join(cells) + r" \\" for cells in zip(*(column.cells for column in block), strict=True)]
    lines = [f"\\begin{{tabular}}{{{' '.join(column.spec for column in block)}}}", r"\toprule"]
    lines += [" & ".join(_header(column) for column in block) + r" \\", r"\midrule", *rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _header(column: Set) -> str:
    """A header of several lines is a small table, its last line on that of the others."""
    if len(column.head) == 1:
        return f"{{{column.head[0]}}}"
    side = "l" if column.words else "r" if column.spec == "r" else "c"
    lines = r" \\ {}".join(column.head)  # braces: a line may begin with "[", which would be read as an option
    return f"{{\\begin{{tabular}}[b]{{@{{}}{side}@{{}}}}{lines}\\end{{tabular}}}}"
