"""Named parts and one flat vector."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.linalg import Layout, Part

LAYOUT = Layout((Part("embed", (3, 2)), Part("w", (2, 2), block=0), Part("b", (), block=1), Part("v", (2,), block=0)))

shapes = st.lists(st.lists(st.integers(0, 4), max_size=3).map(tuple), max_size=6)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(shapes)
def test_round_trip(shapes):
    layout = Layout(tuple(Part(f"p{i}", shape) for i, shape in enumerate(shapes)))
    flat = torch.arange(float(layout.size), dtype=torch.float64)
    parts = layout.unflatten(flat)
    assert [tuple(parts[f"p{i}"].shape) for i in range(len(shapes))] == list(shapes)
    assert layout.flatten(parts).tolist() == flat.tolist()
    assert Layout.of(parts) == layout


def test_known_positions():
    assert LAYOUT.size == 13
    assert LAYOUT.slices == {"embed": slice(0, 6), "w": slice(6, 10), "b": slice(10, 11), "v": slice(11, 13)}
    assert LAYOUT.blocks == (0, 1)
    assert LAYOUT.indices(0).tolist() == [6, 7, 8, 9, 11, 12]
    assert LAYOUT.indices(None).tolist() == [0, 1, 2, 3, 4, 5]
    assert LAYOUT.indices(9).tolist() == []
    assert LAYOUT.select(["v", "embed"]).names == ("embed", "v")
    assert (LAYOUT.select(["w"]) + LAYOUT.select(["v"])).size == 6
    assert len(LAYOUT) == 4
    assert [part.name for part in LAYOUT] == list(LAYOUT.names)


def test_parts_are_views_and_differentiable():
    flat = torch.zeros(13, dtype=torch.float64)
    LAYOUT.unflatten(flat)["w"].fill_(1.0)
    assert flat.sum() == 4
    gradient = torch.func.grad(lambda x: (LAYOUT.unflatten(x)["w"] ** 2).sum())(torch.arange(13.0))
    assert gradient.tolist() == [0] * 6 + [12, 14, 16, 18] + [0] * 3
    batch = torch.arange(26.0).reshape(2, 13)
    again = torch.vmap(lambda x: LAYOUT.flatten(LAYOUT.unflatten(x)))(batch)
    assert torch.equal(again, batch)


def test_blocks_come_with_the_tensors():
    layout = Layout.of({"a": torch.zeros(2), "b": torch.zeros(1, 3)}, {"b": 4})
    assert layout == Layout((Part("a", (2,)), Part("b", (1, 3), block=4)))


def test_misuse_is_named():
    with pytest.raises(ValueError, match=r"part names must be unique; repeated: \['a'\]"):
        Layout((Part("a", (1,)), Part("a", (2,))))
    with pytest.raises(ValueError, match=r"needs a flat vector \(13,\); got shape \(12,\)"):
        LAYOUT.unflatten(torch.zeros(12))
    parts = LAYOUT.unflatten(torch.zeros(13))
    with pytest.raises(ValueError, match=r"missing \['v'\], unexpected \['z'\]"):
        LAYOUT.flatten({("z" if name == "v" else name): part for name, part in parts.items()})
    with pytest.raises(ValueError, match=r"part 'w' needs shape \(2, 2\); got \(4,\)"):
        LAYOUT.flatten({**parts, "w": torch.zeros(4)})
    with pytest.raises(ValueError, match=r"unknown part names \['nope'\]"):
        LAYOUT.select(["nope"])
