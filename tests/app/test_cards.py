"""Cards are drawn once: the next start finds them, whatever the disk holds."""

from __future__ import annotations

import pytest

from app import cards, shelf
from app.loading import contents
from app.markdown import literal
from lab.runs import places
from lab.study.catalogue import outline_of

OUTLINE = outline_of("weight_differences")


@pytest.fixture
def start(monkeypatch, filled, tmp_path):
    """A start of the explorer: what it remembers is gone, what is on disk is there."""
    monkeypatch.setattr(places, "GALLERY", tmp_path / "no gallery")
    monkeypatch.setenv("DELTALAB_STORE", str(filled))
    monkeypatch.setenv("DELTALAB_CACHE", str(tmp_path / "cache"))

    def card() -> cards.Card:
        cards._memory.clear()
        return cards.card(contents(), OUTLINE)

    return card


def undrawable(*_args: object) -> None:
    raise AssertionError("drawn again")


def test_a_card_is_drawn_once_for_all_starts(start, monkeypatch, tmp_path):
    first = start()
    assert first.picture.startswith("<svg")
    monkeypatch.setattr(cards, "drawn", undrawable)
    assert start() == first
    monkeypatch.setattr(cards, "code", lambda: "other code")
    with pytest.raises(AssertionError, match="drawn again"):
        start()


@pytest.mark.parametrize("content", ["{", '{"answer": 1, "picture": ""}', '{"answer": "no picture"}', "[]"])
def test_what_cannot_be_read_is_drawn_again(start, tmp_path, content):
    first = start()
    (file,) = (tmp_path / "cache" / "cards").iterdir()
    file.write_text(content)
    assert start() == first


def test_a_disk_that_takes_nothing_costs_time_only(start, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert start().picture.startswith("<svg")


def test_the_oldest_half_goes_when_there_are_too_many(monkeypatch, tmp_path):
    monkeypatch.setenv("DELTALAB_CACHE", str(tmp_path))
    monkeypatch.setattr(shelf, "MOST", 4)
    for number in range(5):
        shelf.put(f"{number:064}", {"answer": str(number)})
    assert len(list((tmp_path / "cards").iterdir())) == 2


def test_a_long_answer_ends_at_a_part_and_a_short_one_is_whole():
    whole = "Scores: LoRA 0.91; BitFit 0.88; prefix 0.83."
    assert cards.brief(whole) == whole
    assert cards.brief(whole, 36) == "Scores: LoRA 0.91; BitFit 0.88; …"
    assert cards.brief("word " * 100, 40) == "word " * 7 + "word…"


def test_a_card_is_of_the_rows_that_its_page_shows_first(opened, of_four_seeds):
    shown = opened("intruders", of_four_seeds)
    found = cards.card(contents(), outline_of("intruders"))
    assert literal(found.answer) in [text.value for text in shown.markdown]
