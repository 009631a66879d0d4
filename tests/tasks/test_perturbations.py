"""Perturbed inputs: known answers, nesting, independence of order."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from lab.tasks import Examples
from lab.tasks.perturbations import drop_words, first_words, noisy_embedding, perturbed, swap_letters

TEXT = "the quick brown fox jumps over one lazy dog while nobody watches them"


def test_nothing_happens_at_share_zero():
    assert drop_words("two  spaces", 0.0, 0) == swap_letters("two  spaces", 0.0, 0) == "two  spaces"


def test_all_words_dropped_but_one():
    left = drop_words(TEXT, 1.0, 3)
    assert left in TEXT.split()


def test_dropped_words_are_a_subsequence_and_nested_in_the_share():
    words = TEXT.split()
    kept = [set(drop_words(TEXT, share, 1).split()) for share in (0.1, 0.3, 0.6, 0.9)]
    assert all(larger >= smaller for larger, smaller in pairwise(kept))
    assert [word for word in words if word in kept[1]] == drop_words(TEXT, 0.3, 1).split()


def test_the_share_is_the_expected_share():
    long = " ".join(f"word{i}" for i in range(4000))
    assert len(drop_words(long, 0.3, 0).split()) == pytest.approx(2800, abs=120)  # four standard deviations
    changed = sum(a != b for a, b in zip(long.split(), swap_letters(long, 0.3, 0).split(), strict=True))
    assert changed == pytest.approx(1200, abs=120)


def test_swaps_by_hand():
    assert swap_letters("abcd", 1.0, 0) == "acbd"  # the only pair of inner neighbours
    assert swap_letters("cat a be noon", 1.0, 0) == "cat a be noon"  # too short, or nothing to swap


def test_every_word_keeps_its_letters_and_its_ends():
    swapped = swap_letters(TEXT, 1.0, 5).split()
    for before, after in zip(TEXT.split(), swapped, strict=True):
        assert sorted(before) == sorted(after)
        assert (before[0], before[-1]) == (after[0], after[-1])
        assert (before != after) == (len(before) >= 4 and len(set(before[1:-1])) > 1)


def test_a_text_is_changed_the_same_way_wherever_it_stands_and_differently_by_seed():
    one, two = Examples((TEXT, "another text"), (0, 1)), Examples(("another text", TEXT), (1, 0))
    assert perturbed(one, "typos", 0.5, 7).texts == perturbed(two, "typos", 0.5, 7).texts[::-1]
    assert perturbed(one, "word drops", 0.5, 7).labels == (0, 1)
    assert len({drop_words(TEXT, 0.5, seed) for seed in range(10)}) > 5


def test_second_sentences_are_perturbed_too():
    found = perturbed(Examples((TEXT, TEXT), (0, 1), (TEXT, "some second sentence")), "typos", 1.0, 0)
    assert found.pairs is not None
    assert found.pairs[0] == found.texts[0] != TEXT
    assert found.pairs[1] != "some second sentence"


def test_first_words():
    assert first_words("a b  c d", 3) == "a b c"


def test_embedding_noise_has_the_stated_size():
    E = torch.randn(400, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    moved = noisy_embedding(E, 0.5, seed=1)
    assert float((moved - E).std() / E.square().mean().sqrt()) == pytest.approx(0.5, rel=0.02)
    torch.testing.assert_close(noisy_embedding(E, 1.0, seed=1) - E, 2 * (moved - E))
    assert torch.equal(noisy_embedding(E, 0.0, seed=1), E)


def test_refusals():
    with pytest.raises(ValueError, match="unknown perturbation 'shouting'"):
        perturbed(Examples(("a", "b"), (0, 1)), "shouting", 0.1, 0)
    for change in (drop_words, swap_letters):
        with pytest.raises(ValueError, match=r"must lie in \[0, 1\]; got 1.5"):
            change("a b", 1.5, 0)
    with pytest.raises(ValueError, match="must not be negative; got -1"):
        noisy_embedding(torch.ones(2, 2), -1, 0)
