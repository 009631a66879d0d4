"""Tiny models of another depth."""

from __future__ import annotations

import pytest

from lab.models.tiny import CONFIGURATIONS, tiny_plm


@pytest.mark.parametrize("family", CONFIGURATIONS)
def test_depth_is_as_asked(family):
    stacks = 2 if family == "t5" else 1
    assert [tiny_plm(family, n_layers=n).n_blocks for n in (1, 3)] == [stacks, 3 * stacks]


def test_no_block_is_refused():
    with pytest.raises(ValueError, match="n_layers >= 1; got 0"):
        tiny_plm("bert", n_layers=0)
