"""What every playground is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from lab.figures import Theme
from lab.figures.grammar import Grid

Knob = tuple[str, tuple[float, ...], float] | tuple[str, tuple[int, ...], int] | tuple[str, tuple[str, ...], str]
"""What a knob is called, what can be chosen, and what is chosen first."""


@dataclass(frozen=True)
class Playground:
    """A problem whose answer is known.

    Attributes:
        title: one line.
        question: what the knobs let one find out.
        theory: the closed form and its source, in Markdown.
        knobs: name → what it is called, what can be chosen, what is chosen first.
        simulate: the knobs' values → a tidy table; determined by them.
        draw: simulation and closed form in one figure.
        answer: what is seen, in a sentence.
    """

    title: str
    question: str
    theory: str
    knobs: Mapping[str, Knob]
    simulate: Callable[..., pd.DataFrame]
    draw: Callable[[pd.DataFrame, Theme], Grid]
    answer: Callable[[pd.DataFrame], str]
