from __future__ import annotations

import pytest
import torch

from lab.deltas import LoRA, Prefix, Prompt, prefix_mass
from lab.deltas.prompt import resolved_placement

DECODERS = ("llama", "gpt2", "gemma")


def text_with_soft_tokens(plm, ids, tokens, placement):
    """The embeddings a prompt should produce, put together by hand."""
    embeds = plm.model.get_input_embeddings()(ids)
    soft = tokens.expand(len(ids), *tokens.shape)
    start = 0 if placement == "front" else 1
    return torch.cat([embeds[:, :start], soft, embeds[:, start:]], dim=1)


@pytest.mark.parametrize("family", ["bert", "roberta", *DECODERS])
def test_language_model_logits_are_those_of_the_longer_text(plm_of, batch_of, noise, family):
    """Soft tokens equal to ordinary embeddings act as those tokens: same logits at the positions of the text."""
    plm = plm_of(family, head="lm")
    batch = batch_of(plm, padding=False)
    placement = "front" if family in DECODERS else "after-first"
    delta = Prompt(tokens=3, placement=placement).on(plm)
    new = torch.tensor([9, 11, 10])
    ids, start = batch["input_ids"], 0 if placement == "front" else 1
    longer = torch.cat([ids[:, :start], new.expand(3, 3), ids[:, start:]], dim=1)
    soft = plm.model.get_input_embeddings()(new)
    logits = delta.plm.logits({delta.layout.names[0]: soft}, batch)
    expected = plm.logits({}, {"input_ids": longer, "attention_mask": torch.ones_like(longer)})
    expected = torch.cat([expected[:, :start], expected[:, start + 3 :]], dim=1)
    assert logits.shape == (3, 6, expected.shape[-1])
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("family", ["bert", "roberta", *DECODERS, "t5"])
@pytest.mark.parametrize("placement", ["front", "after-first"])
def test_classification_is_that_of_the_longer_text(plm_of, batch_of, family, placement):
    if family in ("t5", *DECODERS) and placement == "after-first":
        pytest.skip("their texts have no first token that a head reads")
    plm = plm_of(family)
    batch = batch_of(plm)
    delta = Prompt(tokens=2, placement=placement, head="frozen").on(plm)
    new, ids, start = torch.tensor([9, 11]), batch["input_ids"], 0 if placement == "front" else 1
    longer = torch.cat([ids[:, :start], new.expand(3, 2), ids[:, start:]], dim=1)
    mask = torch.cat([torch.ones(3, 2, dtype=torch.int64), batch["attention_mask"]], dim=1)
    given = {"input_ids": longer, "attention_mask": mask}
    if family == "t5":  # only the encoder reads soft tokens; the decoder reads the text as before
        shifted = torch.cat([torch.zeros(3, 1, dtype=torch.int64), ids[:, :-1]], dim=1)
        states = plm.model.transformer(**given, decoder_input_ids=shifted).last_hidden_state
        last = batch["attention_mask"].sum(1) - 1
        expected = plm.model.classification_head(states[torch.arange(3), last])
    else:
        expected = plm.logits({}, given)
    soft = plm.model.get_input_embeddings()(new)
    logits = delta.plm.logits({delta.layout.names[0]: soft}, batch)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("family", ["bert", "llama", "t5"])
def test_verbalizers_find_their_position(plm_of, family):
    plm = plm_of(family, head="lm", verbalizer=("bad", "good"))
    mask = plm.tokenizer.mask_token or ""
    batch = dict(plm.tokenizer([f"a good film {mask}", f"bad {mask}"], padding=True, return_tensors="pt"))
    delta = Prompt(tokens=3).on(plm)
    vocabulary = plm.model.get_input_embeddings()
    soft = vocabulary(torch.tensor([9, 10, 11]))
    start = 1 if family == "bert" else 0
    longer = {
        name: torch.cat([x[:, :start], new.expand(2, 3).to(x.dtype), x[:, start:]], dim=1)
        for name, x in batch.items()
        for new in [torch.tensor([9, 10, 11]) if name == "input_ids" else torch.tensor(int(name == "attention_mask"))]
    }
    logits = delta.plm.logits({delta.layout.names[0]: soft}, batch)
    assert logits.shape == (2, 2)
    torch.testing.assert_close(logits, plm.logits({}, longer), rtol=0, atol=1e-12)


