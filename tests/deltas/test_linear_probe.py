"""The head alone: a new one, or the one that a checkpoint brings."""

from __future__ import annotations

import pytest
import torch

from lab.deltas import LinearProbe
from lab.deltas.linear_probe import classifier_names
from lab.models import load_plm


@pytest.mark.parametrize("family", ["bert", "roberta", "llama", "t5", "distilbert"])
def test_a_checkpoint_that_brings_a_head_is_probed_with_that_head(family, plm_of, batch_of, noise, tmp_path):
    new = plm_of(family, num_labels=3)
    new.model.save_pretrained(tmp_path)
    plm = load_plm(tmp_path, dtype=torch.float64)
    assert not plm.new_names
    assert set(classifier_names(plm)) == set(classifier_names(new)) == new.new_names - poolers(new)
    probe, batch = LinearProbe().on(plm), batch_of(plm)
    assert probe.size == sum(plm.parameters[name].numel() for name in classifier_names(plm)) > 0
    assert torch.equal(probe.logits(probe.phi0, batch), plm.logits({}, batch))
    phi = noise(probe.size)
    assert probe.overrides(phi).keys() == set(classifier_names(plm))
    assert not torch.allclose(probe.logits(phi, batch), plm.logits({}, batch))


def poolers(plm) -> set[str]:
    base = plm.architecture.base_path(plm.model)
    return {name for name in plm.new_names if name.startswith(base)}


def test_a_language_model_head_is_no_classifier(plm_of):
    assert classifier_names(plm_of("bert", head="lm")) == ()
