"""Factorial effects against an additive truth, against reconstruction, and against plain differences of means."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from lab.statistics import effects_beside, factorial_effects


def design(k, f):
    return {x: f(*x) for x in product((False, True), repeat=k)}


def test_planted_effects_are_found():
    """y = 5 + 2a − b + 0.5c + 4ab: the effect of a is 2 + 4/2, of b −1 + 4/2, the interaction 4/2."""
    effects = factorial_effects(design(3, lambda a, b, c: 5 + 2 * a - b + 0.5 * c + 4 * a * b))
    expected = {(0,): 4, (1,): 1, (2,): 0.5, (0, 1): 2, (0, 2): 0, (1, 2): 0, (0, 1, 2): 0}
    assert effects == pytest.approx(expected)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_mean_and_effects_give_every_response_back(k):
    rng = np.random.default_rng(0)
    cells = design(k, lambda *x: float(rng.normal()))
    effects, mean = factorial_effects(cells), np.mean(list(cells.values()))
    assert len(effects) == 2**k - 1
    for x, y in cells.items():
        signs = {s: np.prod([1 if x[i] else -1 for i in s]) for s in effects}
        assert mean + 0.5 * sum(effects[s] * signs[s] for s in effects) == pytest.approx(y)


def test_a_main_effect_is_the_mean_of_the_effects_beside_the_others():
    rng = np.random.default_rng(1)
    cells = design(3, lambda *x: float(rng.normal()))
    for factor in range(3):
        beside = effects_beside(cells, factor)
        assert len(beside) == 4
        assert np.mean(list(beside.values())) == pytest.approx(factorial_effects(cells)[factor,])
    assert effects_beside(cells, 1)[True, False] == cells[True, True, False] - cells[True, False, False]


@pytest.mark.parametrize("cells", [{}, {(True,): 1.0}, {(False,): 0.0, (True, True): 1.0}, {(): 1.0}])
def test_incomplete_designs_are_refused(cells):
    with pytest.raises(ValueError, match=r"needs the response of each of the 2\^k combinations"):
        factorial_effects(cells)


def test_an_unknown_factor_is_refused():
    with pytest.raises(ValueError, match=r"factor must be in 0\.\.1; got 2"):
        effects_beside(design(2, lambda a, b: 0.0), 2)
