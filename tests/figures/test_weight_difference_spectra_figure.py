"""Known scalars of a spectrum, and what is drawn for odd ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lab.figures import WEIGHT_DIFFERENCE_SPECTRA


def spectrum(sigma, role="query", block=0, null=(1.2, 1.5), label="LoRA") -> pd.DataFrame:
    return pd.DataFrame(
        {"label": label, "matrix": f"{block}.{role}", "role": role, "block": block,
         "index": np.arange(1, len(sigma) + 1), "sigma": np.asarray(sigma, float),
         "null_low": null[0], "null_high": null[1], "null_edge": null[1]}
    )  # fmt: skip


def test_scalars_of_a_known_spectrum():
    # sigma = (2, 1, 1): stable rank 6/4, effective rank exp(ln 4 - (ln 2)/2 ) = 2 sqrt(2), one value above 1.5
    (row,) = WEIGHT_DIFFERENCE_SPECTRA.summarize(spectrum([2, 1, 1])).to_dict("records")
    assert row["largest σ"] == 2
    assert row["Frobenius norm"] == pytest.approx(6**0.5)
    assert row["stable rank"] == pytest.approx(1.5)
    assert row["effective rank"] == pytest.approx(8**0.5)
    assert row["above null [count]"] == 1


def test_above_the_null_means_above_the_line_of_the_sequential_test():
    # a spectrum that follows its null exceeds it value by value half of the time: that is no structure
    table = spectrum([2.0, 1.6, 1.1]).assign(null_low=[1.8, 1.5, 1.0], null_high=[1.9, 1.5, 1.0], null_edge=1.5)
    assert WEIGHT_DIFFERENCE_SPECTRA.summarize(table)["above null [count]"].tolist() == [2]


def test_a_table_without_that_line_says_what_exceeds_the_whole_null_under_its_own_name():
    table = spectrum([2.0, 1.6, 1.1]).assign(null_low=[1.8, 1.5, 1.0], null_high=[1.9, 1.5, 1.0])
    found = WEIGHT_DIFFERENCE_SPECTRA.summarize(table.drop(columns="null_edge"))
    assert found["above the null's largest [count]"].tolist() == [1]
    assert "above null [count]" not in found


def test_says_when_nothing_exceeds_chance():
    assert "(none above chance)" in WEIGHT_DIFFERENCE_SPECTRA.alt(spectrum([1.4, 1.3]))
    assert "(1 above chance)" in WEIGHT_DIFFERENCE_SPECTRA.alt(spectrum([2, 1, 1]))


def test_the_scale_leaves_out_the_last_two_percent_of_a_long_spectrum_only():
    def lowest(sigma):
        return 10 ** WEIGHT_DIFFERENCE_SPECTRA.draw(spectrum(sigma)).layout.yaxis.range[0]

    assert lowest([2, 1, 1e-6]) < 1e-6
    assert lowest([*np.linspace(2, 1, 99), 1e-6]) > 0.5


def test_blocks_may_be_nullable_and_missing():
    table = pd.concat([spectrum([2, 1]), spectrum([2, 1], "embedding")], ignore_index=True)
    table["block"] = table["block"].astype("Int64").where(table["role"] == "query")
    drawing = WEIGHT_DIFFERENCE_SPECTRA.draw(table)
    assert sum(trace.fill is None for trace in drawing.data) == 2


def test_an_untrained_matrix_is_all_zero_and_still_drawn():
    table = spectrum([0, 0, 0], null=(0, 0))
    (row,) = WEIGHT_DIFFERENCE_SPECTRA.summarize(table).to_dict("records")
    assert (row["stable rank"], row["effective rank"], row["above null [count]"]) == (0, 0, 0)
    assert WEIGHT_DIFFERENCE_SPECTRA.draw(table).data


def test_one_panel_per_role_in_the_order_of_the_block():
    table = pd.concat([spectrum([2, 1], role) for role in ("down", "value", "query", "odd")], ignore_index=True)
    drawing = WEIGHT_DIFFERENCE_SPECTRA.draw(table)
    assert [a.text for a in drawing.layout.annotations] == ["query", "value", "down", "odd"]


def test_several_labels_have_panels_of_their_own():
    table = pd.concat([spectrum([2, 1], label="LoRA"), spectrum([3, 1], label="full")], ignore_index=True)
    drawing = WEIGHT_DIFFERENCE_SPECTRA.draw(table)
    assert [a.text for a in drawing.layout.annotations] == ["LoRA · query", "full · query"]


def test_nulls_lie_behind_and_a_missing_null_is_no_error():
    drawing = WEIGHT_DIFFERENCE_SPECTRA.draw(spectrum([2, 1, 0.5]))
    assert [trace.fill for trace in drawing.data] == ["toself", None]
    without = WEIGHT_DIFFERENCE_SPECTRA.draw(spectrum([2, 1, 0.5], null=(np.nan, np.nan)))
    assert [trace.fill for trace in without.data] == [None]


def test_depth_is_a_colour_bar_where_there_are_blocks_to_tell_apart():
    def has_bar(table):
        return WEIGHT_DIFFERENCE_SPECTRA.draw(table).layout.coloraxis.colorbar.title.text == "block<br>[index]"

    assert not has_bar(spectrum([2, 1]))
    assert has_bar(pd.concat([spectrum([2, 1], block=b) for b in range(3)], ignore_index=True))


def test_a_method_that_changes_fewer_roles_leaves_no_empty_panel():
    full = [spectrum([3, 1], role, label="full") for role in ("query", "key")]
    drawing = WEIGHT_DIFFERENCE_SPECTRA.draw(pd.concat([*full, spectrum([2, 1], label="LoRA")], ignore_index=True))
    assert [a.text for a in drawing.layout.annotations] == ["full · query", "full · key", "LoRA · query"]
    shown = [axis for axis in drawing.select_xaxes() if axis.visible is not False]
    assert len(shown) == 3
