from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lab.known_answers import KNOWN_ANSWERS, KnownAnswer, checked


@pytest.mark.parametrize("answer", KNOWN_ANSWERS, ids=lambda answer: answer.name)
def test_known_answer_is_green_and_its_neighbours_are_red(answer):
    values = tuple(torch.as_tensor(answer.compute(), dtype=torch.float64).reshape(-1).tolist())
    computed = replace(answer, compute=lambda: values)
    result = checked(computed)
    assert result.right, f"{answer.name}: expected {result.expected} ± {answer.tolerance}, got {result.got}"
    above = tuple(value + 1.01 * answer.tolerance for value in values)
    below = tuple(value - 1.01 * answer.tolerance for value in values)
    assert not checked(replace(computed, expected=above)).right
    assert not checked(replace(computed, expected=below)).right
    assert not checked(replace(computed, expected=(*answer.expected, 0.0))).right


def test_nan_and_errors_are_red():
    assert not checked(KnownAnswer("n", (0.0,), lambda: [float("nan")], "")).right

    def broken() -> list[float]:
        raise ZeroDivisionError("oops")

    result = checked(KnownAnswer("n", (1.0,), broken, ""))
    assert not result.right
    assert result.got == "ZeroDivisionError: oops"


def test_the_answers_that_the_lab_promises_are_among_them():
    names = " ".join(answer.name for answer in KNOWN_ANSWERS)
    for promised in ("Walsh", "‖Px‖²", "⟨x, Pᵀy⟩", "(2, 1, 1)", "Marchenko", "toy", "PᵀP"):
        assert promised in names
