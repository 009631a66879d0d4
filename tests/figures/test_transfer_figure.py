"""Means inside and across types, the order of tasks, what is empty; correlations of likeness and transfer."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest

from lab.figures import LIGHT, TRANSFER, TRANSFER_SIMILARITY
from lab.figures.style import Size
from lab.statistics import rank_correlation
from lab.statistics.transfer import correlations, with_ratio


def test_inside_and_across_types_by_hand():
    table = TRANSFER.example().query("label == 'LoRA'")
    (row,) = TRANSFER.summarize(table).to_dict("records")
    assert row["inside types [1]"] == pytest.approx(0.8)  # reviews and films, both ways
    # i − j over the ordered pairs of different types cancels
    assert row["across types [1]"] == pytest.approx(0.0, abs=1e-12)


def test_the_sources_ratio_is_the_score_over_the_targets_own():
    table = TRANSFER.example().query("label == 'LoRA'").assign(score=0.6, own=0.8)
    table.loc[table.source == table.target, "score"] = 0.8
    (row,) = TRANSFER.summarize(table).to_dict("records")
    assert row["score/own inside [1]"] == row["score/own across [1]"] == pytest.approx(0.75)
    unscored = with_ratio(table.assign(own=0.0))
    assert unscored.ratio.isna().all()


def test_tasks_of_one_type_stand_together_whatever_the_order_of_rows():
    table = TRANSFER.example()
    table = table.sort_values("source", kind="stable")  # films, order, reviews, topics
    drawing = TRANSFER.draw(table)
    order = list(drawing.layout.xaxis.ticktext)
    assert abs(order.index("films") - order.index("reviews")) == 1
    gaps = [shape for shape in drawing.layout.shapes if shape.x0 == shape.x1]
    assert len(gaps) == 2 * 3  # three types, three panels


def test_a_correlation_whose_sign_alone_is_known_has_no_end_that_looks_like_an_estimate():
    pairs = [" · ".join(f"task {task}" for task in pair) for pair in combinations(range(6), 2)]
    alike = np.linspace(-0.1, 0.6, len(pairs))
    table = pd.DataFrame(
        {"label": "LoRA", "pair": pairs, "types": "across", "cosine": alike, "subspace": np.cos(40 * alike)}
    ).assign(random=0.02, transfer=alike)
    told = TRANSFER_SIMILARITY.alt(table)
    assert "LoRA: +1.00 (above 0) with cosine" in told
    assert "(not surely above 0) with subspace" in told
    (row,) = TRANSFER_SIMILARITY.summarize(table).to_dict("records")
    assert (row["cosine low"], row["cosine high"]) == (0.0, 1.0)


def test_what_was_not_learned_is_empty():
    table = TRANSFER.example().query("label == 'LoRA'")
    table.loc[table.target == "topics", "relative"] = np.nan
    (heat,) = [trace for trace in TRANSFER.draw(table).data if trace.type == "heatmap"]
    assert [row[-1] for row in heat.text] == [""] * 4
    assert np.isnan(np.array(heat.z, float)[:, -1]).all()


def test_seeds_are_averaged():
    table = TRANSFER.example().query("label == 'LoRA'")
    other = table.assign(relative=table.relative + 0.2)
    both = TRANSFER.draw(pd.concat([table, other], ignore_index=True)).data[0]
    assert np.allclose(np.array(both.z, float), np.array(TRANSFER.draw(table).data[0].z, float) + 0.1)


def test_correlations_are_spearmans_per_method():
    table = TRANSFER_SIMILARITY.example()
    part = table[table.label == "LoRA"]
    expected = rank_correlation(part.cosine, part.transfer)
    assert correlations(table, "cosine")["LoRA"].estimate == pytest.approx(expected)
    row = TRANSFER_SIMILARITY.summarize(table).set_index("method").loc["LoRA"]
    assert row["ρ with cosine [1]"] == pytest.approx(expected)
    unknown = table.assign(transfer=np.nan)
    assert correlations(unknown, "cosine") == {}
    assert "not enough pairs" in TRANSFER_SIMILARITY.alt(unknown)


def test_what_was_not_learned_is_a_dot_that_the_legend_explains():
    table = TRANSFER.example().query("label == 'LoRA'")
    table.loc[table.target == "topics", "relative"] = np.nan
    drawing = TRANSFER.draw(table)
    (dots,) = (trace for trace in drawing.data if trace.name == "not learned where it is evaluated")
    assert len(dots.x) == 4
    assert len(set(dots.x)) == 1
    assert "not learned where it is evaluated" in str(drawing.layout.annotations) + str(drawing.layout.legend)
    assert not any(trace.name == dots.name for trace in TRANSFER.draw(TRANSFER.example()).data)


def test_numbers_stand_in_the_cells_of_nine_tasks_beside_the_choices_of_a_page():
    tasks = [f"task {i}" for i in range(9)]
    pairs = [(label, *ends) for label in ("LoRA", "prompt", "prefix") for ends in product(tasks, tasks)]
    table = pd.DataFrame(pairs, columns=["label", "source", "target"]).assign(
        source_type="form", target_type="form", score=0.4, own=0.8, relative=-0.164
    )
    heats = [t for t in TRANSFER.draw(table, LIGHT, Size(720, 13, fixed=False)).data if t.type == "heatmap"]
    assert [{word for row in heat.text for word in row} for heat in heats] == [{"−16"}] * 3
