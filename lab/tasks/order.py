"""Seeded orders: shuffles, nested stratified samples, and splits that keep equal texts on one side.

Every order is a stable argsort of raw PCG64 words. NumPy promises the stream of its bit generators and of
`SeedSequence`, but not that of `Generator.permutation`, so these orders are the same on every machine and version.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from lab.tasks.examples import Examples


def draws(n: int, *seeds: int) -> np.ndarray:
    """n independent uniform uint64 words that depend on the seeds alone.

    Raises:
        ValueError: a negative seed.
    """
    if any(seed < 0 for seed in seeds):
        raise ValueError(f"seeds must be integers >= 0; got {seeds}.")
    # SeedSequence takes (s,) and (s, 0) for the same: the count tells them apart
    return np.random.PCG64(np.random.SeedSequence([len(seeds), *seeds])).random_raw(n)


def shuffled(n: int, *seeds: int) -> np.ndarray:
    """A permutation of 0 … n−1 (int64) that depends on n and the seeds alone.

    Raises:
        ValueError: a negative seed.
    """
    return np.argsort(draws(n, *seeds), kind="stable")


def strata(examples: Examples) -> list[int]:
    """The class of each example; for regression 0 below the middle of the label range and 1 from there on.

    Cutting similarity 0–5 at 2.5 is how LM-BFF (Gao et al. 2021) samples STS-B.
    """
    if not examples.numeric:
        return [int(label) for label in examples.labels]
    middle = (min(examples.labels) + max(examples.labels)) / 2
    return [int(label >= middle) for label in examples.labels]


def stratified(examples: Examples, seed: int) -> np.ndarray:
    """A permutation whose every prefix holds the strata in proportion, up to one example each.

    The first c entries hold one example of each of c strata, and samples of the same seed are nested.
    """
    members: dict[int, list[int]] = defaultdict(list)
    classes = strata(examples)
    order = shuffled(len(examples), seed)
    for i in order:
        members[classes[i]].append(int(i))
    position = np.empty(len(examples))
    for indices in members.values():
        position[indices] = np.arange(len(indices)) / len(indices)
    return order[np.argsort(position[order], kind="stable")]


def split(examples: Examples, fraction: float, seed: int) -> tuple[Examples, Examples]:
    """(train, validation): stratified, seeded, and equal texts are never on both sides.

    Every class has a training example: the text of a class with a single one is never held out.

    Args:
        fraction: share of the validation examples, in (0, 1).
        seed: seed of the split.

    Raises:
        ValueError: a fraction outside (0, 1), or one that leaves a side empty.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"the validation fraction must lie in (0, 1); got {fraction}.")
    copies: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, key in enumerate(examples.keys):
        copies[key].append(i)
    first = [indices[0] for indices in copies.values()]
    n_validation = round(fraction * len(first))
    if not 0 < n_validation < len(first):
        raise ValueError(
            f"{len(first)} different texts are too few to keep a fraction {fraction} for validation; "
            "give more examples or another fraction."
        )
    unique = examples.take(first)
    chosen = _held_out(examples, (unique.keys[i] for i in stratified(unique, seed)), n_validation)
    if not chosen:
        raise ValueError(
            f"no two of the {len(first)} different texts have the same label; give at least two of some class, or "
            "the column that holds the classes (numbers to predict are written 0.5)."
        )
    sides: Sequence[list[int]] = ([], [])
    for i, key in enumerate(examples.keys):
        sides[key in chosen].append(i)
    return examples.take(sides[0]), examples.take(sides[1])


def _held_out(examples: Examples, order: Iterable[tuple[str, ...]], n: int) -> set[tuple[str, ...]]:
    """The first n texts of an order, passing over those without which a class would have nothing to train on."""
    classes: dict[tuple[str, ...], set[int]] = defaultdict(set)
    if not examples.numeric:
        for key, label in zip(examples.keys, strata(examples), strict=True):
            classes[key].add(label)
    left = Counter(label for labels in classes.values() for label in labels)
    chosen: set[tuple[str, ...]] = set()
    for key in order:
        if len(chosen) == n:
            break
        if all(left[label] > 1 for label in classes[key]):
            chosen.add(key)
            left.subtract(classes[key])
    return chosen