def test_auto_placement_leaves_the_first_token_of_encoders_first(plm_of):
    assert resolved_placement(plm_of("bert"), "auto") == "after-first"
    assert resolved_placement(plm_of("llama"), "auto") == "front"
    assert resolved_placement(plm_of("t5"), "auto") == "front"
    assert resolved_placement(plm_of("bert"), "front") == "front"
    assert resolved_placement(plm_of("llama"), "after-first") == "after-first"


def test_vocabulary_start_is_rows_of_the_embedding_drawn_by_seed(plm_of):
    plm = plm_of()
    weight = plm.parameters["bert.embeddings.word_embeddings.weight"]
    first, again, other = (Prompt(tokens=5).on(plm, seed=s) for s in (0, 0, 1))
    start = first.plm.parameters[first.layout.names[0]]
    assert all(any(torch.equal(row, known) for known in weight) for row in start)
    assert torch.equal(start, again.plm.parameters[again.layout.names[0]])
    assert not torch.equal(start, other.plm.parameters[other.layout.names[0]])


def test_a_prompt_longer_than_the_vocabulary_repeats_tokens(plm_of):
    size = plm_of().parameters["bert.embeddings.word_embeddings.weight"].shape[0]
    delta = Prompt(tokens=size + 3, head="frozen").on(plm_of())
    assert delta.size == (size + 3) * 16


def test_random_start_is_uniform_on_half(plm_of):
    delta = Prompt(tokens=50, init="random").on(plm_of())
    start = delta.plm.parameters[delta.layout.names[0]]
    assert start.abs().max() <= 0.5
    assert start.std() == pytest.approx(1 / 12**0.5, rel=0.1)


def test_more_positions_than_the_model_has_are_refused(plm_of, batch_of):
    for family in ("bert", "roberta", "gpt2"):
        delta = Prompt(tokens=251).on(plm_of(family))
        with pytest.raises(ValueError, match="251 soft tokens and 6 tokens of text exceed this model's 256 positions"):
            delta.logits(delta.phi0, batch_of(plm_of(family)))
        fits = Prompt(tokens=250).on(plm_of(family))
        assert fits.logits(fits.phi0, batch_of(plm_of(family))).isfinite().all()


def test_a_four_dimensional_mask_is_refused(plm_of, batch_of):
    delta, batch = Prompt(tokens=2).on(plm_of()), batch_of(plm_of())
    with pytest.raises(ValueError, match=r"2-D attention mask \(batch, seq\); got shape \(3, 1, 6, 6\)"):
        delta.logits(delta.phi0, {**batch, "attention_mask": torch.ones(3, 1, 6, 6, dtype=torch.bool)})


@pytest.mark.parametrize("placement", ["front", "after-first"])
def test_given_positions_and_types_make_room(plm_of, batch_of, placement):
    """Positions 0 … 5 given or left to BERT are the same, and token types take the first token's."""
    plm, batch = plm_of(), batch_of(plm_of())
    delta = Prompt(tokens=2, placement=placement).on(plm)
    given = {**batch, "position_ids": torch.arange(6).expand(3, 6), "token_type_ids": torch.zeros(3, 6).long()}
    torch.testing.assert_close(delta.logits(delta.phi0, given), delta.logits(delta.phi0, batch), rtol=0, atol=1e-14)


@pytest.mark.parametrize("family", ["bert", "llama", "gpt2"])
def test_prompt_and_prefix_do_not_depend_on_their_order(plm_of, batch_of, family):
    plm, batch = plm_of(family), batch_of(plm_of(family))
    prompt, prefix = Prompt(tokens=2, head="frozen").on(plm), Prefix(tokens=3, head="frozen").on(plm)
    one = (prompt + prefix).logits(torch.cat([prompt.phi0, prefix.phi0]), batch)
    two = (prefix + prompt).logits(torch.cat([prefix.phi0, prompt.phi0]), batch)
    torch.testing.assert_close(one, two, rtol=0, atol=1e-13)


