"""Which records of collections the claims of `shared_subspace` and `intrinsic_prompt` are judged on."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from experiments.intrinsic_prompt import EXPERIMENT as INTRINSIC_PROMPT
from experiments.shared_subspace import EXPERIMENT
from lab.runs import Job, Record
from lab.study.claims import verdicts_of

PLAN = EXPERIMENT.configs("smoke")[0]
TASKS = [f"t{i}" for i in range(6)]


def record(*, share: float, score: float | None = None, **changes) -> Record:
    """A collection in which each task's share is above its null's; with scores, every coordinate is worth as much."""
    c = replace(PLAN, targets=PLAN.tasks[: 3 if score is not None else 0], **changes)
    shares = [
        {"null": "same spectra", "task": t, "k": 1, "share": share + 0.01 * i, "null_share": 0.1}
        for i, t in enumerate(TASKS)
    ]
    tables = {"beside_nulls": pd.DataFrame(shares).assign(label=c.label)}
    if score is not None:
        rows = [
            {"row": "shared subspace", "task": t, "k": 5, "score": score + 0.01 * i, "full": 1.0, "chance": 0.0}
            for i, t in enumerate(TASKS)
        ]
        tables["subspace_scores"] = pd.DataFrame(rows).assign(label=c.label)
    return Record(Job("shared_subspace", c.to_json()), {"types": 2, "compared": "ΔW"}, tables)


def test_a_collection_is_judged_once_though_its_scores_lie_in_a_record_of_their_own():
    two_seeds, scored = record(share=0.5, seeds=(0, 1)), record(share=0.2, score=0.9, n_test=99, ks=(5,), shots=(4,))
    shares, five = verdicts_of(EXPERIMENT, [scored, two_seeds])
    assert shares.quantity.startswith("share of an unseen task's change")
    assert shares.measured.estimate == sum(0.4 + 0.01 * i for i in range(6)) / 6
    assert "2 seeds" in shares.setting
    assert five.measured.estimate == sum(0.9 + 0.01 * i for i in range(6)) / 6
    assert "2 seeds" not in five.setting


def test_other_collections_are_judged_on_their_own():
    assert len(verdicts_of(EXPERIMENT, [record(share=0.5), record(share=0.2, steps=3)])) == 2


def test_changes_that_start_from_one_point_are_not_judged():
    assert verdicts_of(EXPERIMENT, [record(share=0.5, own_starts=False)]) == []


def test_a_subspace_of_two_methods_is_not_held_against_the_numbers_of_one():
    (joint,) = INTRINSIC_PROMPT.configs("smoke")
    alone = replace(joint, joint_with=None)
    names = ("PCA", "autoencoder, linear", "autoencoder, one hidden layer")
    rows = [
        {"row": row, "task": task, "seen": seen, "k": 5, "score": 0.9 + 0.01 * i, "full": 1.0, "chance": 0.0,
         "label": alone.label}
        for row in names for seen in ("seen", "unseen") for i, task in enumerate(TASKS)
    ]  # fmt: skip
    tables = {"intrinsic_prompt": pd.DataFrame(rows)}
    one, both = (Record(Job("intrinsic_prompt", c.to_json()), {}, tables) for c in (alone, joint))
    assert len(verdicts_of(INTRINSIC_PROMPT, [one])) == 4
    assert verdicts_of(INTRINSIC_PROMPT, [both]) == []
