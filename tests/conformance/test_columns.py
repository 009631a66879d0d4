"""One vocabulary of columns: records, analyses, figures and CSV files call the same thing by the same name."""

from __future__ import annotations

import csv
from collections.abc import Iterator

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from lab.columns import COLUMNS, EARLIER, FLAG, NARROWER, TEXT, Column, column, columns, known, named_now
from lab.deltas import LoRA
from lab.figures import FIGURES, WEIGHT_DIFFERENCE_SPECTRA, export
from lab.geometry import (
    SUMMARY_COLUMNS,
    aggregated,
    intruder_sweep,
    intruders_by_strength,
    joined_spectra,
    loss_line,
    loss_plane,
    weight_difference_spectra,
)
from lab.models.tiny import tiny_plm
from lab.runs import Store
from lab.runs.folder import parquet_file
from lab.runs.places import GALLERY
from lab.runs.record import METRICS


@pytest.fixture(scope="module")
def spectra():
    delta = LoRA(rank=2).on(tiny_plm("bert"), seed=0)
    phi = torch.randn(delta.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return weight_difference_spectra(delta, phi)


def stored() -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """Experiment, table, [(column, type)] of every record of the gallery, each schema once."""
    store, seen = Store(GALLERY), set()
    for experiment in store.experiments():
        for manifest in store.manifests(experiment):
            for table in manifest.tables:
                if table == METRICS:
                    continue
                schema = pq.read_schema(manifest.folder / parquet_file(table))
                fields = [(field.name, str(field.type)) for field in schema]
                if (table, *fields) not in seen:
                    seen.add((table, *fields))
                    yield experiment, table, fields


def test_every_column_of_every_record_is_in_it_with_its_type():
    kinds = {"text": ("string",), "whole number": ("int", "double"), "number": ("double", "float", "int")}
    kinds["truth value"] = ("bool",)
    unknown, wrong = set(), set()
    for experiment, table, fields in stored():
        for name, stored_type in fields:
            if name not in COLUMNS:
                unknown.add(f"{experiment}.{table}.{name}")
            elif stored_type != "null" and not any(kind in stored_type for kind in kinds[column(name, table).type]):
                wrong.add(f"{table}.{name}: {stored_type}, [{column(name, table).unit}]")
    assert unknown == set()
    assert wrong == set()


@pytest.mark.parametrize("drawn", FIGURES, ids=lambda drawn: drawn.name)
def test_every_column_of_a_figure_is_in_it(drawn):
    used = {**drawn.columns, **drawn.optional}
    assert set(used) <= set(COLUMNS)
    meanings = {name: {COLUMNS[name], *(own[name] for own in NARROWER.values() if name in own)} for name in used}
    assert [name for name, meant in used.items() if meant not in meanings[name]] == []


def test_every_column_of_an_analysis_is_in_it(spectra):
    both = joined_spectra({"a": spectra, "b": spectra})
    W = torch.diag(torch.arange(1.0, 13.0, dtype=torch.float64))
    tables = [both.values, both.summary, both.excluded, aggregated(both.summary, ["label", "role"])]
    tables += [intruder_sweep(W, W + 0.1, ks=(2, 3)), intruders_by_strength(W, torch.full_like(W, 0.1), (0.5, 1.0))]
    tables += [
        loss_line(torch.linalg.vector_norm, W[0], W[1]),
        loss_plane(torch.linalg.vector_norm, W[0], (W[1], W[2])),
    ]
    assert {name for table in tables for name in table} <= set(COLUMNS)
    assert set(SUMMARY_COLUMNS) <= set(COLUMNS)


def test_what_an_analysis_gives_is_what_its_figure_takes(spectra):
    rows = joined_spectra({"LoRA": spectra}).values
    assert WEIGHT_DIFFERENCE_SPECTRA.answer(rows).table.label.unique().tolist() == ["LoRA"]


def test_names_of_earlier_versions_are_understood(spectra):
    assert named_now("run") == ["label"]
    assert set(EARLIER.values()) <= set(COLUMNS)
    summary = joined_spectra({"a": spectra}).summary
    pd.testing.assert_frame_equal(aggregated(summary, ["run"]), aggregated(summary, "label"))


def test_every_meaning_is_said_once_and_fully():
    every = [*COLUMNS.items(), *(entry for own in NARROWER.values() for entry in own.items())]
    assert all(meant.description and meant.unit and not meant.description.endswith(".") for _, meant in every)
    assert [f"{t}.{n}" for t, own in NARROWER.items() for n, meant in own.items() if meant == COLUMNS[n]] == []


def test_an_unknown_column_is_refused_where_it_is_declared():
    with pytest.raises(ValueError, match=r"no column is called 'sgima'; lab/columns\.py lists them"):
        columns("cka", "label", "sgima")
    assert known(["sgima", "sigma"]) == {"sigma": COLUMNS["sigma"]}
    types = [Column("", unit).type for unit in (TEXT, FLAG, "count", "nats")]
    assert types == ["text", "truth value", "whole number", "number"]


def test_a_csv_has_the_record_of_every_row_and_the_unit_of_every_column_beside_it(tmp_path, spectra):
    rows = joined_spectra({"LoRA": spectra}).values.assign(model="tiny-bert")
    export(WEIGHT_DIFFERENCE_SPECTRA, tmp_path / "fig", ["csv"], rows)
    with (tmp_path / "fig.csv").open() as file:
        names = next(csv.reader(file))
    meanings = pd.read_csv(tmp_path / "fig.columns.csv").set_index("column")
    assert {"model", "task", "seed", "key"} <= set(names)
    assert set(names) == set(meanings.index)
    assert meanings.loc["sigma"].tolist() == ["number", "1", "singular value of ΔW"]
