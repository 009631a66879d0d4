"""How the numbers of a Fastfood map are laid out: which word of which stream belongs to which place."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from lab.projections.counter import Stream, stream_key

GROUP = 1 << 14  # numbers of a group of blocks: 64 KiB in float32, inside the level-2 cache beside its Gaussians


@dataclass(frozen=True)
class Plan:
    """Groups of interleaved blocks: place p = (group·length + row)·lanes + lane holds a row of block (group, lane).

    The blocks of a group lie side by side, so a vector operation works on the same row of 16 blocks; they have their
    own signs and Gaussians and share one permutation of rows. Sign and Gaussian of a place are number p of their
    streams (signs count rows of the tile), the permutation of a group is number `group` of its stream.

    Attributes:
        D, d: shape of the map.
        seed: of the three streams.
        tile: n = 2^⌈log2 d⌉, to which x is padded.
        length: L, rows of a block: n (stacked) or 2^⌈log2 D⌉ (published).
        lanes: blocks of a group.
    """

    D: int
    d: int
    seed: int
    tile: int
    length: int
    lanes: int

    @classmethod
    def stacked(cls, D: int, d: int, seed: int) -> Plan:
        n = _power_of_two(d)
        most = max(1, 1 << (D // n).bit_length() - 1 if n <= D else 1)  # no more lanes than full blocks
        lanes = max(min(GROUP // n, most), 64 // n, 1)  # a group is a whole number of 64-bit words of signs
        return cls(D, d, seed, n, n, lanes)

    @classmethod
    def published(cls, D: int, d: int, seed: int) -> Plan:
        return cls(D, d, seed, _power_of_two(d), _power_of_two(D), 1)

    @property
    def groups(self) -> int:
        return -(-self.D // (self.length * self.lanes))

    @cached_property
    def keys(self) -> tuple[int, int, int]:
        """Keys of the streams of signs, Gaussians and permutations."""
        return (
            stream_key(self.seed, Stream.SIGNS),
            stream_key(self.seed, Stream.GAUSSIANS),
            stream_key(self.seed, Stream.PERMUTATION),
        )


def _power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()