def test_two_prompts_are_one_long_prompt(plm_of, batch_of):
    plm, batch = plm_of("llama"), batch_of(plm_of("llama"))
    two = Prompt(tokens=1, head="frozen").on(plm) + Prompt(tokens=2, label="second", head="frozen").on(plm, seed=1)
    values = two.overrides(two.phi0)
    long = Prompt(tokens=3, head="frozen").on(plm)
    joined = torch.cat([values["model.second.tokens"], values["model.prompt.tokens"]])  # hooked last, inserted in front
    torch.testing.assert_close(
        two.logits(two.phi0, batch), long.plm.logits({"model.prompt.tokens": joined}, batch), rtol=0, atol=1e-13
    )


def test_prompt_beside_lora_changes_the_weights_it_runs_through(plm_of, batch_of, noise):
    plm, batch = plm_of(), batch_of(plm_of())
    prompt, lora = Prompt(tokens=2, head="frozen").on(plm), LoRA(rank=1, head="frozen").on(plm)
    both = prompt + lora
    psi = lora.phi0 + noise(lora.size)
    expected = prompt.plm.logits({**prompt.overrides(prompt.phi0), **lora.overrides(psi)}, batch)
    assert torch.equal(both.logits(torch.cat([prompt.phi0, psi]), batch), expected)


def test_the_default_is_the_source_texts_hundred_tokens():
    assert Prompt().tokens == 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens": 0}, "tokens >= 1; got 0"),
        ({"init": "zeros"}, "init must be .*; got 'zeros'"),
        ({"placement": "back"}, "placement must be .*; got 'back'"),
    ],
)
def test_misuse_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Prompt(**options)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", ["bert", "llama", "gpt2"])
def test_mass_is_the_models_own_attention_on_the_soft_tokens(plm_of, batch_of, family, attention):
    """With soft tokens equal to ordinary embeddings: the attention that transformers reports for the longer text."""
    plm, bare = plm_of(family, attention=attention), plm_of(family)
    batch = batch_of(plm, padding=False)
    delta = Prompt(tokens=3, head="frozen").on(plm)
    new, ids = torch.tensor([9, 11, 10]), batch["input_ids"]
    start = 1 if family == "bert" else 0
    longer = torch.cat([ids[:, :start], new.expand(3, 3), ids[:, start:]], dim=1)
    text = [i for i in range(longer.shape[1]) if not start <= i < start + 3]
    given = {"input_ids": longer, "attention_mask": torch.ones_like(longer), "output_attentions": True}
    expected = bare.model(**given).attentions
    phi = plm.model.get_input_embeddings()(new) - next(iter(delta.overrides(delta.phi0).values()))
    found = prefix_mass(delta, phi.detach().reshape(-1), batch)
    assert len(found) == len(expected) == 2
    for share, weights in zip(found.values(), expected, strict=True):
        assert share.shape == (3, 4, 6)
        torch.testing.assert_close(share, weights[:, :, text, start : start + 3].sum(-1), rtol=0, atol=1e-6)


def test_mass_of_a_prefix_and_prompts_is_that_of_all_trained_tokens(plm_of, batch_of):
    """One prompt of five tokens takes what its parts take as two prompts; a prefix comes on top; T5's encoder alone."""
    plm, batch = plm_of("llama"), batch_of(plm_of("llama"))
    whole = Prompt(tokens=5, head="frozen").on(plm)
    parts = Prompt(tokens=2, head="frozen").on(plm) + Prompt(tokens=3, label="second", head="frozen").on(plm)
    soft = next(iter(whole.overrides(whole.phi0).values()))
    starts = list(parts.overrides(parts.phi0).values())
    phi = torch.cat([(soft[3:] - starts[0]).reshape(-1), (soft[:3] - starts[1]).reshape(-1)])  # the later one in front
    expected = prefix_mass(whole, whole.phi0, batch)
    for path, share in prefix_mass(parts, phi, batch).items():
        torch.testing.assert_close(share, expected[path], rtol=0, atol=1e-6)
    both = Prompt(tokens=5, head="frozen").on(plm) + Prefix(tokens=2, head="frozen").on(plm)
    joint = prefix_mass(both, both.phi0, batch)
    first = next(iter(expected))  # further on the states differ, too
    assert bool((joint[first] > expected[first]).all())
    assert joint[first].shape == expected[first].shape
    encoder = Prompt(tokens=2).on(plm_of("t5"))
    found = prefix_mass(encoder, encoder.phi0, batch_of(plm_of("t5")))
    assert len(found) == 2
    assert all("encoder." in path and "decoder" not in path for path in found)
