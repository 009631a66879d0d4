"""LaTeX of answers: letters, numbers with the digits that their intervals allow, and tables."""

from __future__ import annotations

from lab.figures.latex.letters import escaped, macro
from lab.figures.latex.numerals import decimals, numeral
from lab.figures.latex.table import booktabs

__all__ = ["booktabs", "decimals", "escaped", "macro", "numeral"]
