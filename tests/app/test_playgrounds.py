"""Playgrounds: what is simulated meets the closed form, on every knob's ends."""

from __future__ import annotations

import importlib
import time

import numpy as np
import pytest

from app.playgrounds import linear_quadratic, projections, quadratic, shared, spike
from lab.figures import DARK, LIGHT, SIZES

ALL = (quadratic, linear_quadratic, spike, projections, shared)


def first(playground) -> dict[str, object]:
    return {name: chosen for name, (_, _, chosen) in playground.knobs.items()}


@pytest.mark.parametrize("room", ALL, ids=lambda room: room.__name__.split(".")[-1])
def test_every_knob_draws_and_answers_at_both_ends(room):
    playground = room.PLAYGROUND
    for name, (_, options, chosen) in playground.knobs.items():
        assert chosen in options
        for end in (options[0], options[-1]):
            table = playground.simulate(**first(playground) | {name: end})
            for theme in (LIGHT, DARK):
                assert len(playground.draw(table, theme).figure(SIZES["single"]).data) > 0
            said = playground.answer(table)
            assert said.endswith(".")
            assert "nan" not in said


def test_random_subspaces_recover_what_is_predicted():
    table = quadratic.simulate(decay=0.0, stiff=200, draws=10)
    seen = table[table.kind == "simulated"].groupby("d").share.mean()
    for d, share in seen.items():
        assert share == pytest.approx(d / quadratic.D, abs=0.02)  # exact for an isotropic quadratic


def test_riccati_and_the_maximum_principle_agree_and_their_gains_tend_to_the_golden_ratio():
    table = linear_quadratic.simulate(1.0, 1.0, 1.0, 1.0, 12)
    wide = table.pivot(index=["quantity", "t"], columns="way", values="value")
    np.testing.assert_allclose(wide["Riccati"], wide["maximum principle"], atol=1e-9)
    gain = table[(table.quantity == "gain K") & (table.way == "Riccati")].value.iloc[0]
    assert gain == pytest.approx((5**0.5 - 1) / 2, abs=1e-8)


def test_a_spike_leaves_the_bulk_where_the_theory_says():
    table = spike.simulate(theta=2.0, rows=200, columns=400)
    sweep = table[table.kind == "sweep"]
    np.testing.assert_allclose(sweep.sigma, sweep.sigma_told, rtol=0.06)
    strong = sweep[sweep.theta > 1.5 * sweep.threshold.iloc[0]]
    np.testing.assert_allclose(strong.overlap, strong.overlap_told, atol=0.1)


@pytest.mark.parametrize("name", projections.PLAYGROUND.knobs["name"][1])
def test_projections_keep_lengths_on_average(name):
    table = projections.simulate(name, 1024, 32)
    assert table.value.mean() == pytest.approx(1.0, abs=0.15)


def test_nothing_shared_is_k_over_n_minus_one_and_owed_to_no_other_task():
    table = shared.simulate(tasks=16, shared=0, noise=1.0)
    own, others, null = (part.set_index("k").share for _, part in table.groupby("kind", sort=False))
    np.testing.assert_allclose(own, null, atol=0.06)
    assert others.max() < 0.05


def test_what_three_directions_share_is_explained_by_three():
    table = shared.simulate(tasks=16, shared=3, noise=0.0)
    _, others, _ = (part.set_index("k").share for _, part in table.groupby("kind", sort=False))
    assert others[2] < 0.999
    assert others[3] == pytest.approx(1.0, abs=1e-9)


def test_the_page_answers_a_knob_within_a_second(opened, tmp_path):
    shown = opened("playgrounds", tmp_path)
    assert not shown.exception
    spent = []
    for name, (_, options, _) in quadratic.PLAYGROUND.knobs.items():
        for option in (options[0], options[-1]):
            start = time.process_time()
            shown.select_slider(key=f"quadratic-{name}").set_value(option).run()
            spent.append(time.process_time() - start)
    assert not shown.exception
    assert np.quantile(spent, 0.95) < 1.0


def test_the_problem_is_in_the_address(opened, tmp_path):
    shown = opened("playgrounds", tmp_path, room="A spike in noise")
    assert not shown.exception
    assert "stands out" in " ".join(element.value for element in shown.markdown)


def test_every_room_is_a_module():
    for name in ("quadratic", "linear_quadratic", "spike", "projections", "shared"):
        assert importlib.import_module(f"app.playgrounds.{name}").PLAYGROUND.title
