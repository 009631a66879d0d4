from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from lab.study import Config, Settings, setting
from lab.study.settings import expected, written


@dataclass(frozen=True, kw_only=True)
class Part(Config):
    rank: int = setting("of it", low=1)
    model: str = setting("name", "minilm", role="model")


@dataclass(frozen=True, kw_only=True)
class Toy(Config):
    model: str = setting("name", role="model")
    seeds: tuple[int, ...] = setting("of runs", low=0)
    lr: float | None = setting("step size", None, keyed=True)
    tasks: tuple[str, ...] = setting("names", (), role="task")
    kind: str = setting("which", "a", choices=("a", "b"))
    whole: Part | None = setting("a part", None)
    pairs: tuple[tuple[str, float], ...] = setting("pairs", ())
    method: dict[str, Any] = setting("of the delta", {"method": "lora"})


def test_a_field_at_its_default_is_absent_from_the_key_unless_it_is_keyed():
    toy = Toy(model="minilm", seeds=(0, 1))
    assert toy.to_json() == {"model": "minilm", "seeds": [0, 1], "lr": None, "method": {"method": "lora"}}
    assert Toy(model="m", seeds=(), kind="b").to_json()["kind"] == "b"


def test_an_added_field_changes_no_key():
    @dataclass(frozen=True, kw_only=True)
    class Later(Toy):
        added: int = setting("added later", 3)

    old = Toy(model="m", seeds=(1,), kind="b").to_json()
    assert Later.from_json(old).to_json() == old
    assert Later(model="m", seeds=(1,), kind="b", added=4).to_json() == old | {"added": 4}


def test_json_is_read_back_whole_with_its_types():
    toy = Toy(
        model="m", seeds=(1, 2), tasks=("x",), whole=Part(rank=3), pairs=(("a", 1.5),), method={"rank": [1, 2], "b": {}}
    )
    assert Toy.from_json(toy.to_json()) == toy
    assert Toy.from_json(toy.to_json() | {"content": {"m": "abc"}}) == toy


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": "m", "seeds": [0], "sed": 1}, "has no 'sed'; did you mean 'seeds'\\?"),
        ({"model": "m"}, "the config lacks seeds"),
        ({"model": "m", "seeds": [-1]}, "--seeds is -1; expected at least 0"),
        ({"model": "m", "seeds": [0, 1, 0]}, "--seeds has 0 twice; expected each once"),
        ({"model": "m", "seeds": [0], "kind": "c"}, "--kind is 'c'; expected one of a, b"),
    ],
)
def test_a_wrong_config_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Toy.from_json(values)


def test_models_and_tasks_are_found_in_parts_too():
    toy = Toy(model="m", seeds=(), tasks=("x", "y"), whole=Part(rank=1))
    assert sorted(toy.named("model")) == ["m", "minilm"]
    assert list(toy.named("task")) == ["x", "y"]


def test_texts_become_values_of_the_fields_types():
    found = Toy.read({"seeds": "3,4", "lr": "1", "task": "imdb", "kind": "b"})
    assert found == {"seeds": (3, 4), "lr": 1.0, "tasks": ("imdb",), "kind": "b"}
    assert type(found["lr"]) is float
    assert Toy.read({"lr": "none"}) == {"lr": None}
    assert "whole" not in Toy.options()  # no text stands for a part


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"kinds": "b"}, "no option --kinds; did you mean --kind\\? choose from: --model, --seeds"),
        ({"lr": "fast"}, "--lr is 'fast'; expected a number, or none"),
        ({"seeds": "1,x"}, "--seeds is '1,x'; expected whole numbers joined by commas"),
    ],
)
def test_a_wrong_option_is_refused(texts, message):
    with pytest.raises(ValueError, match=message):
        Toy.read(texts)


def test_a_range_is_checked_wherever_settings_are_made():
    part = Part(rank=2)
    with pytest.raises(ValueError, match="--rank is 0; expected at least 1"):
        replace(part, rank=0)


def test_types_are_told_in_words():
    assert expected(int | None) == "a whole number, or none"
    assert expected(tuple[str, ...]) == "texts joined by commas"
    assert written((1, 2)) == "1,2"
    assert written(None) == "none"
    assert written(()) == "(none)"


def test_settings_that_ask_for_nothing_say_so():
    @dataclass(frozen=True, kw_only=True)
    class Empty(Settings):
        pass

    with pytest.raises(NotImplementedError, match="Empty does not say which measurements"):
        Empty().configs()


def test_settings_of_another_kind_take_what_both_have_and_what_is_given():
    toy = Toy(model="minilm", seeds=(0, 1), lr=0.1)
    assert toy.shared(Part) == {"model": "minilm"}
    assert toy.to(Part, rank=3) == Part(rank=3, model="minilm")
    assert toy.to(Part, rank=3, model="smollm2").model == "smollm2"
    with pytest.raises(ValueError, match="--rank is 0; expected at least 1"):
        toy.to(Part, rank=0)
