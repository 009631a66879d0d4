"""Families found by their structure: what every delta method promises holds on each of them.

The whole matrix of methods runs under `slow`; at once one test per family tries the methods that lean on roles, places,
fused weights and attention.
"""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch
from torch.func import jvp, vjp, vmap

from lab.control.skeleton import record_blocks, run_block
from lab.deltas import (
    DID,
    IA3,
    SAID,
    Adapter,
    AddedBias,
    BitFit,
    DeltaMethod,
    DiffPruning,
    FullFineTuning,
    LastLayer,
    LoRA,
    Mask,
    Prefix,
    Prompt,
    SelectiveModule,
)
from lab.models.tiny import FOUND, tiny_plm

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

METHODS: dict[str, DeltaMethod] = {
    "lora": LoRA(rank=2),
    "lora-output": LoRA(rank=2, targets=("key", "output")),
    "adapter": Adapter(bottleneck=4),
    "adapter-pfeiffer": Adapter(bottleneck=4, placement="pfeiffer"),
    "prefix": Prefix(tokens=3),
    "prompt": Prompt(tokens=4),
    "prompt-front": Prompt(tokens=4, placement="front"),
    "ia3": IA3(),
    "added-bias": AddedBias(),
    "bitfit": BitFit(),
    "last-layer": LastLayer(),
    "selective-module": SelectiveModule(n_modules=3),
    "diff-pruning": DiffPruning(gate_scale=1.0),
    "mask": Mask(),
    "full": FullFineTuning(),
    "did": DID(dimension=40),
    "said": SAID(dimension=40),
}
FIRST = ("lora", "adapter", "prefix", "ia3", "added-bias")
"""Tried at once; the others under `slow`."""


@cache
def plm_of(family: str):
    return tiny_plm(family)


def batch_of(family: str):
    plm = plm_of(family)
    batch = plm.tokenizer(["it was a good film", "bad", "the story was terrible"], padding=True, return_tensors="pt")
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def delta_on(family: str, method: str):
    """The method's delta, or the sentence it is refused with."""
    try:
        return METHODS[method].on(plm_of(family), seed=1)
    except ValueError as error:
        return str(error)


TOLERANCE = dict.fromkeys(("modernbert", "qwen3_moe", "bloom", "gptj", "gpt_neo"), 1e-5)
"""Their rotation, scores or softmax, and a mixture's router, go through float32 in transformers (5.23)."""

REFUSED = {
    ("bitfit", "qwen3_moe"), ("bitfit", "phi3"), ("bitfit", "mt5"), ("bitfit", "modernbert"),
    ("ia3", "qwen3_moe"), ("prefix", "deberta"), ("prefix", "mpnet"),
}  # fmt: skip
"""No biases; no down projection; attention of the model's own, and no cache of keys and values."""


def cases():
    for family in FOUND:
        for method in METHODS:
            yield pytest.param(family, method, marks=() if method in FIRST else pytest.mark.slow)


@pytest.mark.parametrize(("family", "method"), cases())
def test_a_method_keeps_its_promises(family, method):
    delta = delta_on(family, method)
    if (method, family) in REFUSED:
        assert isinstance(delta, str)
        return
    assert not isinstance(delta, str), delta
    plm, batch = plm_of(family), batch_of(family)
    assert delta.at_identity == torch.equal(delta.logits(delta.phi0, batch), plm.logits({}, batch))
    assert delta.at_identity or method.startswith(("prefix", "prompt"))
    phi = delta.phi0 + 0.02 * torch.randn(delta.size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    logits = delta.logits(phi, batch)
    close = {"rtol": 0, "atol": TOLERANCE.get(family, 1e-10)}
    torch.testing.assert_close(delta.unmerged.logits(phi, batch), logits, **close)
    for row in range(3):  # padding, on either side, is nothing
        alone = {name: value[row : row + 1, : int(batch["attention_mask"][row].sum())] for name, value in batch.items()}
        torch.testing.assert_close(delta.logits(phi, alone)[0], logits[row], **close)
    left = {name: torch.stack([x.roll(int((1 - m).sum())) for x, m in zip(value, batch["attention_mask"], strict=True)])
            for name, value in batch.items()}  # fmt: skip
    torch.testing.assert_close(delta.logits(phi, left), logits, **close)
    direction = torch.randn(delta.size, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    same, tangent = jvp(lambda p: delta.logits(p, batch), (phi,), (direction,))
    torch.testing.assert_close(same, logits, **close)
    (cotangent,) = vjp(lambda p: delta.logits(p, batch), phi)[1](torch.ones_like(logits))
    torch.testing.assert_close(tangent.sum(), direction @ cotangent, rtol=1e-8, atol=TOLERANCE.get(family, 1e-9))
    if family.startswith("falcon"):
        return  # transformers (5.23) adds its sublayers in place, which `vmap` over one of them alone cannot
    both = vmap(lambda p: delta.logits(p, batch))(torch.stack([phi, delta.phi0]))
    torch.testing.assert_close(both[0], logits, **close)


@pytest.mark.parametrize("family", FOUND)
def test_each_block_replays_exactly(family):
    plm, batch = plm_of(family), batch_of(family)
    if family == "albert":  # one block, run twice
        with pytest.raises(ValueError, match="blocks must run once each"):
            record_blocks(plm, {}, batch)
        return
    calls, _ = record_blocks(plm, {}, batch)
    for block, call in enumerate(calls):
        outputs = run_block(plm, block, call, plm.parameters, {})
        assert torch.equal(outputs[0], call.outputs[0])


@pytest.mark.parametrize("family", FOUND)
def test_lora_is_pefts(family):
    """The same factors in peft's own layers, on every matrix of the blocks that is a parameter of its own."""
    peft = pytest.importorskip("peft")
    plm, batch = plm_of(family), batch_of(family)
    roles = plm.architecture.roles(plm.model)
    delta = LoRA(rank=2, targets=roles, head="frozen").on(plm, seed=1)
    matrices = [m for m in delta.matrices if m.rows is None]
    delta = LoRA(rank=2, targets=tuple({m.role: None for m in matrices}), head="frozen").on(plm, seed=1)
    phi = delta.phi0 + 0.05 * torch.randn(delta.size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    modules = {m.label: m.name.removesuffix(".weight") for m in delta.matrices}
    config = peft.LoraConfig(r=2, lora_alpha=2, target_modules=list(modules.values()))
    theirs = peft.get_peft_model(copy.deepcopy(plm.model), config).double().eval()
    with torch.no_grad():
        for label, (B, A) in delta.factors(phi).items():
            layer = theirs.base_model.model.get_submodule(modules[label])
            layer.lora_A["default"].weight.copy_(A)
            layer.lora_B["default"].weight.copy_(B)
        expected = theirs.base_model.model(**batch).logits
    torch.testing.assert_close(delta.logits(phi, batch), expected, rtol=0, atol=TOLERANCE.get(family, 1e-10))
