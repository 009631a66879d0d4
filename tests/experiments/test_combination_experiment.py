"""The combination experiment: its cells and its arithmetic on made-up scores."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pandas as pd
import pytest

from experiments import combination
from lab.execution import Local
from lab.runs import Record, Store
from lab.statistics.combination import FACTORS, contrasts, gains_of_orders, gaps_over_single
from lab.study import measured

COMBINATION = combination.EXPERIMENT


def grid(score, train_score=lambda *on: 1.0, seeds=(0, 1, 2)):
    return pd.DataFrame(
        [
            {"label": "made up", "seed": seed, **dict(zip(FACTORS, on, strict=True)), "score": score(seed, *on),
             "train_score": train_score(*on)}
            for seed in seeds
            for on in product((0, 1), repeat=3)
        ]
    )  # fmt: skip


def test_planted_effects_with_seeds_paired():
    """The seeds differ by far more than the effects, which are the same in each: the intervals are points."""
    found = contrasts(grid(lambda seed, p, b, a: seed + 0.1 * a - 0.02 * p * a + 0.01 * b)).set_index("term")
    assert found.loc["adapter", "estimate"] == pytest.approx(0.1 - 0.01)
    # beside another: of the three combinations with prompt or BitFit, two have the prompt
    assert found.loc["adapter beside another", "estimate"] == pytest.approx(0.1 - 0.02 * 2 / 3)
    assert found.loc["prompt beside another", "estimate"] == pytest.approx(-0.02 * 2 / 3)
    assert found.loc["prompt × adapter", "estimate"] == pytest.approx(-0.01)
    assert found.loc["BitFit × adapter", "estimate"] == pytest.approx(0)
    assert np.allclose(found.high - found.low, 0)


def test_a_seed_that_lacks_a_cell_is_left_out():
    table = grid(lambda seed, p, b, a: 0.1 * a * (seed + 1)).drop(index=5)
    assert set(contrasts(table).n) == {2}


def test_gap_of_combinations_over_single_deltas():
    """Gap 0.1 per delta: singles 0.1; combinations three times 0.2 and once 0.3."""
    table = grid(lambda seed, *on: 0.5, lambda *on: 0.5 + 0.1 * sum(on))
    assert gaps_over_single(table) == pytest.approx([0.9 / 4 - 0.1] * 3)


def test_an_order_gains_over_the_average_of_its_seed():
    wide = pd.DataFrame({"a": [0.9, 0.1, 0.2], "b": [0.2, 0.5, 0.5], "c": [0.4, 0.3, 0.2]})
    gains = gains_of_orders(wide)
    assert gains["a"].estimate == pytest.approx((0.4 - 0.2 - 0.1) / 3)
    assert sum(gain.estimate for gain in gains.values()) == pytest.approx(0)
    assert {gain.n for gain in gains.values()} == {3}


def test_every_order_has_its_stages_and_shares_its_beginning(tmp_path):
    jobs = COMBINATION.jobs("smoke", settings=("sequential",))
    (record,) = Local(Store(tmp_path), progress=False).run(jobs, measured)
    table = record.tables["sequential_combination"]
    orders = table[table.order != "all at once"]
    assert set(orders.order) == {" → ".join(p) for p in permutations(FACTORS)}
    assert sorted(orders.groupby("order").stage.max()) == [3] * 6
    first = orders[orders.stage == 1]
    for factor in FACTORS:
        assert first[first.order.str.startswith(factor)].score.nunique() == 1


def test_verdicts_on_planted_scores():
    """The adapter helps by 0.1, the prompt costs 0.02, the last stage adds 0.01 and every order ends alike."""
    (grid_job,) = COMBINATION.jobs("demo", settings=("full",))
    table = grid(lambda seed, p, b, a: 0.7 + seed / 50 + 0.1 * a - 0.02 * p, seeds=range(5)).assign(metric="accuracy")
    stages = [
        {"label": "x", "seed": seed, "order": " → ".join(order), "stage": stage, "score": 0.7 + stage / 100 + seed / 50,
         "metric": "accuracy"}
        for seed in range(5) for order in permutations(FACTORS) for stage in (1, 2, 3)
    ]  # fmt: skip
    stages = pd.DataFrame(stages)
    records = [Record(grid_job, {"metric": "accuracy"}, {"combination": table})]
    for job in COMBINATION.jobs("demo", settings=("sequential",), seeds=(0, 1, 2, 3, 4)):
        mine = stages[stages.seed == job.config["seed"]]
        records.append(Record(job, {}, {"sequential_combination": mine}))
    found = {verdict.claim: verdict for verdict in combination.claims(list(map(COMBINATION.finding, records)))}
    assert found["An adapter in a combination helps."].answer == "holds here"
    assert found["A prompt in a combination hurts."].measured.estimate == pytest.approx(-0.02)
    assert found["Going on with another delta improves what the deltas before it reached."].answer == "holds here"
    assert found["No order of the three is always the best."].answer == "holds here"
    assert len(found) == 6


def test_a_part_keeps_its_step_size_in_every_cell():
    (design,) = COMBINATION.configs("demo", settings=("full",))
    cell = design.cell(0, (True, False, True))
    assert (cell.lr, cell.head_lr) == (3e-3, 1e-2)
    assert cell.method["step_scales"] == pytest.approx([10 / 3, 1.0])
    assert [part["method"] for part in cell.method["parts"]] == ["prompt", "adapter"]


def test_added_biases_stand_for_bitfit_with_a_step_size_of_their_own():
    found = {design.setting: design for design in COMBINATION.configs("demo", seeds=(13,))}
    assert {"full", "few-shot", "full-template", "few-shot-template", "sequential"} == set(found)
    for name, design in found.items():
        decoder = name.endswith("template")
        assert design.parts[1]["method"] == ("added-bias" if decoder else "bitfit")
        assert design.step_sizes == (1e-2, combination.ADDED_BIAS_STEP_SIZE if decoder else 3e-3, 3e-3)
    (design,) = COMBINATION.configs("demo", settings=("full",), model="tiny-llama")
    assert design.added_biases, "by the model's name"
    assert COMBINATION.configs("demo", settings=("few-shot",))[0].seeds == (13, 21, 42, 87, 100)


def test_what_is_unknown_is_refused():
    with pytest.raises(ValueError, match="unknown scale 'huge'"):
        COMBINATION.jobs("huge")
    with pytest.raises(ValueError, match=r"unknown settings \['half'\]; the scale has full, few-shot"):
        COMBINATION.jobs("demo", settings=("half",))
