from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lab.models.tiny import tiny_plm
from lab.tasks import Examples, Task
from lab.tasks.encoding import first_batch
from lab.tasks.metrics import ACCURACY, PEARSON
from lab.tasks.tokens import tokenize

WORDS = ["it", "was", "a", "good", "bad", "film", "story"]


def sentences(n, name):
    """n different sentences of 1 to 29 words, the lengths in no order."""
    return tuple(" ".join([name, str(i), *(WORDS[(i + j) % 7] for j in range((i * 11) % 29))]) for i in range(n))


def task_of(n=103, pairs=False):
    def examples(size, name):
        second = sentences(size, "other") if pairs else None
        return Examples(sentences(size, name), tuple(i % 2 for i in range(size)), second)

    return Task("toy", "classification", ("even", "odd"), examples(n, "train"), examples(20, "held"), ACCURACY)


@pytest.fixture(scope="module")
def plm():
    return tiny_plm("bert")


@pytest.fixture(scope="module")
def train(plm):
    return task_of().encode(plm, max_length=40).train


def rows(batch):
    """The batch's examples as a set of token tuples without padding."""
    return {tuple(ids[m.bool()].tolist()) for ids, m in zip(batch["input_ids"], batch["attention_mask"], strict=True)}


def test_tokens_and_labels_stay_together(plm):
    task = task_of()
    encoded = task.encode(plm, max_length=60)
    expected = {
        (tuple(plm.tokenizer(text)["input_ids"][:60]), label)
        for text, label in zip(task.train.texts, task.train.labels, strict=True)
        if len(plm.tokenizer(text)["input_ids"]) <= 60
    }
    got = set()
    for batch in encoded.train.batches(16):
        for ids, mask, label in zip(batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True):
            got.add((tuple(ids[mask.bool()].tolist()), int(label)))
    assert expected
    assert expected <= got
    assert len(got) == len(task.train)


def test_batch_has_the_model_s_inputs(plm, train):
    batch = train.training_batch(0, 8, seed=0)
    assert set(batch) == {"input_ids", "attention_mask", "token_type_ids", "labels"}
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}
    assert plm.logits({}, batch).shape == (8, 2)


def test_widths_are_multiples_of_eight_up_to_max_length(plm):
    split = task_of().encode(plm, max_length=37).train
    widths = {batch["input_ids"].shape[1] for batch in split.batches(4)}
    assert max(widths) == 37
    assert all(width % 8 == 0 for width in widths - {37})


@pytest.mark.parametrize(("n", "batch_size"), [(103, 1), (103, 2), (103, 16), (5, 8)])
def test_the_first_batch_is_found_in_its_pool_alone(plm, n, batch_size):
    task = task_of(n)
    whole = task.encode(plm, max_length=20).train
    for seed in range(3):
        alone = first_batch(task.train, plm, 20, batch_size, seed)
        expected = whole.training_batch(0, batch_size, seed)
        assert alone.keys() == expected.keys()
        assert all(torch.equal(alone[name], expected[name]) for name in expected)


def test_an_epoch_visits_every_example_at_most_once(train):
    n_batches = len(train) // 8
    seen = [rows(train.training_batch(step, 8, seed=5)) for step in range(n_batches)]
    assert len(set.union(*seen)) == n_batches * 8
    following = [rows(train.training_batch(step, 8, seed=5)) for step in range(n_batches, 2 * n_batches)]
    assert len(set.union(*following)) == n_batches * 8
    assert seen != following


def test_training_batch_is_a_function_of_its_arguments(plm, train):
    steps = [(step, seed) for step in (0, 30, 1, 12, 500) for seed in (0, 1)]
    first = [train.training_batch(step, 8, seed) for step, seed in steps]
    fresh = task_of().encode(plm, max_length=40).train
    again = [fresh.training_batch(step, 8, seed) for step, seed in reversed(steps)][::-1]
    for a, b in zip(first, again, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)
    assert rows(first[0]) != rows(first[1])


def test_buckets_waste_little(train):
    def padding(batches):
        masks = [batch["attention_mask"] for batch in batches]
        return 1 - sum(mask.sum() for mask in masks) / sum(mask.numel() for mask in masks)

    unsorted = [train.batch(np.arange(i, i + 8)) for i in range(0, 96, 8)]
    assert padding(train.training_batch(step, 8, 0) for step in range(12)) < 0.5 * padding(unsorted)


def test_fewer_examples_than_a_batch(train):
    assert rows(train.training_batch(0, 500, seed=0)) == rows(train.training_batch(9, 500, seed=0))
    assert len(train.training_batch(0, 500, seed=0)["labels"]) == len(train)


def test_evaluation_takes_every_example_once_longest_first(train):
    batches = list(train.batches(10))
    assert sum(len(batch["labels"]) for batch in batches) == len(train)
    assert len(set.union(*map(rows, batches))) == len(train)
    lengths = [int(n) for batch in batches for n in batch["attention_mask"].sum(1)]
    assert lengths == sorted(lengths, reverse=True)


def test_evaluation_of_the_first_examples_is_nested(train):
    def chosen(size):
        return set.union(*map(rows, train.batches(10, size=size)))

    assert len(chosen(20)) == 20
    assert chosen(20) < chosen(50) < chosen(None)
    assert chosen(10**6) == chosen(None)


