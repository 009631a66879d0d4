"""`deltalab claims`: verdicts from records, in a terminal and as the page in the docs."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from math import inf, nan
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from lab.claims_page import IMAGES, claims_page, sections
from lab.cli import app
from lab.commands import claim_plots as command
from lab.figures.images import ImageError
from lab.reports import number
from lab.runs import Job, Record, Store
from lab.source_claims import OTHER_SOURCES, SOURCE_CLAIMS
from lab.statistics import FEWEST, Interval, Verdict
from lab.study import all_verdicts, commands_of, load_experiment, verdicts_of

ROOT = Path(__file__).parents[2]
AGAIN = "run: deltalab claims --store gallery --out docs/claims.md"


def judged_as(claim: str, number: int | None, interval: Interval, **more) -> Verdict:
    fixed = {"source": "Paper 2020, figure 3", "quantity": "gap [1]", "threshold": 0.0, "side": "above"}
    fixed |= {"setting": "tiny | two; seeds 0, 1", "figure": "f", "unit": "seeds"}
    return Verdict(claim=claim, measured=interval, number=number, **{**fixed, **more})


def test_page_says_what_was_measured_and_what_follows():
    """One statement that holds, one with too few units, one that Holm's rule takes back; commands are numbered."""
    verdicts = [
        judged_as("LoRA holds.", 3, Interval(0.25, 0.1, 0.4, 5), commands=("deltalab run a", "deltalab run c")),
        judged_as("B holds.", 3, Interval(1200.0, -inf, inf, 1), threshold=5.0, unit="tasks"),
        judged_as("C holds.", 3, Interval(0.2, 0.1, 0.3, 6), adjusted=0.08, together=3, commands=("deltalab run c",)),
    ]
    page = claims_page(verdicts)
    assert "**3 statements: 1 holds here, 0 do not hold here, 2 cannot tell.**" in page
    section = page[page.index("### 3. ") : page.index("### 4. ")]
    assert "**Answer.** It holds that LoRA holds. The records leave 2 of 3 statements open." in section
    assert "1 statement with n = 1 tasks: at least 5 are needed." in section
    assert "1 statement decided alone and not among all of this claim: more units; " in section
    cells = (
        "| LoRA holds. | gap [1]: 0.25; tiny \\| two; seeds 0, 1 | 0.1 to 0.4 | 5 seeds | above 0 | – | **holds here** "
    )
    assert f"{cells}| `f` | 1, 2 |" in section
    assert "| 1 tasks | above 5 | – | **cannot tell**: n = 1 tasks; needs at least 5 | `f` | – |" in section
    assert "**cannot tell**: alone it would hold, among 3 statements p = 0.08 | `f` | 2 |" in section
    assert "deltalab run a  # 1\ndeltalab run c  # 2\n" in section
    assert section.count("<details>") == section.count("</details>") == 1


def test_how_many_units_would_decide_is_said_where_spread_and_estimate_are_known():
    open_ones = [judged_as("A", 7, Interval(0.1, -0.1, 0.3, 5)), judged_as("B", 7, Interval(0.2, -0.1, 0.5, 3))]
    section = claims_page(open_ones)
    told = "with estimate and spread as seen, n = {} would do."
    narrower = "1 interval (n = 5 seeds) with the threshold inside: narrower ones"
    assert f"{narrower}; {told.format(13)}" in section
    few = "1 statement with n = 3 seeds: at least 5 are needed"
    assert f"{few}; {told.format(5)}" in section
    needed = replace(open_ones[1], together=41).units_needed  # it would be one more in a family of forty
    assert needed > 5
    assert f"{few}; {told.format(needed)}" in claims_page([*open_ones[:1] * 40, open_ones[1]])


