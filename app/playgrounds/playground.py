"""What every playground is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from lab.figures import LIGHT, SIZES, Theme
from lab.figures.grammar import Grid
from lab.jupyter import live

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

    def live(self, **first: Any) -> None:
        """The playground in a notebook: sliders, what is seen, and the drawing.

        Args:
            first: name → the value to begin with, where it is not the playground's own.

        Raises:
            ValueError: a knob that there is none of, or a value that it does not have.
        """
        knobs = {name: (*options, begin) for name, (_, options, begin) in self.knobs.items()}
        for name, value in first.items():
            if name not in knobs or value not in knobs[name]:
                had = ", ".join(f"{known}: {', '.join(map(str, values[:-1]))}" for known, values in knobs.items())
                raise ValueError(f"{self.title} has no {name} = {value!r}; it has {had}.")
        live(self._shown, **{n: (first.get(n, k[-1]), *k[:-1]) for n, k in knobs.items()})

    def _shown(self, **values: Any) -> tuple[str, go.Figure]:
        table = self.simulate(**values)
        return self.answer(table), self.draw(table, LIGHT).figure(SIZES["screen"])
