"""Traces of the whole and of each block, and the curvature of a language model's loss, on tiny models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from experiments import curvature
from lab.execution import Local
from lab.runs import Store
from lab.study import Lab


def smoke(**options) -> curvature.Curvature:
    return curvature.EXPERIMENT.configs("smoke", **options)[0]


def found(c: curvature.Curvature, path):
    return curvature.measure(c, Lab(Local(Store(path))))


def test_traces_of_the_blocks_sum_to_the_whole_exactly_and_by_products(tmp_path):
    # a third of the products is the rank, 4·(5 − 1), and more
    record = found(replace(smoke(), sentences=4, trace_products=60), tmp_path)
    spectrum, traces = record.tables["curvature_spectrum"], record.tables["curvature_trace"]
    for (state, estimator), rows in traces.groupby(["state", "estimator"]):
        value = rows.set_index("scope").trace
        known = spectrum[spectrum.state == state].groupby("scope").eigenvalue.sum()
        assert value[known.index].to_numpy() == pytest.approx(known.to_numpy(), rel=1e-3, abs=1e-6)
        assert value.drop("all").sum() == pytest.approx(value["all"], rel=1e-3)
        assert rows.standard_error.isna().all() == (estimator == "exact")
    assert set(traces[traces.estimator == "Hutch++"].state) == {"trained"}  # where products are run
    densities = record.tables["spectral_density"].groupby(["state", "scope"])
    assert set(densities.groups) == {(state, scope) for state in ("start", "trained") for scope in set(traces.scope)}
    for _, curve in densities:
        assert np.trapezoid(curve.density, curve.eigenvalue) == pytest.approx(1, abs=0.02)


def test_a_language_model_s_curvature_is_that_of_its_next_tokens(tmp_path):
    c = smoke(head="lm", model="tiny-llama")
    record = found(replace(c, trace_products=3 * 112), tmp_path)  # a third of them is d
    delta, batch = curvature.language_model(c)
    logits, keep = delta.logits(delta.phi0, batch).double(), batch["attention_mask"][:, 1:].bool()
    J = torch.func.jacfwd(lambda phi: delta.logits(phi, batch)[:, :-1][keep])(delta.phi0).double()
    p = logits[:, :-1][keep].softmax(1)
    H = (torch.diag_embed(p) - p[:, :, None] * p[:, None, :]) / len(p)  # one row per token that has a successor
    G = torch.einsum("ick,icd,idl->kl", J, H, J)
    spectrum, traces = record.tables["curvature_spectrum"], record.tables["curvature_trace"].set_index("scope").trace
    top = torch.linalg.eigvalsh(G).flip(0)[: len(spectrum)]
    torch.testing.assert_close(torch.tensor(spectrum.eigenvalue.values), top, rtol=1e-3, atol=1e-6)
    assert set(spectrum.state) == {"start"}
    assert traces["all"] == pytest.approx(float(G.trace()), rel=1e-3)
    density = record.tables["spectral_density"]
    assert set(density.scope) == {"all"}
    assert record.metrics["start_loss"] == pytest.approx(
        float(cross_entropy(logits[:, :-1][keep], batch["input_ids"][:, 1:][keep])), rel=1e-5
    )
    for block in delta.layout.blocks:
        i = delta.layout.indices(block)
        assert traces[f"block {block}"] == pytest.approx(float(G[i, i].sum()), rel=1e-3, abs=1e-6)
