"""`load_plm("tiny-bert")` is the built-in random model, unless a folder of that name lies here."""

from __future__ import annotations

import pytest
import torch

from lab.models import load_plm
from lab.models.tiny import tiny_plm


@pytest.mark.parametrize("arguments", [{}, {"num_labels": 3, "seed": 1}, {"head": "lm", "n_layers": 1}])
def test_a_tiny_name_is_the_built_in_model(arguments, batch_of):
    loaded, built = load_plm("tiny-llama", dtype=torch.float64, **arguments), tiny_plm("llama", **arguments)
    assert loaded.name == built.name == "tiny-llama"
    assert torch.equal(loaded.logits({}, batch_of(loaded)), built.logits({}, batch_of(built)))


def test_it_is_in_float32_as_every_loaded_model():
    assert load_plm("tiny-bert").dtype == torch.float32


def test_an_unknown_one_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"there is no tiny 'parrot'; choose one of .*'llama'"):
        load_plm("tiny-parrot")


def test_a_folder_of_that_name_wins_with_a_word(tmp_path, monkeypatch):
    plm = tiny_plm("bert", num_labels=5)
    plm.model.save_pretrained(tmp_path / "tiny-bert")
    plm.tokenizer.save_pretrained(tmp_path / "tiny-bert")
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match="loading the folder 'tiny-bert' that lies here"):
        assert load_plm("tiny-bert").num_labels == 5
    assert load_plm("./tiny-bert").num_labels == 5  # and without a word where it is meant
