"""Columns of an answer's table as LaTeX sets them: an estimate with its interval is one of them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lab.deferred import numpy as np
from lab.deferred import pandas as pd
from lab.figures.latex.letters import escaped
from lab.figures.latex.numerals import decimals, numeral, places_of, scientific
from lab.figures.style import text_width

DASH = "--"
HEADER = 9.0
"""Width from which on a header is broken at a space [em]."""

_COUNT = re.compile(r"\[(count|dimensions|steps|bytes)\]$")
_GROUPED = "group-digits=integer, group-separator={,}, group-minimum-digits=4"


@dataclass(frozen=True)
class Set:
    """One column as it is set.

    Attributes:
        spec: its letter in the preamble of a tabular.
        head: lines of its header, as TeX.
        cells: one per row, as TeX.
        width: about how wide it is [em].
        words: whether it names rows.
    """

    spec: str
    head: tuple[str, ...]
    cells: tuple[str, ...]
    width: float
    words: bool


@dataclass(frozen=True)
class _Numbers:
    """Estimates with the ends of their intervals, NaN where there is none."""

    name: str
    values: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def half(self) -> np.ndarray:
        return (self.high - self.low) / 2


def columns(table: pd.DataFrame, best: Mapping[str, str], header: float = HEADER) -> list[Set]:
    """The columns of a table.

    Names say what belongs together: "x ±" after x is half the width of its interval, "… low" and "… high" after x are
    its ends.

    Args:
        table: few rows.
        best: column -> "highest" or "lowest", which of its numbers are set in bold: the best, and those whose interval
            overlaps that of the best; none, where nothing tells any from the best.
        header: width from which on a header is broken at a space [em].
    """
    made: list[Set] = []
    names = [str(name) for name in table.columns]
    i = 0
    while i < len(names):
        values = table.iloc[:, i]
        if not _is_number(values):
            made.append(_words(names[i], values, header))
            i += 1
            continue
        estimate = _floats(values)
        missing = np.full(len(table), math.nan)
        if i + 1 < len(names) and _bare(names[i + 1]).endswith("±"):
            half = _floats(table.iloc[:, i + 1])
            numbers = _Numbers(names[i], estimate, estimate - half, estimate + half)
            made.append(_estimates(numbers, best.get(names[i], ""), header, beside=True))
            i += 2
        elif i + 2 < len(names) and _are_ends(names[i + 1], names[i + 2]):
            low, high = (_floats(table.iloc[:, k]) for k in (i + 1, i + 2))
            numbers = _Numbers(names[i], estimate, low, high)
            made += [_estimates(numbers, best.get(names[i], ""), header, beside=False), _ends(numbers)]
            i += 3
        else:
            made.append(
                _estimates(_Numbers(names[i], estimate, missing, missing), best.get(names[i], ""), header, beside=True)
            )
            i += 1
    return made


def _bare(name: str) -> str:
    """A column's name without its unit."""
    return name.partition(" [")[0].strip()


def _are_ends(first: str, second: str) -> bool:
    low, high = _bare(first).split(), _bare(second).split()
    return "low" in low and "high" in high and [w for w in low if w != "low"] == [w for w in high if w != "high"]


def _is_number(values: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(values)) and not pd.api.types.is_bool_dtype(values)


def _floats(values: pd.Series) -> np.ndarray:
    return pd.to_numeric(values, errors="coerce").to_numpy(float, na_value=math.nan)


def _head(name: str, least: float, header: float) -> tuple[tuple[str, ...], float]:
    """A header in lines no wider than needed, the unit in one of its own; and its width [em]."""
    quantity, bracket, unit = name.partition(" [")
    room, lines = max(header, least), [""]
    for word in quantity.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    lines += [f"[{unit}"] if bracket else []
    return tuple(escaped(line) for line in lines), max(text_width(line) for line in lines)


def _words(name: str, values: pd.Series, header: float) -> Set:
    said = [DASH if value is None or value is pd.NA or value != value else _said(value) for value in values]
    width = max((text_width(text) for text in said), default=0.0)
    head, wide = _head(name, width, header)
    cells = tuple(DASH if text == DASH else escaped(text) for text in said)
    return Set("l", head, cells, max(width, wide), words=True)


