"""Known answers of the figures on planning, robustness and reach."""

from __future__ import annotations

import pandas as pd
import pytest

from lab.figures import (
    CONTROL_AT_TEST_TIME,
    CONTROL_ENERGY,
    CONTROLLABILITY_RANKING,
    COSTATES,
    FORCED_TOKENS,
    GRAMIAN_SPECTRA,
    PHASE_PORTRAIT,
    PLANNER,
    PLANNER_RANKS,
    PMP_RESIDUAL,
    PREFIX_MASS,
    REACH_BOUND,
    REACH_TARGETS,
    ROBUSTNESS,
    TRACE_SHARES,
    figure,
)


def test_planner_gives_mean_and_interval_beside_equal_ranks():
    table = pd.DataFrame(
        {"label": ["by kernel"] * 2 + ["equal ranks"] * 2, "kind": "ranks", "seed": [0, 1, 0, 1],
         "loss": [0.5, 0.7, 0.6, 0.6], "score": 0.9, "loss_difference": [-0.1, 0.1, 0, 0], "score_difference": 0.0,
         "promised": [float("nan")] * 2 + [0.3] * 2}
    )  # fmt: skip
    found = PLANNER.summarize(table).set_index("label")
    assert found.loc["by kernel", "loss beside equal ranks [nats]"] == pytest.approx(0)
    assert found.loc["by kernel", "loss ± [nats]"] == pytest.approx(12.706 * 0.1, rel=1e-4)  # t(1), sd √2/10, n = 2
    assert "by kernel: +0.000" in PLANNER.alt(table)
    assert "equal ranks: +" not in PLANNER.alt(table)


def test_tasks_are_not_averaged_over():
    """Seeds of one label on two tasks are two labels; on one task the label needs no task."""
    one = PLANNER.example().assign(task="imdb")
    both = pd.concat([one, one.assign(task="bbc-news", loss_difference=-one.loss_difference)])
    assert "by kernel" in PLANNER.summarize(one).label.tolist()
    found = PLANNER.summarize(both).set_index("label")["loss beside equal ranks [nats]"]
    assert found["by kernel · imdb"] == -found["by kernel · bbc-news"] != 0
    assert "BitFit · bbc-news" in PLANNER.alt(both)
    ranks = pd.concat([PLANNER_RANKS.example().assign(task=task) for task in ("imdb", "bbc-news")])
    assert len(PLANNER_RANKS.summarize(ranks)) == 2 * len(PLANNER_RANKS.summarize(ranks[ranks.task == "imdb"]))


def test_ranks_name_the_favourite_matrix_and_depth():
    table = pd.DataFrame({"rule": "by kernel", "seed": 0, "role": "value", "block": [0, 1], "rank": [1, 3]})
    (row,) = PLANNER_RANKS.summarize(table).to_dict("records")
    assert (row["at"], row["largest rank [count]"], row["share in the deeper half"]) == ("value 1", 3, 0.75)


def test_robustness_says_what_the_strongest_perturbation_costs():
    table = pd.DataFrame(
        {"label": "LoRA", "loop": "feedback", "seed": [0, 0, 0, 1, 1, 1], "kind": ["clean", "typos", "typos"] * 2,
         "strength": [0.0, 0.2, 0.4] * 2, "score": [0.9, 0.8, 0.7, 1.0, 0.9, 0.6]}
    )  # fmt: skip
    (row,) = ROBUSTNESS.summarize(table).to_dict("records")
    assert row["clean accuracy"] == pytest.approx(0.95)
    assert row["lost to typos"] == pytest.approx(0.3)
    assert "loses 0.300 to typos" in ROBUSTNESS.alt(table)


def test_control_lists_gain_and_deviation():
    table = pd.DataFrame(
        {"control": "robust prefix", "kind": "typos", "strength": 0.4, "seed": [0, 1], "gain": [0.1, 0.3],
         "uncontrolled": 0.5, "off_before": 2.0, "off_after": [1.0, 0.5]}
    )  # fmt: skip
    (row,) = CONTROL_AT_TEST_TIME.summarize(table).to_dict("records")
    assert (row["gain"], row["deviation after"]) == (pytest.approx(0.2), pytest.approx(0.75))


def test_controls_of_several_methods_stand_side_by_side():
    """One method: controls by their own names. Several: named with the method, each in panels of its own, in the
    colour of the control."""
    one = CONTROL_AT_TEST_TIME.example().assign(label="LoRA", energy=2.0, injected=8.0)
    both = pd.concat([one, one.assign(label="BitFit", injected=1.0)])
    assert "LQR steering" in CONTROL_AT_TEST_TIME.summarize(one).control.tolist()
    found = CONTROL_AT_TEST_TIME.summarize(both).set_index("control")
    assert found.loc["BitFit: LQR steering", "injected [per example]"].tolist() == [1.0] * 3
    assert found.loc["LoRA: PID steering", "energy [per example]"].tolist() == [2.0] * 3
    drawing = CONTROL_AT_TEST_TIME.draw(both)
    assert [note.text for note in drawing.layout.annotations] == ["LoRA", "LoRA", "BitFit", "BitFit"]
    assert [axis.showticklabels is not False for axis in drawing.select_yaxes()] == [True, False, True, False]
    colours = {(trace.xaxis, str(trace.y[0])): trace.marker.color for trace in drawing.data if len(trace.y) == 1}
    pid, other, lqr = (colours[at] for at in (("x", "clean: PID steering"), ("x3", "word drops 0.6: PID steering"),
                                              ("x", "clean: LQR steering")))  # fmt: skip
    assert pid == other != lqr


