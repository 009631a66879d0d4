"""One colour and one marker for each method, in every figure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from lab.figures.style import SYMBOLS, Theme


@dataclass(frozen=True)
class Look:
    """Colour and plotly marker of a series."""

    colour: str
    symbol: str


# Which labels are of a family, its place in the palette, its marker. The first that fits decides; what is trained in
# all weights has the colour of ink, what trains nothing of the PLM or is drawn at random that of nulls.
_FAMILIES: tuple[tuple[str, int | str, str], ...] = (
    (r" \+ .*", 6, "cross"),  # combinations
    (r"random weights|random subspace|random steering|shuffled|pre-trained|the PLM", "muted", "x"),
    (r"linear.probe|trained head|frozen", "muted", "asterisk-open"),
    (r"full", "ink", "star"),
    (r"lora", 0, "circle"),
    (r"adapter", 1, "square"),
    (r"bitfit|added biases", 2, "diamond"),
    (r"prefix", 3, "triangle-up"),
    (r"prompt", 4, "triangle-down"),
    (r"ia3|\(ia\)", 5, "pentagon"),
    (r"last layer", 6, "hexagon"),
    (r"random modules|selective", 7, "bowtie"),
    (r"diff pruning", 2, "star-diamond"),
    (r"mask", 1, "hourglass"),
    (r"did\b|said\b|uni-lora", 0, "hexagram"),
)


def look(theme: Theme, label: str) -> Look | None:
    """The look of a method, by the family that its label names; None where it names none."""
    for pattern, place, symbol in _FAMILIES:
        if re.search(rf"(?i)(?<![a-z]){pattern}" if pattern[0] != " " else pattern, label):
            colour = {"muted": theme.muted, "ink": theme.ink}.get(str(place)) or theme.colour(int(place))
            return Look(colour, symbol)
    return None


def looks(theme: Theme, labels: Iterable[str]) -> dict[str, Look]:
    """A look for each label, no two alike.

    Methods have the look of their family; another of the same family keeps the colour and takes the next marker that is
    free, if there is one that nobody has.
    Labels of no family take free places of the palette in their order.
    """
    found: dict[str, Look] = {}
    wanted = {label: look(theme, label) for label in dict.fromkeys(labels)}
    used = {own.colour for own in wanted.values() if own}
    free = [Look(theme.colour(i), theme.symbol(i)) for i in range(len(theme.palette) * len(SYMBOLS))]
    order = [one for one in free if one.colour not in used] + [one for one in free if one.colour in used]
    for label, own in wanted.items():
        if own is None:
            own = next(one for one in order if one not in found.values())
        elif own in found.values():
            markers = (*SYMBOLS, *(symbol + "-open" for symbol in SYMBOLS))
            taken = {one.symbol for one in (*wanted.values(), *found.values()) if one}
            ordered = sorted(markers, key=lambda marker: marker in taken)  # in grey, markers alone tell them apart
            own = next((one for m in ordered if (one := Look(own.colour, m)) not in found.values()), own)
        found[label] = own
    return found
