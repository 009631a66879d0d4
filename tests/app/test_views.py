"""Every page on a filled, an empty, a damaged and a hostile store, without a browser."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from app import cards, width
from app.cards import WAITING
from app.loading import contents
from app.markdown import literal
from app.question import questions
from lab.figures import PRINCIPAL_ANGLES, figure
from lab.runs import Job, Store, places
from lab.study.catalogue import experiment_names
from tests.app.conftest import measurement

ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = [outline for asked in questions().values() for outline in asked]
ASKED = [outline.name for outline in QUESTIONS]
SOME = ("", "compare", "intrinsic_dimension", "controllability")
PAGES = ("", "runs", "compare", "record", *ASKED)


def words(shown: AppTest) -> str:
    kinds = (shown.title, shown.markdown, shown.text, shown.caption, shown.info, shown.warning, shown.error, shown.code)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


@pytest.mark.parametrize("page", ASKED)
def test_every_question_shows_its_answer_and_one_figure_and_each_other_one_when_chosen(page, opened, filled):
    shown = opened(page, filled)
    assert not shown.exception
    assert not shown.error
    assert len(shown.title) == 1
    assert len(shown.get("plotly_chart")) == 1
    assert not shown.get("download_button")
    assert {"What it is.", "How to read it.", "Where it comes from."} <= set(re.findall(r"\*\*(.*?)\*\*", words(shown)))
    figures = next(outline for outline in QUESTIONS if outline.name == page).figures
    sources = figure(figures[0]).source
    assert sources
    assert all(literal(source.title) in words(shown) for source in sources)
    assert '"job": {' in words(shown)
    assert len(opened(page, filled, download="true").get("download_button")) == 6
    for place, name in enumerate(figures):
        if place:
            shown.radio(key="figure").set_value(figure(name).title).run()
        assert not shown.exception
        assert f"deltalab export {name}" in words(shown)


def test_a_figure_of_a_question_can_be_chosen_in_the_address(opened, filled):
    shown = opened("subspace_similarity", filled, figure=PRINCIPAL_ANGLES.title)
    assert not shown.exception
    assert shown.radio(key="figure").value == PRINCIPAL_ANGLES.title
    assert f"deltalab export {PRINCIPAL_ANGLES.name}" in words(shown)


@pytest.mark.parametrize("page", ["runs", "record", "compare"])
def test_every_list_shows_a_filled_store(page, opened, filled):
    shown = opened(page, filled)
    assert not shown.exception
    assert not shown.error
    assert len(shown.title) == 1
    assert shown.dataframe


def test_home_shows_itself_within_a_second_and_grows_to_a_wall_of_answers(opened, filled, monkeypatch, tmp_path):
    monkeypatch.setenv("DELTALAB_CACHE", str(tmp_path / "cache"))
    cards._memory.clear()
    opened("", filled, search="no such words")  # what a server does once is not counted
    before = time.process_time()
    shown = opened("", filled)
    spent = time.process_time() - before
    assert not shown.exception
    assert len(shown.get("page_link")) == len(QUESTIONS) + 1  # and what holds here
    assert len(shown.get("plotly_chart")) == 1
    assert spent <= 1.0
    left = [caption.value for caption in shown.caption].count(WAITING)
    shown.run()
    assert [caption.value for caption in shown.caption].count(WAITING) < left
    for outline in QUESTIONS:  # what the page would draw in the next half minute
        cards.card(contents(), outline)
    shown.run()
    said = [caption.value for caption in shown.caption]
    assert WAITING not in said
    assert "Not measured yet" not in " ".join(said)
    slider = shown.select_slider(key="d")
    scores = []
    for d in (slider.options[0], slider.options[-1]):
        shown.select_slider(key="d").set_value(int(d.replace(",", ""))).run()
        scores.append(float(shown.metric[0].value))
    assert scores[0] < scores[1]


def test_on_a_phone_themes_are_folded_until_opened_or_searched(opened, filled, monkeypatch):
    monkeypatch.setattr(width, "_browser", lambda: "Mozilla/5.0 (Linux; Android 15) Mobile Safari")
    themes = questions()
    shown = opened("", filled)
    assert not shown.exception
    assert [box.label for box in shown.expander] == [f"**{t}** · {len(asked)} questions" for t, asked in themes.items()]
    assert len(shown.get("page_link")) == 1  # what holds here
    mine = len(Store(filled).keys())
    assert shown.caption[-1].value == f"{mine} records: {mine} of your own, 0 of the lab's."
    assert not shown.get("imgs")
    theme, asked = next(iter(themes.items()))
    shown = opened("", filled, **{theme.replace(" ", "-").lower(): "true"})
    assert len(shown.get("page_link")) == 1 + len(asked)
    assert "**Controllability**" in [link.label for link in opened("", filled, search="gramian").get("page_link")]


def test_the_wall_is_searched_by_words_of_questions_and_figures(opened, filled):
    shown = opened("", filled, search="spectra gramian")
    assert "**Controllability**" in [link.label for link in shown.get("page_link")]
    assert len(shown.get("page_link")) < len(QUESTIONS) / 4
    shown = opened("", filled, search="no such words")
    assert "No question holds all of these words" in shown.info[0].value


@pytest.mark.parametrize("page", SOME)
def test_every_page_says_what_to_do_when_there_is_nothing(page, opened, tmp_path):
    shown = opened(page, tmp_path / "nothing")
    assert not shown.exception
    assert "Run this, then reload the page" in shown.info[0].value
    named = re.fullmatch(r"deltalab run (\w+) --scale demo|deltalab list", shown.code[0].value)
    assert named is not None
    assert named.group(1) is None or named.group(1) in experiment_names()
    assert not shown.get("plotly_chart")


@pytest.mark.parametrize("page", SOME)
def test_a_store_that_is_a_file_is_an_error_with_a_way_out(page, opened, tmp_path):
    (tmp_path / "file").write_text("")
    shown = opened(page, tmp_path / "file")
    assert not shown.exception
    assert "is a file" in shown.error[0].value
    assert "deltalab app --store" in shown.caption[0].value


@pytest.mark.parametrize("page", SOME)
def test_damaged_records_are_named_and_the_others_shown(page, opened, filled, tmp_path):
    store = tmp_path / "damaged"
    shutil.copytree(filled, store)
    for experiment in Store(store).experiments():
        key = Store(store).keys(experiment)[0]
        folder = store / experiment / key[:2] / key
        copies = Store(store).keys(experiment)[1:]
        target = folder / "manifest.json" if copies else None
        if target is not None:
            target.write_text("{")
    shown = opened(page, store)
    assert not shown.exception
    assert "2 damaged record(s) are left out" in shown.warning[0].value
    assert "manifest" in shown.warning[0].value
    assert len(shown.get("plotly_chart")) == 1


def test_a_damaged_table_does_not_hide_the_other_searches(opened, filled, tmp_path):
    store = tmp_path / "damaged"
    shutil.copytree(filled, store)
    key = Store(store).keys("intrinsic_dimension")[0]
    (store / "intrinsic_dimension" / key[:2] / key / "runs.parquet").write_bytes(b"PAR1")
    shown = opened("intrinsic_dimension", store, task=["bbc-news", "rotten-tomatoes"])
    assert not shown.exception
    assert "1 damaged record(s) are left out" in shown.warning[0].value
    assert len(shown.dataframe[0].value) == 2


def test_the_newest_records_task_is_drawn_until_another_is_chosen(opened, filled):
    shown = opened("intrinsic_dimension", filled)
    assert shown.dataframe[0].value["task"].tolist() == ["bbc-news"] * 2
    shown.multiselect(key="task").set_value(["rotten-tomatoes"]).run()
    assert shown.dataframe[0].value["task"].tolist() == ["rotten-tomatoes"]
    assert "--task=rotten-tomatoes" in words(shown)
    assert "--task=bbc-news" not in words(shown)
    shown.multiselect(key="task").set_value(["bbc-news", "rotten-tomatoes"]).run()
    assert len(shown.dataframe[0].value) == 3


def test_a_filter_that_another_one_emptied_is_dropped(opened, filled):
    shown = opened("intrinsic_dimension", filled)
    shown.multiselect(key="label").set_value(["SAID fastfood"]).run()
    assert shown.dataframe[0].value["method"].tolist() == ["SAID fastfood"]
    shown.multiselect(key="task").set_value(["rotten-tomatoes"]).run()  # where SAID was never searched
    assert not shown.exception
    assert shown.dataframe[0].value["method"].tolist() == ["DID fastfood"]


def test_the_address_is_the_view(opened, filled):
    shown = opened("intrinsic_dimension", filled, task="rotten-tomatoes")
    assert shown.multiselect(key="task").value == ["rotten-tomatoes"]
    assert shown.dataframe[0].value["task"].tolist() == ["rotten-tomatoes"]
    shown = opened("weight_differences", filled, role=["value", "query"], block="2")
    assert set(shown.dataframe[0].value["matrix"]) == {"block.2.value.weight", "block.2.query.weight"}


def test_what_was_chosen_on_one_page_is_no_choice_on_another(opened, filled):
    shown = opened("intrinsic_dimension", filled, task="rotten-tomatoes")
    shown.query_params.clear()
    shown._page_hash = calc_hash("performance")
    shown.run()
    assert not shown.exception
    shown._page_hash = calc_hash("intrinsic_dimension")
    assert shown.run().dataframe[0].value["task"].tolist() == ["bbc-news"] * 2


def test_chosen_records_are_in_the_address(opened, filled):
    names = list(opened("compare", filled, experiment="Training run").multiselect(key="record").options)
    shown = opened("compare", filled, experiment="Training run", record=names[:2])
    assert shown.multiselect(key="record").value == names[:2]
    assert "seed (0, 1)" in words(shown).replace("\\", "")
    assert len(shown.get("plotly_chart")) == 1


def test_a_record_is_shown_whole(opened, filled):
    key = Store(filled).keys("curvature")[0]
    shown = opened("record", filled, record=key[:12])
    assert not shown.exception
    asked, measured = (frame.value for frame in shown.dataframe[:2])
    assert dict(zip(asked["setting"], asked["value"], strict=True))["task"] == "bbc-news"
    assert dict(zip(measured["metric"], measured["value"], strict=True))["loss [nats]"] == "0.5"
    assert len(shown.get("plotly_chart")) == 2
    assert {expander.label for expander in shown.expander} >= {"Table curvature_spectrum", "Table spectral_density"}


def plms(shown: AppTest) -> set[str]:
    """Whose records the page shows."""
    return set(re.findall(r'"model": "(\w+)"', words(shown)))


def test_one_plm_is_drawn_until_another_is_chosen(opened, of_two_plms):
    shown = opened("weight_differences", of_two_plms)
    assert shown.selectbox(key="model").options == ["smollm2", "minilm"]  # the newest record's first
    assert plms(shown) == {"smollm2"}
    assert plms(shown.selectbox(key="model").set_value("minilm").run()) == {"minilm"}


def test_one_seed_is_drawn_where_a_figure_draws_each_apart_and_all_would_be_too_many(opened, of_four_seeds):
    shown = opened("intruders", of_four_seeds)
    assert not shown.exception
    assert shown.multiselect(key="seed").value == ["3"]
    assert len(set(re.findall(r'"seed": (\d)', words(shown)))) == 1
    assert '"seed": 1' in words(opened("intruders", of_four_seeds, seed="1"))


def test_a_download_of_what_is_taller_than_a_page_says_that_it_is_several_files(opened, of_four_seeds):
    shown = opened("intruders", of_four_seeds, download="true")
    assert [button.proto.label for button in shown.get("download_button")][3:5] == ["PDF", "SVG"]
    shown.multiselect(key="seed").set_value([]).run()
    assert not shown.exception
    assert [button.proto.label for button in shown.get("download_button")][3:5] == ["PDF, 2 sheets", "SVG, 2 sheets"]


def test_a_correlation_over_plms_and_tasks_is_drawn_of_all_until_one_is_chosen(opened, of_predictions):
    shown = opened("predicted_dimension", of_predictions)
    assert not shown.exception
    assert shown.selectbox(key="model").options == ["all", "smollm2", "minilm"]
    assert plms(shown) == {"smollm2", "minilm"}
    assert shown.multiselect(key="task").value == ["bbc-news", "imdb"]  # fewer would not make fewer panels
    assert plms(shown.selectbox(key="model").set_value("minilm").run()) == {"minilm"}


def test_all_tasks_are_drawn_of_a_question_over_tasks_whose_figure_holds_them(opened, of_eight_tasks):
    shown = opened("performance", of_eight_tasks)
    assert not shown.exception
    assert len(shown.multiselect(key="task").value) == 8
    assert "on 8 tasks" in words(shown)


def test_one_method_is_drawn_where_each_would_have_panels_for_what_no_filter_names(opened, filled):
    shown = opened("reach", filled)  # two stages of two methods, by head and by token
    assert not shown.exception
    assert len(shown.multiselect(key="label").value) == 1


def test_one_run_is_drawn_by_a_figure_that_would_take_two_for_one(opened, of_two_runs):
    shown = opened("subspace_similarity", of_two_runs, figure=PRINCIPAL_ANGLES.title)
    first, other = shown.selectbox(key="settings").options
    assert {first, other} == {"30 steps", "60 steps"}
    assert f'"steps": {first.removesuffix(" steps")}' in words(shown)
    assert f'"steps": {other.removesuffix(" steps")}' not in words(shown)


def test_an_unknown_value_in_the_address_is_ignored(opened, filled):
    shown = opened("intrinsic_dimension", filled, task="no such task")
    assert not shown.exception
    assert len(shown.dataframe[0].value) == 2


def test_runs_of_two_seeds_are_compared_and_pooled(opened, filled):
    shown = opened("compare", filled, experiment="Training run")
    assert not shown.exception
    assert "They differ in seed (0, 1)" in words(shown).replace("\\", "")
    different, whole, curves = (frame.value for frame in shown.dataframe)
    assert set(different["what"]) == {"seed", "score [accuracy]"}
    assert {"PLM", "task", "trained numbers"} <= set(whole["what"])
    assert set(curves["label"]) == {"LoRA r = 8"}
    assert set(curves["seeds [count]"]) == {2}


def test_records_of_any_question_are_compared_in_its_figures(opened, of_two_budgets):
    shown = opened("compare", of_two_budgets)
    assert not shown.exception
    assert "They differ in steps (160, 64)" in words(shown).replace("\\", "")
    assert len(shown.get("plotly_chart")) == 1
    whole = shown.dataframe[1].value
    assert whole.loc[whole["what"] == "steps"].iloc[0, 2:].tolist() == ["160", "64"]


def test_runs_without_a_command_are_reproduced_by_their_config(opened, filled):
    """The command says all of the record's job, so whoever has the command needs no record."""
    shown = opened("compare", filled, experiment="Training run")
    commands = "\n".join(code.value for code in shown.code if code.language == "bash").splitlines()
    words = next(shlex.split(command) for command in commands if "--config" in command)
    assert words[:2] == ["deltalab", "run"]
    assert Store(filled).has(Job(words[2], json.loads(words[words.index("--config") + 1])))


