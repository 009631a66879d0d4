"""Tiny models of another depth."""

from __future__ import annotations

import pytest

from lab.models.tiny import CONFIGURATIONS, tiny_plm


@pytest.mark.parametrize("family", CONFIGURATIONS)
def test_depth_is_as_asked(family):
    stacks = 2 if tiny_plm(family).architecture.kind == "encoder-decoder" else 1
    depths = [1, 1] if family == "albert" else [stacks, 3 * stacks]  # ALBERT runs one block n times
    assert [tiny_plm(family, n_layers=n).n_blocks for n in (1, 3)] == depths


def test_no_block_is_refused():
    with pytest.raises(ValueError, match="n_layers >= 1; got 0"):
        tiny_plm("bert", n_layers=0)
