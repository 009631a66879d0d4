import csv
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.tasks import BadFile, Examples
from lab.tasks.rows import read_examples


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", 'text,label\n"one, two",0\nthree,1\n', Examples(("one, two", "three"), (0, 1))),
        ("a.tsv", "label\tsentence\n1\tone\n0\ttwo\n", Examples(("one", "two"), (1, 0))),
        ("a.csv", "sentence1,sentence2,label\na,b,0.5\nc,d,1\n", Examples(("a", "c"), (0.5, 1.0), ("b", "d"))),
        ("a.csv", "\ufeffsentence,label\na,0\n", Examples(("a",), (0,))),
        ("a.jsonl", '{"text": "a", "label": 2}\n\n{"text": "b", "label": 0}\n', Examples(("a", "b"), (2, 0))),
        ("a.json", '{"sentence": "a\\u2028b", "label": 1.5, "id": 7}\n', Examples(("a\u2028b",), (1.5,))),
    ],
)
def test_reads(tmp_path, name, content, expected):
    assert read_examples(written(tmp_path, name, content)).fingerprint == expected.fingerprint


def test_reads_long_fields_and_restores_the_limit(tmp_path):
    before = csv.field_size_limit()
    long = "word " * 100_000
    assert read_examples(written(tmp_path, "a.csv", f"text,label\n{long},0\n")).texts == (long,)
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.parquet", "", "unknown suffix '.parquet'; expected one of"),
        ("a.csv", "", "has no rows; expected the columns label"),
        ("a.csv", "text,label\n", "has no rows"),
        ("a.jsonl", "\n\n", "has no rows"),
        ("a.csv", "review,label\na,0\n", r"a.csv, line 2: the columns are \['label', 'review'\]; expected label, and"),
        ("a.csv", "text,class\na,0\n", r"the columns are \['class', 'text'\]"),
        ("a.csv", "text,label\na,0\nb, c,1\n", "a.csv, line 3: not as many fields as the header"),
        ("a.csv", "text,label\na\n", "line 2: not as many fields as the header"),
        ("a.csv", 'text,label\n"a,0\n', "not a readable table"),
        ("a.csv", b"text,label\n\xff\xfe,0\n", "not UTF-8 text .* convert it to UTF-8"),
        ("a.csv", "text,label\na,good\n", "line 2: the label is 'good'; expected an integer class"),
        ("a.csv", "text,label\na,\n", "line 2: the label is ''"),
        ("a.csv", "text,label\na,nan\n", "line 2: the label is nan; expected a finite number"),
        ("a.csv", "text,label\na,-1\n", "a.csv: example 0 has the label -1; expected classes 0, 1"),
        ("a.csv", "text,label\n  ,1\n", "line 2: text is '  '; expected a text that is not blank"),
        ("a.jsonl", '{"text": "a", "label": 0}\n{"text": "b"', "a.jsonl, line 2: not JSON"),
        ("a.jsonl", "[1, 2]\n", "line 1: got a list; expected an object"),
        ("a.jsonl", '{"text": "a", "label": 0}\n{"text": "b"}\n', "line 2: the label is None"),
        ("a.jsonl", '{"text": "a", "label": 0}\n{"label": 1}\n', "line 2: text is None"),
        ("a.jsonl", '{"text": 5, "label": 0}\n', "line 1: text is 5"),
        ("a.jsonl", '{"text": "a", "label": true}\n', "line 1: the label is True"),
        ("a.jsonl", '{"text": "a", "label": [0]}\n', r"line 1: the label is \[0\]"),
        ("a.jsonl", '{"text": "a", "label": Infinity}\n', "line 1: the label is inf; expected a finite number"),
        ("a.jsonl", '{"text": "a", "label": 1' + "0" * 30 + "}\n", "expected a finite number below 1e"),
        ("a.jsonl", '{"text": "a", "label": ' + "9" * 5000 + "}\n", "line 1: .*digits"),
        ("a.jsonl", "[" * 100_000 + "\n", "line 1: not JSON"),
    ],
)
def test_refuses(tmp_path, name, content, message):
    with pytest.raises(BadFile, match=message):
        read_examples(written(tmp_path, name, content))


GOOD = "".join(json.dumps({"text": f"text {i}", "label": i % 2}) + "\n" for i in range(4)).encode()


@given(position=st.integers(0, len(GOOD) - 1), byte=st.integers(0, 255), suffix=st.sampled_from([".jsonl", ".csv"]))
@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_damaged_file_is_read_or_refused_but_never_crashes(tmp_path, position, byte, suffix):
    table = GOOD if suffix == ".jsonl" else b"text,label\n" + b"".join(b"text %d,%d\n" % (i, i % 2) for i in range(9))
    position %= len(table)
    path = written(tmp_path, f"a{suffix}", table[:position] + bytes([byte]) + table[position + 1 :])
    count, message = 1, str(path)
    try:
        count = len(read_examples(path))
    except BadFile as error:
        message = str(error)
    assert 1 <= count <= 9
    assert str(path) in message
