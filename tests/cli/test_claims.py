"""`deltalab claims`: verdicts from records, in a terminal and as the page in the docs."""

from __future__ import annotations

from math import inf
from pathlib import Path

from typer.testing import CliRunner

from lab.cli import app
from lab.execution.experiment import all_verdicts
from lab.reports import claims_page
from lab.runs import Interval, Store, Verdict

ROOT = Path(__file__).parents[2]


def test_page_says_what_was_measured_and_what_follows():
    verdict = Verdict(
        "A holds.",
        "Paper 2020",
        "gap [1]",
        Interval(0.25, 0.1, 0.4, 3),
        0.0,
        "above",
        "tiny | two",
        "f",
        "deltalab run a",
    )
    open_end = Verdict(
        "B holds.", "Paper 2020", "n", Interval(1200.0, -inf, inf, 1), 5.0, "below", "t", "f", "deltalab run b"
    )
    page = claims_page([verdict, open_end])
    assert "| A holds. | gap [1]: 0.25; tiny \\| two | 0.1 to 0.4 (n = 3) | above 0 | **holds here** | `f` |" in page
    assert "n: 1,200; t | unbounded to unbounded (n = 1) | below 5 | **cannot tell**" in page
    assert "2 verdicts: 1 holds here, 0 does not hold here, 1 cannot tell." in page
    assert page.count("## Paper 2020") == 1
    assert page.endswith("```bash\ndeltalab run a\ndeltalab run b\n```\n")


def test_the_page_in_the_docs_is_the_one_of_the_gallery():
    page = claims_page(all_verdicts(Store(ROOT / "gallery")))
    stored = (ROOT / "docs/claims.md").read_text(encoding="utf-8")
    assert stored == page, "run: deltalab claims --store gallery --out docs/claims.md"


def test_an_empty_store_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("lab.runs.places.GALLERY", tmp_path / "none")
    result = CliRunner().invoke(app, ["claims", "--store", str(tmp_path / "empty")])
    assert result.exit_code == 2
    assert "run an experiment first" in result.output
