"""What the figures of shared subspaces, intruders and extraction say of tables whose answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lab.figures import (
    AMPLIFICATION,
    EXTRACTION,
    INTRUDER_FORECAST,
    INTRUDER_MITIGATION,
    INTRUDER_STRENGTH,
    INTRUDER_SWEEP,
    INTRUDERS,
    LEFT_OUT_TASKS,
    PRINCIPAL_ANGLES,
    SUBSPACE_SIMILARITY,
)
from lab.figures.style import integer_ticks


def test_similarity_is_told_beside_its_random_level():
    cells = [
        {"comparison": "a", "side": "inputs", "i": i, "j": j, "similarity": 0.5 / max(i, j), "random": max(i, j) / 10}
        for i in (1, 2)
        for j in (1, 2)
    ]
    found = SUBSPACE_SIMILARITY.summarize(pd.DataFrame(cells))
    assert found["φ"].tolist() == [0.5, 0.25]
    assert found["random"].tolist() == [0.1, 0.2]
    drawing = SUBSPACE_SIMILARITY.draw(pd.DataFrame(cells))
    (excess,) = drawing.data
    assert excess.z.tolist() == pytest.approx(np.array([[0.4, 0.05], [0.05, 0.05]]))


def test_grids_average_over_matrices_and_models_have_rows_of_their_own():
    cells = pd.DataFrame(
        [{"comparison": "a", "side": "inputs", "i": 1, "j": 1, "similarity": value, "random": 0.1, "model": model}
         for model in ("minilm", "smollm2") for value in (0.2, 0.4)]
    )  # fmt: skip
    drawing = SUBSPACE_SIMILARITY.draw(cells)
    assert [float(trace.z[0, 0]) for trace in drawing.data] == pytest.approx([0.2, 0.2])
    assert "a · minilm · inputs" in [a.text for a in drawing.layout.annotations]


def test_angles_below_the_band_are_counted():
    table = pd.DataFrame(
        {"comparison": "a", "side": "inputs", "role": "query", "block": 0, "index": [1, 2, 3],
         "angle": [10.0, 40.0, 80.0], "null_low": 60.0, "null_high": 85.0}
    )  # fmt: skip
    (row,) = PRINCIPAL_ANGLES.summarize(table).to_dict("records")
    assert (row["smallest angle [degrees]"], row["angles below random [count]"], row["of [count]"]) == (10, 2, 3)


def test_amplification_is_told_as_table_7():
    found = AMPLIFICATION.summarize(AMPLIFICATION.example())
    assert list(found.columns[2:7]) == ["‖ΔW‖", "‖W₀‖", "onto ΔW's", "onto W₀'s", "onto random"]
    assert len(found) == 4


def overlaps(*values: float, kind: str = "tuned") -> pd.DataFrame:
    return pd.DataFrame(
        {"label": "run", "kind": kind, "matrix": "m", "block": 0, "strength": 1.0,
         "index": np.arange(1, len(values) + 1), "overlap": values}
    )  # fmt: skip


def test_intruders_are_counted_among_the_first_ten():
    table = pd.concat([overlaps(0.9, 0.4, *[0.8] * 8, 0.1), overlaps(*[0.9] * 11, kind="random")])
    found = INTRUDERS.summarize(table).set_index("directions")
    assert found["intruders [count]"].to_dict() == {"tuned": 1, "random": 0}
    assert found.loc["tuned", "least overlap [1]"] == 0.4


def test_the_sweep_is_told_at_its_largest_k():
    found = INTRUDER_SWEEP.summarize(INTRUDER_SWEEP.example())
    assert set(found["k [count]"]) == {10}
    assert {"ε = 0.3", "ε = 0.5", "ε = 0.7"} <= set(found.columns)


def test_a_matrix_without_an_intruder_is_counted_and_not_drawn():
    table = pd.DataFrame(
        {"label": "run", "matrix": list("abcd"), "forecast": [1.0, 2.0, 4.0, np.inf], "forecast_low": 0.5,
         "forecast_high": [3.0, 3.0, np.inf, np.inf], "seen": [1.0, 4.0, 8.0, np.inf]}
    )  # fmt: skip
    (row,) = INTRUDER_FORECAST.summarize(table).to_dict("records")
    assert (row["matrices [count]"], row["intrude [count]"]) == (4, 3)
    assert row["seen / forecast, median [1]"] == 2
    assert row["inside the forecast's range [%]"] == pytest.approx(200 / 3)
    assert row["rank correlation [1]"] == pytest.approx(1)
    points = [trace for trace in INTRUDER_FORECAST.draw(table).data if trace.marker.symbol == "circle"]  # no arrows
    assert sum(len(trace.x) for trace in points) == 3


def test_strength_zero_has_a_place_on_the_logarithmic_axis():
    drawing = INTRUDER_STRENGTH.draw(INTRUDER_STRENGTH.example())
    assert "0" in drawing.layout.xaxis.ticktext
    assert min(x for trace in drawing.data for x in trace.x) > 0
    assert "best score" in INTRUDER_STRENGTH.alt(INTRUDER_STRENGTH.example())


def test_mitigation_tells_both_ends():
    assert "12 intruders (λ = 1)" in INTRUDER_MITIGATION.alt(INTRUDER_MITIGATION.example())


def test_extraction_tells_references_beside_ranks():
    table = EXTRACTION.example()
    found = EXTRACTION.summarize(table).set_index("LoRA or reference")
    assert found.loc["rank 1", "score [fraction]"] == pytest.approx(0.5)
    assert found.loc["full fine-tuning", "score [fraction]"] == pytest.approx(0.92)
    assert "full fine-tuning: 0.920" in EXTRACTION.alt(table)


def test_ticks_are_whole_and_few():
    assert integer_ticks(0, 5) == [0, 1, 2, 3, 4, 5]
    assert integer_ticks(3, 3) == [3]
    assert len(integer_ticks(0, 100)) <= 8


@pytest.mark.parametrize("block", ["block.{}", "model.layers.{}.self_attn", "encoder.layer.{}.attention.self"])
def test_rows_of_intruders_are_short_in_every_family(block):
    table = INTRUDERS.example()
    table["matrix"] = [f"{block.format(b)}.q.weight" for b in table.block]
    rows = INTRUDERS.draw(table).data[0].y
    assert set(rows[:3]) <= {f"{b} q" for b in table.block.unique()}


def test_intruders_of_two_plms_have_their_own_rows_and_none_is_empty():
    one = INTRUDERS.example()
    other = one.assign(matrix=one.matrix.str.replace("query", "q_proj"), label=one.label + ", other PLM")
    drawing = INTRUDERS.draw(pd.concat([one, other]))
    for heat in (trace for trace in drawing.data if trace.type == "heatmap"):
        assert not np.isnan(heat.z.astype(float)).all(axis=1).any()


def test_seeds_of_a_task_share_a_row_of_what_the_others_explain():
    table = LEFT_OUT_TASKS.example()
    seeds = pd.concat([table.assign(member=table.member + f", seed {seed}") for seed in (0, 1)])
    drawing = LEFT_OUT_TASKS.draw(seeds)
    assert set(drawing.layout.yaxis.categoryarray) == set(table.member)
    assert {name[0] for name in drawing.data[0].customdata} == set(seeds.member)
