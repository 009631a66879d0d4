"""What the records of searches say of curvature and controllability, on planted tables."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch.nn.functional import cross_entropy

from experiments.predicted_dimension import EXPERIMENT, claims, controllability_correlation, measured_rows
from lab.deltas import LoRA, method_from_json
from lab.geometry.predictions import KERNEL, VARIANTS, predicted
from lab.models.tiny import tiny_plm
from lab.runs import Job, Record
from lab.study import Finding


def record(i: int, participation: float, measured: float | None) -> Finding:
    label = f"tiny · task-{i} · BitFit"
    rows = [
        {"label": label, "variant": variant, "measure": measure, "predicted": 10.0 - i, "measured": measured,
         "low": 1.0, "high": 2.0, "size": 1000, "participation_ratio": participation if variant == KERNEL else -i}
        for variant in (KERNEL, "Gauss-Newton at the solution")
        for measure in ("training loss", "score")
    ]  # fmt: skip
    config = replace(EXPERIMENT.configs("smoke")[0], task=f"task-{i}", model="tiny", method={"method": "bitfit"})
    metrics = {"d90": 10 + i, "tunable": 1000, "score_status": "converged", "reference": 0.5}
    job = Job("predicted_dimension", config.to_json())
    return Finding(config, Record(job, metrics, {"predicted_dimension": pd.DataFrame(rows)}))


def test_controllability_is_ranked_by_the_kernel_s_participation_ratio_alone():
    planted = [record(i, 2.0 * i, 100.0 + i) for i in range(6)]
    assert controllability_correlation(measured_rows(planted)).estimate == pytest.approx(1.0)
    unmeasured = [*planted, record(9, 0.0, None)]
    assert controllability_correlation(measured_rows(unmeasured)).n == 6


def test_every_claim_is_judged_from_the_same_searches():
    found = {verdict.claim[:20]: verdict for verdict in claims([record(i, -float(i), 100.0 + i) for i in range(6)])}
    assert len(found) == 3  # two of the four claims begin alike
    assert found["Controllability expl"].answer == "does not hold here"
    assert found["A delta's solutions "].measured.estimate == pytest.approx(0.0125)
    assert found["The curvature spectr"].measured.estimate == pytest.approx(-1.0)


def test_methods_of_one_task_are_one_unit():
    planted = [record(i, 2.0 * i, 100.0 + i) for i in range(6)]
    twice = [*planted, *(replace(f, config=replace(f.config, method={"method": "lora", "rank": 4})) for f in planted)]
    assert controllability_correlation(measured_rows(twice)).n == 6
    few = next(verdict for verdict in claims(twice) if verdict.threshold == 0.1)
    assert few.measured.n == 6


def test_what_learned_nothing_and_what_does_not_say_so_has_no_dimension():
    silent = [record(i, 1.0 + i, 100.0 + i) for i in range(6)]
    for finding in silent:
        del finding.record.metrics["reference"]
    assert not [verdict for verdict in claims(silent) if verdict.threshold == 0.1]
    nothing = [record(i, 1.0 + i, 100.0 + i) for i in range(6)]
    for finding in nothing:
        finding.record.metrics.update({"d90": None, "score_status": "nothing_learned"})
    assert not [verdict for verdict in claims(nothing) if verdict.threshold == 0.1]


def test_every_method_searched_on_smollm2_fits_a_family_without_biases():
    llama = tiny_plm("llama")
    found = [c.method for c in EXPERIMENT.configs("demo", model="smollm2", tasks=("bbc-news",))]
    assert [m["method"] for m in found] == ["lora", "added-bias"]
    assert all(method_from_json(m).on(llama).size for m in found)
    assert EXPERIMENT.configs("demo", model="smollm2", added_biases=False)[1].method == {"method": "bitfit"}
    assert [c.method["method"] for c in EXPERIMENT.configs("demo", model="minilm")[:2]] == ["lora", "bitfit"]


def test_one_method_alone_can_be_asked_for():
    demo = EXPERIMENT.configs("demo")
    assert EXPERIMENT.configs("demo", method="lora") == [c for c in demo if c.method["method"] == "lora"]
    with pytest.raises(ValueError, match="no measurement with the method 'prefix'; choose one of: lora, bitfit"):
        EXPERIMENT.configs("demo", method="prefix")


def test_every_variant_is_predicted_and_the_hessians_are_those_of_the_loss():
    delta = LoRA(rank=1).on(tiny_plm("bert", dtype=torch.float64))
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 50, (4, 6), generator=generator)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.tensor([0, 1, 1, 0])}
    e = 0.1 * torch.randn(delta.size, generator=generator, dtype=torch.float64)
    found = predicted(delta, delta.phi0 + e, batch, delta.size)
    assert set(found) == set(VARIANTS)
    for name, at in (("Hessian at the start", delta.phi0), ("Hessian at the solution", delta.phi0 + e)):
        H = torch.autograd.functional.hessian(lambda phi: cross_entropy(delta.logits(phi, batch), batch["labels"]), at)
        values, vectors = torch.linalg.eigh(H)
        spectrum = values.clamp(min=0)
        assert found[name].start == pytest.approx(float(0.5 * spectrum @ (vectors.T @ e) ** 2), rel=1e-4)


def test_a_dimension_above_the_largest_tried_counts_as_that_and_is_not_left_out():
    planted = [record(i, 2.0 * i, 100.0 + i) for i in range(6)]
    unreached = [
        replace(f, record=replace(f.record, metrics=f.metrics | {"d90": None, "score_status": "above_range"}))
        for f in planted[:3]
    ]
    few = next(verdict for verdict in claims([*unreached, *planted[3:]]) if verdict.threshold == 0.1)
    assert few.measured.n == 6
    assert few.measured.estimate == pytest.approx((3 * 0.5 + 0.013 + 0.014 + 0.015) / 6)


def test_records_that_call_the_participation_ratio_effective_rank_are_ranked_beside_newer_ones():
    planted = [record(i, 2.0 * i, 100.0 + i) for i in range(6)]
    older = [
        replace(f, record=replace(f.record, tables={
            name: table.rename(columns={"participation_ratio": "effective_rank"}) for name, table in f.tables.items()
        }))
        for f in planted[:3]
    ]  # fmt: skip
    assert controllability_correlation(measured_rows(older)).n == 3
    mixed = controllability_correlation(measured_rows([*older, *planted[3:]]))
    assert (mixed.n, mixed.estimate) == (6, pytest.approx(1.0))
