import json
import os
import sys
import types
from pathlib import Path

import pytest

from lab.tasks import BadFile, MissingPackage, load_task
from lab.tasks.glue import load_glue

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = Path(os.environ.get("DELTALAB_TASKS", ROOT.parent / "shared" / "data" / "tasks"))
needs_folders = pytest.mark.skipif(not FOLDERS.is_dir(), reason="no task folders: set DELTALAB_TASKS")


def lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows(n, name, n_classes=2, label=int):
    return [{"sentence": f"{name} {i}", "label": label(i % n_classes)} for i in range(n)]


@pytest.fixture
def folder(tmp_path):
    lines(tmp_path / "sst-2" / "train.jsonl", rows(8, "train"))
    lines(tmp_path / "sst-2" / "validation.jsonl", rows(6, "validation"))
    lines(tmp_path / "sst-2" / "16-shot-13" / "train.jsonl", rows(4, "few"))
    lines(tmp_path / "sst-2" / "16-shot-13" / "validation.jsonl", rows(4, "development"))
    return tmp_path / "sst-2"


def test_folder(folder):
    task = load_task(folder)
    assert (task.name, task.kind, task.labels) == ("sst-2", "classification", ("negative", "positive"))
    assert (len(task.train), len(task.validation), task.test) == (8, 6, None)
    assert load_task(str(folder), seed=7).fingerprint == task.fingerprint


def test_few_shot_subfolder_by_name_or_path(folder):
    by_name = load_task(folder, few_shot_split="16-shot-13")
    by_path = load_task(folder / "16-shot-13")
    assert by_name.fingerprint == by_path.fingerprint
    assert by_name.name == "sst-2/16-shot-13"
    assert (len(by_name.train), len(by_name.validation), len(by_name.test)) == (4, 4, 6)


@pytest.mark.parametrize("name", ["16-shot-99", "../sst-2", "train.jsonl"])
def test_folder_without_that_few_shot_split(folder, name):
    with pytest.raises(BadFile, match=r"has no few-shot split .*; it has \['16-shot-13'\]"):
        load_task(folder, few_shot_split=name)


def test_few_shot_split_needs_a_folder(tmp_path):
    path = lines(tmp_path / "mine.jsonl", rows(20, "a"))
    with pytest.raises(ValueError, match="few_shot_split='16-shot-13' belongs to a task folder"):
        load_task(path, few_shot_split="16-shot-13")


def test_folder_without_validation(tmp_path):
    lines(tmp_path / "train.jsonl", rows(4, "a"))
    with pytest.raises(
        BadFile, match=r"has no validation or valid or val or dev \(\.csv, .*; a task folder holds train and validation"
    ):
        load_task(tmp_path)


@pytest.mark.parametrize("validation", ["validation", "dev"])
def test_folder_of_tables_with_a_test_file(tmp_path, validation):
    for split, n in (("train", 6), (validation, 4), ("test", 2)):
        (tmp_path / f"{split}.csv").write_text("text,label\n" + "".join(f"{split} {i},{i % 2}\n" for i in range(n)))
    task = load_task(tmp_path)
    assert (len(task.train), len(task.validation), len(task.test)) == (6, 4, 2)
    assert task.labels == ("0", "1")


def test_file_is_split_here(tmp_path):
    path = lines(tmp_path / "mine.jsonl", rows(50, "text", n_classes=5))
    task = load_task(path)
    assert (task.name, task.num_labels, len(task.train), len(task.validation)) == ("mine", 5, 40, 10)
    assert task.overlap == 0
    assert load_task(path).fingerprint == task.fingerprint
    assert load_task(path, seed=1).fingerprint != task.fingerprint


def test_float_labels_make_a_regression(tmp_path):
    path = lines(tmp_path / "mine.jsonl", [{"text": f"t {i}", "label": i / 2} for i in range(20)])
    task = load_task(path)
    assert (task.kind, task.num_labels, task.metric.name) == ("regression", 1, "Pearson")
    assert [metric.name for metric in task.further_metrics] == ["Spearman"]


def test_one_split_of_whole_numbers_joins_the_regression(tmp_path):
    lines(tmp_path / "train.jsonl", [{"text": f"t {i}", "label": i / 2} for i in range(6)])
    lines(tmp_path / "validation.jsonl", [{"text": f"v {i}", "label": i} for i in range(6)])
    assert load_task(tmp_path).validation.labels == (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)


