"""What figures are made of: a grid of panels, marks drawn on them, rules, one legend, and the words of the answer.

A builder says what is drawn; where panels stand, how they share axes, what the legend holds and how all of it fits a
width is worked out when the size is known::

    def _build(table: pd.DataFrame, theme: Theme) -> Grid:
        grid = Grid(theme, wrap=3, share_y=True)
        for panel, part in grid.by(table, "model", "task", "label"):   # one panel for each that is there, titled
            for name, points in split(part, "line"):                   # one line for each, in the order of the table
                panel.line(points.alpha, points.loss, name, dash=grid.dash(name), colour=grid.colour(name))
            panel.rule(x=0).rule(x=1)
        grid.x("α [length of the line]").y("loss [nats]", log=True)
        return grid

* **Panels**: `grid.panel(title)` adds one; `grid.by(table, *columns)` adds one for each combination that the table
  holds. They fill rows of at most `wrap`, fewer where the page is narrow; no cell is empty.
* **Marks**: `line`, `points`, `band`, `bars`, `heat`, `surface`, `note`. A mark's `name` is its entry in the legend,
  which is made from what is drawn: one entry for each name, in the order of drawing; a band has none where a line or
  points of the same name are drawn. `key` names what a dash or symbol means, whatever the colour: "validation".
* **Intervals** (`error`, `across`) that leave their axis are cut at its end, with an arrow; an axis without a range
  follows the estimates where intervals would flatten them.
* **Rules and zones** (`rule`, `zone`) are part of the layout: they stand in a panel without any mark, too.
* **Seeds**: `spread(panel, values, category, colour=…)` draws all values of one line, their mean and its interval;
  `apart(x, place, n)` sets the intervals of n lines side by side on a logarithmic axis.
* **Looks**: `grid.look(label)` is the colour and marker of a method, the same in every figure; `grid.colour(name)`,
  `grid.symbol(name)`, `grid.dash(name)` count through what has no fixed look; `depth=` colours by the number of a
  block or step, with one colour bar.
* **Names** come from files: every `name`, `key`, `title` and category is made safe for plotly here, once.
"""

from __future__ import annotations

from lab.figures.grammar.axis import around
from lab.figures.grammar.grid import Grid
from lab.figures.grammar.looks import Look, look
from lab.figures.grammar.panel import Panel
from lab.figures.grammar.split import first_seen, records, split
from lab.figures.grammar.spread import apart, half_width, spread
from lab.figures.grammar.words import LONGEST, cut, listed, rounded

__all__ = [
    "LONGEST",
    "Grid",
    "Look",
    "Panel",
    "apart",
    "around",
    "cut",
    "first_seen",
    "half_width",
    "listed",
    "look",
    "records",
    "rounded",
    "split",
    "spread",
]
