"""What is loaded while the browser starts is there when the first page asks for it."""

from __future__ import annotations

import gc

import pytest

from app import loading, ready
from app.panel import panels
from lab.figures import figure
from lab.runs import Overlay, Store, places


def unread(*_args: object, **_more: object) -> None:
    raise AssertionError("read again")


def test_the_heads_of_the_records_are_read_before_the_first_page(monkeypatch, filled, tmp_path):
    monkeypatch.setattr(places, "GALLERY", tmp_path / "no gallery")
    monkeypatch.setenv("DELTALAB_STORE", str(filled))
    ready.load()
    monkeypatch.setattr(Overlay, "manifests", unread)
    monkeypatch.setattr(Store, "_folders", unread)  # looks into every record's folder
    assert loading.contents().manifests


def test_what_was_loaded_is_spared_the_round_for_garbage_after_every_page(monkeypatch, filled):
    monkeypatch.setenv("DELTALAB_STORE", str(filled))
    try:
        ready.load()
        assert len(gc.get_objects()) < 0.1 * gc.get_freeze_count()
    finally:
        gc.unfreeze()


def test_a_store_that_cannot_be_read_is_left_to_the_page(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DELTALAB_STORE", str(tmp_path / "file"))
    ready.load()


@pytest.mark.parametrize("name", ["intruders", "loss_surface", "weight_difference_spectra"])
def test_panels_are_counted_as_they_are_drawn(name):
    drawn = figure(name)
    table = drawn.example()
    layout = drawn.draw(table).layout.to_plotly_json()
    assert panels(drawn, table) == sum(axis.startswith(("xaxis", "scene")) for axis in layout)
    assert panels(drawn, table.drop(columns="label")) == 0


def test_what_other_pages_need_comes_after_the_first_page_had_its_time(monkeypatch):
    order: list[str] = []
    monkeypatch.setattr(ready, "load", lambda: order.append("load"))
    monkeypatch.setattr(ready.time, "sleep", lambda seconds: order.append(f"pause {seconds:g}"))
    monkeypatch.setattr(ready, "compiled", lambda: order.append("compile"))
    monkeypatch.setattr(ready.importlib, "import_module", order.append)
    monkeypatch.setattr(ready, "settle", lambda: order.append("settle"))
    ready.begin()
    assert order == ["load", f"pause {ready.PAUSE:g}", *ready.LATER, "settle", "compile"]


def test_a_process_that_cannot_be_started_leaves_the_compiling_to_the_page(monkeypatch):
    def refuse(*_args: object, **_more: object) -> None:
        raise OSError

    monkeypatch.setattr(ready.subprocess, "run", refuse)
    monkeypatch.setattr(ready.importlib, "import_module", lambda name: None)
    try:
        ready.further()
    finally:
        gc.unfreeze()


def test_compiled_kernels_are_kept_for_the_server(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert ready.compiled() == 0
    assert list(tmp_path.rglob("*.nbc"))
