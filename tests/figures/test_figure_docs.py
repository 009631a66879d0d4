"""docs/figures.md says what every figure needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.figures import FIGURES, SIZES

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "figures.md").read_text()


@pytest.mark.parametrize("drawn", FIGURES, ids=lambda f: f.name)
def test_the_table_of_every_figure_is_documented(drawn):
    _, _, section = TEXT.partition(f"**`{drawn.name}`**")
    section = section.partition("\n**`")[0]
    assert f"`{drawn.table}`" in section
    assert [name for name in (*drawn.columns, *drawn.optional) if f"`{name}`" not in section] == []


def test_sizes_are_documented():
    assert all(f"`{name}`" in TEXT for name in SIZES)
