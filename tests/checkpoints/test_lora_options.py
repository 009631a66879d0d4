"""Ranks, scales and targets of a LoRA, by peft's own rules."""

from __future__ import annotations

import itertools
from math import sqrt
from pathlib import Path

import pytest

from lab.checkpoints.error import CheckpointError
from lab.checkpoints.lora_options import lora_options

FILE = Path("adapter_config.json")
PATHS = [
    *(f"model.layers.{i}.{part}" for i in (0, 1, 11) for part in ("self_attn.q_proj", "self_attn.v_proj", "mlp.up")),
    *(f"h.{i}.attn.c_attn" for i in (0, 1)),
    "model.embed_tokens", "lm_head", "score", "model.layers.1.experts.0.up", "q_proj",
]  # fmt: skip
CHOICES = {
    "target_modules": (["q_proj"], ["q_proj", "layers.1.mlp.up"], r".*\.(q|v)_proj", r"model\.layers\.\d+\.mlp\.up",
                       ["lm_head", "up", "c_attn"]),
    "exclude_modules": (None, ["q_proj"], r".*\.11\..*"),
    "layers_to_transform": (None, 1, [0, 11]),
    "layers_pattern": (None, "layers", ["h", "layers"]),
    "modules_to_save": (None, ["score"], ["lm_head", "mlp"]),
}  # fmt: skip


def test_targets_are_those_of_peft():
    peft = pytest.importorskip("peft")
    from peft.tuners.tuners_utils import check_target_module_exists

    compared = 0
    for values in itertools.product(*CHOICES.values()):
        config = {name: value for name, value in zip(CHOICES, values, strict=True) if value is not None}
        try:
            theirs = peft.LoraConfig(**config)
        except ValueError:  # layers with a pattern as target
            continue
        ours = lora_options(FILE, config).targets
        for path in PATHS:
            assert ours.names(path) == bool(check_target_module_exists(theirs, path)), (config, path)
            compared += 1
    assert compared > 1000


def test_ranks_and_scales_are_those_of_peft():
    peft = pytest.importorskip("peft")
    from peft.utils.other import get_pattern_key

    config = {
        "r": 4, "lora_alpha": 6, "use_rslora": True,
        "rank_pattern": {"v_proj": 2, r"layers\.1\..*": 3, "^q_proj": 7, "h.0": 9},
        "alpha_pattern": {r"(0|11)\.self_attn\.q_proj": 1.5, "up|v_proj": 2},
    }  # fmt: skip
    options = lora_options(FILE, config)
    theirs = peft.LoraConfig(**config)
    for path in PATHS:
        rank = theirs.rank_pattern.get(get_pattern_key(theirs.rank_pattern, path), theirs.r)
        alpha = theirs.alpha_pattern.get(get_pattern_key(theirs.alpha_pattern, path), theirs.lora_alpha)
        assert options.rank_of(path) == rank
        assert options.scale_of(path) == alpha / sqrt(rank)


def test_what_peft_leaves_out_has_its_default():
    options = lora_options(FILE, {})
    assert (options.rank, options.alpha, options.rslora, options.dora, options.start) == (8, 8.0, False, False, "")
    assert options.additive
    assert options.targets.modules is None
    assert options.targets.names("anything")


@pytest.mark.parametrize(
    ("entries", "additive", "reason"),
    [
        ({"init_lora_weights": "gaussian"}, True, ""),
        ({"init_lora_weights": False}, True, ""),
        ({"use_dora": True}, False, ""),
        ({"init_lora_weights": "pissa"}, False, ""),
        ({"init_lora_weights": "pissa", "use_dora": True}, False, "goes neither with DoRA"),
        ({"init_lora_weights": "olora", "fan_in_fan_out": True}, False, "with transposed layers"),
        ({"init_lora_weights": "pissa_niter_4"}, False, "changed W₀ before training"),
        ({"init_lora_weights": "loftq"}, False, "changed W₀ before training"),
        ({"init_lora_weights": 1}, False, "changed W₀ before training"),
        ({"layer_replication": [[0, 1]]}, False, "its option layer_replication"),
        ({"target_parameters": ["experts.up"]}, False, "its option target_parameters"),
    ],
)
def test_what_is_more_than_s_b_a_is_said_to_be(entries, additive, reason):
    options = lora_options(FILE, entries)
    assert options.additive == additive
    assert reason in options.reason
    assert bool(reason) == bool(options.reason)


def test_a_value_that_means_nothing_is_refused_here_too():
    with pytest.raises(CheckpointError, match=r"adapter_config.json: r is '4.9' \(float\); expected a whole number"):
        lora_options(FILE, {"r": 4.9})
