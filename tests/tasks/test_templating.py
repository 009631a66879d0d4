import pytest

from lab.models.tiny import tiny_plm
from lab.tasks import Examples, Task
from lab.tasks.metrics import ACCURACY
from lab.tasks.templating import fill

TEMPLATE = "{sentence} It was {mask}."
LONG = "it was a good film and the story was bad " * 12


def single(*texts):
    return Examples(texts, tuple(range(len(texts))))


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("bert", "a good film It was [MASK]."),
        ("roberta", "a good film It was <mask>."),
        ("llama", "a good film It was"),
        ("gpt2", "a good film It was"),
    ],
)
def test_short_texts_are_filled_in_whole(family, expected):
    assert fill(TEMPLATE, single("a good film"), tiny_plm(family).tokenizer, 64) == [expected]


@pytest.mark.parametrize("family", ["bert", "roberta", "llama", "t5"])
def test_only_the_sentence_is_cut(family):
    tokenizer = tiny_plm(family).tokenizer
    (text,) = fill(TEMPLATE, single(LONG), tokenizer, 40)
    sentence, ending, _ = text.partition(" It was")
    assert ending == " It was"
    assert LONG.startswith(sentence)
    n_tokens = len(tokenizer(text)["input_ids"])
    assert 38 <= n_tokens <= 40


def test_the_longer_sentence_of_a_pair_is_cut():
    tokenizer = tiny_plm("bert").tokenizer
    examples = Examples((LONG, "a good film"), (0, 1), ("the story was bad", LONG))
    first, second = fill("{sentence1} ? {mask} , {sentence2}", examples, tokenizer, 40)
    assert first.endswith(" ? [MASK] , the story was bad")
    assert second.startswith("a good film ? [MASK] , it was a good film")
    assert len(tokenizer(first)["input_ids"]) <= 40


def test_braces_in_a_text_are_text():
    assert fill(TEMPLATE, single("{mask} {0}"), tiny_plm("bert").tokenizer, 64) == ["{mask} {0} It was [MASK]."]


def test_sentinel_of_t5(monkeypatch):
    tokenizer = tiny_plm("t5").tokenizer
    tokenizer.add_tokens(["<extra_id_0>"], special_tokens=True)
    assert fill(TEMPLATE, single("a good film"), tokenizer, 64) == ["a good film It was <extra_id_0>."]


@pytest.mark.parametrize("family", ["bert", "roberta", "llama", "gpt2", "gemma"])
def test_verbaliser_reads_the_label_words(family):
    plm = tiny_plm(family, head="lm", verbalizer=("terrible", "great"))
    train = Examples((LONG, "a bad film", "good"), (0, 0, 1))
    task = Task("toy", "classification", ("negative", "positive"), train, train, ACCURACY)
    split = task.encode(plm, max_length=40, template=TEMPLATE).train
    batch = next(iter(split.batches(3)))
    logits = plm.logits({}, batch)
    assert logits.shape == (3, 2)
    full = tiny_plm(family, head="lm").logits({}, batch)
    ids = batch["input_ids"]
    at = batch["attention_mask"].sum(1) - 1
    if plm.tokenizer.mask_token is not None:
        at = (ids == plm.tokenizer.mask_token_id).int().argmax(1)
    words = [plm.tokenizer.encode(word, add_special_tokens=False) for word in (" terrible", " great")]
    assert all(len(word) == 1 for word in words)
    expected = full[range(3), at][:, [word[0] for word in words]]
    assert logits.allclose(expected, atol=1e-10)


@pytest.mark.parametrize(
    ("template", "examples", "message"),
    [
        ("{sentence} It was.", single("a"), r"has the fields \['sentence'\]; expected each of \['mask', 'sentence'\]"),
        ("{sentence} {mask} {mask}", single("a"), "expected each of .* once for single sentences"),
        ("{sentence!r} {mask}", single("a"), "sentencer"),
        ("{sentence} {mask}", Examples(("a",), (0,), ("b",)), "once for sentence pairs"),
        (TEMPLATE, single("fine", "a [MASK] b"), r"example 1 contains the mask token '\[MASK\]'"),
    ],
)
def test_refuses(template, examples, message):
    with pytest.raises(ValueError, match=message):
        fill(template, examples, tiny_plm("bert").tokenizer, 64)


def test_refuses_a_sentence_a_causal_model_would_not_see():
    with pytest.raises(ValueError, match="a causal model would not see that sentence"):
        fill("{mask} : {sentence}", single("a"), tiny_plm("gpt2").tokenizer, 64)


def test_refuses_a_length_without_room_for_text():
    with pytest.raises(ValueError, match="max_length=8 leaves no room for the text of example 0"):
        fill(TEMPLATE, single(LONG), tiny_plm("bert").tokenizer, 8)


def test_a_character_of_several_tokens_is_cut_whole_or_not_at_all():
    """Bytes are tokens here: 24 letters of two bytes leave room for 10 tokens, so for 5 letters."""
    tokenizer = tiny_plm("llama").tokenizer
    room = len(tokenizer(" It was")["input_ids"]) + 10
    (text,) = fill(TEMPLATE, single("ж" * 24), tokenizer, room + 1)  # one token more holds half a letter
    assert text == "ж" * 5 + " It was"
    with pytest.raises(ValueError, match="leaves no room for the text of example 0"):
        fill(TEMPLATE, single("ж" * 24), tokenizer, room - 9)
