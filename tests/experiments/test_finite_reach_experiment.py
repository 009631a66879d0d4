"""Finite reach as an experiment: small controls reach what first order says, and Hankel values grow along depth."""

from __future__ import annotations

import pytest

from experiments.finite_reach import EXPERIMENT
from lab.execution import Local
from lab.runs import Store
from lab.study import Lab


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    (c,) = EXPERIMENT.configs("smoke", n_samples=48, radii=(1e-4, 1.0))
    return Lab(Local(Store(tmp_path_factory.mktemp("runs")), progress=False)).one(EXPERIMENT, c)


def test_a_small_control_reaches_what_first_order_says(found):
    reach = found.tables["finite_reach"].query("kind == 'reach'").set_index("x").value
    assert reach[1e-4] == pytest.approx(1, abs=0.35)  # 48 directions, a few of them matter
    assert found.metrics["share_at_0.0001"] == reach[1e-4]


def test_hankel_values_never_fall_with_the_cut(found):
    hankel = found.tables["finite_reach"].query("kind == 'Hankel' and index == 1").sort_values("x").value.tolist()
    assert len(hankel) == 2  # blocks of the tiny PLM
    assert hankel == sorted(hankel)
    assert hankel[0] > 0


def test_methods_are_measured_at_one_budget():
    configs = EXPERIMENT.configs("demo")
    assert len(configs) == 6
    assert {c.method["method"] for c in configs} == {"lora", "adapter", "prefix", "prompt", "bitfit", "ia3"}
    assert next(c for c in configs if c.method["method"] == "prefix").method["tokens"] == 2
