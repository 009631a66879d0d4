"""Heads: widths, positions, label words."""

from __future__ import annotations

import pytest
import torch
import transformers

from lab.models.heads import label_ids
from lab.models.tiny import FAMILIES, tiny_plm
from lab.models.tiny_tokenizer import tiny_tokenizer

WORDS = ("bad", "good", "great")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_regression_head_has_one_output(family, batch_of):
    plm = tiny_plm(family, head="regression")
    assert tiny_plm(family, num_labels=1).head == plm.head
    assert plm.num_labels == 1
    assert plm.logits({}, batch_of(plm)).shape == (3, 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_language_model_head_gives_the_whole_vocabulary(family, batch_of):
    plm = tiny_plm(family, head="lm")
    batch = batch_of(plm)
    length = 1 if family == "t5" else batch["input_ids"].shape[1]
    assert plm.logits({}, batch).shape == (3, length, len(plm.tokenizer))
    assert plm.num_labels == len(plm.tokenizer)
    assert not plm.new_names


@pytest.mark.parametrize("family", FAMILIES)
def test_a_verbalizer_reads_its_words_at_the_one_position(family, batch_of):
    plm, full = tiny_plm(family, head="lm", verbalizer=WORDS), tiny_plm(family, head="lm")
    batch = batch_of(plm, masked=True)
    ids = [plm.tokenizer.encode(f" {word}", add_special_tokens=False)[0] for word in WORDS]
    logits = plm.logits({}, batch)
    assert plm.num_labels == 3
    for i, row in enumerate(batch["input_ids"]):
        if family == "t5":
            position = 0
        elif plm.architecture.kind == "encoder":
            position = row.tolist().index(plm.tokenizer.mask_token_id)
        else:
            position = int(batch["attention_mask"][i].sum()) - 1
        expected = full.logits({}, batch)[i, position, ids]
        # the head multiplies another number of positions, so the last bits may differ
        torch.testing.assert_close(logits[i], expected)


def test_a_decoders_verbalizer_computes_few_positions(batch_of):
    plm = tiny_plm("llama", head="lm", verbalizer=WORDS)
    batch = batch_of(plm)
    seen = []
    hook = plm.model.lm_head.register_forward_hook(lambda module, args, output: seen.append(args[0].shape[1]))
    plm.logits({}, dict(plm.tokenizer(["it was a good film"], return_tensors="pt")))
    plm.logits({}, batch)
    hook.remove()
    lengths = batch["attention_mask"].sum(1)
    assert seen == [1, int(lengths.max() - lengths.min()) + 1]


def test_the_position_is_counted_from_the_end_so_soft_tokens_before_the_text_do_not_shift_it(batch_of):
    # twelve tokens put before every text by a grafted prompt look like this to the head
    plm = tiny_plm("bert", head="lm", verbalizer=WORDS)
    batch = batch_of(plm, masked=True)
    full = tiny_plm("bert", head="lm").logits({}, batch)

    def run(**inputs):
        longer = torch.cat([torch.zeros(3, 12, full.shape[-1], dtype=full.dtype), full], dim=1)
        return transformers.modeling_outputs.MaskedLMOutput(logits=longer)

    torch.testing.assert_close(plm.head.logits(run, batch), plm.logits({}, batch))


def test_decoders_read_the_last_token_of_left_padded_texts_too(batch_of):
    plm = tiny_plm("llama")
    right = batch_of(plm)
    plm.tokenizer.padding_side = "left"
    left = batch_of(plm)
    assert not torch.equal(left["attention_mask"], right["attention_mask"])
    torch.testing.assert_close(plm.logits({}, left), plm.logits({}, right))


def test_a_text_without_the_mask_token_is_refused(batch_of):
    plm = tiny_plm("bert", head="lm", verbalizer=WORDS)
    with pytest.raises(ValueError, match=r"every text needs the mask token \(id 4\).*Put the tokenizer's mask token"):
        plm.logits({}, batch_of(plm))


def test_label_words_are_single_different_tokens():
    tokenizer = tiny_tokenizer("roberta")
    assert label_ids(tokenizer, ["good", " bad"]) == tuple(
        tokenizer.encode(word, add_special_tokens=False)[0] for word in (" good", " bad")
    )
    with pytest.raises(ValueError, match=r"a label word must be one token; 'unheard' becomes \["):
        label_ids(tokenizer, ["good", "unheard"])
    with pytest.raises(ValueError, match=r"label words must differ in their tokens; \('good', ' good'\)"):
        label_ids(tokenizer, ["good", " good"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"head": "span"}, r"head must be one of \('classification', 'regression', 'lm'\); got 'span'"),
        ({"head": "regression", "num_labels": 2}, r"a regression head has one output; got num_labels=2"),
        ({"num_labels": 0}, r"num_labels must be 2 or more classes, or 1 for regression; got 0"),
        ({"verbalizer": ("bad", "good")}, r"a verbalizer goes with head=\"lm\"; got head='classification'"),
        ({"head": "lm", "verbalizer": WORDS, "num_labels": 2}, r"num_labels=2, but the verbalizer has 3 words"),
    ],
)
def test_heads_that_do_not_fit_together_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        tiny_plm("bert", **arguments)
