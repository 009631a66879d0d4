"""`deltalab claims`: verdicts from records, in a terminal and as the page in the docs."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from lab.cli import app
from lab.reports import claims_page
from lab.runs import Job, Record, Store
from lab.source_claims import NOT_TESTED, SOURCE_CLAIMS
from lab.statistics import Interval, Verdict
from lab.study import all_verdicts, commands_of, load_experiment, verdicts_of

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
        3,
        ("deltalab run a", "deltalab run c"),
    )
    open_end = Verdict("B holds.", "Paper 2020", "n", Interval(1200.0, -inf, inf, 1), 5.0, "below", "t", "f", 3)
    page = claims_page([verdict, open_end])
    cells = "| 1 | A holds. | gap [1]: 0.25; tiny \\| two | 0.1 to 0.4 (n = 3) | above 0 | **holds here** | `f` | "
    assert f"{cells}`deltalab run a`<br>`deltalab run c` |" in page
    assert "n: 1,200; t | unbounded to unbounded (n = 1) | below 5 | **cannot tell** | `f` | – |" in page
    assert "2 verdicts: 1 holds here, 0 does not hold here, 1 cannot tell." in page
    assert page.count("## Paper 2020") == 1
    assert page.endswith("```bash\ndeltalab run a\ndeltalab run c\n```\n")


def test_the_page_begins_with_the_claims_of_the_source_and_ends_with_what_is_not_tested():
    verdicts = [
        Verdict("A", source, "q", Interval(1.0, 0.5, 2.0, 3), 0.0, "above", "t", "f", number)
        for number, source in ((3, "x"), (None, "y"), (3, "x"), (8, "x"), (3, "y"))
    ]
    page = claims_page(verdicts)
    assert f"| 3 | {SOURCE_CLAIMS[3]} | 1–2, 5 | 3 holds here |" in page
    assert f"| 8 | {SOURCE_CLAIMS[8]} | 3 | 1 holds here |" in page
    assert f"| 4 | {SOURCE_CLAIMS[4]} | – | no record here |" in page
    assert list(SOURCE_CLAIMS) == list(range(1, 13))
    assert all(f"| {number} | {part} | {because} |" in page for number, part, because in NOT_TESTED)


def test_a_run_of_another_scale_is_another_setting_and_changes_no_number(tmp_path):
    """A smoke run beside a demo run: the demo's verdicts stay, the smoke's come after with their own command."""
    module = load_experiment("performance")

    def records(scale: str, better: float) -> list[Record]:
        methods = ("full fine-tuning", "LoRA")
        rows = [
            {"label": label, "kind": "delta", "seed": seed, "metric": "accuracy", "tunable": 1,
             "score": 0.5 + 0.01 * seed + better * (label == "LoRA")}
            for label in methods for seed in range(3)
        ]  # fmt: skip
        return [
            Record(
                job, {}, {"performance": pd.DataFrame(rows).assign(task=job.config["task"])},
                provenance={"command": f"deltalab run performance --scale {scale}"},
            )
            for job in module.jobs(scale, methods=methods)
        ]  # fmt: skip

    demo, smoke = records("demo", 0.1), records("smoke", -0.2)
    (alone,) = verdicts_of(module, demo)
    mixed = verdicts_of(module, [demo[0], *smoke, *demo[1:]])
    assert mixed[0] == alone
    assert [v.commands for v in mixed] == [(f"deltalab run performance --scale={s}",) for s in ("demo", "smoke")]
    assert mixed[1].measured.estimate == pytest.approx(0.2)
    assert "tiny-bert" in mixed[1].setting
    assert "tiny-bert" not in mixed[0].setting


def made_by(command: str, **config: object) -> Record:
    return Record(Job("toy", config), {}, provenance={"command": command})


def test_a_command_names_no_place_of_a_machine():
    given = (
        "deltalab run toy --scale demo --store /home/me/runs --model=/data/plm '--methods=full fine-tuning,LoRA' --x"
    )
    (found,) = commands_of([made_by(given, task="bbc-news")] * 2)
    assert found == "deltalab run toy --scale=demo --model=plm '--methods=full fine-tuning,LoRA' --x"


def test_a_command_says_that_a_task_needs_its_folder():
    needed = commands_of([made_by("deltalab run toy", tasks=["imdb", "sst-2"])])
    nested = commands_of([made_by("deltalab run toy", runs={"task": "mpqa"})])
    assert needed == nested == ("DELTALAB_TASKS=FOLDER deltalab run toy",)
    assert commands_of([made_by("deltalab run toy", task="glue/sst2")]) == ("deltalab run toy",)
    assert commands_of([Record(Job("toy", {}), {})]) == ()


def test_the_page_in_the_docs_is_the_one_of_the_gallery():
    page = claims_page(all_verdicts(Store(ROOT / "gallery")))
    stored = (ROOT / "docs/claims.md").read_text(encoding="utf-8")
    assert stored == page, "run: deltalab claims --store gallery --out docs/claims.md"


def test_an_empty_store_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("lab.runs.places.GALLERY", tmp_path / "none")
    result = CliRunner().invoke(app, ["claims", "--store", str(tmp_path / "empty")])
    assert result.exit_code == 2
    assert "run an experiment first" in result.output