def test_mass_finds_the_head_that_gives_most():
    table = pd.DataFrame(
        {"stage": "trained", "block": 0, "head": [0, 1], "position": 0, "mass": [0.1, 0.5], "even": 0.2}
    )
    (row,) = PREFIX_MASS.summarize(table).to_dict("records")
    assert (row["most at head"], row["mean λ"]) == (1, pytest.approx(0.3))
    assert "(block 0, head 1)" in PREFIX_MASS.alt(table)


def test_a_prompts_mass_stands_beside_a_prefixs():
    table = PREFIX_MASS.example()
    titles = [note.text for note in PREFIX_MASS.draw(table).layout.annotations]
    assert sum(title.startswith("prompt, trained, by head") for title in titles) == 1
    assert len(titles) == 8
    assert len(PREFIX_MASS.draw(table.drop(columns="label").head(4 * 6 * 8)).layout.annotations) == 2
    assert set(PREFIX_MASS.summarize(table).stage) == {
        f"{m}, {s}" for m in ("prefix", "prompt") for s in ("start", "trained")
    }


def test_targets_that_are_met_too_well_are_counted():
    table = pd.DataFrame(
        {"head": 0, "tokens": 1, "prompt": "free", "target": "2 × the bound", "wanted": 2.0, "bound": 1.0,
         "missed": [0.6, 0.4], "least": 0.5}
    )  # fmt: skip
    (row,) = REACH_TARGETS.summarize(table).to_dict("records")
    assert (row["missed, least"], row["nearer than the bound allows [count]"]) == (0.4, 1)
    assert "1 of 2 prompts come nearer than the bound allows" in REACH_TARGETS.alt(table)
    far = table.assign(missed=[0.6, 600.0])  # a head that attends to one key: drawn at the edge, told in full
    (points,) = (trace for trace in REACH_TARGETS.draw(far).data if trace.mode == "markers")
    assert list(points.y) == [0.6, 1.5]
    assert points.customdata[1][3] == 600.0


def test_points_beyond_the_bound_are_counted():
    table = pd.DataFrame(
        {"head": [0, 1], "tokens": 2, "prompt": "optimised", "reached": [1.0, 3.0], "sharp": 2.0, "published": 4.0}
    )
    (row,) = REACH_BOUND.summarize(table).to_dict("records")
    assert (row["largest reached/bound"], row["beyond the bound [count]"]) == (1.5, 1)
    assert "1 of 2 points lie beyond the bound" in REACH_BOUND.alt(table)


def test_shares_have_intervals_over_states():
    """Ten states that agree: Student's t as if one of them lay two steps off."""
    table = pd.DataFrame(
        {"language_model": "m", "state": range(10), "start_rank": 2, "tokens": 1, "forced": 0, "rank": 7}
    )
    (row,) = FORCED_TOKENS.summarize(table).to_dict("records")
    assert (row["share forced"], row["low"]) == (0, 0)
    assert row["high"] == pytest.approx(2.2622 * 2 / 10, rel=1e-4)  # t(9), sd √0.4, n = 10


def test_an_interval_that_says_nothing_has_no_bar():
    table = pd.DataFrame({"language_model": "m", "start_rank": 2, "tokens": 1, "rank": 7}, index=range(3))
    drawing = FORCED_TOKENS.draw(table.assign(state=range(3), forced=[0, 1, 0]))
    (line, _) = drawing.data
    assert [line.error_y.array[0], line.error_y.arrayminus[0]] == [0.0, 0.0]
    assert list(line.customdata[0]) == [0.0, 1.0]


def test_solvers_of_an_unknown_seed_are_drawn_and_told():
    solvers = figure("solver_convergence")
    table = solvers.example().assign(seed=float("nan"))
    assert len(solvers.draw(table).data) == len(solvers.draw(solvers.example().assign(seed=0)).data)
    assert solvers.alt(table)


def test_residuals_are_drawn_absolute_and_relative_beside_the_loss():
    """Several runs: a line per method, of the norm over all stages. One run: a line per stage."""
    table = PMP_RESIDUAL.example()
    drawing = PMP_RESIDUAL.draw(table)
    titles = [axis.title.text for axis in drawing.select_yaxes()]
    assert titles == ["‖∇<sub>φ</sub>J‖ [nats / unit]", "largest ‖∇<sub>u</sub>H‖·‖u‖ / J [1]", "loss J [nats]"]
    start = table[(table.label == "LoRA") & (table.step == 0)]
    norms = next(trace for trace in drawing.data if trace.name == "LoRA")
    assert norms.y[0] == pytest.approx((start.residual**2).sum() ** 0.5)
    alone = PMP_RESIDUAL.draw(table[table.label == "LoRA"])
    assert len(alone.data) == 2 * 5 + 1
    assert {trace.name for trace in alone.data if trace.showlegend} == {"embed", "readout"}
    for method, part in table.groupby("label"):
        row = PMP_RESIDUAL.summarize(table).set_index("method").loc[method]
        expected = part.residual_relative[part.step == part.step.max()].max()
        assert row["largest relative residual at the end"] == expected > 0


