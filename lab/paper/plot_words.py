"""Colours, lengths and words of plotly as TeX has them."""

from __future__ import annotations

import html
import re

from lab.figures.latex import escaped

_TAGS = {"sub": "textsubscript", "sup": "textsuperscript", "b": "textbf", "i": "textit"}


def bp(pixels: float) -> str:
    """A length of plotly, 96 to the inch, in TeX's big points, 72 to the inch."""
    return f"{0.75 * pixels:.2f}bp"


def words(text: object) -> str:
    r"""plotly's HTML as TeX: lines are broken by ``\\``, names in it do nothing.

    Example:
        >>> words("d<sub>90</sub> &lt; 5<br>in all")
        'd\\textsubscript{90} \\textless{} 5\\\\{}in all'
        >>> words("<b>two<br>lines</b>")  # TeX breaks no line inside of braces
        '\\textbf{two}\\\\{}\\textbf{lines}'
    """
    made, inside = "", list[str]()
    for part in re.split(r"(<[^<>]*>)", str(text)):
        tag = re.fullmatch(r"<(/?)(\w+)[^<>]*>", part)
        if tag is None:
            made += escaped(html.unescape(part))
        elif tag[2] == "br":
            made += "}" * len(inside) + r"\\{}" + "".join(inside)
        elif tag[2] in _TAGS and not tag[1]:
            inside.append(rf"\{_TAGS[tag[2]]}{{")
            made += inside[-1]
        elif tag[2] in _TAGS and inside:
            inside.pop()
            made += "}"
    return made


class Colours:
    """The colours of one picture, each defined once."""

    def __init__(self) -> None:
        self._names: dict[tuple[int, int, int], str] = {}

    def name(self, colour: str) -> str:
        """Its name in the picture; an opacity is left to `opacity`."""
        red, green, blue = channels(colour)
        return self._names.setdefault((red, green, blue), f"delta{len(self._names)}")

    def definitions(self) -> list[str]:
        """The TeX that defines them."""
        return [rf"\definecolor{{{name}}}{{RGB}}{{{r},{g},{b}}}" for (r, g, b), name in self._names.items()]


def channels(colour: str) -> tuple[int, int, int]:
    """Red, green and blue of "#rrggbb", "rgb(…)" or "rgba(…)"."""
    if colour.startswith("#"):
        return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
    red, green, blue = re.findall(r"[\d.]+", colour)[:3]
    return round(float(red)), round(float(green)), round(float(blue))


def opacity(colour: str) -> float:
    """Of "rgba(…)"; 1 of all others."""
    found = re.findall(r"[\d.]+", colour) if colour.startswith("rgba") else []
    return float(found[3]) if len(found) == 4 else 1.0


def between(scale: list[tuple[float, str]], at: float) -> tuple[int, int, int]:
    """The colour of a scale at a place in [0, 1], linear between its stops."""
    places = [place for place, _ in scale]
    right = next((i for i, place in enumerate(places) if place >= at), len(scale) - 1)
    left = max(0, right - 1)
    span = places[right] - places[left]
    part = (at - places[left]) / span if span > 0 else 0.0
    low, high = channels(scale[left][1]), channels(scale[right][1])
    red, green, blue = (round(a + part * (b - a)) for a, b in zip(low, high, strict=True))
    return red, green, blue
