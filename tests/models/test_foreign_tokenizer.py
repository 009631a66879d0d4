"""A tokenizer of another model whose ids fit the vocabulary is doubted; the model's own is not."""

from __future__ import annotations

import json
import warnings

import pytest

from lab.models import load_plm
from lab.models.tiny import CONFIGURATIONS, tiny_plm
from lab.models.tiny_tokenizer import SPECIAL, tiny_tokenizer


def saved(family, tokenizer, folder, **entries):
    tiny_plm(family, head="lm").model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))
    return folder


@pytest.mark.parametrize("family", CONFIGURATIONS)
def test_a_models_own_tokenizer_is_not_doubted(family, tmp_path):
    folder = saved(family, tiny_plm(family).tokenizer, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_plm(folder, head="lm")


@pytest.mark.parametrize("family", ["roberta", "llama", "gemma"])
def test_one_without_the_special_tokens_of_the_configuration_is(family, tmp_path):
    """GPT-2's has three, the models here four or five."""
    assert len(SPECIAL["gpt2"]) == 3
    named = {"pad_token_id": 0, "bos_token_id": 3, "eos_token_id": 1}
    folder = saved(family, tiny_tokenizer("gpt2"), tmp_path, **named)
    with pytest.warns(
        UserWarning, match="may be that of another model: config.json has bos_token_id 3, which is the ord"
    ):
        load_plm(folder, head="lm")


def test_one_that_ends_before_a_special_token_is(tmp_path):
    """A vocabulary of 319 in a model of 321, whose last token ends a text."""
    folder = saved("bert", tiny_tokenizer("gpt2"), tmp_path, pad_token_id=0, eos_token_id=320)
    with pytest.warns(UserWarning, match="eos_token_id 320, which is no token of this tokenizer"):
        load_plm(folder, head="lm")


def test_one_that_knows_less_than_half_of_the_words_is(tmp_path):
    model = tiny_plm("gpt2", head="lm").model
    model.resize_token_embeddings(700)
    model.save_pretrained(tmp_path)
    tiny_tokenizer("gpt2").save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="another model: it has 319 tokens, the model's vocabulary 700"):
        load_plm(tmp_path, head="lm")
