"""What a figure answers: a sentence, a table of few rows, and the estimates behind both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lab.faces import outlined
from lab.statistics.interval import Interval

if TYPE_CHECKING:
    import pandas as pd


@outlined
@dataclass(frozen=True, eq=False)
class Answer:
    """The answer of a table of measurements to the question of its figure, computed in one place.

    The sentence is the figure's headline, its alternative text and the printed summary; the table is what goes into a
    paper; verdicts read the estimates.

    Attributes:
        sentence: two sentences at most, however large the table of measurements was.
        table: few rows; a column's name carries its unit where it has one, as in "d90 [dimensions]".
        estimates: quantity -> estimate with its interval; empty where the answer is no number.
        best: column of the table -> "highest" or "lowest", where its numbers compare the rows and one end is better.
    """

    sentence: str
    table: pd.DataFrame
    estimates: Mapping[str, Interval] = field(default_factory=dict)
    best: Mapping[str, str] = field(default_factory=dict)
