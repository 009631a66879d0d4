"""Counted memory and operations: by hand, against torch's counter, and against resident memory."""

from __future__ import annotations

import subprocess

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lab.deltas import IA3, Adapter, BitFit, FullFineTuning, LoRA, Prefix, Prompt
from lab.models import meta_plm
from lab.models.tiny import tiny_plm
from lab.training.cost import TrainingStep, _Tally, example_batch, step_cost
from lab.training.resident import measured_peaks

METHODS = (
    FullFineTuning(), LoRA(rank=2, alpha=3), Adapter(bottleneck=3), Prefix(tokens=3), Prompt(tokens=4), BitFit(), IA3()
)  # fmt: skip
BATCH, TOKENS = 4, 12

every_method = pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)


@pytest.fixture(scope="module")
def plm():
    return tiny_plm("bert", dtype=torch.float64)


@every_method
def test_a_step_in_place_has_the_loss_and_the_gradient_of_the_delta(plm, method):
    delta, batch = method.on(plm), example_batch(plm, BATCH, TOKENS)
    phi = delta.phi0.clone().requires_grad_(True)
    loss = torch.nn.functional.cross_entropy(delta.logits(phi, batch), batch["labels"])
    loss.backward()
    step = TrainingStep(delta)
    found = step.loss(batch)
    found.backward()
    torch.testing.assert_close(found, loss, rtol=1e-12, atol=0)
    gradient = torch.cat([leaf.grad.flatten() for leaf in step.leaves])
    torch.testing.assert_close(gradient, phi.grad, rtol=0, atol=1e-11)


@every_method
@pytest.mark.parametrize("family", ["bert", "llama", "gpt2", "t5"])
def test_operations_are_those_of_torchs_counter(method, family):
    plm = tiny_plm(family)
    if method.name == "bitfit" and family in ("llama", "t5"):
        pytest.skip("no biases")
    delta, batch = method.on(plm), example_batch(plm, 2, 5)
    step = TrainingStep(delta)
    with FlopCounterMode(display=False) as counter:
        step.loss(batch).backward()
    assert step_cost(delta, batch).flops == counter.get_total_flops()


def test_operations_into_weights_by_hand(plm):
    """2·T·m·n for a matrix (m, n) met by T tokens; pooler and classifier meet one token of each text."""
    batch, T = example_batch(plm, BATCH, TOKENS), BATCH * TOKENS
    matrices = plm.matrices(plm.architecture.roles(plm.model))
    heads = 2 * BATCH * (16 * 16 + 16 * 2)
    full = step_cost(FullFineTuning().on(plm), batch)
    assert full.weight_flops == 2 * T * sum(m * n for m, n in (x.shape for x in matrices)) + heads
    lora = step_cost(LoRA(rank=2).on(plm), batch)
    assert lora.weight_flops == 2 * T * sum(2 * sum(x.shape) for x in plm.matrices(("query", "value"))) + heads - 2048
    assert step_cost(BitFit(head="frozen").on(plm), batch).weight_flops == 0
    assert step_cost(IA3(head="frozen").on(plm), batch).weight_flops == 0


def test_bytes_at_the_peak_by_hand():
    x = torch.zeros(1000, dtype=torch.float64)
    tally = _Tally(known=[x])
    with tally:
        a = x + 1  # 8,000
        b = a.view(10, 100)  # the same storage
        c = b[:5] * 2  # 4,000; peak: 12,000
        first = tally.serial(a.untyped_storage())
        del a, b
        d = c * 2  # 4,000 more, but 8,000 are gone
    assert tally.at_peak(set()) == (0, 12_000)
    assert tally.at_peak({first}) == (8_000, 4_000)
    assert d.untyped_storage().nbytes() == 4_000
    assert _Tally(known=[]).at_peak(set()) == (0, 0)


def test_what_a_trained_number_costs():
    """Full fine-tuning on one short text: weights, gradients and two moments, 4·D numbers, and hardly an activation."""
    plm = meta_plm("roberta-large")
    cost = step_cost(FullFineTuning().on(plm), example_batch(plm, 1, 2))
    assert (cost.parameters, cost.optimizer) == (4 * plm.size, 8 * plm.size)
    assert cost.gradients + cost.activations == pytest.approx(4 * plm.size, rel=0.01)
    lora = LoRA().on(plm)
    frozen = step_cost(lora, example_batch(plm, 1, 2))
    assert (frozen.parameters, frozen.optimizer) == (4 * (plm.size + lora.n_added), 8 * lora.size)
    assert 1 - frozen.peak / cost.peak == pytest.approx(3 / 4, abs=0.01)  # the bound: θ itself stays


@every_method
def test_the_count_is_the_same_without_values(method):
    """On the meta device nothing is computed, and the same is counted."""
    plm = tiny_plm("bert", dtype=torch.float32)
    bare = tiny_plm("bert", dtype=torch.float32, device="meta")
    batch = example_batch(plm, BATCH, TOKENS)
    moved = {name: value.to("meta") for name, value in batch.items()}
    assert step_cost(method.on(bare), moved) == step_cost(method.on(plm), batch)


def test_the_count_is_what_a_process_needs():
    """Resident memory of a real step, where activations are large beside what the process itself takes."""
    plm = tiny_plm("bert", dtype=torch.float32, device="meta")
    delta = LoRA(rank=2).on(plm)
    measured = measured_peaks("tiny-bert", LoRA(rank=2).to_json(), [16, 64], tokens=200)
    for size, peak in measured.items():
        assert peak == pytest.approx(step_cost(delta, example_batch(plm, size, 200)).peak, rel=0.1)


@pytest.mark.parametrize(
    ("code", "stderr", "words"),
    [(1, "Traceback …\nValueError: no such model\n", "ValueError: no such model"), (-9, "", "exit code -9: killed")],
)
def test_a_measurement_that_fails_says_why(monkeypatch, code, stderr, words):
    failed = subprocess.CompletedProcess([], code, stdout="", stderr=stderr)
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: failed)
    with pytest.raises(RuntimeError, match=rf"measuring lora on tiny-bert failed: {words}"):
        measured_peaks("tiny-bert", LoRA(rank=2).to_json(), [1], tokens=8)


def test_one_parameter_changed_twice_is_refused(plm):
    twice = BitFit(head="frozen").on(plm) + FullFineTuning(head="frozen").on(plm)
    with pytest.raises(ValueError, match="summands of different parameters; both change"):
        step_cost(twice, example_batch(plm, 2, 4))
