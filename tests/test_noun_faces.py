"""Nouns show themselves: short plain text, a small table in Jupyter, nothing in a name runs; `show` draws."""

from __future__ import annotations

from html.parser import HTMLParser
from math import inf

import pandas as pd
import plotly.graph_objects as go
import pytest
import torch

import lab
from lab.control import adjoint, linear_quadratic, lqr, reach, rollout
from lab.control.toys import deep_linear
from lab.deltas import METHODS, BitFit, LoRA
from lab.faces import LONGEST, faced
from lab.geometry import IntrinsicDimension
from lab.geometry.collections import Portrait
from lab.linalg import Matrix, Spectrum, lanczos
from lab.models.tiny import tiny_plm
from lab.runs import Job, Record, Store
from lab.statistics import Evidence, Interval, Relabelling, Verdict
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
    lora = LoRA(rank=2).on(plm)
    encoded = task().encode(plm, max_length=8)
    way = rollout(problem, controls)
    system = linear_quadratic(1.0, 1.0, 1.0, 1.0, 1.0, h0=1.0, T=6)
    return [
        plm, lora.layout, encoded, encoded.train, lab.spectra(lora, lora.phi0), system, lqr(system),
        next(iter(store.manifests())),
        task(), fitted(), searched(), judged(), store, record, Spectrum.of(torch.eye(4)), Matrix(torch.eye(3)), problem,
        way, LoRA(rank=2), lora, BitFit().on(plm), task().train, adjoint(problem, controls), reach(problem, way),
        lanczos(Matrix(torch.eye(9).double()), 2), lab.figures.CKA.answer(lab.figures.CKA.example()),
        Portrait({HOSTILE: pd.DataFrame({"a": range(400)})}, ()),
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


def test_a_verdict_on_a_sign_alone_says_so():
    """The low end of a sign that a test tells is the smallest number above 0."""
    measured = Relabelling(0.8, 0.001, 0.001, 100, exact=True).interval(9)
    verdict = Evidence("a source", "a setting", "transfer", "tasks").above(0.0, measured, "It is better.", "ρ [1]")
    assert verdict.answer == "holds here"
    assert "0.8 [just above 0, 1]" in repr(verdict)
    assert "e-324" not in verdict._repr_html_()


def test_a_delta_says_which_method_made_it_and_a_plm_no_module():
    plm = tiny_plm("bert", num_labels=2)
    assert repr(LoRA(rank=2).on(plm)) == "Combined(LoRA r = 2, size=290, plm='tiny-bert')"
    assert "<b>Delta LoRA r = 2</b>" in LoRA(rank=2).on(plm)._repr_html_()
    assert repr(plm).startswith("PLM(name=tiny-bert, family=bert, parameters=")


def test_a_task_says_what_it_is():
    assert repr(task()).endswith("training=400, validation=400, metric=accuracy)")
    assert len(task()) == 800


def updated() -> object:
    lora = LoRA(rank=2).on(tiny_plm("bert", num_labels=2))
    return lab.spectra(lora, lora.phi0 + 0.1)


def not_found() -> IntrinsicDimension:
    return IntrinsicDimension(None, 0, inf, 0.8, {}, (), "no baseline", "the baseline is no better than chance.", 0)


def spectrum() -> Spectrum:
    return Spectrum.of(torch.eye(4))


@pytest.mark.parametrize("made", [fitted, searched, not_found, spectrum, judged, updated])
def test_what_has_a_figure_is_drawn(made):
    drawing = lab.show(made(), label="mine")
    assert isinstance(drawing, go.Figure)
    assert drawing.data


def test_a_record_a_figure_and_a_name_are_drawn():
    table = lab.figures.CKA.example()
    from_record = lab.show(Record(Job("representations", {}), {"x": 1.0}, tables={"cka": table}))
    assert from_record.to_json() == lab.show("cka", table).to_json() == lab.show(lab.figures.CKA, table).to_json()


def test_a_record_shows_the_figure_of_its_own_experiment_first():
    tables = {
        "history": lab.figures.figure("learning_curves").example(),
        "runs": lab.figures.figure("intrinsic_dimension").example(),
    }
    searched_for = Record(Job("intrinsic_dimension", {}), {}, tables=tables)
    assert lab.show(searched_for).to_json() == lab.show("intrinsic-dimension", tables["runs"]).to_json()


def test_the_head_of_a_record_and_the_portrait_of_a_collection_are_drawn(tmp_path):
    table = lab.figures.CKA.example()
    store = Store(tmp_path)
    store.put(Record(Job("representations", {}), {"x": 1.0}, tables={"cka": table}))
    assert lab.show(next(store.manifests())).to_json() == lab.show("cka", table).to_json()
    shares = lab.figures.figure("shared_directions").example().assign(label="eight adapters")
    found = Portrait({"shared_directions": shares}, ())
    assert lab.show(found).to_json() == lab.show("shared_directions", shares).to_json()
    assert (
        lab.show(found, label="mine").to_json() == lab.show("shared_directions", shares.assign(label="mine")).to_json()
    )


def test_of_several_experiments_with_the_columns_of_a_figure_the_first_that_draws_it_is_shown(tmp_path, monkeypatch):
    d90_curves = lab.figures.figure("d90_curves")
    store = Store(tmp_path)
    tables = {name: d90_curves.example().assign(label=name) for name in ("quadratic", "predicted_dimension")}
    for name, table in tables.items():
        store.put(Record(Job(name, {}), {"x": 1.0}, tables={d90_curves.table: table}))
    monkeypatch.setattr("lab.drawing.everything", lambda: store)
    assert "predicted_dimension" in lab.show(d90_curves).to_json()
    assert "quadratic" not in lab.show(d90_curves).to_json()


def test_several_verdicts_stand_beside_their_thresholds():
    drawn = lab.show([judged(), judged()])
    assert [list(trace.x) for trace in drawn.data if trace.x is not None and 0.5 in trace.x]
    assert len(drawn.layout.yaxis.ticktext) == 2


def test_a_table_finds_its_figure():
    table = lab.figures.CKA.example()
    assert lab.show(table).to_json() == lab.show("cka", table).to_json()
    with pytest.raises(TypeError, match=r"no figure draws a table with the columns a; name one"):
        lab.show(pd.DataFrame({"a": [1]}))


def test_what_has_none_is_refused_with_what_has():
    with pytest.raises(TypeError, match="nothing draws a int; what can be drawn: DataFrame, Fit, IntrinsicDimension"):
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
    plm = tiny_plm("bert", num_labels=2)
    lora = LoRA(rank=2).on(plm)
    answers = {
        r'on takes a PLM, which load_plm opens; got str; write on\(load_plm\("minilm"\)\)': lambda: LoRA(2).on(
            "minilm"
        ),
        "on takes a PLM, which load_plm opens; got Task": lambda: LoRA(2).on(task()),
        "LoRA needs a whole rank, or a tuple of them; got '8'": lambda: LoRA(rank="8"),
        "fit trains on a task, which load_task opens; got PLM": lambda: lab.fit(lora, plm, steps=1),
        r"say so with steps, as in fit\(delta, task, steps=200\)": lambda: lab.fit(lora, task()),
        r"which a method makes on a PLM; got LoRA; write fit": lambda: lab.fit(LoRA(8), task()),
        r"d90 takes a method, such as BitFit\(\); got the class BitFit": lambda: lab.d90(BitFit, plm, task()),
        r"d90 takes a method, a PLM \(load_plm opens one\) and a task .* got str and Task": lambda: lab.d90(
            BitFit(), "minilm", task()
        ),
        "spectra takes a delta and its φ.*; got Combined, Fit": lambda: lab.spectra(lora, fitted()),
        "got str. Of a folder of an adapter": lambda: lab.spectra("my-adapter"),
        r"costates takes a control problem and a trajectory: .*; got Combined and Tensor": lambda: lab.costates(
            lora, lora.phi0
        ),
        r"gramian takes a control problem and a trajectory": lambda: lab.gramian(lora, lora.phi0),
    }
    for answer, wrong in answers.items():
        with pytest.raises(TypeError, match=answer):
            wrong()
    with pytest.raises(ValueError, match="no figure is called 'costate'; did you mean costates"):
        lab.show("costate")
    with pytest.raises(ValueError, match=r"unknown task 'BBC-News'.* Did you mean 'bbc-news'\?"):
        lab.load_task("BBC-News")
    with pytest.raises(OSError, match=r"cannot load 'minilm-l6': .* Did you mean 'minilm'\?"):
        lab.load_plm("minilm-l6")
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