@pytest.mark.parametrize("page", ["", "runs", "compare", "record", "intrinsic_dimension"])
def test_hostile_names_are_shown_not_interpreted(page, opened, hostile):
    shown = opened(page, hostile)
    assert not shown.exception
    for element in (*shown.markdown, *shown.caption, *shown.info, *shown.warning):
        assert not re.search(r"(?<!\\)\]\(https://x", element.value)
        assert "<script" not in element.value.replace("\\<", "")
        assert not re.search(r"(?<!\\):red", element.value)


def test_a_new_record_appears_without_a_restart(monkeypatch, filled, tmp_path):
    monkeypatch.setattr(places, "GALLERY", filled)
    monkeypatch.setenv("DELTALAB_STORE", str(tmp_path / "mine"))
    before = contents()
    record = Store(filled).get(Store(filled).keys("weight_differences")[0])
    assert not before.mine
    Store(tmp_path / "mine").put(record)
    after = contents()
    assert len(after.manifests) == len(before.manifests) == 4 + len(QUESTIONS)
    assert len(after.mine) == 1


def test_the_explorer_starts_without_torch(models_imported):
    script = (
        "from streamlit.testing.v1 import AppTest\n"
        "shown = AppTest.from_file('app/main.py', default_timeout=120).run()\n"
        "assert not shown.exception, shown.exception\n"
    )
    assert models_imported(script).endswith("[]")


