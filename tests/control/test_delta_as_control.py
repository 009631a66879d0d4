"""The table "delta as control": what theory says of each method, computed on random PLMs."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from lab.control import control_summary, delta_as_control, injections
from lab.deltas import DID, IA3, Adapter, BitFit, FullFineTuning, LastLayer, LinearProbe, LoRA, Mask, Prefix, Prompt
from lab.models.tiny import tiny_plm

# method -> control type, share of the blocks it acts in, identity at φ₀ (facts of the control view of delta tuning)
EXPECTED = {
    Prompt(tokens=2, head="frozen"): ("initial condition", 0.0, False),
    Prefix(tokens=2, head="frozen"): ("feedback: nonlinear", 1.0, False),
    Adapter(bottleneck=2, head="frozen"): ("feedback: nonlinear", 1.0, True),
    LoRA(rank=2, head="frozen"): ("feedback: bilinear", 1.0, True),
    BitFit(head="frozen"): ("open loop", 1.0, True),
    IA3(head="frozen"): ("feedback: bilinear, multiplicative", 1.0, True),
    Mask(head="frozen"): ("feedback: bilinear", 1.0, True),
    LastLayer(head="frozen"): ("terminal", 0.5, True),
    LinearProbe(): ("terminal", 0.0, True),
    DID(dimension=10): ("coupled over time", 1.0, True),
}


@pytest.fixture(scope="module")
def bert():
    return tiny_plm("bert")


@pytest.mark.parametrize("method", EXPECTED, ids=lambda method: method.name)
def test_every_method_is_the_control_that_theory_says(bert, make_batch, method):
    rows = delta_as_control(method.on(bert, seed=1), bert, make_batch(bert), cross_entropy, n_samples=2)
    control, reached, identity = EXPECTED[method]
    summary = control_summary(rows)
    assert summary["control"] == control
    assert summary["layers_reached"] == reached
    assert (summary["identity_error"] == 0) == identity
    assert summary["controls"] == method.on(bert, seed=1).size


def test_prompt_acts_before_the_first_block_only(bert, make_batch):
    rows = delta_as_control(Prompt(tokens=2, head="frozen").on(bert), bert, make_batch(bert), cross_entropy)
    assert [(row["stage"], row["controls"], row["norm"] > 0) for row in rows] == [
        ("embed", 32, True),
        ("block 0", 0, False),
        ("block 1", 0, False),
        ("readout", 0, False),
    ]
    assert rows[0]["gramian_share"] == 1.0


def test_directions_of_a_large_input_map_are_estimated(bert, make_batch):
    """Participation ratio and norm by random signs against the dense spectrum."""
    delta, batch = LoRA(rank=2, head="frozen").on(bert), make_batch(bert)
    exact = delta_as_control(delta, bert, batch, cross_entropy)
    estimated = delta_as_control(delta, bert, batch, cross_entropy, n_samples=256, largest=0)
    too_many = delta_as_control(delta, bert, batch, cross_entropy, n_samples=256, entries=0)
    assert [row["rank"] for row in too_many] == [row["rank"] for row in estimated]
    for row, truth in zip(estimated[:2], exact[:2], strict=True):
        assert row["rank"] is None
        assert row["norm"] == pytest.approx(truth["norm"], rel=0.1)  # 256 samples
        assert row["participation"] == pytest.approx(truth["participation"], rel=0.2)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_lora_moves_as_many_directions_as_its_tangent_space_has(bert, make_batch, rank):
    """The rank-r matrices near BA form a manifold of dimension r(m + n − r): one per layer and target, m = n = 16."""
    rows = delta_as_control(LoRA(rank=rank, head="frozen").on(bert), bert, make_batch(bert), cross_entropy, n_samples=2)
    assert [row["rank"] for row in rows] == [2 * rank * (32 - rank)] * 2 + [0]


def test_the_rank_of_a_large_input_map_comes_from_its_gram_matrix(bert, make_batch, monkeypatch):
    """The gauge's r² directions are 0 up to the square root of rounding, and are counted by neither way."""
    monkeypatch.setattr("lab.control.reachability._DENSE", 0)
    delta = LoRA(rank=2, head="frozen").on(bert)
    rows = delta_as_control(delta, bert, make_batch(bert), cross_entropy, n_samples=2)
    assert [row["rank"] for row in rows] == [2 * 2 * 30] * 2 + [0]


def test_key_biases_are_no_controls(bert, make_batch):
    """The softmax does not see a constant added to every key's score, so BERT's key bias moves nothing."""
    delta, batch = BitFit(head="frozen").on(bert), make_batch(bert)
    sites = {injection.site for injection in injections(delta, batch)}
    assert any(site.endswith("attention.self.key") for site in sites)  # the module's own output does move
    phi = delta.phi0.clone()
    for name, part in delta.layout.slices.items():
        if "self.key" in name:
            phi[part] = 1.0
    torch.testing.assert_close(delta.logits(phi, batch), bert.logits({}, batch), rtol=1e-12, atol=1e-12)


def test_shares_of_the_gramian_add_up(bert, make_batch):
    rows = delta_as_control(LoRA(rank=2).on(bert), bert, make_batch(bert), cross_entropy)
    assert sum(row["gramian_share"] for row in rows) == pytest.approx(1.0)
    assert rows[-1]["stage"] == "readout"
    assert rows[-1]["gramian_share"] == 0.0  # the head does not move the end state
    assert rows[-1]["norm"] > 0


def test_modules_outside_blocks_are_filed_by_when_they_run(make_batch):
    plm = tiny_plm("t5")
    rows = delta_as_control(FullFineTuning().on(plm), plm, make_batch(plm), cross_entropy, n_samples=1)
    control = {row["stage"]: row["control"] for row in rows}
    assert control["embed"] == "open loop 1"  # the shared embedding
    assert control["link"] == "open loop 1, multiplicative 1"  # the shared embedding again, the encoder's final norm
    assert "bilinear" in control["readout"]  # the head


def test_injections_at_one_module_each():
    """One block's biases, by hand: six linear maps and two norms."""
    plm = tiny_plm("bert")
    batch = {"input_ids": torch.tensor([[2, 5, 6, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}
    found = injections(BitFit(head="frozen").on(plm), batch)
    assert [i.kind for i in found if i.block == 0] == ["open loop"] * 8
    assert {i.blocks_before for i in found if i.block is None} == {0, 2}
