"""Rows of the score table: what each is made of, and that none has seen the task that is scored."""

from __future__ import annotations

import pytest
import torch

from lab.geometry.collections import Member, from_updates, gram, nulls_of
from lab.linalg import LowRank
from lab.statistics.shared_subspace import ACROSS, CORES, MEAN, NEAREST, PROBE, RANDOM, SEEN, SHARED, WRONG
from lab.study.coordinates import places

TYPES = ("a", "a", "b", "b", "b", "c")


def collection(target_seed: int = 0):
    updates = {}
    for i, kind in enumerate(TYPES):
        generator = torch.Generator().manual_seed(target_seed if i == 0 else i)
        factors = [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((7, 2), (2, 6))]
        updates[Member(f"t{i}", f"t{i}", kind, 0)] = {"w": LowRank(*factors)}
    return from_updates(updates)


def rows(held):
    return {place.row: place for place in places(held, gram(held), 0, nulls_of)}


def test_no_row_but_those_that_say_so_depends_on_the_target():
    one, two = rows(collection(0)), rows(collection(99))
    assert set(one) == {PROBE, MEAN, NEAREST, SHARED, SEEN, ACROSS, RANDOM, CORES, WRONG}
    for name in set(one) - {NEAREST, SEEN}:
        torch.testing.assert_close(one[name].origin, two[name].origin, rtol=0, atol=1e-12)
        for k in range(1, one[name].largest + 1):
            a, b = (place.columns(k).to_dense().double() for place in (one[name], two[name]))
            torch.testing.assert_close(a @ a.T, b @ b.T, rtol=0, atol=1e-5)


def test_origins_are_means_and_directions_as_long_as_the_spread():
    held, found = collection(), rows(collection())
    points = held.vectors().to_dense()
    others = points[:, 1:]
    torch.testing.assert_close(found[MEAN].origin, others.mean(dim=1))
    torch.testing.assert_close(found[ACROSS].origin, points[:, 2:].mean(dim=1))
    torch.testing.assert_close(found[WRONG].origin, points[:, 2:5].mean(dim=1))
    assert not found[PROBE].origin.any()
    assert (found[SHARED].largest, found[ACROSS].largest, found[WRONG].largest) == (4, 3, 2)
    spread = found[SHARED].columns(4).to_dense().norm(dim=0).double()
    expected = torch.linalg.svdvals(others - others.mean(dim=1, keepdim=True))[:4] / 5**0.5
    torch.testing.assert_close(spread, expected, rtol=1e-5, atol=0)
    random = found[RANDOM].columns(2).to_dense().double().square().sum().item()
    assert random == pytest.approx(float(expected[:2].square().sum()), rel=0.8)


def test_a_seen_task_lies_in_the_subspace_of_all_and_an_unseen_one_does_not():
    held, found = collection(), rows(collection())
    target = held.vectors().to_dense()[:, 0]
    left = {}
    for name in (SEEN, SHARED):
        place = found[name]
        away, basis = target - place.origin, place.columns(place.largest).to_dense().double()
        left[name] = float(
            (away - basis @ torch.linalg.lstsq(basis, away[:, None]).solution[:, 0]).norm() / away.norm()
        )
    assert left[SEEN] < 1e-5  # the basis is float32
    assert left[SHARED] > 0.1


def test_the_nearest_neighbour_is_that_of_the_largest_cosine():
    held = collection()
    points = held.vectors().to_dense()
    cosines = torch.nn.functional.cosine_similarity(points[:, :1], points[:, 1:], dim=0)
    torch.testing.assert_close(rows(held)[NEAREST].origin, points[:, 1 + int(cosines.argmax())])
