"""A GGUF file, walked from end to end before a reader of others believes its counts and offsets."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

from lab.checkpoints.error import CheckpointError

_FIXED = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # type of a value -> its bytes
_STRING, _ARRAY = 8, 9
_LONGEST_NAME, _MOST_DIMENSIONS, _DEEPEST = 1 << 16, 4, 4


def check_gguf(file: Path) -> None:
    """Raise unless a GGUF file is whole: every count, length and offset that it names lies inside of it.

    Raises:
        CheckpointError: it is cut short, damaged, or none; the message says where.
    """
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType  # takes long to import, and only GGUF files need it

    sizes = {int(kind): GGML_QUANT_SIZES[kind] for kind in GGMLQuantizationType}
    try:
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            _Walk(content, sizes).whole()
    except (OSError, ValueError, struct.error) as error:
        raise CheckpointError(f"{file} is damaged or no GGUF file ({error}); download or install it again.") from error


@dataclass
class _Walk:
    content: mmap.mmap
    sizes: dict[int, tuple[int, int]]  # quantisation -> (numbers in a block, bytes of a block)
    at: int = 0

    def whole(self) -> None:
        if self.take(4) != b"GGUF":
            raise ValueError("it does not begin with GGUF")
        version, n_tensors, n_values = self.number("I"), self.number("Q"), self.number("Q")
        if version not in (2, 3):
            raise ValueError(f"version {version} of the format; 2 and 3 are known")
        alignment, names = 32, set()
        for _ in range(self.count(n_values, 12)):
            key, kind = self.string(), self.number("I")
            if key == b"general.alignment" and kind == 4:
                alignment = self.number("I")
                if alignment == 0 or alignment % 8 or alignment > 1 << 20:
                    raise ValueError(f"an alignment of {alignment} bytes")
                continue
            self.value(kind)
        ends = []
        for _ in range(self.count(n_tensors, 24)):
            name = self.string()
            if name in names:
                raise ValueError(f"tensor {name!r} is named twice")
            names.add(name)
            ends.append(self.end_of_tensor(name))
        begin = -(-self.at // alignment) * alignment
        end = begin + max(ends) if ends else self.at
        if end > len(self.content):
            raise ValueError(f"{len(self.content):,} bytes of {end:,}: it is cut short")

    def end_of_tensor(self, name: bytes) -> int:
        n_dimensions = self.number("I")
        if n_dimensions > _MOST_DIMENSIONS:
            raise ValueError(f"tensor {name!r} has {n_dimensions} dimensions")
        shape = [self.number("Q") for _ in range(n_dimensions)]
        kind, offset = self.number("I"), self.number("Q")
        if kind not in self.sizes:
            raise ValueError(f"tensor {name!r} is stored in an unknown way ({kind})")
        numbers, size = 1, self.sizes[kind]
        for n in shape:
            numbers *= n
        if numbers % size[0]:
            raise ValueError(f"tensor {name!r} of shape {shape} does not consist of blocks of {size[0]}")
        return offset + numbers // size[0] * size[1]

    def value(self, kind: int, depth: int = 0) -> None:
        if kind in _FIXED:
            self.take(_FIXED[kind])
        elif kind == _STRING:
            self.take(self.number("Q"))
        elif kind == _ARRAY and depth < _DEEPEST:
            item, n = self.number("I"), self.number("Q")
            if item in _FIXED:
                self.take(n * _FIXED[item])
                return
            for _ in range(self.count(n, 8)):
                self.value(item, depth + 1)
        else:
            raise ValueError(f"a value of unknown type {kind} at byte {self.at:,}")

    def string(self) -> bytes:
        length = self.number("Q")
        if length > _LONGEST_NAME:
            raise ValueError(f"a name of {length:,} bytes at byte {self.at:,}")
        return self.take(length)

    def count(self, n: int, least: int) -> int:
        """n things of at least so many bytes each, if the file has room for them."""
        if n * least > len(self.content) - self.at:
            raise ValueError(f"{n:,} entries at byte {self.at:,}, which {len(self.content):,} bytes cannot hold")
        return n

    def number(self, code: str) -> int:
        return int(struct.unpack("<" + code, self.take(struct.calcsize(code)))[0])

    def take(self, n: int) -> bytes:
        if self.at + n > len(self.content):
            raise ValueError(f"it ends within {n:,} bytes at byte {self.at:,}: it is cut short")
        self.at += n
        return self.content[self.at - n : self.at]
