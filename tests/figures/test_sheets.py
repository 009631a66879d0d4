"""What is too tall for a page goes on on another, every panel once and in its order."""

from __future__ import annotations

from lab.figures import LIGHT, SIZES
from lab.figures.grammar import Grid
from lab.figures.sheets import numbered, sheets

DOUBLE = SIZES["double"]


def panels(drawing) -> list[str]:
    return [note.text for note in drawing.layout.annotations]


def drawn(grid: Grid):
    return sheets(grid, lambda part: part.figure(DOUBLE), DOUBLE.tallest)


def rows(labels: int, roles: int) -> Grid:
    grid = Grid(LIGHT, wrap=3, height=340)
    for label in range(labels):
        for role in range(roles):
            grid.panel(f"{label} · {role}", new_row=role == 0).line([0, 1], [0, 1], "a")
    return grid


def test_what_fits_is_one_sheet():
    assert len(drawn(rows(2, 3))) == 1


def test_rows_stay_together_and_every_panel_is_drawn_once():
    found = drawn(rows(15, 4))
    assert len(found) > 1
    assert all(sheet.layout.height <= DOUBLE.tallest for sheet in found)
    assert [title for sheet in found for title in panels(sheet)] == [f"{i} · {j}" for i in range(15) for j in range(4)]
    assert all(panels(sheet)[0].endswith("· 0") for sheet in found)


def test_a_row_taller_than_a_page_is_broken():
    found = drawn(rows(1, 60))
    assert len(found) > 1
    assert sum(len(panels(sheet)) for sheet in found) == 60


def test_a_panel_taller_than_a_page_stays_whole():
    grid = Grid(LIGHT)
    names = [f"name {i}" for i in range(200)]
    grid.panel().points(range(200), names, "a")
    grid.y(categories=names)
    (only,) = drawn(grid)
    assert only.layout.height > DOUBLE.tallest


def test_files_are_numbered_from_the_second_on():
    assert list(numbered("cka", drawn(rows(2, 3)) * 3)) == ["cka", "cka-2", "cka-3"]
