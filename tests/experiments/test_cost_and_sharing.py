"""What efficiency and sharing say of planted records, and that every server gives the same logits."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from experiments import efficiency, sharing
from lab.deltas import LoRA, method_from_json, serve, servers
from lab.deltas.presets import delta_tuning_study
from lab.deltas.servers import our_servers, peft_servers
from lab.execution import Local
from lab.models.tiny import tiny_plm
from lab.runs import Record, Store
from lab.study import measured
from lab.training import example_batch, step_cost


def costs(how: str, model: str, table: pd.DataFrame, **more: int):
    """A finding of efficiency with this table."""
    config = efficiency.Cost(how=how, model=model, methods=(), batch_sizes=(1, 8, 64), **({"tokens": 128} | more))
    name = "training_rounds" if how == "timed" else "training_memory"
    return efficiency.EXPERIMENT.finding(Record(efficiency.EXPERIMENT.job(config), {}, {name: table}))


def shares(name: str, table: pd.DataFrame, **config):
    """A finding of sharing with this table."""
    job = sharing.EXPERIMENT.job(sharing.Sharing(**config))
    return sharing.EXPERIMENT.finding(Record(job, {"worst_difference": 0.0}, {name: table}))


def counted(model: str, peaks: dict[str, tuple[float, float, float]]):
    parts = dict.fromkeys(("parameters", "optimizer", "gradients", "activations"), 0.0)
    found = []
    for label, values in peaks.items():
        rows = [{"label": label, "batch_size": b, "peak": p, **parts} for b, p in zip((1, 8, 64), values, strict=True)]
        found.append(costs("counted", model, rows_of(rows)))
    return found


def rows_of(rows: list[dict]) -> pd.DataFrame:
    return pd.DataFrame(rows)


def test_memory_is_judged_over_models():
    full = efficiency.FULL
    records = counted("a", {full: (100, 100, 200), "LoRA": (30, 40, 120)})
    records += counted("b", {full: (100, 100, 300), "LoRA": (30, 50, 150), "prompt": (40, 60, 330)})
    small, large = efficiency.claims(records)
    assert small.measured.estimate == pytest.approx(0.7)
    assert small.answer == "holds here"
    assert large.measured.estimate == pytest.approx(-0.1)  # one model on which a method saves nothing is enough
    assert (large.answer, large.exact) == ("does not hold here", True)


def test_the_last_layer_is_no_delta_of_the_claim():
    records = [
        r for m in "ab" for r in counted(m, {efficiency.FULL: (9, 9, 9), "last layer": (8, 8, 8.5), "LoRA": (3, 3, 4)})
    ]
    assert efficiency.claims(records)[1].measured.estimate == pytest.approx(5 / 9)


def test_lora_is_the_sources_on_every_family():
    """On T5 beside cross-attention's query and value too, as `delta_tuning_study` and `deltalab count` have it."""
    for c in efficiency.EXPERIMENT.configs("demo"):
        chosen = {label: method_from_json(method) for label, method in c.methods}
        if c.how == "counted":
            plm = tiny_plm("t5" if "t5" in c.model else "bert", dtype=torch.float32)
            assert chosen["LoRA"] == delta_tuning_study(plm)["LoRA"]
        if c.how == "timed":
            assert c.batch_sizes == (1, 8, 64)


def test_biases_are_trained_only_where_there_are_some():
    labels: dict[str, list[str]] = {}
    for c in efficiency.EXPERIMENT.configs("demo"):
        labels.setdefault(c.model, []).extend(label for label, _ in c.methods)
    assert "BitFit" in labels["minilm"]
    assert not any("BitFit" in labels[model] for model in ("smollm2", "t5-v1.1-xl", "llama-2-7b"))


def test_counts_of_a_job_are_those_of_the_counter(tmp_path):
    job = next(job for job in efficiency.EXPERIMENT.jobs("smoke") if job.config["how"] == "counted")
    (record,) = Local(Store(tmp_path), progress=False).run([job], measured)
    memory, compute = record.tables["training_memory"], record.tables["training_compute"]
    assert (memory.peak == memory[["parameters", "optimizer", "gradients", "activations"]].sum(axis=1)).all()
    assert list(memory.batch_size) == list(compute.batch_size) == [1, 4] * 3
    plm = tiny_plm("bert", dtype=torch.float32, device="meta")
    lora = step_cost(LoRA(rank=8).on(plm), example_batch(plm, 4, 16))
    row = compute[(compute.label == "LoRA") & (compute.batch_size == 4)].iloc[0]
    assert (row.forward_flops, row.weight_flops) == (lora.forward_flops, lora.weight_flops)