def test_seeds_of_a_method_are_averaged_before_methods_are_ranked():
    table = CONTROLLABILITY_RANKING.example()
    again = pd.concat([table, table.assign(score=table.score + 0.01)])
    pd.testing.assert_frame_equal(CONTROLLABILITY_RANKING.summarize(again), CONTROLLABILITY_RANKING.summarize(table))


def test_spectra_of_several_seeds_are_several_lines_and_rows():
    table = GRAMIAN_SPECTRA.example().assign(seed=0)
    both = pd.concat([table, table.assign(seed=1, sigma=2 * table.sigma)])
    one, two = GRAMIAN_SPECTRA.summarize(table), GRAMIAN_SPECTRA.summarize(both)
    assert len(two) == 2 * len(one)
    assert "seed" in two
    assert "seed" not in one
    drawn = GRAMIAN_SPECTRA.draw(both).data
    assert all(list(t.x) == sorted(set(t.x)) for t in drawn)


def test_methods_beyond_the_palette_have_other_markers():
    """Nine methods: the ninth has the first one's colour, and another marker."""
    one = GRAMIAN_SPECTRA.example().query("label == 'LoRA'")
    table = pd.concat([one.assign(label=f"method {i}") for i in range(9)])
    keys = {trace.name: trace for trace in GRAMIAN_SPECTRA.draw(table).data if trace.name}
    first, ninth = keys["method 0"], keys["method 8"]
    assert first.line.color == ninth.line.color
    assert first.marker.symbol != ninth.marker.symbol


def test_two_plms_share_no_panel_and_no_line():
    """A PLM with six blocks and one with thirty: panels of their own, and stages of their own on each axis."""
    one = TRACE_SHARES.example()
    other = one.assign(model="smollm2", stage=one.stage.str.replace("block 2", "block 29"))
    figure = TRACE_SHARES.draw(pd.concat([one, other]))
    titles = [note.text for note in figure.layout.annotations]
    assert titles == [f"{m} · {k}" for m in ("minilm", "smollm2") for k in ("at the start", "after training")]
    assert {trace.x for trace in figure.data[:2]} == {("embed", "0", "1", "2")}
    assert {trace.x for trace in figure.data[4:6]} == {("embed", "0", "1", "29")}
    for drawn, per_plm in ((GRAMIAN_SPECTRA, 3), (CONTROL_ENERGY, 2)):
        alone = drawn.example()
        two = pd.concat([alone, alone.assign(model="smollm2")])
        both = drawn.draw(two)
        assert drawn.summarize(two).model.tolist().count("smollm2") == len(drawn.summarize(alone))
        assert len(drawn.draw(alone).layout.annotations) == per_plm
        assert len(both.layout.annotations) == 2 * per_plm


def test_methods_of_one_family_have_other_marks():
    table = CONTROLLABILITY_RANKING.example()
    many = pd.concat([table.assign(label=table.label + f" {i}") for i in range(2)])  # ten methods, eight colours
    figure = CONTROLLABILITY_RANKING.draw(many)
    marks = {t.name: (t.marker.color, t.marker.symbol) for t in figure.data if t.name in set(many.label)}
    assert len(marks) == len(set(marks.values())) == 10


def test_costates_of_one_run_are_lines_by_step_and_of_several_by_method():
    """Viridis means the step alone; of several runs the start is dotted and the end solid."""
    table = COSTATES.example()
    alone = COSTATES.draw(table[table.label == "LoRA"])
    assert len(alone.data) == 2 * 3
    assert list(alone.layout.coloraxis.colorbar.ticktext) == ["0", "10", "20"]
    assert "coloraxis2" not in alone.to_dict()["layout"]
    several = COSTATES.draw(table)
    assert [trace.name for trace in several.data if trace.showlegend] == ["LoRA", "prompt"]
    assert {trace.line.dash for trace in several.data} == {"dot", "solid"}


def test_a_portrait_has_six_panels_at_most():
    """Shared among the runs: twelve blocks of one, three blocks each of two; the last block always."""
    one = PHASE_PORTRAIT.example().query("block == 0")
    deep = pd.concat([one.assign(block=block) for block in range(12)])
    titles = [note.text for note in PHASE_PORTRAIT.draw(deep).layout.annotations if "block" in note.text]
    assert [title.split(",")[0] for title in titles] == [f"block {i}" for i in (0, 2, 4, 7, 9, 11)]
    two = pd.concat([deep, deep.assign(label="prompt")])
    titles = [note.text for note in PHASE_PORTRAIT.draw(two).layout.annotations if "block" in note.text]
    assert len(titles) == 6
    assert sum("block 11" in title for title in titles) == 2
