"""A portrait: its tables agree with each other, and a planted subspace stands out of the nulls that do not hold it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lab.figures import figure
from lab.geometry.collections import Member, from_updates, gram, leave_out, nulls_of, portrait
from lab.linalg import LowRank
from lab.statistics.shared_subspace import BASE, CORES, INPUTS, SPECTRA

M, D, N = 12, 10, 7


def planted():
    """ΔW_i = a_i·uvᵀ + noise of rank 2: one shared direction of inputs and outputs."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    u, v = draw(M, 1), draw(1, D)
    updates = {}
    for i in range(N):
        left, right = torch.cat([u * (1 + i), 0.5 * draw(M, 2)], dim=1), torch.cat([v, 0.5 * draw(2, D)])
        updates[Member(f"t{i}", f"t{i}", "ab"[i % 2], 0)] = {"w": LowRank(left, right)}
    return from_updates(updates)


def test_nulls_are_those_whose_material_is_given():
    held, W = planted(), {"w": torch.eye(M, D, dtype=torch.float64)}
    assert list(nulls_of(held)) == [SPECTRA, CORES]
    every = nulls_of(held, base=W.__getitem__, inputs={"w": torch.eye(D, dtype=torch.float64)}.__getitem__)
    assert list(every) == [SPECTRA, CORES, BASE, INPUTS]
    for drawn in every.values():
        np.testing.assert_allclose(gram(drawn(3)).norms, gram(held).norms, rtol=1e-10)


def test_a_planted_direction_is_beyond_random_spectra():
    held = planted()
    found = portrait(held, nulls_of(held), label="planted")
    spectra = found.beyond[0]
    assert spectra.null == SPECTRA
    assert spectra.n_directions >= 1  # sizes differ, so the mean alone is far from the small ones
    assert found.tables["left_out_tasks"]["share"].mean() > 0.5
    assert set(found.tables["tasks_needed"]["of"]) == {"the tasks", SPECTRA, CORES}


def test_shares_of_members_average_to_the_shares_of_the_collection():
    held = planted()
    found = portrait(held, nulls_of(held))
    table = found.tables["beside_nulls"]
    for comparison in found.beyond:
        own = table[table["null"] == comparison.null].groupby("k")[["share", "null_share"]].mean()
        np.testing.assert_allclose(own["share"], comparison.shares)
        np.testing.assert_allclose(own["null_share"], comparison.draws.mean(axis=0))
    one = leave_out(gram(held), "task")
    np.testing.assert_allclose(one["share"], table[table["null"] == SPECTRA]["share"])


@pytest.mark.parametrize("name", ["shared_directions", "left_out_tasks", "task_map", "tasks_needed"])
def test_every_table_is_drawn(name):
    held = planted()
    table = portrait(held, nulls_of(held), label="planted").tables[name]
    assert figure(name).draw(table).data


def test_a_collection_of_equal_spaces_has_no_map():
    generator = torch.Generator().manual_seed(1)
    updates = {f"{i}": {"w": torch.randn(4, 4, generator=generator, dtype=torch.float64)} for i in range(4)}
    held = from_updates(updates).in_memory()
    assert "task_map" not in portrait(held, nulls_of(held)).tables
