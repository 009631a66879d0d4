from __future__ import annotations

import sys

import pytest

from lab.siblings import ROOT, SIBLINGS, come_first


@pytest.mark.parametrize("name", SIBLINGS)
@pytest.mark.parametrize("form", ["folder", "file"])
def test_our_folder_comes_right_before_the_first_that_has_a_package_of_our_names(tmp_path, monkeypatch, name, form):
    theirs, empty, library = tmp_path / "theirs", tmp_path / "empty", tmp_path / "library"
    for folder in (theirs, empty, library):
        folder.mkdir()
    (theirs / name).mkdir() if form == "folder" else (theirs / f"{name}.py").touch()
    path = [str(empty), str(theirs), str(library)]
    monkeypatch.setattr(sys, "path", path.copy())
    come_first()
    assert sys.path == [str(empty), str(ROOT), str(theirs), str(library)]
    come_first()
    assert len(sys.path) == 4


def test_the_path_stays_where_nothing_is_in_the_way(tmp_path, monkeypatch):
    for path in ([str(tmp_path)], [str(tmp_path), str(ROOT)], [str(ROOT), str(tmp_path)]):
        monkeypatch.setattr(sys, "path", path.copy())
        come_first()
        assert sys.path == path