def _said(value: object) -> str:
    return (
        {"True": "yes", "False": "no"}.get(str(value), str(value)) if isinstance(value, bool | np.bool_) else str(value)
    )


def _estimates(numbers: _Numbers, best: str, header: float, *, beside: bool) -> Set:
    """The estimates, with ± of half the interval `beside` them."""
    bounded = np.isfinite(numbers.half) & (numbers.half > 0)
    known = numbers.values[np.isfinite(numbers.values) & ~bounded]
    usual = places_of([float(value) for value in known], whole=bool(_COUNT.search(numbers.name)))
    bold = _bold(numbers, best)
    texts: list[str] = []
    for i, value in enumerate(map(float, numbers.values)):
        half = float(numbers.half[i])
        if not math.isfinite(value):
            text = ""
        elif bounded[i]:
            places = max(0, decimals(half))
            text = numeral(value, places) + (f" +- {numeral(half, places)}" if beside else "")
        elif usual is None:
            text = scientific(value)
        else:
            text = numeral(value, usual) + (" +- 0" if beside and half == 0 else "")
        texts.append(text)
    powers = any("e" in text for text in texts)  # they stand at the right
    spec, width = ("r", 5.0) if powers else _format([text for text in texts if text])
    cells = []
    for text, value, strong in zip(texts, numbers.values, bold, strict=True):
        shown = (rf"\num{{{text}}}" if powers else text) if text else f"{{{_unbounded(float(value))}}}"
        cells.append(rf"\bfseries {shown}" if strong and text else shown)
    head, wide = _head(numbers.name, width, header)
    return Set(spec, head, tuple(cells), max(width, wide), words=False)


def _unbounded(value: float) -> str:
    return DASH if math.isnan(value) else r"\ensuremath{\infty}" if value > 0 else r"\ensuremath{-\infty}"


def _format(texts: Sequence[str]) -> tuple[str, float]:
    """The preamble of a column of siunitx for these numbers, and its width [em]."""
    before = [text.partition(" ")[0] for text in texts] or ["0"]
    halves = [text.partition(" +- ")[2] for text in texts if " +- " in text]
    sign = "-" if any(text.startswith("-") for text in before) else ""
    whole = max(len(text.lstrip("-").partition(".")[0]) for text in before)
    places = max(len(text.partition(".")[2]) for text in before)
    width = 0.55 * (whole + places) + 0.28 * (whole // 3 + (places > 0)) + 0.8 * len(sign)
    options = [_GROUPED, "detect-weight=true, mode=text"]
    form = f"{sign}{whole}.{places}"
    if halves:
        digits = max(len(half.replace(".", "").lstrip("0")) or 1 for half in halves)
        longest = max(len(half.partition(".")[0]) for half in halves)
        form += f"({max(digits, longest + places)})"
        options.append("separate-uncertainty=true, table-align-uncertainty=true")
        width += 1.4 + 0.55 * (longest + places) + 0.28 * (places > 0)
    return f"S[table-format={form}, {', '.join(options)}]", width


def _ends(numbers: _Numbers) -> Set:
    """Both ends of the intervals in brackets; an end that the data leave open is said to be."""
    cells = []
    for low, high, half in zip(numbers.low, numbers.high, numbers.half, strict=True):
        if math.isnan(low) and math.isnan(high):
            cells.append(DASH)
            continue
        places = max(0, decimals(float(half))) if math.isfinite(half) and half > 0 else 0 if abs(high) >= 100 else 2
        ends = (
            rf"\num[{_GROUPED}]{{{numeral(float(end), places)}}}" if math.isfinite(end) else "open"
            for end in (low, high)
        )
        cells.append(f"[{', '.join(ends)}]")
    width = max((text_width(re.sub(r"\\num\[.*?\]", "", cell)) for cell in cells), default=0.0)
    return Set("r", ("interval",), tuple(cells), max(width, text_width("interval")), words=False)


def _bold(numbers: _Numbers, best: str) -> list[bool]:
    values = numbers.values if best == "highest" else -numbers.values
    if not best or np.isnan(values).all() or len(values) < 2:
        return [False] * len(values)
    first = int(np.nanargmax(values))
    half = np.where(np.isfinite(numbers.half), numbers.half, 0.0)
    tied = [bool(v + h >= values[first] - half[first]) for v, h in zip(values, half, strict=True)]
    return tied if not all(tied) else [False] * len(values)
