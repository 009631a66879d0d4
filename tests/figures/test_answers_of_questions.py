"""What the answers of some pages say: what the page asks, before the numbers it comes from."""

from __future__ import annotations

from math import nan

import pandas as pd
import pytest

from lab.figures import figure
from lab.statistics.gaps import beside_full


def gaps(*, spread: float) -> pd.DataFrame:
    """Gaps of three methods on four tasks: LoRA lies 0.1 below full fine-tuning, give or take the spread."""
    rows = [
        (label, kind, f"task {t}", seed, level + t * 0.1 + spread * (-1) ** t * (label == "LoRA"), d, 1.0)
        for label, kind, level, d in (
            ("full fine-tuning", "full", 0.2, 10_000), ("LoRA", "delta", 0.1, 100), ("linear probe", "null", 0.0, 10),
        )
        for t in range(4)
        for seed in range(2)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["label", "kind", "task", "seed", "gap", "tunable", "bound"])


def test_gaps_are_compared_with_full_fine_tuning_inside_a_task_and_the_probe_is_none_of_the_methods():
    (found,) = beside_full(gaps(spread=0.01)).values()
    assert found.estimate == pytest.approx(-0.1)
    assert found.n == 4  # tasks: seeds of one are no evidence about another
    assert "1 of 1 methods lie below it for sure and 0 above" in figure("generalization_gap").alt(gaps(spread=0.01))
    assert "none of 1 methods can be told from it" in figure("generalization_gap").alt(gaps(spread=0.5))


def test_without_full_fine_tuning_gaps_are_listed():
    said = figure("generalization_gap").alt(gaps(spread=0.0).query("kind != 'full'"))
    assert said.startswith("Mean generalisation gap, largest first: LoRA")


def curves(share: float) -> pd.DataFrame:
    """A problem whose simulation is 0.5 ± 0.1 at d = 1 and 0.95 ± 0.01 at d = 2; predicted are a share and 0.95."""
    seen = [(1, 0.5, 0.4, 0.6), (2, 0.95, 0.94, 0.96)]
    rows = [("toy", "simulated", "random subspaces", *row) for row in seen]
    rows += [("toy", "predicted", "closed form", d, y, nan, nan) for d, y in ((1, share), (2, 0.95))]
    return pd.DataFrame(rows, columns=["label", "kind", "variant", "d", "share", "low", "high"])


@pytest.mark.parametrize(("share", "inside"), [(0.55, 2), (0.7, 1)])
def test_a_closed_form_is_held_against_the_interval_of_the_simulation(share, inside):
    said = figure("d90_curves").alt(curves(share))
    assert "toy: 2 (2)" in said
    assert said.endswith(f"inside the interval of the simulation at {inside} of 2 points.")


def test_several_predictions_are_told_by_their_ends():
    other = curves(0.55).query("kind == 'predicted'").assign(variant="another", share=[0.95, 0.95])
    assert "toy: 2 (1 to 2 by 2 predictors)" in figure("d90_curves").alt(pd.concat([curves(0.55), other]))


def test_representations_are_told_by_estimator():
    said = figure("representation_dimension").alt(figure("representation_dimension").example())
    assert "TwoNN: pre-trained 16 → 14, after LoRA r = 8 16 → 8, random weights 16 → 17" in said


@pytest.mark.parametrize(
    ("score", "said"),
    [(0.9, "rank 2 keeps 98% of full fine-tuning's score, the least that keeps 95%"),
     (0.6, "rank 4 keeps 65% of full fine-tuning's score, the largest, and none keeps 95%")],
)  # fmt: skip
def test_an_extraction_says_which_rank_to_take(score, said):
    rows = [("extracted", f"rank {r}", r, min(score, 0.45 * r)) for r in (1, 2, 4)]
    table = pd.DataFrame(
        [*rows, ("full fine-tuning", "", float("nan"), 0.92)], columns=["kind", "rule", "mean_rank", "score"]
    )
    assert said in figure("extraction").alt(table)


def test_scores_of_several_collections_are_told_by_collection():
    drawn = figure("subspace_scores")
    one = drawn.example()
    both = pd.concat([one.assign(label="LoRA"), one.assign(label="prompt", relative=one.relative / 2)])
    said = drawn.alt(both)
    assert "LoRA: " in said
    assert "prompt: " in said
    assert "LoRA: " not in drawn.alt(one.assign(label="LoRA"))
