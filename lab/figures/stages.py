"""The stages of a PLM along an axis: embed, the blocks by number, readout."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf


def chain(stages: Iterable[object]) -> list[str]:
    """The distinct stages in the order of the chain: embed, the blocks by number, the rest as they come."""
    return sorted(dict.fromkeys(map(str, stages)), key=_place)


def short(stage: object) -> str:
    """A block by its number alone; other stages by their names."""
    return str(stage).removeprefix("block ")


def written(names: Sequence[str], most: int = 9) -> list[str]:
    """The names that an axis of them writes: about so many, every second (third, …) block and what is no block."""
    step = -(-len(names) // most)
    near = {place for i, name in enumerate(names) if not name.isdigit() for place in range(i - step + 1, i + step)}
    kept = [not name.isdigit() or (int(name) % step == 0 and i not in near) for i, name in enumerate(names)]
    return [name for name, keep in zip(names, kept, strict=True) if keep]


def _place(stage: str) -> float:
    number = short(stage)
    return -1.0 if stage == "embed" else float(number) if number.isdigit() else inf
