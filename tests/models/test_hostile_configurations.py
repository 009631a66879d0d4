"""Mutated config.json files: refused in a sentence that names the file, or read as transformers reads them."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
import torch

from lab.models import CheckpointError, load_plm
from lab.models.tiny import tiny_plm

VALUES = (None, True, False, 0, 1, -1, 3, 10**6, 10**9, 10**30, 2.5, 1e999, "", "x", "8", [], [1], ["x"], {}, {"x": 1})
N = 60


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", ["bert", "llama", "t5"])
def test_mutated_configurations_are_refused_by_name_or_read_as_in_transformers(family, tmp_path):
    plm = tiny_plm(family, dtype=torch.float32, head="lm" if family == "t5" else "classification")
    plm.model.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    whole = json.loads(file.read_text())
    rng = np.random.default_rng(["bert", "llama", "t5"].index(family))
    batch = {"input_ids": torch.arange(8, 16)[None], "attention_mask": torch.ones(1, 8, dtype=torch.int64)}
    read, refusals = 0, []
    for _ in range(N):
        mutant = dict(whole)
        for name in rng.choice(sorted(whole), int(rng.integers(1, 3)), replace=False):
            mutant[str(name)] = VALUES[int(rng.integers(len(VALUES)))]
        file.write_text(json.dumps(mutant))
        start = time.perf_counter()
        try:
            ours = load_plm(tmp_path, head="lm" if family == "t5" else "classification")
        except CheckpointError as error:
            refusals.append(str(error))
        else:
            read += 1
            model = ours.model
            try:
                theirs = type(model).from_pretrained(tmp_path, attn_implementation="eager", dtype=torch.float32)
                wanted = theirs.eval()(**batch, **_decoder(family)).logits
            except Exception:  # what transformers does not read, it need not agree with
                continue
            if not ours.new_names:
                torch.testing.assert_close(model(**batch, **_decoder(family)).logits, wanted, equal_nan=True)
        assert time.perf_counter() - start < 10
    assert [message for message in refusals if str(tmp_path) not in message] == []
    assert len(refusals) > 3
    assert read > 3


def _decoder(family: str) -> dict[str, torch.Tensor]:
    return {"decoder_input_ids": torch.arange(8, 12)[None]} if family == "t5" else {}


@pytest.mark.parametrize(
    ("family", "entry", "message"),
    [
        ("albert", {"num_hidden_groups": 10**6}, r"num_hidden_groups is 1,000,000, but the weights have blocks up to"),
        ("albert", {"inner_group_num": 10**6}, r"inner_group_num is 1,000,000, but the weights have blocks up to"),
        ("qwen3_moe", {"num_experts_per_tok": 99}, r"num_experts_per_tok is '99'; expected 1 to 4, the experts there"),
        ("gpt_neox", {"rotary_pct": 1e9}, r"rotary_pct is '1000000000.0'; expected a part, from 0 to 1"),
    ],
)
def test_what_only_some_families_count_is_held_against_the_weights(family, entry, message, tmp_path):
    tiny_plm(family, dtype=torch.float32).model.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **entry}))
    with pytest.raises(CheckpointError, match=message):
        load_plm(tmp_path)
