"""Patterns of peft configurations, matched without peft's matcher: the same modules, ranks and scales."""

from __future__ import annotations

import copy
import json
import time

import pytest
import torch

from lab.checkpoints import CONFIG, CheckpointError
from lab.deltas import from_peft, load_adapter
from lab.models.tiny import tiny_plm

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore")

QUERY_VALUE = r".*\.(?:0|1)\.attention\.self\.(?:query|value)"
CONFIGURATIONS = {
    "LoHa": lambda: peft.LoHaConfig(
        r=2, alpha=3, target_modules=QUERY_VALUE, rank_pattern={r"0\..*value": 3}, alpha_pattern={"query": 5},
        init_weights=False,
    ),
    "LoKr": lambda: peft.LoKrConfig(r=2, target_modules=QUERY_VALUE, exclude_modules=r".*1\..*", init_weights=False),
    "IA3": lambda: peft.IA3Config(
        target_modules=QUERY_VALUE, feedforward_modules=r".*\.value", init_ia3_weights=False
    ),
    "LN": lambda: peft.LNTuningConfig(target_modules=r".*\.LayerNorm"),
    "DoRA": lambda: peft.LoraConfig(
        r=2, target_modules=QUERY_VALUE, use_dora=True, rank_pattern={"1.attention.self.query": 4},
        init_lora_weights=False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CONFIGURATIONS)
def test_the_same_modules_as_in_peft(kind, tmp_path):
    plm = tiny_plm("bert", dtype=torch.float32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = peft.get_peft_model(copy.deepcopy(plm.model), CONFIGURATIONS[kind]())
        for p in model.parameters():
            p.data += 0.05 * torch.randn_like(p) if p.requires_grad else 0.0
    model.save_pretrained(tmp_path)
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(plm.model), str(tmp_path)).eval()
    batch = {"input_ids": torch.arange(8, 16)[None], "attention_mask": torch.ones(1, 8, dtype=torch.int64)}
    delta, phi = load_adapter(plm, tmp_path)
    torch.testing.assert_close(delta.logits(phi, batch), theirs(**batch).logits, rtol=1e-4, atol=1e-5)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert delta.size == trained


@pytest.mark.parametrize("pattern", ["(a+)+$", "(.*a){20}b", ".*" * 12 + "z", "a?" * 30 + "a" * 30])
@pytest.mark.parametrize("kind", CONFIGURATIONS)
def test_no_pattern_hangs(kind, pattern, tmp_path):
    plm = tiny_plm("bert", dtype=torch.float32)
    config = CONFIGURATIONS[kind]()
    peft.get_peft_model(copy.deepcopy(plm.model), config).save_pretrained(tmp_path)
    written = json.loads((tmp_path / CONFIG).read_text())
    for entry in ("target_modules", "exclude_modules"):
        (tmp_path / CONFIG).write_text(json.dumps(written | {entry: pattern}))
        start = time.perf_counter()
        with pytest.raises(CheckpointError, match=rf"{CONFIG}: {entry} is .*; expected "):
            load_adapter(plm, tmp_path)
        assert time.perf_counter() - start < 2
    config.target_modules = pattern
    with pytest.raises(ValueError, match=r"peft's configuration: target_modules is .*; expected"):
        from_peft(config)


def test_a_pattern_without_a_module_is_named():
    with pytest.raises(ValueError, match=r"target_modules '.*nothing' matches no module"):
        from_peft(peft.LoHaConfig(r=2, target_modules=".*nothing")).on(tiny_plm("bert"))
