import pytest

from lab.tasks import Examples


def test_take_keeps_texts_pairs_and_labels_together():
    examples = Examples(("a", "b", "c"), (0, 1, 2), ("x", "y", "z"))
    taken = examples.take([2, 0])
    assert (taken.texts, taken.labels, taken.pairs) == (("c", "a"), (2, 0), ("z", "x"))
    assert taken.keys == (("c", "z"), ("a", "x"))


def test_fingerprint_tells_apart_what_differs():
    variants = [
        Examples(("ab", "c"), (0, 1)),
        Examples(("a", "bc"), (0, 1)),
        Examples(("ab", "c"), (1, 0)),
        Examples(("ab", "c"), (0.0, 1.0)),
        Examples(("ab",), (0,), ("c",)),
        Examples(("c", "ab"), (1, 0)),
    ]
    assert len({e.fingerprint for e in variants}) == len(variants)
    assert Examples(("ab", "c"), (0, 1)).fingerprint == variants[0].fingerprint


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (((), ()), ValueError, "no examples"),
        ((("a", "b"), (0,)), ValueError, r"equally many; got \[2, 1\]"),
        ((("a", "b"), (0, 1), ("x",)), ValueError, r"equally many; got \[2, 2, 1\]"),
        ((("a", "  "), (0, 1)), ValueError, "example 1 has a blank text"),
        ((("a", "b"), (0, 1), ("", "x")), ValueError, "example 0 has a blank text"),
        ((("a", "half \ud83d"), (0, 1)), ValueError, "example 1 holds half a character"),
        ((("a", "b"), (0, "1")), TypeError, "example 1 has the label '1'; expected an integer class"),
        ((("a", "b"), (0, True)), TypeError, "example 1 has the label True"),
        ((("a", "b"), (0, 1.0)), TypeError, "mix integers and floats"),
        ((("a", "b"), (0.0, float("nan"))), ValueError, "example 1 has the label nan; expected a finite number"),
        ((("a", "b"), (0, -1)), ValueError, "example 1 has the label -1; expected classes 0, 1"),
    ],
)
def test_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        Examples(*arguments)