def test_whole_floats_are_warned_about(tmp_path):
    path = lines(tmp_path / "mine.jsonl", rows(20, "text", label=float))
    with pytest.warns(UserWarning, match="so this is a regression; write the labels as integers"):
        assert load_task(path).kind == "regression"


def test_overlap_is_warned_about(tmp_path):
    lines(tmp_path / "train.jsonl", rows(8, "same"))
    lines(tmp_path / "validation.jsonl", rows(4, "same"))
    with pytest.warns(UserWarning, match="4 of 4 validation texts are also training texts"):
        assert load_task(tmp_path).overlap == 4


def test_a_known_metric_that_does_not_fit_is_not_used(tmp_path):
    path = lines(tmp_path / "mrpc.jsonl", rows(50, "text", n_classes=5))
    assert load_task(path).metric.name == "accuracy"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1] * 20, "every training example has the label 1"),
    ],
)
def test_refuses_labels(tmp_path, labels, message):
    path = lines(tmp_path / "mine.jsonl", [{"text": f"t {i}", "label": c} for i, c in enumerate(labels)])
    with pytest.raises(ValueError, match=message):
        load_task(path)


@pytest.mark.parametrize(
    ("labels", "values", "names"),
    [
        ([0, 1], (), ("0", "1")),
        ([-1, 1], ("-1", "1"), ("-1", "1")),
        ([1, 2, 3], ("1", "2", "3"), ("1", "2", "3")),
        ([0, 2, 7], ("0", "2", "7"), ("0", "2", "7")),
        ([-1, 0, 1], ("-1", "0", "1"), ("-1", "0", "1")),
        ([False, True], ("false", "true"), ("false", "true")),
        (["bad", "good"], ("bad", "good"), ("bad", "good")),
        (["0", "1"], (), ("0", "1")),
    ],
)
def test_labels_as_people_write_them_become_classes_and_the_mapping_is_kept(tmp_path, labels, values, names):
    n = len(labels)
    path = lines(tmp_path / "mine.jsonl", [{"text": f"t {i}", "label": labels[-1 - i % n]} for i in range(10 * n)])
    task = load_task(path)
    assert (task.label_values, task.labels, task.num_labels) == (values, names, n)
    for examples in (task.train, task.validation):
        assert [n - 1 - int(text[2:]) % n for text in examples.texts] == list(examples.labels)


def test_words_of_a_known_task_keep_its_order_whatever_their_case(tmp_path):
    words = ["Positive", "Negative"]
    path = lines(tmp_path / "sst-2.jsonl", [{"text": f"t {i}", "label": words[i % 2]} for i in range(20)])
    task = load_task(path)
    assert (task.labels, task.label_values) == (("negative", "positive"), ("Negative", "Positive"))


def test_stars_counted_from_one_get_the_names_of_the_known_task(tmp_path):
    path = lines(tmp_path / "amazon-5.jsonl", [{"text": f"t {i}", "label": 1 + i % 5} for i in range(50)])
    task = load_task(path)
    assert (task.labels[0], task.label_values) == ("1 star", ("1", "2", "3", "4", "5"))


def test_one_mapping_for_all_files_of_a_folder(tmp_path):
    lines(tmp_path / "train.jsonl", [{"text": f"t {i}", "label": "abc"[i % 3]} for i in range(9)])
    lines(tmp_path / "validation.jsonl", [{"text": f"v {i}", "label": "bc"[i % 2]} for i in range(4)])
    assert load_task(tmp_path).validation.labels == (1, 2, 1, 2)


def test_a_class_that_training_lacks_is_named_as_it_is_written(tmp_path):
    lines(tmp_path / "train.jsonl", [{"text": f"t {i}", "label": "ab"[i % 2]} for i in range(9)])
    lines(tmp_path / "validation.jsonl", [{"text": f"v {i}", "label": "cb"[i % 2]} for i in range(4)])
    with pytest.raises(ValueError, match="no training example has the label 'c'; every one of the 3 classes needs"):
        load_task(tmp_path)


def test_test_data_without_labels_are_refused(tmp_path):
    for part, label in (("train", [0, 1]), ("validation", [0, 1]), ("test", [-1, -1])):
        lines(tmp_path / f"{part}.jsonl", [{"text": f"{part} {i}", "label": label[i % 2]} for i in range(4)])
    with pytest.raises(BadFile, match=r"test\.jsonl: every label is -1: a test set without labels cannot be used"):
        load_task(tmp_path)


