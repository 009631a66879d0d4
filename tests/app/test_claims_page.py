"""The page of claims: judged by a process of its own, kept, every estimate on its axis, the commands behind them."""

from __future__ import annotations

import gc
import json
import shutil
import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app import judging
from app.loading import contents
from lab.runs import Job, Record, Store, places

JUDGED = ("performance", "convergence", "transfer", "combination", "shared_subspace")
"""Experiments of the gallery whose claims are many and soon judged."""


def answered(shown: AppTest, seconds: float = 240) -> AppTest:
    """The page once the process that judges has ended."""
    until = time.monotonic() + seconds
    while any("judge the claims now" in info.value for info in shown.info) and time.monotonic() < until:
        time.sleep(0.2)
        shown.run()
    return shown


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Path:
    """A store with some of the gallery's records."""
    store = tmp_path_factory.mktemp("claims") / "runs"
    for name in JUDGED:
        shutil.copytree(places.GALLERY / name, store / name)
    return store


def test_every_claim_is_judged_and_drawn(opened, measured):
    shown = opened("claims", measured)
    assert "Delta" in " ".join(element.value for element in shown.markdown)  # the claims can be read meanwhile
    answered(shown)
    assert not shown.exception
    assert any("statements" in element.value for element in shown.markdown)
    claims = shown.selectbox(key="claim").options
    assert len(claims) > 5
    assert len(shown.get("plotly_chart")) == 2  # all claims, and the statements of one
    for claim in (claims[1], claims[-1]):
        shown.selectbox(key="claim").set_value(claim).run()
        assert not shown.exception
        numbers = shown.dataframe[0].value
        assert (numbers["low"] <= numbers["high"]).all()
        assert set(numbers["here"]) <= {"holds here", "does not hold here", "cannot tell"}
        assert "deltalab run" in shown.code[0].value
    answer = shown.dataframe[0].value["here"].iloc[0]
    shown.multiselect(key="answer").set_value([answer]).run()
    assert set(shown.dataframe[0].value["here"]) == {answer}


def test_claims_are_judged_once_for_all_starts_and_anew_for_a_new_record(opened, measured, tmp_path, monkeypatch):
    answered(opened("claims", measured))
    first = judging.judged(contents())
    home = opened("", measured, search="no such words")
    assert any("hold here" in caption.value for caption in home.caption)
    judging._memory.clear()  # as a new start
    judging._process.clear(judging._identity_of(contents()), contents().stores)  # not those that judge for other tests
    monkeypatch.setattr(judging.subprocess, "Popen", lambda *_, **__: pytest.fail("judged again"))
    assert judging.judged(contents()) == first
    shutil.copytree(measured, tmp_path / "runs")
    Store(tmp_path / "runs").put(Record(Job("quadratic", {"model": "none"}), {"loss": 1.0}))
    monkeypatch.setenv("DELTALAB_STORE", str(tmp_path / "runs"))
    with pytest.raises(pytest.fail.Exception, match="judged again"):
        judging.judged(contents())


def test_a_process_that_a_cleared_cache_forgets_is_still_waited_for(tmp_path):
    """What nobody refers to while it is at work is a ResourceWarning, an error in these tests."""
    process, output = judging._process("nobody asks again", [str(tmp_path / "none")])
    number = process.pid
    del process
    judging._process.clear("nobody asks again", [])
    gc.collect()
    assert [other.pid for other in judging._AT_WORK][-1] == number
    judging._AT_WORK[-1].wait(timeout=120)
    output.unlink()


def test_a_record_of_another_version_is_named_and_the_others_are_judged(opened, tmp_path, monkeypatch, capsys):
    """Its config has a setting that the experiment does not know."""
    Store(tmp_path / "runs").put(Record(Job("performance", {"model": "minilm", "colour": "red"}), {"score": 0.5}))
    judging.main([str(tmp_path / "runs")])  # here, and not in a process of its own
    said = json.loads(capsys.readouterr().out)
    monkeypatch.setattr(judging, "_process", lambda *_: ())
    monkeypatch.setattr(judging, "_answer", lambda *_: said)
    shown = opened("claims", tmp_path / "runs")
    assert not shown.exception
    assert "no 'colour'" in shown.warning[0].value
    assert judging.shelf.taken(judging._identity(contents().manifests)) is None  # it may be mended in its place


def test_a_process_that_ends_without_an_answer_is_an_error_with_a_way_out(opened, tmp_path, monkeypatch):
    Store(tmp_path / "runs").put(Record(Job("performance", {"model": "other"}), {"score": 0.5}))
    monkeypatch.setattr(judging.sys, "executable", "/bin/false")
    shown = answered(opened("claims", tmp_path / "runs"))
    assert not shown.exception
    assert "`deltalab claims`" in shown.error[0].value.replace("\\", "")


def test_without_records_there_is_nothing_to_judge(opened, tmp_path):
    shown = opened("claims", tmp_path / "none")
    assert not shown.exception
    assert "Run this, then reload the page" in shown.info[0].value
