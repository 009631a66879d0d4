"""Mutated adapters of several peft types: refused in a sentence that names the file, or read as peft reads them."""

from __future__ import annotations

import copy
import json
import time

import numpy as np
import pytest
import torch

from lab.checkpoints import CONFIG, CheckpointError
from lab.deltas import load_adapter
from lab.models.tiny import tiny_plm

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore")

VALUES = (None, True, False, 0, 1, -1, 2.5, 1e999, 10**6, 10**9, 10**400, "", "8", "(", "(a+)+$", ".*" * 9, ".*query",
          "all-linear", [], [1], ["x"], ["query"], {}, {"(": 2}, {"query": 3}, {"x": None}, {"query": "a"})  # fmt: skip
KINDS = {
    "lora": lambda: peft.LoraConfig(r=2, target_modules=["query", "value"], init_lora_weights=False),
    "dora": lambda: peft.LoraConfig(r=2, target_modules=["query"], use_dora=True, init_lora_weights=False),
    "loha": lambda: peft.LoHaConfig(r=2, target_modules=["query"], init_weights=False),
    "ia3": lambda: peft.IA3Config(target_modules=["query"], feedforward_modules=[], init_ia3_weights=False),
    "oft": lambda: peft.OFTConfig(r=0, oft_block_size=4, target_modules=["query"], init_weights=False),
}
N = 40


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_options_are_refused_by_name_or_read_as_in_peft(kind, tmp_path):
    plm = tiny_plm("bert", dtype=torch.float32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        peft.get_peft_model(copy.deepcopy(plm.model), KINDS[kind]()).save_pretrained(tmp_path)
    whole = json.loads((tmp_path / CONFIG).read_text())
    matter = [n for n in whole if n not in ("auto_mapping", "peft_version", "revision", "task_type", "runtime_config")]
    rng = np.random.default_rng(list(KINDS).index(kind))
    batch = {"input_ids": torch.arange(8, 16)[None], "attention_mask": torch.ones(1, 8, dtype=torch.int64)}
    read, refusals = 0, []
    for _ in range(N):
        name, value = str(rng.choice(sorted(matter))), VALUES[int(rng.integers(len(VALUES)))]
        (tmp_path / CONFIG).write_text(json.dumps(whole | {name: value}))
        start = time.perf_counter()
        try:
            delta, phi = load_adapter(plm, tmp_path)
        except CheckpointError as error:
            refusals.append(str(error))
            continue
        finally:
            assert time.perf_counter() - start < 10, (name, value)
        read += 1
        try:
            theirs = peft.PeftModel.from_pretrained(copy.deepcopy(plm.model), str(tmp_path)).eval()
        except Exception:  # what peft does not read, it need not agree with
            continue
        torch.testing.assert_close(delta.logits(phi, batch), theirs(**batch).logits, rtol=1e-4, atol=1e-5)
    assert [message for message in refusals if str(tmp_path) not in message] == []
    assert len(refusals) > 3
    assert read > 3