def test_files_whose_labels_are_of_two_kinds_are_refused(tmp_path):
    lines(tmp_path / "train.jsonl", [{"text": f"t {i}", "label": i % 2} for i in range(4)])
    lines(tmp_path / "validation.jsonl", [{"text": f"v {i}", "label": "ab"[i % 2]} for i in range(4)])
    with pytest.raises(BadFile, match=r"a number in .*train\.jsonl, a word in .*validation\.jsonl; write them alike"):
        load_task(tmp_path)


def test_a_column_of_texts_is_no_label_column(tmp_path):
    path = lines(tmp_path / "mine.jsonl", [{"text": f"t {i}", "label": f"l {i}"} for i in range(1001)])
    with pytest.raises(BadFile, match=r"1001 different labels, e.g. .*; this column is no label column"):
        load_task(path)


@pytest.mark.parametrize("counts", [[20, 20, 1], [20, 1, 20], [1, 1, 20], [2, 20, 2]])
@pytest.mark.parametrize("seed", range(3))
def test_every_class_has_a_training_example(tmp_path, counts, seed):
    table = [{"text": f"t {c} {i}", "label": c} for c, n in enumerate(counts) for i in range(n)]
    task = load_task(lines(tmp_path / "mine.jsonl", table), seed=seed)
    assert set(task.train.labels) == {0, 1, 2}
    assert len(task.train) + len(task.validation) == sum(counts)


@pytest.mark.parametrize(("first", "remedy"), [
    (b"PAR1\xff", "it is a Parquet file: call it .parquet"),
    (b"PK\x03\x04\xff", "export the table as CSV"),
    (b"\x1f\x8b\xff", "it is compressed: gunzip it"),
    ("text,label\n".encode("utf-16"), "it is UTF-16: save it as UTF-8"),
    ("text,label\ngr\u00fcn,1\n".encode("latin-1"), "convert it to UTF-8"),
])  # fmt: skip
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json"])
def test_a_file_that_is_no_text_says_what_it_is(tmp_path, suffix, first, remedy):
    path = tmp_path / f"mine{suffix}"
    path.write_bytes(first)
    with pytest.raises(ValueError, match=rf"mine{suffix} is not UTF-8 text \(.*\); .*{remedy}"):
        load_task(path)


def test_classes_of_one_text_each_cannot_be_split(tmp_path):
    path = lines(tmp_path / "mine.jsonl", [{"text": f"t {i}", "label": i} for i in range(9)])
    with pytest.raises(ValueError, match="no two of the 9 different texts have the same label"):
        load_task(path)