def test_the_page_has_the_claims_of_the_source_in_order_then_other_papers():
    found = [judged_as("A", number, Interval(1.0, 0.5, 2.0, 5)) for number in (3, None, 3, 8)]
    found.append(judged_as("D", None, Interval(1.0, 0.5, 2.0, 5), source="Hu et al. 2021, section 7"))
    page = claims_page(found)
    heads = [line for line in page.splitlines() if line.startswith("### ")]
    assert heads[: len(SOURCE_CLAIMS)] == [f"### {n}. {said.title}" for n, said in SOURCE_CLAIMS.items()]
    assert heads[len(SOURCE_CLAIMS) :] == ["### Paper 2020", f"### {OTHER_SOURCES['Hu et al. 2021'].title}"]
    assert f"| [4. {SOURCE_CLAIMS[4].title}](#4-prompt-tuning-is-slow) | – | no record |" in page
    assert all(said.missing in page for said in SOURCE_CLAIMS.values())
    assert "It holds that a (in 2 of 2 settings)." in page


def test_every_heading_of_the_page_in_the_docs_has_its_link():
    text = (ROOT / "docs/claims.md").read_text(encoding="utf-8")
    links = re.findall(r"\(#([^)]+)\)", text)
    heads = [
        re.sub(r"[^\w\- ]", "", line[4:].lower()).replace(" ", "-") for line in text.splitlines() if line[:4] == "### "
    ]
    assert links == heads


def test_plots_are_drawn_again_only_where_numbers_have_changed(tmp_path, monkeypatch):
    drawn: list[int] = []

    def images(drawings, scale=1.0):
        drawn.append(len(drawings))
        return [b"<svg/>" for _ in drawings]

    monkeypatch.setattr(command, "images", images)
    first, second = judged_as("A", 3, Interval(1.0, 0.5, 2.0, 5)), judged_as("B", 8, Interval(1.0, 0.5, 2.0, 5))
    shown = [s for s in sections([first, second]) if s.verdicts]
    assert command.drawn(shown, tmp_path).startswith("2 of 2 plots drawn")
    moved = replace(second, measured=Interval(1.0, 0.4, 2.0, 5))
    shown = [s for s in sections([first, moved]) if s.verdicts]
    assert command.drawn(shown, tmp_path).startswith("1 of 2 plots drawn")
    assert shown[1].digest in (tmp_path / "8.svg").read_text()
    assert command.drawn(shown, tmp_path).startswith("0 of 2")
    assert drawn == [2, 1]


def test_without_a_browser_the_command_says_why_there_are_no_plots(tmp_path, monkeypatch):
    def images(drawings, scale=1.0):
        raise ImageError("no Chromium")

    monkeypatch.setattr(command, "images", images)
    shown = [s for s in sections([judged_as("A", 3, Interval(1.0, 0.5, 2.0, 5))]) if s.verdicts]
    assert command.drawn(shown, tmp_path / "img") == "no plots: no Chromium"
    assert not (tmp_path / "img").exists()


OPTIONS = "'--methods=full fine-tuning,LoRA' --splits=2"


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
                provenance={"command": f"deltalab run performance --scale {scale} {OPTIONS}"},
            )
            for job in module.jobs(scale, methods=methods, splits=2)
        ]  # fmt: skip

    demo, smoke = records("demo", 0.1), records("smoke", -0.2)
    (alone,) = verdicts_of(module, demo)
    mixed = verdicts_of(module, [demo[0], *smoke, *demo[1:]])
    assert mixed[0] == alone
    assert [v.commands for v in mixed] == [
        (f"deltalab run performance --scale={s} {OPTIONS}",) for s in ("demo", "smoke")
    ]
    assert mixed[1].measured.estimate == pytest.approx(0.2)
    assert "tiny-bert" in mixed[1].setting
    assert "tiny-bert" not in mixed[0].setting


def test_runs_that_a_record_with_more_seeds_holds_too_count_once():
    experiment = load_experiment("certified_radius")

    def record(seeds: tuple[int, ...], **other) -> Record:
        (job,) = experiment.jobs("demo", seeds=seeds, **other)
        rows = [
            {"label": loop, "loop": loop, "seed": seed, "margin": 1.0, "radius": 1 + (loop == "feedback") + seed / 99,
             "nearest": 2.0, "right": True}
            for loop in ("feedback", "open loop") for seed in seeds
        ]  # fmt: skip
        return Record(job, {}, {"certified_radius": pd.DataFrame(rows)})

    few, more = record((0, 1)), record((0, 1, 2))
    others = [record((0, 3)), record((0, 1), steps=7)]  # seeds of its own; another setting
    found = verdicts_of(experiment, [few, more, *others])
    assert found == verdicts_of(experiment, [more, *others])
    assert [v.measured.n for v in found] == [3, 2, 2]


