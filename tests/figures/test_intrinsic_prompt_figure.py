"""What an autoencoder has above PCA, task by task."""

from __future__ import annotations

from lab.figures import figure

PROMPT = figure("intrinsic_prompt")


def test_the_answer_is_the_difference_to_pca_at_the_most_coordinates_unseen_tasks_first():
    table = PROMPT.example()
    at = table[(table.k == 10) & (table.seen == "unseen")].groupby(["row", "task"]).relative.mean().unstack(0)
    gain = (at["autoencoder, linear"] - at["PCA"]).mean()
    first, *_ = PROMPT.alt(table).split("; ")
    assert first.startswith(f"Of the full method's gain: autoencoder, linear {gain:+.0%} [")
    assert first.endswith(f"beside PCA's {at['PCA'].mean():.0%} (unseen tasks, 10 coordinates)")


def test_without_pca_each_stands_for_itself():
    assert "(10 coordinates)" in PROMPT.alt(PROMPT.example().query("row != 'PCA'"))
