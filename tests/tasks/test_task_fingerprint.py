import pytest

from lab.tasks import BadFile
from lab.tasks.fingerprint import fingerprint

ROWS = "text,label\na,0\nb,1\n"


def test_a_file_has_the_hash_of_its_content(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text(ROWS)
    before = fingerprint(file)
    assert fingerprint(file.rename(tmp_path / "renamed.csv")) == before
    (tmp_path / "renamed.csv").write_text(ROWS.replace("a,0", "a,1"))
    assert fingerprint(tmp_path / "renamed.csv") != before


def test_a_folder_has_the_hash_of_the_files_that_are_read(tmp_path, monkeypatch):
    home = tmp_path / "mine"
    home.mkdir()
    for split in ("train", "validation"):
        (home / f"{split}.csv").write_text(ROWS)
    before = fingerprint(home)
    (home / "README.md").write_text("about")
    assert fingerprint(home) == before
    monkeypatch.setenv("DELTALAB_TASKS", str(tmp_path))
    assert fingerprint("mine") == before
    (home / "validation.csv").write_text(ROWS + "c,1\n")
    assert fingerprint(home) != before


def test_a_few_shot_split_includes_its_test_data(tmp_path):
    few = tmp_path / "16-shot-13"
    few.mkdir()
    for file in (few / "train.csv", few / "validation.csv", tmp_path / "train.csv", tmp_path / "validation.csv"):
        file.write_text(ROWS)
    before = fingerprint(few)
    assert fingerprint(tmp_path, "16-shot-13") == before
    (tmp_path / "validation.csv").write_text(ROWS + "c,1\n")
    assert fingerprint(few) != before


def test_packaged_tasks_and_those_of_the_hub_have_none():
    assert fingerprint("bbc-news") is None
    assert fingerprint("glue/sst2") is None


def test_a_folder_without_splits_is_refused(tmp_path):
    with pytest.raises(BadFile, match="has no train"):
        fingerprint(tmp_path)
