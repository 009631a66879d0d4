"""The report: a figure is added on any page, said something about, moved, removed, and downloaded."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path

import pytest

from app import basket
from lab.figures import figure
from lab.paper import Basket
from lab.runs import places


@pytest.fixture
def store(filled, tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(places, "GALLERY", tmp_path / "no gallery")
    shutil.copytree(filled, tmp_path / "runs")
    monkeypatch.setenv("DELTALAB_STORE", str(tmp_path / "runs"))
    return tmp_path / "runs"


def test_figures_of_pages_are_collected_and_told_apart(store, visited):
    page = visited("intrinsic_dimension", task="rotten-tomatoes")
    page.button(key="add-intrinsic_dimension").click().run()
    assert not page.exception
    visited("intrinsic_dimension").button(key="add-intrinsic_dimension").click().run()
    visited("record").button[0].click().run()
    first, second, third = Basket(store).items()
    assert (first.address, second.address) == ("intrinsic_dimension?task=rotten-tomatoes", "intrinsic_dimension")
    assert set(Basket(store).table(first)["task"]) == {"rotten-tomatoes"}
    assert third.address.startswith("record")


def test_a_report_is_written_ordered_and_survives(store, visited):
    kept = Basket(store)
    for name in ("cka", "intrinsic_dimension"):
        kept.add(figure(name), figure(name).example())
    cka, dimension = kept.items()
    page = visited("report")
    assert not page.exception
    assert [area.label for area in page.text_area] == ["What figure 1 shows", "What figure 2 shows"]
    page.text_area[1].set_value("[Few](https://x.example) suffice.").run()
    page.button(key=f"up-{dimension.name}").click().run()
    assert [item.name for item in kept.items()] == [dimension.name, cka.name]
    again = visited("report")  # after a reload, and in another tab
    assert again.text_area[0].value == "[Few](https://x.example) suffice."
    kept.say(dimension.name, "Said elsewhere.")
    assert again.run().text_area[0].value == "Said elsewhere."
    again.button(key=f"out-{cka.name}").click().run()
    assert len(again.text_area) == 1
    assert len(kept.items()) == 1


def test_the_download_is_the_folder_of_the_venue(store, monkeypatch):
    monkeypatch.setattr(basket, "find_browser", lambda: None)
    Basket(store).add(figure("learning_curves"), figure("learning_curves").example())
    with zipfile.ZipFile(io.BytesIO(basket.folder("icml", pgf=True))) as archive:
        assert "paper/main.tex" in archive.namelist()
        assert b"--venue=icml" in archive.read("paper/PROVENANCE.md")


def test_an_empty_report_says_how_to_fill_it(store, visited):
    page = visited("report")
    assert not page.exception
    assert "Add to report" in page.info[0].value
    assert not page.get("download_button")
