"""`Examples`: labelled sentences or sentence pairs, checked once where they are made."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from lab.faces import outlined

Label = int | float

SURROGATE = re.compile("[\ud800-\udfff]")


@outlined
@dataclass(frozen=True, eq=False)
class Examples:
    """n labelled texts, in a fixed order.

    Attributes:
        texts: the sentences, or the first sentences of the pairs; none is blank.
        labels: one per text: all integers >= 0 (classes) or all finite floats (regression).
        pairs: the second sentences, or None.

    Raises:
        ValueError: nothing in it, lengths that differ, blank texts, lone surrogates, labels that are negative or not
            finite.
        TypeError: labels that are neither integers nor floats, or both.
    """

    texts: tuple[str, ...]
    labels: tuple[Label, ...]
    pairs: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.texts:
            raise ValueError("no examples; give at least one text with its label.")
        counts = [len(self.texts), len(self.labels)] + ([] if self.pairs is None else [len(self.pairs)])
        if len(set(counts)) > 1:
            raise ValueError(f"texts, labels (and pairs) must be equally many; got {counts}.")
        for column in filter(None, (self.texts, self.pairs)):
            blank = next((i for i, text in enumerate(column) if not text.strip()), None)
            if blank is not None:
                raise ValueError(f"example {blank} has a blank text; drop it or fill it in.")
            halved = next((i for i, text in enumerate(column) if not text.isascii() and SURROGATE.search(text)), None)
            if halved is not None:
                raise ValueError(
                    f"example {halved} holds half a character (a lone surrogate), which no tokenizer reads; delete it."
                )
        _check_labels(self.labels)

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def numeric(self) -> bool:
        """Whether the labels are floats (regression) rather than classes."""
        return isinstance(self.labels[0], float)

    @cached_property
    def keys(self) -> tuple[tuple[str, ...], ...]:
        """What identifies each example apart from its label: (text,) or (text, pair)."""
        return tuple(zip(self.texts, strict=True) if self.pairs is None else zip(self.texts, self.pairs, strict=True))

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of texts, pairs and labels in their order."""
        digest = hashlib.sha256()
        for key, label in zip(self.keys, self.labels, strict=True):
            for piece in (*key, repr(label)):
                encoded = piece.encode("utf-8", "surrogatepass")
                digest.update(len(encoded).to_bytes(8, "little") + encoded)
        return digest.hexdigest()

    def as_floats(self) -> Examples:
        """The same with float labels."""
        return Examples(self.texts, tuple(float(label) for label in self.labels), self.pairs)

    def take(self, indices: Iterable[int]) -> Examples:
        """The examples at the given positions, in that order."""
        chosen = [int(i) for i in indices]
        return Examples(
            tuple(self.texts[i] for i in chosen),
            tuple(self.labels[i] for i in chosen),
            None if self.pairs is None else tuple(self.pairs[i] for i in chosen),
        )


def _check_labels(labels: Sequence[Label]) -> None:
    for i, label in enumerate(labels):
        if isinstance(label, bool) or not isinstance(label, int | float):
            raise TypeError(
                f"example {i} has the label {label!r}; expected an integer class 0, 1, … or a float (regression). "
                "Number the classes and load again."
            )
        if isinstance(label, float) and not math.isfinite(label):
            raise ValueError(f"example {i} has the label {label!r}; expected a finite number. Drop or repair it.")
    kinds = {type(label) for label in labels}
    if len(kinds) > 1:
        raise TypeError("labels mix integers and floats; expected all integers (classes) or all floats (regression).")
    if int in kinds and min(labels) < 0:
        raise ValueError(
            f"example {labels.index(min(labels))} has the label {min(labels)}; expected classes 0, 1, …. "
            "A test set without labels (-1) cannot be used."
        )
