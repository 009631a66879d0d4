"""Perturbations of inputs as pure functions: words left out, letters swapped, embeddings with noise.

What happens to a text depends on the text, the strength and the seed alone, not on its place among others. Strengths
are nested: every word that a weak perturbation changes is changed by a stronger one of the same seed too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from zlib import crc32

import torch
from torch import Tensor

from lab.tasks.examples import Examples
from lab.tasks.order import draws

_WORD = 2**64  # draws are uniform on 0 … 2⁶⁴ − 1


def drop_words(text: str, share: float, seed: int) -> str:
    """The text without each of its words with probability `share`; of a text that would vanish one word stays.

    Args:
        text: words are what white space separates.
        share: in [0, 1].
        seed: >= 0.

    Returns:
        The words that stay, joined by single spaces; the text itself at share 0.
    """
    words = text.split()
    if not words or _checked(share) == 0:
        return text
    drawn = draws(len(words), seed, crc32(text.encode()))
    kept = [word for word, draw in zip(words, drawn, strict=True) if int(draw) >= share * _WORD]
    return " ".join(kept) if kept else words[int(drawn.argmax())]


def swap_letters(text: str, share: float, seed: int) -> str:
    """The text with a typing error in each word with probability `share`: two neighbouring inner characters swap.

    The first and the last character stay, so words of fewer than four characters are left alone, as are words whose
    inner characters are all the same.

    Args:
        text: words are what white space separates.
        share: in [0, 1].
        seed: >= 0.

    Returns:
        As many words of the same lengths and letters, joined by single spaces; the text itself at share 0.
    """
    words = text.split()
    if not words or _checked(share) == 0:
        return text
    drawn = draws(2 * len(words), seed, crc32(text.encode()))
    return " ".join(
        _mistyped(word, int(drawn[2 * i + 1])) if int(drawn[2 * i]) < share * _WORD else word
        for i, word in enumerate(words)
    )


def first_words(text: str, n: int) -> str:
    """The first n words, joined by single spaces.

    Cut before perturbing, or words left out of a truncated text would make room for later ones.
    """
    return " ".join(text.split()[:n])


def noisy_embedding(weight: Tensor, strength: float, seed: int) -> Tensor:
    """E + strength·rms(E)·ε, ε standard normal: every token's vector is moved by its own fixed noise.

    Args:
        weight: E, (vocabulary, hidden).
        strength: standard deviation of the noise in units of the root mean square of E's entries, ≥ 0.
        seed: of ε.

    Raises:
        ValueError: a negative strength.
    """
    if strength < 0:
        raise ValueError(f"the strength of embedding noise must not be negative; got {strength}.")
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(weight.shape, generator=generator, dtype=torch.float64).to(weight)
    return weight + strength * weight.square().mean().sqrt() * noise


PERTURBATIONS: Mapping[str, Callable[[str, float, int], str]] = MappingProxyType(
    {"word drops": drop_words, "typos": swap_letters}
)
"""Perturbations of texts by name."""


def perturbed(examples: Examples, kind: str, share: float, seed: int) -> Examples:
    """The examples with every text (and second sentence) perturbed; labels stay.

    Raises:
        ValueError: an unknown kind, or a share outside [0, 1].
    """
    if kind not in PERTURBATIONS:
        raise ValueError(f"unknown perturbation {kind!r}; choose one of {list(PERTURBATIONS)}.")
    change = PERTURBATIONS[kind]
    texts = tuple(change(text, share, seed) for text in examples.texts)
    pairs = None if examples.pairs is None else tuple(change(text, share, seed) for text in examples.pairs)
    return Examples(texts, examples.labels, pairs)


def _checked(share: float) -> float:
    if not 0 <= share <= 1:
        raise ValueError(f"the share of words to perturb must lie in [0, 1]; got {share}.")
    return share


def _mistyped(word: str, draw: int) -> str:
    """The word with one pair of different neighbours swapped, both inside."""
    places = [i for i in range(1, len(word) - 2) if word[i] != word[i + 1]]
    if not places:
        return word
    i = places[draw % len(places)]
    return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
