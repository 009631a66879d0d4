"""Every delta method on every family: what a delta promises, whatever the method."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch.func import grad, jvp, vjp, vmap

from lab.deltas import (
    DID,
    IA3,
    METHODS,
    SAID,
    Adapter,
    AddedBias,
    BitFit,
    Delta,
    DeltaMethod,
    DiffPruning,
    FullFineTuning,
    LastLayer,
    LinearProbe,
    LoRA,
    Mask,
    Prefix,
    Prompt,
    SelectiveModule,
    method_from_json,
)
from lab.models.tiny import FAMILIES, tiny_plm
from lab.projections import Gaussian

CASES: dict[str, DeltaMethod] = {
    "full": FullFineTuning(),
    "linear-probe": LinearProbe(),
    "adapter": Adapter(bottleneck=4),
    "adapter-pfeiffer": Adapter(bottleneck=4, placement="pfeiffer", activation="gelu"),
    "prefix": Prefix(tokens=3),
    "prefix-mlp": Prefix(tokens=3, mlp=5, embedding=4),
    "prompt": Prompt(tokens=4),
    "prompt-front": Prompt(tokens=4, placement="front", init="random"),
    "ia3": IA3(),
    "added-bias": AddedBias(),
    "bitfit": BitFit(),
    "last-layer": LastLayer(),
    "selective-module": SelectiveModule(n_modules=3),
    "diff-pruning": DiffPruning(gate_scale=1.0),
    "diff-pruning-structured": DiffPruning(structured=True, gate_scale=1.0),
    "mask": Mask(),
    "mask-sparsity": Mask(sparsity=0.25),
    "lora": LoRA(rank=2),
    "lora-rs": LoRA(rank=2, rslora=True, targets=("query", "down")),
    "did": DID(dimension=40),
    "said": SAID(dimension=40),
}
NO_IDENTITY = {"prefix", "prefix-mlp", "prompt", "prompt-front", "mask-sparsity"}
WITHOUT_BIASES = ("llama", "t5", "gemma")
EVERY_CASE, EVERYWHERE = ("bert", "llama", "t5"), ("adapter", "prefix", "prompt", "lora", "bitfit", "said")
"""An encoder, a decoder and an encoder-decoder have all cases, all families these; the other pairs are slow."""
PAIRS = [
    pytest.param(c, f, marks=() if f in EVERY_CASE or c in EVERYWHERE else pytest.mark.slow)
    for c in CASES
    for f in FAMILIES
    if not (c == "bitfit" and f in WITHOUT_BIASES)
]

pairs = pytest.mark.parametrize(("case", "family"), PAIRS)


@cache
def plm_of(family: str):
    return tiny_plm(family)


@cache
def batch_of(family: str):
    """Three texts of different lengths, right-padded."""
    plm = plm_of(family)
    vocabulary = plm.model.get_input_embeddings().weight.shape[0]
    ids = torch.randint(8, vocabulary, (3, 6), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    ids[1, 4:], mask[1, 4:] = plm.model.config.pad_token_id, 0
    return {"input_ids": ids, "attention_mask": mask}


@cache
def delta_of(case: str, family: str) -> Delta:
    return CASES[case].on(plm_of(family), seed=1)


def noise(shape, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def near_start(delta: Delta, seed: int = 2, size: float = 0.02) -> torch.Tensor:
    """A generic φ; gates of diff pruning are put where they are neither 0 nor 1."""
    phi = delta.phi0 + size * noise(delta.size, seed)
    for part in delta.layout:
        if part.name.endswith("gate"):
            phi[delta.layout.slices[part.name]] = 0.3
    return phi


def close(a, b, scale: float = 1e3) -> bool:
    """Equality up to the rounding of a two-layer model in float64."""
    return torch.allclose(a, b, rtol=0, atol=scale * torch.finfo(torch.float64).eps * max(1.0, float(b.abs().max())))


def test_cases_cover_every_method():
    assert {type(method) for method in CASES.values()} == set(METHODS)
    assert len({method.name for method in METHODS}) == len(METHODS)


@pytest.mark.parametrize("family", WITHOUT_BIASES)
def test_bitfit_refuses_a_family_without_biases(family):
    with pytest.raises(ValueError, match=r"BitFit needs biases.*LoRA"):
        BitFit().on(plm_of(family))


@pairs
def test_identity_at_the_start_bit_for_bit(case, family):
    delta, batch = delta_of(case, family), batch_of(family)
    same = torch.equal(delta.logits(delta.phi0, batch), plm_of(family).logits({}, batch))
    assert delta.at_identity == same == (case not in NO_IDENTITY)


@pairs
def test_gradient_reaches_every_part(case, family):
    delta, batch = delta_of(case, family), batch_of(family)
    gradient = grad(lambda phi: delta.logits(phi, batch).square().sum())(near_start(delta))
    assert bool(gradient.isfinite().all())
    silent = [name for name, g in delta.layout.unflatten(gradient).items() if not bool(g.any())]
    # a bias of the keys moves all scores of a query alike, so the softmax cancels it
    assert [name for name in silent if not re.search(r"\b(key|k)\.(added_bias\.)?bias$", name)] == []


@pairs
def test_forward_and_reverse_mode_agree(case, family):
    delta, batch = delta_of(case, family), batch_of(family)
    phi, v = near_start(delta), noise(delta.size, 3)
    logits, tangent = jvp(lambda p: delta.logits(p, batch), (phi,), (v,))
    w = noise(logits.shape, 4)
    (cotangent,) = vjp(lambda p: delta.logits(p, batch), phi)[1](w)
    assert close((tangent * w).sum(), v @ cotangent, 1e5)  # sums over up to 30,000 coordinates


@pairs
def test_vmap_over_phi_equals_a_loop(case, family):
    delta, batch = delta_of(case, family), batch_of(family)
    phis = torch.stack([near_start(delta, 5), near_start(delta, 6)])
    together = vmap(lambda phi: delta.logits(phi, batch))(phis)
    assert close(together, torch.stack([delta.logits(phi, batch) for phi in phis]))


@pairs
def test_restrict_is_the_delta_on_a_subspace(case, family):
    delta, batch = delta_of(case, family), batch_of(family)
    P = Gaussian(delta.size, 3, seed=0)
    restricted = delta.restrict(P)
    assert restricted.size == 3
    assert restricted.at_identity == delta.at_identity
    x = 0.1 * noise(3, 7)
    assert close(restricted.logits(x, batch), delta.logits(delta.phi0 + P @ x, batch))
    origin = near_start(delta)
    assert close(delta.restrict(P, origin=origin).logits(x, batch), delta.logits(origin + P @ x, batch))


@pairs
def test_reparameterize_composes(case, family):
    delta, batch = delta_of(case, family), batch_of(family)
    direction = noise(delta.size, 8)
    line = delta.reparameterize(lambda z: delta.phi0 + torch.sinh(z).sum() * direction, torch.zeros(2).double())
    assert line.at_identity == delta.at_identity
    z = torch.tensor([0.01, 0.02], dtype=torch.float64)
    assert close(line.logits(z, batch), delta.logits(delta.phi0 + torch.sinh(z).sum() * direction, batch))


@pairs
def test_addition_holds_both_changes(case, family):
    plm, delta, batch = plm_of(family), delta_of(case, family), batch_of(family)
    other = LoRA(rank=1, head="frozen").on(plm, seed=9)
    phi, psi = near_start(delta), other.phi0 + 0.1 * noise(other.size, 10)
    both = delta + other
    assert (both.size, both.n_added) == (delta.size + other.size, delta.n_added + other.n_added)
    assert close(both.logits(torch.cat([phi, other.phi0]), batch), delta.logits(phi, batch))
    swapped = other + delta
    assert close(swapped.logits(torch.cat([psi, phi]), batch), both.logits(torch.cat([phi, psi]), batch))
    if delta.at_identity:
        assert close(both.logits(torch.cat([delta.phi0, psi]), batch), other.logits(psi, batch))


@pairs
def test_overrides_replace_parameters_of_the_host_shape_for_shape(case, family):
    delta = delta_of(case, family)
    overrides = delta.overrides(near_start(delta))
    assert overrides
    for name, value in overrides.items():
        assert value.shape == delta.plm.parameters[name].shape


@pairs
def test_weight_differences_are_what_the_overrides_change(case, family):
    delta = delta_of(case, family)
    phi = near_start(delta)
    overrides, native = delta.overrides(phi), plm_of(family).parameters
    differences = delta.weight_difference(phi)
    changed = {name for name, value in overrides.items() if name in native and value.ndim == 2}
    assert {label.split("[")[0] for label in differences} == changed
    total: dict[str, torch.Tensor] = {}
    for label, difference in differences.items():
        dense = difference if isinstance(difference, torch.Tensor) else difference.to_dense()
        matrices = {m.label: m for m in delta.plm.matrices(delta.plm.architecture.roles(delta.plm.model))}
        name = label.split("[")[0]
        before = total.get(name, torch.zeros_like(native[name]))
        # outputs are rows, whatever the storage; embeddings and heads are no matrices of a block
        total[name] = matrices[label].added(before, dense) if label in matrices else before + dense
    for name in changed:
        assert close(total[name], overrides[name] - native[name])


@pairs
def test_parts_of_one_block_override_what_they_act_on(case, family):
    delta = delta_of(case, family)
    phi = near_start(delta)
    for block in delta.layout.blocks:
        parts = {p.name: delta.layout.unflatten(phi)[p.name] for p in delta.layout if p.block == block}
        mixed = delta.phi0.clone()
        mixed[delta.layout.indices(block)] = phi[delta.layout.indices(block)]
        expected = delta.overrides(mixed)
        for name, value in delta.overrides_of(parts).items():
            assert torch.equal(value, expected[name]), name


@pairs
def test_unmerged_is_the_same_function(case, family):
    """LoRA's factors or IA3's vectors beside the layers: the logits are those of the overrides, alone and in sums."""
    delta, batch = delta_of(case, family), batch_of(family)
    phi = near_start(delta)
    beside = delta.unmerged
    form = beside.training()
    half = torch.full((form.n_noise,), 0.5, dtype=torch.float64)  # where noise leaves the gates at their means
    assert (beside.layout, form.n_noise, beside.at_identity) == (
        delta.layout, delta.training().n_noise, delta.at_identity,
    )  # fmt: skip
    assert close(form.plm.logits(form.sampled(phi, half), batch), delta.logits(phi, batch))
    if delta.at_identity:
        assert torch.equal(form.plm.logits(form.sampled(delta.phi0, half), batch), plm_of(family).logits({}, batch))
    one, two = (LoRA(rank=1, head="frozen").on(plm_of(family), seed=seed) for seed in (8, 9))
    scaled = IA3(outputs=("key",), head="frozen").on(plm_of(family))
    for last in (two, one, scaled):  # a delta may be added twice
        both = one + (delta + last)
        psi = torch.cat([one.phi0 + 0.1, phi, last.phi0 - 0.2])
        form = both.unmerged.training()
        assert close(form.plm.logits(form.sampled(psi, half), batch), both.logits(psi, batch))


@pairs
def test_the_plm_stays_as_it_was(case, family):
    plm = tiny_plm(family)
    names, implementation = tuple(plm.parameters), plm.model.config._attn_implementation
    before = {name: value.clone() for name, value in plm.parameters.items()}
    delta = CASES[case].on(plm, seed=1)
    delta.logits(near_start(delta), batch_of(family))
    assert tuple(dict(plm.model.named_parameters())) == names
    assert plm.model.config._attn_implementation == implementation
    assert all(torch.equal(plm.parameters[name], value) for name, value in before.items())
    assert not any(p.requires_grad for p in delta.plm.model.parameters())
    shared = [name for name in names if delta.plm.parameters[name] is not plm.parameters[name]]
    assert shared == []


@pairs
def test_the_seed_alone_decides_the_start(case, family):
    again = CASES[case].on(plm_of(family), seed=1)
    assert torch.equal(again.phi0, delta_of(case, family).phi0)
    phi = near_start(again)
    assert torch.equal(again.logits(phi, batch_of(family)), delta_of(case, family).logits(phi, batch_of(family)))


@pytest.mark.parametrize("case", CASES)
def test_json_round_trip(case):
    method = CASES[case]
    again = method_from_json(json.loads(json.dumps(method.to_json())))
    assert again == method
    assert hash(again) == hash(method)


# Counts, each from the architecture's numbers: 2 blocks (T5: 2 + 2), hidden 16, feed-forward 24, keys and values 16
# wide (Llama and Gemma share them between heads: 8). T5's decoder has a third sublayer, cross-attention.
HIDDEN, FEED_FORWARD = 16, 24
BLOCKS = {family: 4 if family == "t5" else 2 for family in FAMILIES}
ATTENTIONS = {family: 6 if family == "t5" else 2 for family in FAMILIES}
KEY_WIDTH = {family: 8 if family in ("llama", "gemma") else 16 for family in FAMILIES}
GATED = ("llama", "t5", "gemma")
LAST_BLOCK = dict.fromkeys(("llama", "gemma"), "layers.1.") | dict.fromkeys(("bert", "roberta"), "encoder.layer.1.")
LAST_BLOCK |= {"gpt2": "h.1.", "t5": "encoder.block.1."}


def block_weights(family: str) -> int:
    attention = ATTENTIONS[family] * (2 * HIDDEN * HIDDEN + 2 * HIDDEN * KEY_WIDTH[family])
    return attention + BLOCKS[family] * (3 if family in GATED else 2) * HIDDEN * FEED_FORWARD


def outputs_and_norms(family: str) -> int:
    """One number per output of every matrix, and per channel of every norm: before, after, or on both sides."""
    attention = ATTENTIONS[family] * (2 * HIDDEN + 2 * KEY_WIDTH[family])
    feed_forward = BLOCKS[family] * ((2 if family in GATED else 1) * FEED_FORWARD + HIDDEN)
    norms = {"t5": 2 * 2 + 2 * 3 + 2}.get(family, 2 * 2 + (family not in ("bert", "roberta")))
    return attention + feed_forward + norms * HIDDEN


COUNTS = {
    "linear-probe": lambda f: 0,
    "added-bias": outputs_and_norms,
    "adapter": lambda f: (ATTENTIONS[f] + BLOCKS[f]) * (2 * HIDDEN * 4 + 4 + HIDDEN),
    "adapter-pfeiffer": lambda f: BLOCKS[f] * (2 * HIDDEN * 4 + 4 + HIDDEN),
    "prefix": lambda f: ATTENTIONS[f] * 2 * 3 * KEY_WIDTH[f],
    "prefix-mlp": lambda f: 3 * 4 + 5 * 4 + 5 + (5 + 1) * ATTENTIONS[f] * 2 * KEY_WIDTH[f],
    "prompt": lambda f: 4 * HIDDEN,
    "prompt-front": lambda f: 4 * HIDDEN,
    "ia3": lambda f: ATTENTIONS[f] * 2 * KEY_WIDTH[f] + BLOCKS[f] * FEED_FORWARD,
    "mask": block_weights,
    "mask-sparsity": block_weights,
    "lora": lambda f: BLOCKS[f] * 2 * (HIDDEN + HIDDEN + HIDDEN + KEY_WIDTH[f]),
    "lora-rs": lambda f: BLOCKS[f] * 2 * (HIDDEN + HIDDEN + FEED_FORWARD + HIDDEN),
    "did": lambda f: 40,
    "said": lambda f: 40,
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("case", COUNTS)
def test_size_is_the_papers_count(case, family):
    plm, delta = plm_of(family), delta_of(case, family)
    head = sum(plm.parameters[name].numel() for name in plm.new_names)
    if case in ("did", "said"):  # the head is inside of the subspace
        assert (delta.size, delta.head_size) == (COUNTS[case](family), 0)
    else:
        assert (delta.size, delta.head_size) == (COUNTS[case](family) + head, head)
        assert CASES[case].body(plm, 0).size == COUNTS[case](family)


@pytest.mark.parametrize("family", FAMILIES)
def test_specified_parameters_count_once(family):
    plm = plm_of(family)
    sizes = {name: p.numel() for name, p in plm.model.named_parameters()}
    body = {name: n for name, n in sizes.items() if name not in plm.new_names}
    head = sum(sizes.values()) - sum(body.values())
    assert delta_of("full", family).size == sum(sizes.values()) == plm.size
    assert delta_of("diff-pruning", family).size == 2 * sum(body.values()) + head
    assert delta_of("diff-pruning-structured", family).size == 2 * sum(body.values()) + len(body) + head
    in_last = [n for name, n in body.items() if LAST_BLOCK[family] in name]
    assert delta_of("last-layer", family).size == sum(in_last) + head
    if family not in WITHOUT_BIASES:
        biases = [n for name, n in body.items() if name.endswith(".bias")]
        assert delta_of("bitfit", family).size == sum(biases) + head


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("head", ["free", "frozen", "inside"])
def test_the_head_is_treated_as_asked(head, family):
    """`did` is the only method here that knows all three treatments."""
    plm, batch = plm_of(family), batch_of(family)
    delta = DID(dimension=40, head=head).on(plm, seed=1)
    n_head = sum(plm.parameters[name].numel() for name in plm.new_names)
    moved = set(delta.overrides(near_start(delta))) & plm.new_names
    assert moved == (set() if head == "frozen" else plm.new_names)
    assert delta.size == 40 + (n_head if head == "free" else 0)
    assert delta.counts.head == delta.head_size == (n_head if head == "free" else 0)
    assert delta.counts.percent == pytest.approx(100 * delta.size / plm.size)
    assert delta.counts.percent_without_head == pytest.approx(100 * 40 / plm.size)
    assert torch.equal(delta.logits(delta.phi0, batch), plm.logits({}, batch))


@pytest.mark.parametrize("case", CASES)
def test_a_frozen_head_does_not_move(case):
    method, plm = CASES[case], plm_of("bert")
    if "frozen" not in method.heads:
        with pytest.raises(ValueError, match="head must be one of"):
            type(method)(head="frozen")
        return
    delta = replace(method, head="frozen").on(plm)
    assert set(delta.overrides(near_start(delta))).isdisjoint(plm.new_names)
    assert delta.head_size == 0
