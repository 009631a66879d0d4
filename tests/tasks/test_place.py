from __future__ import annotations

from pathlib import Path

import pytest

from lab.tasks import described, load_task
from lab.tasks.fingerprint import fingerprint
from lab.tasks.place import Place, named, place_of

ROWS = "".join(f"text {i},{('good', 'bad')[i % 2]},{i}\n" for i in range(40))


@pytest.fixture
def file(tmp_path) -> Path:
    (path := tmp_path / "mine.csv").write_text("first,verdict,number\n" + ROWS)
    return path


@pytest.mark.parametrize(
    ("text", "label"),
    [("review", None), (None, "stars"), ("a b", "x&y=z?"), (("premise", "hypothesis"), "class"), ("ä,ö", "1")],
)
def test_a_place_is_read_back_from_its_name(tmp_path, text, label):
    assert place_of(named(tmp_path, text, label)) == Place(tmp_path, text, label)


def test_the_columns_of_a_name_are_those_of_the_arguments(file):
    by_name = load_task(named(file, "first", "verdict"))
    assert by_name.columns == ("first", "verdict")
    assert by_name.fingerprint == load_task(file, text_column="first", label_column="verdict").fingerprint
    assert by_name.name == "mine"
    assert fingerprint(named(file, "first", "verdict")) == fingerprint(file)


def test_a_file_whose_name_has_a_question_mark_is_that_file(tmp_path, file):
    odd = tmp_path / "what?text=x"
    file.rename(odd)
    assert place_of(odd) == Place(odd)


@pytest.mark.parametrize("query", ["", "txt=first", "text=a&text=b&text=c", "label=a&label=b", "text=a&b=c"])
def test_what_names_no_columns_is_refused(file, query):
    with pytest.raises(ValueError, match=r"expected text=COLUMN \(twice for pairs\) and label=COLUMN after"):
        load_task(f"{file}?{query}")


def test_a_question_mark_after_nothing_is_an_unknown_task():
    with pytest.raises(ValueError, match=r"unknown task 'no such\?thing'"):
        load_task("no such?thing")


def test_what_was_made_of_a_file_is_said_in_a_sentence(file, tmp_path):
    assert described(load_task(named(file, "first", "verdict"))) == (
        "text from 'first', label from 'verdict'; classes 0 = bad, 1 = good; 32 training, 8 validation examples; "
        "accuracy"
    )
    (scores := tmp_path / "scores.csv").write_text("a,b,label\n" + "".join(f"x{i},y{i},{i / 4}\n" for i in range(20)))
    assert described(load_task(named(scores, ("a", "b")))).startswith(
        "text from 'a' and 'b', label from 'label'; numbers from 0 to 4.75 (regression); 16 training, 4 validation"
    )
    (many := tmp_path / "many.csv").write_text("text,label\n" + "".join(f"x {i},c{i % 15:02}\n" for i in range(60)))
    assert "classes 0 = c00, 1 = c01, " in described(load_task(many))
    assert "11 = c11, … 15 in all; " in described(load_task(many))


def test_the_words_of_a_task_that_is_known_stand_beside_what_the_file_writes(tmp_path):
    (path := tmp_path / "cola.csv").write_text(
        "text,label\n" + "".join(f"x {i},{2 * (i % 2) - 1}\n" for i in range(40))
    )
    assert "classes 0 = -1 (unacceptable), 1 = 1 (acceptable)" in described(load_task(path))


def test_a_text_where_its_file_was_meant_is_refused():
    with pytest.raises(ValueError, match=r"'a good film a good .*… is no task and no path of one: File name too long"):
        load_task("a good film " * 30)