def test_the_newest_setting_is_drawn_until_another_is_chosen(opened, of_two_budgets):
    shown = opened("performance", of_two_budgets)
    assert shown.selectbox(key="settings").options == ["160 steps", "64 steps"]
    assert '"steps": 160' in words(shown)
    assert '"steps": 64' not in words(shown)
    shown.selectbox(key="settings").set_value("64 steps").run()
    assert '"steps": 160' not in words(shown)


def test_what_no_pre_training_made_is_not_drawn_first(opened, tmp_path):
    store = Store(tmp_path / "series")
    for day, sizes in enumerate((["minilm", "mpnet"], ["minilm:1", "minilm"]), 1):
        rest = dict.fromkeys(("steps", "n_validation", "n_test", "splits"), day)
        store.put(measurement("scale", sizes=sizes, day=day, **rest))
    cut, whole = "PLMs minilm:1, minilm, ", "PLMs minilm, mpnet, "
    options = opened("scale", store.path).selectbox(key="settings").options
    assert [option[: len(start)] for option, start in zip(options, (whole, cut), strict=True)] == [whole, cut]


def test_settings_of_one_name_are_told_apart_by_what_they_repeat_over(opened, tmp_path):
    store, (lora, prompt) = Store(tmp_path / "sets"), ({"method": "lora", "rank": 4}, {"method": "prompt", "tokens": 8})
    for day, (method, targets) in enumerate(((lora, ["mpqa"]), (lora, ["imdb", "subj"]), (prompt, ["mpqa"])), 1):
        rest = dict.fromkeys(("few_steps", "draws", "n_test"), day)
        store.put(measurement("shared_subspace", method=method, targets=targets, day=day, lr=day / 100, **rest))
    options = opened("shared_subspace", store.path).selectbox(key="settings").options
    assert len(set(options)) == 3
    assert not any("=" in option.replace("r = ", "") or "record" in option for option in options)