def test_logits_do_not_depend_on_padding(plm, train):
    batch = next(iter(train.batches(5)))
    wide = train.padded(batch, batch["input_ids"].shape[1] + 16)
    assert wide["input_ids"].shape[1] == batch["input_ids"].shape[1] + 16
    assert torch.allclose(plm.logits({}, wide), plm.logits({}, batch), atol=1e-12)


@pytest.mark.parametrize("family", ["roberta", "llama", "gpt2", "t5", "gemma"])
def test_logits_do_not_depend_on_neighbours(family):
    plm = tiny_plm(family)
    split = task_of(12).encode(plm, max_length=40).train
    together = split.batch(np.arange(12))
    alone = torch.cat([plm.logits({}, split.batch(np.array([i]))) for i in range(12)])
    assert torch.allclose(plm.logits({}, together), alone, atol=1e-10)


def test_pairs_carry_both_sentences_and_their_types(plm):
    task = task_of(pairs=True)
    split = task.encode(plm, max_length=30).train
    batch = split.batch(np.arange(len(split)))
    assert batch["input_ids"].shape[1] == 30
    n_second = (batch["token_type_ids"] * batch["attention_mask"]).sum(1)
    n_first = batch["attention_mask"].sum(1) - n_second
    assert (n_second > 1).all()
    assert (n_first > 2).all()
    separators = (batch["input_ids"] == plm.tokenizer.sep_token_id).sum(1)
    assert (separators == 2).all()


def test_regression_labels_are_floats(plm):
    examples = Examples(("a", "b", "c"), (0.5, 2.0, 4.25))
    task = Task("scores", "regression", (), examples, examples.take([0, 2]), PEARSON)
    batch = next(iter(task.encode(plm).train.batches(3)))
    assert batch["labels"].dtype == torch.float32
    assert sorted(batch["labels"].tolist()) == [0.5, 2.0, 4.25]


def test_test_split_is_encoded_too(plm):
    encoded = task_of().few_shot(4, 0).encode(plm)
    assert (len(encoded.train), len(encoded.validation), len(encoded.test)) == (8, 8, 20)
    assert task_of().encode(plm).test is None


def test_equal_content_is_tokenised_once(plm):
    examples = task_of().train
    tokens = tokenize(examples, plm.tokenizer, 32)
    assert tokenize(task_of().train, tiny_plm("bert", seed=3).tokenizer, 32) is tokens
    assert tokenize(examples, plm.tokenizer, 33) is not tokens
    assert tokenize(examples, plm.tokenizer, 32, "{sentence} It was {mask}.") is not tokens
    assert tokenize(examples, tiny_plm("roberta").tokenizer, 32) is not tokens


def test_device_is_the_plm_s_unless_asked(train):
    assert train.training_batch(0, 4, 0)["labels"].device.type == "cpu"
    assert train.training_batch(0, 4, 0, device="meta")["input_ids"].device.type == "meta"
    assert next(train.batches(4, device="meta"))["labels"].device.type == "meta"


@pytest.mark.parametrize(("step", "size"), [(-1, 4), (0, 0)])
def test_refuses_steps_and_sizes(train, step, size):
    with pytest.raises(ValueError, match=f"step must be >= 0 and batch_size >= 1; got {step} and {size}"):
        train.training_batch(step, size, 0)


@pytest.mark.parametrize(("batch_size", "size"), [(0, None), (4, 0)])
def test_refuses_evaluation_sizes(train, batch_size, size):
    with pytest.raises(ValueError, match=f"must be at least 1; got {batch_size} and {size}"):
        train.batches(batch_size, size=size)


def test_refuses_to_pad_to_less(train):
    with pytest.raises(ValueError, match="tokens wide; cannot pad it to 3"):
        train.padded(train.training_batch(0, 4, 0), 3)


def test_refuses_a_plm_without_tokenizer():
    with pytest.raises(ValueError, match="has no tokenizer"):
        task_of().encode(SimpleNamespace(tokenizer=None, device=torch.device("cpu")))


@pytest.mark.parametrize(("pairs", "least"), [(False, 3), (True, 5)])
def test_refuses_a_length_without_room_for_text(plm, pairs, least):
    task = task_of(pairs=pairs)
    with pytest.raises(ValueError, match=f"max_length must be at least {least}"):
        task.encode(plm, max_length=least - 1)
    assert int(task.encode(plm, max_length=least).train.lengths.max()) == least


def test_refuses_a_text_without_tokens():
    class Blind:
        """A tokenizer that knows no character of "b"."""

        pad_token_id, eos_token_id, model_input_names, special_tokens_map = None, None, ["input_ids"], {}

        def get_vocab(self):
            return {"a": 0}

        def num_special_tokens_to_add(self, pair):
            return 0

        def __call__(self, texts, pairs, **options):
            return {"input_ids": [[0] * text.count("a") for text in texts]}

    assert tokenize(Examples(("a", "aba"), (0, 1)), Blind(), 8).lengths.tolist() == [1, 2]
    with pytest.raises(ValueError, match="example 1 has no token: 'b'; drop it"):
        tokenize(Examples(("a", "b"), (0, 1)), Blind(), 8)


def test_texts_longer_than_the_models_positions_are_cut_with_a_warning():
    plm = tiny_plm("bert")
    plm.tokenizer.model_max_length = 12
    with pytest.warns(
        UserWarning, match=r"\d+ of \d+ texts are cut at 12 tokens, the positions this model has; max_length 40"
    ):
        split = task_of().encode(plm, max_length=40).train
    assert int(split.lengths.max()) == 12
    assert int(task_of().encode(plm, max_length=12).train.lengths.max()) == 12  # as asked: not a word