def made_by(command: str, **config: object) -> Record:
    return Record(Job("toy", config), {}, provenance={"command": command})


def test_a_command_names_no_place_of_a_machine():
    given = (
        "deltalab run toy --scale demo --store /home/me/runs --model=/data/plm '--methods=full fine-tuning,LoRA' --x"
    )
    (found,) = commands_of([made_by(given, task="bbc-news")] * 2)
    assert found == "deltalab run toy --scale=demo --model=plm '--methods=full fine-tuning,LoRA' --x"


def test_where_a_scale_has_changed_the_command_has_the_whole_config():
    """A command that asks for the record's job is told as it was given; one that does not, by the job itself."""
    scale = load_experiment("scale")
    (job, *_) = scale.jobs("demo", seeds=(0, 1))
    kept = Record(job, {}, provenance={"command": "deltalab run scale --scale demo --seeds 0,1 --store x"})
    assert commands_of([kept], scale) == ("deltalab run scale --scale=demo --seeds=0,1",)
    changed = Record(job, {}, provenance={"command": "deltalab run scale --scale demo --seeds 0,1,2"})
    gone = Record(job, {}, provenance={"command": "deltalab run scale --scale demo --sizes-of 3"})
    for record in (changed, gone):
        (command,) = commands_of([record], scale)
        assert shlex.split(command)[:3] == ["deltalab", "run", "scale"]
        assert json.loads(shlex.split(command)[3].partition("=")[2]) == job.config
    assert commands_of([changed]) == ("deltalab run scale --scale=demo --seeds=0,1,2",)


def test_a_command_says_that_a_task_needs_its_folder():
    needed = commands_of([made_by("deltalab run toy", tasks=["imdb", "sst-2"])])
    nested = commands_of([made_by("deltalab run toy", runs={"task": "mpqa"})])
    assert needed == nested == ("DELTALAB_TASKS=FOLDER deltalab run toy",)
    both = [made_by("deltalab run toy", task="bbc-news"), made_by("deltalab run toy", task="mpqa")]
    assert commands_of(both) == commands_of(both[::-1]) == needed
    assert commands_of([made_by("deltalab run toy", task="glue/sst2")]) == ("deltalab run toy",)
    assert commands_of([Record(Job("toy", {}), {})]) == ()


@pytest.fixture(scope="module")
def of_gallery() -> list[Verdict]:
    return all_verdicts(Store(ROOT / "gallery"))


def test_the_page_in_the_docs_is_the_one_of_the_gallery(of_gallery):
    stored = (ROOT / "docs/claims.md").read_text(encoding="utf-8")
    assert stored == claims_page(of_gallery), AGAIN
    for section in sections(of_gallery):
        plot = ROOT / "docs" / IMAGES / f"{section.name}.svg"
        assert plot.is_file() == bool(section.verdicts), AGAIN
        assert not section.verdicts or section.digest in plot.read_text(encoding="utf-8"), AGAIN


def test_no_verdict_of_the_gallery_stands_on_fewer_than_five_units(of_gallery):
    known = {*map(str, SOURCE_CLAIMS), *OTHER_SOURCES}
    for verdict in of_gallery:
        assert verdict.exact or verdict.answer == "cannot tell" or verdict.measured.n >= FEWEST
        assert verdict.family in known, "say what it claims in lab/source_claims.py"


def test_an_empty_store_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("lab.runs.places.GALLERY", tmp_path / "none")
    result = CliRunner().invoke(app, ["claims", "--store", str(tmp_path / "empty")])
    assert result.exit_code == 2
    assert "run an experiment first" in result.output


def test_the_end_of_a_test_that_says_the_sign_alone_is_said_in_words():
    assert [number(x) for x in (inf, nan)] == ["unbounded", "unknown"]
    assert [number(x) for x in (5e-324, -5e-324, 0.0, 1e-9)] == ["just above 0", "just below 0", "0", "1e-09"]
