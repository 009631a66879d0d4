"""One axis: quantity and unit, linear, logarithmic or of categories."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
import pandas as pd

from lab.figures.style import integer_ticks, log_ticks, plain, text_width


@dataclass(frozen=True)
class Axis:
    """What an axis shows.

    Args:
        title: "quantity [unit]".
        log: logarithmic; what is not positive is not drawn on it.
        range: ends in data units; default: what is drawn.
        ticks: places of ticks, or place -> text; of categories, those whose names are written (default: all).
        categories: names in order, on a y axis from the top; the axis then holds names.
        reverse: larger values to the left or at the bottom.
        zero: 0 is on the axis.
        percent: fractions written in percent.
        whole: ticks at whole numbers only.
        above: on a phone, the names of categories stand above their rows instead of beside them.
        short: category -> what it is called on a phone and in one column of a paper, where it is other than on a desk.
        options: further plotly settings.
    """

    title: str = ""
    log: bool = False
    range: tuple[float, float] | None = None
    ticks: Sequence[float] | Sequence[str] | Mapping[float, str] | None = None
    categories: Sequence[str] | None = None
    reverse: bool = False
    zero: bool = False
    percent: bool = False
    whole: bool = False
    above: bool = False
    short: Mapping[str, str] | None = None
    options: Mapping[str, Any] | None = None

    @property
    def names(self) -> list[str]:
        """The categories, safe for plotly."""
        return list(dict.fromkeys(plain(name) for name in self.categories or ()))

    @property
    def texts(self) -> list[str]:
        """What the ticks say where they are words: categories or named places."""
        if self.categories is not None and self.ticks is not None:
            return [plain(name) for name in self.ticks]
        named = self.ticks.values() if isinstance(self.ticks, Mapping) else ()
        return self.names or [plain(text).replace("\n", "<br>") for text in named]

    def layout(self, drawn: np.ndarray, *, upright: bool, room: float) -> dict[str, Any]:
        """The plotly axis.

        Args:
            drawn: the finite numbers that all panels sharing it show.
            upright: a y axis.
            room: length of the axis [em]; a logarithmic one has no more ticks than fit.
        """
        axis: dict[str, Any] = {}
        if self.categories is not None:
            names = self.names
            axis |= {"type": "category", "categoryorder": "array"}
            axis |= {"categoryarray": names[::-1] if upright and not self.reverse else names}
            axis |= {"range": [-0.6, len(names) - 0.4]}
        elif self.log:
            axis |= self._logarithmic(drawn[drawn > 0], inf if upright else room)
        elif self.range is not None:
            axis |= {"range": list(self.range)}
        elif self.zero and not (len(drawn) and drawn.max() < 0):  # an axis of losses alone would flatten them
            axis |= {"rangemode": "tozero"}
        if self.whole and len(drawn) and not self.log:
            axis |= {"tickvals": integer_ticks(float(drawn.min()), float(drawn.max()))}
        if isinstance(self.ticks, Mapping):
            axis |= {"tickvals": list(self.ticks), "ticktext": self.texts}
        elif self.categories is not None and self.ticks is not None:
            axis |= {"tickvals": self.texts, "ticktext": self.texts}
        elif self.ticks is not None:
            axis |= {"tickvals": list(self.ticks), "ticktext": [short(float(tick)) for tick in self.ticks]}
        if self.percent:
            axis |= {"tickformat": ".0%"}
        if self.reverse:
            axis |= {"range": axis["range"][::-1]} if "range" in axis else {"autorange": "reversed"}
        return axis | dict(self.options or {})

    def _logarithmic(self, positive: np.ndarray, room: float) -> dict[str, Any]:
        axis: dict[str, Any] = {"type": "log"}
        if self.range is not None:
            low, high = self.range
        elif len(positive):
            low, high = float(positive.min()), float(positive.max())
            margin = 10 ** (0.04 * math.log10(high / low) + 0.02)
            low, high = low / margin, high * margin
        else:
            return axis
        ticks = log_ticks(low, high)
        if len(ticks) < 2 and not isinstance(self.ticks, Mapping):
            ticks = [float(f"{tick:.2g}") for tick in np.linspace(low, high, 3)]
        words = _decades(ticks)
        while len(ticks) > 8 or (len(ticks) > 2 and sum(text_width(word) + 1.6 for word in words) > room):
            ticks, words = ticks[::2], words[::2]
        axis |= {"range": [math.log10(low), math.log10(high)]}
        return axis | {"tickvals": ticks, "ticktext": words}


def _decades(ticks: Sequence[float]) -> list[str]:
    """Ticks in words: all as powers where some must be and all are powers of ten."""
    exponents = [math.log10(tick) for tick in ticks]
    if (max(exponents) < 5 and min(exponents) > -4) or any(abs(e - round(e)) > 1e-9 for e in exponents):
        return [short(tick) for tick in ticks]
    return [short(t) if abs(e) < 1.5 else _power(round(e)) for t, e in zip(ticks, exponents, strict=True)]


def _power(exponent: int) -> str:
    return f"10<sup>{exponent}</sup>".replace("-", "−")


def short(value: float) -> str:
    """A tick's number: 0.05, 20, 1,000, 10⁶ as a power."""
    size = abs(value)
    if size >= 1e5 or 0 < size < 1e-3:
        exponent = math.floor(math.log10(size) + 1e-9)
        digits = value / 10.0**exponent
        power = _power(exponent)
        return power if abs(digits - 1) < 1e-6 else f"{digits:.3g}·{power}"
    return f"{value:,.3g}" if size < 1000 else f"{value:,.0f}"


def numbers(values: Iterable[object]) -> np.ndarray:
    """The finite numbers among the values."""
    flat = pd.to_numeric(pd.Series(list(values), dtype=object), errors="coerce").to_numpy(float)
    return flat[np.isfinite(flat)]


def around(values: pd.Series) -> tuple[float, float]:
    """Ends of an axis that holds all points with room to spare; the interval of two seeds may be many times longer."""
    low, high = float(values.min()), float(values.max())
    room = 0.25 * (high - low) or 0.05
    return low - room, high + room
