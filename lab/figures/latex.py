"""A table as LaTeX with booktabs rules, and text made safe for TeX."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from lab.deferred import numpy as np
from lab.deferred import pandas as pd

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "Δ": r"\ensuremath{\Delta}",
    "Σ": r"\ensuremath{\Sigma}",
    "σ": r"\ensuremath{\sigma}",
    "θ": r"\ensuremath{\theta}",
    "φ": r"\ensuremath{\varphi}",
    "α": r"\ensuremath{\alpha}",
    "λ": r"\ensuremath{\lambda}",
    "·": r"\ensuremath{\cdot}",
    "≤": r"\ensuremath{\le}",
    "≥": r"\ensuremath{\ge}",
    "×": r"\ensuremath{\times}",
    "−": r"\ensuremath{-}",
    "‖": r"\ensuremath{\|}",
    "²": r"\ensuremath{^2}",
    "₁": r"\ensuremath{_1}",
    "–": "--",
    "…": r"\dots{}",
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


def escaped(text: object) -> str:
    """Text that TeX prints as it is; line breaks and control characters become spaces.

    Example:
        >>> escaped("100 % of d_90")
        '100 \\\\% of d\\\\_90'
    """
    return "".join(_SPECIAL.get(letter, letter) for letter in _CONTROL.sub(" ", str(text)))


def booktabs(table: pd.DataFrame) -> str:
    """A ``tabular`` with booktabs rules: text left, numbers right, missing values as a dash.

    Whole numbers are grouped in thousands; others show four significant digits.

    Args:
        table: few rows; column names are the header.
    """
    numeric = [pd.api.types.is_numeric_dtype(table[name]) for name in table.columns]
    alignment = "".join("r" if is_number else "l" for is_number in numeric)
    header = _row([escaped(name) for name in table.columns])
    body = [_row([cell(value) for value in row]) for row in table.itertuples(index=False)]
    lines = [
        f"\\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        header,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "% needs \\usepackage{booktabs}\n" + "\n".join(lines) + "\n"


def cell(value: object) -> str:
    """One value as LaTeX."""
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "--"
    if isinstance(value, (int, float, np.number)):
        return _number(float(value))
    return escaped(value)


def _number(value: float) -> str:
    if math.isinf(value):
        return r"\ensuremath{\infty}" if value > 0 else r"\ensuremath{-\infty}"
    if value == round(value) and abs(value) < 1e15:
        return f"{value:,.0f}".replace(",", "{,}")
    if 1e-3 <= abs(value) < 1e5:
        return f"{value:#.4g}".rstrip(".")
    mantissa, exponent = f"{value:.3e}".split("e")
    return f"\\ensuremath{{{float(mantissa):g}\\cdot 10^{{{int(exponent)}}}}}"


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
