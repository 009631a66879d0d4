from __future__ import annotations

import pytest
from typer.testing import CliRunner

from lab.cli import app
from lab.deltas import (
    METHODS,
    Adapter,
    FullFineTuning,
    LastLayer,
    LoRA,
    Prefix,
    Prompt,
    SelectiveModule,
    count_table,
    percentage,
)
from lab.deltas.counts import CountRow
from lab.deltas.delta import Counts
from lab.deltas.presets import combination_study, delta_tuning_study, scale_study
from lab.models import meta_plm


@pytest.fixture(scope="module")
def roberta_rows():
    return {row.method: row for row in count_table(meta_plm("roberta-large", head="mlm"))}


@pytest.fixture(scope="module")
def t5_rows():
    return {row.method: row for row in count_table(meta_plm("t5-v1.1-base", head="lm"))}


def test_table_2_of_the_paper_by_counting(roberta_rows):
    """All seven percentages of Ding et al. 2023, Table 2, from 355,412,057 parameters."""
    assert {row.counts.native for row in roberta_rows.values()} == {355_412_057}
    assert roberta_rows["AP"].counts.trained == 48 * (2 * 1024 * 64 + 64 + 1024) == 6_343_680
    assert roberta_rows["BF"].counts.trained == 323_673
    assert roberta_rows["PT"].counts.trained == 10 * 1024
    printed = {name: percentage(row.counts.percent) for name, row in roberta_rows.items()}
    assert printed == {
        "AP": "1.75",
        "BF": "0.09",
        "BF+AP": "1.84",
        "PT": "0.003",
        "PT+AP": "1.76",
        "PT+BF": "0.09",
        "PT+BF+AP": "1.85",
    }
    assert printed == {name: row.published for name, row in roberta_rows.items()}


def test_t5_says_what_is_trained_and_what_is_stored(t5_rows):
    """36 attention modules (12 + 12 self, 12 cross), 60 sublayers, 247,577,856 parameters."""
    through = t5_rows["prefix through its MLP"]
    assert through.counts.native == 247_577_856
    assert through.counts.stored == t5_rows["prefix"].counts.stored == 36 * 2 * 5 * 768
    assert percentage(through.counts.percent) == through.published == "7.93"
    assert percentage(through.percent_stored) == percentage(t5_rows["prefix"].counts.percent) == "0.11"
    assert percentage(t5_rows["prompt"].counts.percent) == t5_rows["prompt"].published == "0.03"
    assert t5_rows["LoRA"].counts.trained == 72 * 8 * (768 + 768)
    norms = t5_rows["LoRA and all norms"]
    assert norms.counts.trained - t5_rows["LoRA"].counts.trained == 62 * 768
    assert percentage(norms.counts.percent) == norms.published == "0.38"
    assert t5_rows["adapter"].counts.trained == 60 * (2 * 768 * 64 + 64 + 768)
    assert t5_rows["fine-tuning"].counts.percent == 100


def test_every_method_that_applies_has_a_row(plm_of):
    """On GPT-2 with a new head all do; Llama has no biases, and a pre-trained head is nothing to probe with."""
    named = {Prompt: "prompt", Prefix: "prefix", LoRA: "LoRA", Adapter: "adapter", FullFineTuning: "fine-tuning"}
    rows = [row.method for row in count_table(plm_of("gpt2"), METHODS)]
    assert sorted(rows) == sorted([named.get(m, m.name) for m in METHODS] + ["prefix through its MLP"])
    llama = {row.method: row for row in count_table(meta_plm("llama-2-7b", head="lm"), METHODS)}
    assert {m.name for m in METHODS if m not in named} - llama.keys() == {"bitfit", "linear-probe"}
    assert llama["last-layer"].note == "n layers 1"
    assert llama["ia3"].counts.trained == 32 * (2 * 4096 + 11008)


def test_another_model_has_rows_without_published_numbers(plm_of):
    rows = count_table(plm_of("gpt2"))
    assert [row.method for row in rows][:2] == ["prompt", "prefix"]
    assert {row.published for row in rows} == {""}
    assert all(row.counts.head == 2 * 16 for row in rows)


@pytest.mark.parametrize("method", [m for m in METHODS if m.name not in ("linear-probe", "bitfit")])
def test_methods_are_counted_without_weights(method):
    """Llama 2 7B on the meta device: nothing of its size is allocated."""
    plm = meta_plm("llama-2-7b", head="lm")
    assert method().on(plm).counts.native == 6_738_415_616


def test_what_is_discarded_is_not_stored():
    row = CountRow("mlp", Counts(trained=30, stored=10, head=0, added=30, native=90))
    assert row.percent_stored == 10.0
    pruned = CountRow("pruned", Counts(trained=200, stored=10, head=0, added=0, native=100))
    assert pruned.percent_stored == 10.0


@pytest.mark.parametrize(("value", "text"), [(1.7536, "1.75"), (0.0029, "0.003"), (100.0, "100"), (0.0, "0")])
def test_percentages_are_printed_as_in_the_papers(value, text):
    assert percentage(value) == text


def test_the_command_prints_the_table():
    result = CliRunner().invoke(app, ["count", "--model", "t5-v1.1-base"])
    assert result.exit_code == 0
    line = next(x for x in result.output.splitlines() if "through its MLP" in x)
    assert [cell.strip() for cell in line.split("│")[2:7]] == ["21,314,240", "276,480", "7.93", "0.11", "7.93"]
    assert "of it head" not in result.output, "a language-model head is not new: an empty column"
    assert "diff-pruning" in result.output
    refused = CliRunner().invoke(app, ["count", "--model", "t6"])
    assert refused.exit_code == 2
    assert "t5-v1.1-base" in refused.output


def test_presets_have_the_source_texts_numbers(plm_of):
    study = delta_tuning_study(plm_of("bert"))
    assert (study["prefix"].tokens, study["prompt"].tokens) == (5, 100)
    assert (study["LoRA"].rank, study["LoRA"].targets) == (8, ("query", "value"))
    assert (study["adapter"].bottleneck, study["adapter"].activation) == (64, "silu")
    assert delta_tuning_study(plm_of("t5"))["LoRA"].targets == ("query", "value", "cross_query", "cross_value")
    assert combination_study()["PT"].tokens == 10
    scaled = scale_study(plm_of("bert"))
    assert len(scaled) == 6
    assert {type(scaled["last-layer"]), type(scaled["selective-module"])} == {LastLayer, SelectiveModule}