def served(speeds: dict[int, dict[str, list[float]]]):
    rows = [
        {"label": label, "round": i, "users": users, "rows_per_second": x}
        for users, strategies in speeds.items()
        for label, values in strategies.items()
        for i, x in enumerate(values)
    ]
    lora = LoRA(rank=8, head="frozen").to_json()
    fixed = {"what": "serving", "model": "m", "method": lora, "n_users": tuple(speeds), "rows": 64, "tokens": 32}
    return shares("serving_throughput", rows_of(rows), **fixed)


def test_mixed_batches_are_judged_where_users_are_most():
    few = {sharing.MIXED: [1] * 5, sharing.SWAPPED: [9] * 5}
    many = {sharing.MIXED: [8, 8.1, 7.9, 8, 8], sharing.SWAPPED: [2, 2, 2, 2, 2]}
    (verdict,) = sharing.claims([served({1: few, 64: many})])
    assert verdict.measured.estimate == pytest.approx(2, abs=0.01)
    assert verdict.answer == "holds here"


def test_what_is_on_disk_is_phi(tmp_path):
    """Four bytes per stored number, and a header."""
    job = sharing.EXPERIMENT.jobs("smoke")[0]
    (record,) = Local(Store(tmp_path), progress=False).run([job], measured)
    table = record.tables["delta_storage"].set_index("label")
    for label, row in table.iterrows():
        assert 0 <= row.bytes - 4 * row.stored < 10_000, label
    assert table.fraction["the PLM"] == 1


def test_peft_serves_the_same_logits(tmp_path):
    """The peer of the throughput figure runs the same adapters, in turn and mixed."""
    plm = tiny_plm("bert")
    delta = LoRA(rank=2, alpha=4, head="frozen").on(plm)
    generator = torch.Generator().manual_seed(0)
    phis = delta.phi0 + 0.3 * torch.randn(3, delta.size, generator=generator, dtype=torch.float64)
    ids = torch.randint(8, 40, (5, 6), generator=generator)
    batch, users = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, torch.tensor([2, 0, 1, 2, 0])
    expected = serve(delta, phis, batch, users)
    peers = peft_servers(plm, delta, phis, batch, users)
    with torch.no_grad():
        for label in (servers.PEFT_SWAPPED, servers.PEFT_MIXED):
            torch.testing.assert_close(peers[label](), expected, rtol=0, atol=1e-10)
        for label, forward in our_servers(delta, phis, batch, users).items():
            torch.testing.assert_close(forward(), expected, rtol=0, atol=1e-10, msg=label)


def test_without_peft_the_record_says_so(monkeypatch):
    monkeypatch.setattr(servers.importlib.util, "find_spec", lambda name: None)
    assert peft_servers(None, None, None, {}, None) == {}


def test_storage_is_judged_model_by_model_without_an_interval():
    def stored(model: str, largest: float):
        rows = [
            {"label": "the PLM", "fraction": 1.0},
            {"label": "a", "fraction": 0.01},
            {"label": "b", "fraction": largest},
        ]
        return shares("delta_storage", rows_of(rows), what="storage", model=model)

    found = sharing.claims([stored("small", 0.2), stored("large", 0.05)])
    assert [v.answer for v in found] == ["does not hold here", "holds here"]
    assert [v.measured.high for v in found] == [0.2, 0.05]


def test_a_single_user_is_not_judged():
    one = {sharing.MIXED: [1, 1], sharing.SWAPPED: [1, 1]}
    assert sharing.claims([served({1: one})]) == []


def test_every_method_s_steps_are_judged_per_batch_size_against_full_fine_tuning_of_the_same_round():
    """The machine slows down by half in the middle of each measurement: what is compared shares a round."""
    seconds = {
        1: {efficiency.FULL: 4, "LoRA": 2, "prefix": 2.2, "prompt": 3.0},
        8: {efficiency.FULL: 4, "LoRA": 2, "prefix": 2.2, "prompt": 5.0},
        64: {efficiency.FULL: 4, "LoRA": 2, "prefix": 2.2, "prompt": 4.0},
    }
    rows = [
        {"label": label, "batch_size": size, "round": i, "step_seconds": value * slow * (1 + 0.01 * (-1) ** i * n)}
        for size, methods in seconds.items()
        for n, (label, value) in enumerate({**methods, efficiency.LAST: 0.1}.items())
        for i, slow in enumerate((1, 1, 2, 2, 1.5))
    ]
    found = efficiency.claims([costs("timed", "m", rows_of(rows), tokens=16, rounds=5)])
    assert [v.answer for v in found] == ["holds here", "does not hold here", "cannot tell"]
    assert [v.measured.estimate for v in found] == pytest.approx([0.25, -0.25, 0], abs=0.01)  # the prompt's
    assert [v.measured.n for v in found] == [5, 5, 5]
    assert "random weights" in found[0].setting
