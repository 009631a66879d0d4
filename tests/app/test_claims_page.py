"""The page of claims: every family of verdicts, its estimates on one axis, the commands behind them."""

from __future__ import annotations

from pathlib import Path

from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from lab.runs import places

ROOT = Path(__file__).resolve().parents[2]


def opened(store: Path, monkeypatch, gallery: Path | None = None, **query: str) -> AppTest:
    if gallery is not None:
        monkeypatch.setattr(places, "GALLERY", gallery)
    monkeypatch.setenv("DELTALAB_STORE", str(store))
    shown = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=240)
    for name, value in query.items():
        shown.query_params[name] = value
    shown._page_hash = calc_hash("claims")
    return shown.run()


def test_every_claim_is_judged_by_the_gallery_and_drawn(monkeypatch, tmp_path):
    shown = opened(tmp_path / "none", monkeypatch)
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


def test_without_records_there_is_nothing_to_judge(monkeypatch, tmp_path):
    shown = opened(tmp_path / "none", monkeypatch, gallery=tmp_path / "none either")
    assert not shown.exception
    assert "Run this, then reload the page" in shown.info[0].value
