import pytest

from lab.models.tiny import tiny_plm
from lab.tasks import TEMPLATES, Examples, Task, manual_template
from lab.tasks.known import KNOWN, known
from lab.tasks.metrics import ACCURACY, F1, MATTHEWS, PEARSON
from lab.tasks.templating import fill


def task_named(name, labels, pairs=None):
    train = Examples(tuple(f"t{c}" for c in range(len(labels))), tuple(range(len(labels))), pairs)
    return Task(name, "classification", labels, train, train, ACCURACY)


@pytest.mark.parametrize(("name", "template"), TEMPLATES, ids=[name for name, _ in TEMPLATES])
def test_every_template_fills_and_has_a_word_per_class(name, template):
    row = known(name)
    if row is not None:
        assert len(template.words) == (len(row.labels) or 2)
    pairs = ("b",) if "{sentence2}" in template.template else None
    (text,) = fill(template.template, Examples(("a",), (0,), pairs), tiny_plm("bert").tokenizer, 64)
    assert text.count("[MASK]") == 1
    assert "{" not in text


def test_known_names():
    assert len({row.name for row in KNOWN}) == len(KNOWN)
    assert [known(name).name for name in ("glue/sst2", "SST_2", "sts-b/16-shot-13", "stsb")] == ["sst-2"] * 2 + [
        "sts-b"
    ] * 2
    assert known("house-prices") is None
    assert [known(name).metrics[0] for name in ("cola", "mrpc", "stsb", "rte")] == [MATTHEWS, F1, PEARSON, ACCURACY]


def test_label_words():
    assert manual_template(task_named("mr/16-shot-13", ("negative", "positive"))).words == ("terrible", "great")
    assert manual_template(task_named("mine", ("negative", "positive"))).words == ("terrible", "great")
    topics = manual_template(task_named("bbc-news", ("business", "sports", "tech")))
    assert topics.words == ("business", "sports", "tech")
    assert topics.template == "{sentence} This is about {mask}."
    pair = manual_template(task_named("same-topic", ("different", "same"), ("x", "y")))
    assert "{sentence2}" in pair.template


def test_refuses_numbered_classes():
    with pytest.raises(ValueError, match=r"no label words are known for mine with the classes \('0', '1'\)"):
        manual_template(task_named("mine", ("0", "1")))


def test_refuses_an_unknown_regression():
    examples = Examples(("a", "b"), (0.5, 1.5))
    with pytest.raises(ValueError, match="no label words are known for scores"):
        manual_template(Task("scores", "regression", (), examples, examples, PEARSON))
