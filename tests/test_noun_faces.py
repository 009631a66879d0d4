"""Nouns show themselves: short plain text, a small table in Jupyter, nothing in a name runs; `show` draws."""

from __future__ import annotations

from html.parser import HTMLParser

import pandas as pd
import plotly.graph_objects as go
import pytest
import torch

import lab
from lab.control import rollout
from lab.control.toys import deep_linear
from lab.deltas import METHODS, BitFit, LoRA
from lab.faces import LONGEST, faced
from lab.geometry import IntrinsicDimension
from lab.linalg import Matrix, Spectrum
from lab.models.tiny import tiny_plm
from lab.runs import Job, Record, Store
from lab.statistics import Interval, Verdict
from lab.tasks import Examples, Task
from lab.tasks.metrics import ACCURACY
from lab.training import Fit

HOSTILE = "<img src=x onerror=alert(1)>"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.found.add(tag)


def task() -> Task:
    texts = tuple(f"{HOSTILE} text {i}" for i in range(400))
    examples = Examples(texts, labels=tuple(i % 2 for i in range(400)))
    return Task(HOSTILE, "classification", ("no", HOSTILE), examples, examples, ACCURACY)


def fitted() -> Fit:
    history = [
        {"step": step, "seconds": 0.1 * step, "split": split, "loss": 1 / (1 + step), "score": 0.5 + 0.01 * step}
        for step in (0, 10, 20)
        for split in ("train", "validation")
    ]
    phi = torch.zeros(7)
    return Fit(phi, phi, 0.7, 0.72, "accuracy", history, "finished", "20 steps.", 20, 2.0, 1 << 20, 1e-3)


def searched() -> IntrinsicDimension:
    scores = {10: [0.5, 0.52], 100: [0.85, 0.86]}
    return IntrinsicDimension(60, 20, 90, 0.8, scores, ((10, 0.51), (100, 0.855)), "converged", "found.", 4)


def judged() -> Verdict:
    measured = Interval(0.5, 0.4, 0.6, 5)
    return Verdict(HOSTILE, "a source", "gain [1]", measured, 0.0, "above", "here", "performance", "seeds")


def nouns(folder) -> list[object]:
    plm = tiny_plm("bert", num_labels=2)
    store = Store(folder)
    record = Record(
        Job("cka", {"model": HOSTILE, "seed": 1}), {"score": 0.5}, tables={"cka": lab.figures.CKA.example()}
    )
    store.put(record)
    problem, controls = deep_linear()
    return [
        task(), fitted(), searched(), judged(), store, record, Spectrum.of(torch.eye(4)), Matrix(torch.eye(3)), problem,
        rollout(problem, controls), LoRA(rank=2), LoRA(rank=2).on(plm), BitFit().on(plm),
    ]  # fmt: skip


def test_every_noun_has_a_short_face_and_nothing_in_a_name_runs(tmp_path):
    for noun in nouns(tmp_path):
        html = noun._repr_html_()
        tags = Tags()
        tags.feed(html)
        assert tags.found == {"table", "caption", "b", "tr", "th", "td"}, type(noun)
        assert 100 < len(html) < 6000
        assert len(repr(noun)) < 700
        assert "object at 0x" not in repr(noun)


def test_facts_are_written_for_people():
    @faced(lambda _: {"share": 0.123456, "n": 22_713_216, "yes": True, "missing": None, "long": "x" * 500})
    class Noun:
        pass

    assert repr(Noun()).startswith("Noun(share=0.1235, n=22,713,216, yes=yes, long=xxx")
    assert len(repr(Noun())) < LONGEST + 60


def test_a_task_says_what_it_is():
    assert repr(task()).endswith("training=400, validation=400, metric=accuracy)")
    assert len(task()) == 800


@pytest.mark.parametrize(
    "noun", [fitted(), searched(), Spectrum.of(torch.eye(4)), judged()], ids=lambda x: type(x).__name__
)
def test_what_has_a_figure_is_drawn(noun):
    drawing = lab.show(noun, label="mine")
    assert isinstance(drawing, go.Figure)
    assert drawing.data


def test_a_record_a_figure_and_a_name_are_drawn():
    table = lab.figures.CKA.example()
    from_record = lab.show(Record(Job("representations", {}), {"x": 1.0}, tables={"cka": table}))
    assert from_record.to_json() == lab.show("cka", table).to_json() == lab.show(lab.figures.CKA, table).to_json()


def test_what_has_none_is_refused_with_what_has():
    with pytest.raises(TypeError, match="nothing draws a int; what can be drawn: Fit, IntrinsicDimension, Record"):
        lab.show(3)
    with pytest.raises(TypeError, match=r"its tables are other\."):
        lab.show(Record(Job("x", {}), {}, tables={"other": pd.DataFrame({"a": [1]})}))


def test_names_one_guesses_are_answered():
    with pytest.raises(TypeError, match=r"LoRA has no hyperparameter 'r'; it has .*rank.*Did you mean rank\?"):
        lab.LoRA(r=8)
    with pytest.raises(TypeError, match="fit trains a delta, which a method makes on a PLM; got LoRA; write fit"):
        lab.fit(lab.LoRA(8), task(), steps=1)
    with pytest.raises(TypeError, match=r"d90 takes a method, such as BitFit\(\); got str"):
        lab.d90("bitfit", None, None)
    for method in METHODS:
        with pytest.raises(TypeError, match=f"{method.__name__} has no hyperparameter 'rnak'; it has "):
            method(rnak=1)


def test_d90_of_any_method():
    words = ("red", "green")
    texts = tuple(f"{words[i % 2]} {i}" for i in range(40))
    examples = Examples(texts, labels=tuple(i % 2 for i in range(40)))
    colours = Task("colours", "classification", words, examples, examples, ACCURACY)
    found = lab.d90(
        BitFit(), tiny_plm("bert", num_labels=2), colours, steps=4, seeds=(0,), max_evaluations=2, max_length=8
    )
    assert found.evaluations <= 2
    assert found.message
