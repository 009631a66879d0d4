"""The page of claims: every family of verdicts, its estimates on one axis, the commands behind them."""

from __future__ import annotations

from lab.runs import Job, Record, Store


def test_every_claim_is_judged_by_the_gallery_and_drawn(visited, monkeypatch, tmp_path):
    monkeypatch.setenv("DELTALAB_STORE", str(tmp_path / "none"))
    shown = visited("claims")
    assert not shown.exception
    assert any("statements" in element.value for element in shown.markdown)
    claims = shown.selectbox(key="claim").options
    assert len(claims) > 5
    assert len(shown.get("plotly_chart")) == 1
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


def test_a_record_of_another_version_is_named_and_the_others_are_judged(opened, tmp_path):
    """Its config has a setting that the experiment does not know."""
    Store(tmp_path / "runs").put(Record(Job("performance", {"model": "minilm", "colour": "red"}), {"score": 0.5}))
    shown = opened("claims", tmp_path / "runs")
    assert not shown.exception
    assert "no 'colour'" in shown.warning[0].value


def test_without_records_there_is_nothing_to_judge(opened, tmp_path):
    shown = opened("claims", tmp_path / "none")
    assert not shown.exception
    assert "Run this, then reload the page" in shown.info[0].value