def test_columns_are_asked_for_by_name(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("id,body,stars\n" + "".join(f"{i},t {i},{i % 2}\n" for i in range(20)))
    assert load_task(path, text_column="body", label_column="stars").num_labels == 2
    with pytest.raises(BadFile, match="--label-column"):
        load_task(path)
    with pytest.raises(ValueError, match="text_column and label_column belong to a file or folder; got 'bbc-news'"):
        load_task("bbc-news", text_column="body")


def test_unknown_name_lists_the_choices(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"unknown task 'bbc-new': .* Known names: bbc-news, rotten-tomatoes, imdb"):
        load_task("bbc-new")


# --- GLUE ------------------------------------------------------------------------------------------------------------


def test_glue_maps_columns_splits_and_metrics():
    asked = []

    def fetch(repository, config):
        asked.append((repository, config))
        block = {"question": ["q1", "q2"], "sentence": ["s1", "s2"], "label": [0, 1]}
        held = {"question": ["q3"], "sentence": ["s3"], "label": [1]}
        return {"train": block, "validation": held, "test": {}}

    task = load_glue("glue/qnli", fetch)
    assert asked == [("nyu-mll/glue", "qnli")]
    assert task.train.keys == (("q1", "s1"), ("q2", "s2"))
    assert (task.labels, task.metric.name) == (("entailment", "not entailment"), "accuracy")


def test_glue_sts_b_is_a_regression():
    block = {"sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": [1.5, 4]}
    task = load_glue("glue/sts-b", lambda *_: {"train": block, "validation": block | {"sentence1": ["x", "y"]}})
    assert (task.kind, task.train.labels) == ("regression", (1.5, 4.0))


def test_glue_mnli_validates_on_the_matched_data():
    def block(n):
        return {"premise": [f"p{n}{i}" for i in range(3)], "hypothesis": ["h"] * 3, "label": [0, 1, 2]}

    task = load_glue("glue/mnli", lambda *_: {"train": block(1), "validation_matched": block(2)})
    assert task.validation.texts == ("p20", "p21", "p22")


def test_glue_unknown_task():
    with pytest.raises(ValueError, match="unknown GLUE task 'glue/imdb'; expected one of"):
        load_task("glue/imdb")


def test_glue_without_datasets(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingPackage, match=r"needs `datasets`: pip install 'deltalab\[hub\]'.*bbc-news"):
        load_task("glue/sst2")


def test_glue_without_network(monkeypatch):
    def load_dataset(repository, config):
        raise ConnectionError("no route to host")

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(
        MissingPackage, match=r"could not fetch glue/sst2 \(ConnectionError: no route to host\).*bbc-news"
    ):
        load_task("glue/sst2")


# --- the development folders -----------------------------------------------------------------------------------------

FACTS = [
    ("cola", 543, 500, 2, "Matthews"),
    ("sst-2", 436, 436, 2, "accuracy"),
    ("mr", 1334, 666, 2, "accuracy"),
    ("sst-5", 1474, 736, 5, "accuracy"),
    ("imdb", 1000, 1000, 2, "accuracy"),
    ("amazon-5", 1000, 1000, 5, "accuracy"),
    ("qnli", 2000, 1000, 2, "accuracy"),
    ("rte", 139, 138, 2, "accuracy"),
    ("mrpc", 204, 204, 2, "F1"),
    ("sts-b", 1000, 500, 1, "Pearson"),
    ("subj", 1334, 666, 2, "accuracy"),
    ("ag-news", 1000, 1000, 4, "accuracy"),
    ("yahoo", 1000, 1000, 10, "accuracy"),
]


@needs_folders
@pytest.mark.parametrize(("name", "n_train", "n_validation", "num_labels", "metric"), FACTS)
def test_development_folders(name, n_train, n_validation, num_labels, metric):
    task = load_task(FOLDERS / name)
    assert (len(task.train), len(task.validation), task.num_labels) == (n_train, n_validation, num_labels)
    assert task.metric.name == metric


@needs_folders
def test_development_folder_with_published_overlap():
    with pytest.warns(UserWarning, match="mpqa: 96 of 666 validation texts"):
        assert len(load_task(FOLDERS / "mpqa").train) == 1334


@needs_folders
@pytest.mark.parametrize("seed", [13, 21, 42, 87, 100])
def test_our_few_shot_sampler_matches_the_published_shape(seed):
    published = load_task(FOLDERS / "sst-5", few_shot_split=f"16-shot-{seed}")
    ours = load_task(FOLDERS / "sst-5").few_shot(16, seed)
    assert sorted(ours.train.labels) == sorted(published.train.labels)
    assert sorted(ours.validation.labels) == sorted(published.validation.labels)
    assert ours.test.fingerprint == published.test.fingerprint
    assert ours.name == published.name


def test_names_of_folders_in_the_task_folder(tmp_path, monkeypatch):
    for split, n in (("mine", 8), ("mine/16-shot-13", 4)):
        (tmp_path / split).mkdir(parents=True)
        for part in ("train", "validation"):
            rows = [{"sentence": f"{part} {split} {i}", "label": i % 2} for i in range(n)]
            (tmp_path / split / f"{part}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    monkeypatch.setenv("DELTALAB_TASKS", str(tmp_path))
    assert load_task("mine").name == "mine"
    assert len(load_task("mine").train) == 8
    few = load_task("mine/16-shot-13")
    assert (few.name, len(few.train), len(few.test)) == ("mine/16-shot-13", 4, 8)
    assert load_task("bbc-news").num_labels == 5  # a name of the lab still wins
    with pytest.raises(ValueError, match=r"unknown task 'yours': .* in \$DELTALAB_TASKS \(mine\)"):
        load_task("yours")
    with pytest.raises(ValueError, match=r"unknown task '\.\./mine'"):
        load_task("../mine")
    monkeypatch.delenv("DELTALAB_TASKS")
    with pytest.raises(ValueError, match="which is not set"):
        load_task("mine")
