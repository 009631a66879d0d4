import csv
import json
import subprocess
import sys

import pyarrow
import pyarrow.parquet
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
        ("a.jsonl", '{"text": "a", "label": 2}\n\n{"text": "b", "label": 0}\n', Examples(("a", "b"), (1, 0))),
        ("a.json", '{"sentence": "a\\u2028b", "label": 1.5, "id": 7}\n', Examples(("a\u2028b",), (1.5,))),
        ("a.json", '\n [{"text": "a", "label": 0},\n {"text": "b", "label": 1}]\n', Examples(("a", "b"), (0, 1))),
        ("a.tsv", 'text\tlabel\n"a title" b\t0\n"open\t1\n', Examples(('"a title" b', '"open'), (0, 1))),
        ("a.csv", 'text;label\n"a;b, c";0\nd;1\n', Examples(("a;b, c", "d"), (0, 1))),
        ("a.csv", "Label,Text\n0,a\n1,b\n", Examples(("a", "b"), (0, 1))),
        ("A.CSV", "text,label\na,0\nb,1\n", Examples(("a", "b"), (0, 1))),
        ("a.csv", ",text,label,,x,x\n0,a,0,,1,2\n1,b,1,,3,4\n", Examples(("a", "b"), (0, 1))),  # of no other column
        ("a.csv", "text,label\na,1_0\nb,2_0\n", Examples(("a", "b"), (0, 1))),  # words, though Python reads numbers
        ("a.ndjson", '{"text": "a", "label": 0}\n{"text": "b", "label": 1}\n', Examples(("a", "b"), (0, 1))),
        ("a.jsonl", '[{"text": "a", "label": 0}, {"text": "b", "label": 1}]', Examples(("a", "b"), (0, 1))),
        ("a.json", '{"text": ["a", "b"], "label": [0, 1]}', Examples(("a", "b"), (0, 1))),
        ("a.json", '{\n "text": {"0": "a", "1": "b"},\n "label": {"0": 0, "1": 1}}', Examples(("a", "b"), (0, 1))),
        ("a.csv", "what,label\na,0\nb,1\n", Examples(("a", "b"), (0, 1))),
        ("a.csv", "premise,hypothesis,label\na,b,0\nc,d,1\n", Examples(("a", "c"), (0, 1), ("b", "d"))),
        (
            "a.csv",
            'text,label\n"one\ntwo, three",0\n"a ""b"",\nc",1\n',
            Examples(("one\ntwo, three", 'a "b",\nc'), (0, 1)),
        ),
        (
            "a.csv",
            'label,text\n1,"one\ntwo"\n0,"a\nb"\n1,c\n0,d\n',
            Examples(("one\ntwo", "a\nb", "c", "d"), (1, 0, 1, 0)),
        ),
    ],
)
def test_reads(tmp_path, name, content, expected):
    assert read_examples(written(tmp_path, name, content)).fingerprint == expected.fingerprint


@pytest.mark.parametrize(
    ("header", "row"), [("text,label", "{},{}"), ("id,text,label", "7,{},{}"), ("label,text", "{1},{0}")]
)
@pytest.mark.parametrize("closes", [6, 7, 9])
def test_a_quotation_that_takes_in_rows_is_refused_with_the_line_it_opens_in(tmp_path, header, row, closes):
    texts = [f"sentence number {i}" for i in range(12)]
    texts[5], texts[closes] = '"i loved the first half', 'but, the end was poor"'
    content = header + "\n" + "".join(row.format(text, i % 2) + "\n" for i, text in enumerate(texts))
    with pytest.raises(BadFile, match=rf"line 7: .*closes (only )?in line {closes + 2}|line {closes + 2}: not as many"):
        read_examples(written(tmp_path, "a.csv", content))


def test_columns_that_are_asked_for(tmp_path):
    path = written(tmp_path, "a.csv", "id,label,body,other,stars\n1,9,a,x,0\n2,9,b,y,1\n")
    single = read_examples(path, text_column="body", label_column="stars")
    assert single.fingerprint == Examples(("a", "b"), (0, 1)).fingerprint
    pairs = read_examples(path, text_column=("other", "body"), label_column="stars")
    assert pairs.fingerprint == Examples(("x", "y"), (0, 1), ("a", "b")).fingerprint
    with pytest.raises(BadFile, match=r"line 1: there is no column 'review'; the columns are \['id', 'label', 'body'"):
        read_examples(path, text_column="review")
    with pytest.raises(BadFile, match=r"there is no column 'bdoy'; did you mean 'body'\? The columns are"):
        read_examples(path, text_column="bdoy")
    with pytest.raises(BadFile, match="the column 'stars' is asked for twice"):
        read_examples(path, text_column="stars", label_column="stars")


@pytest.mark.parametrize("asked", ["T\u00e9xt", "Te\u0301xt", "t\u00e9xt", " T\u00e9xt"])
def test_a_column_is_found_however_its_letters_are_composed(tmp_path, asked):
    path = written(tmp_path, "a.csv", "id,label,Te\u0301xt\n1,0,a\n2,1,b\n")
    assert read_examples(path, text_column=asked).texts == ("a", "b")
    twins = written(tmp_path, "b.csv", "label,Body,BODY\n0,a,b\n")
    assert read_examples(twins, text_column="BODY").texts == ("b",)
    with pytest.raises(BadFile, match="there is no column 'body'"):
        read_examples(twins, text_column="body")


def test_parquet_reads_what_csv_reads(tmp_path):
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"id": [1, 2], "text": ["a", "b"], "label": ["no", "yes"]}), path)
    table = written(tmp_path, "a.csv", "text,label\na,no\nb,yes\n")
    assert read_examples(path).fingerprint == read_examples(table).fingerprint


def test_parquet_that_declares_too_much_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "a.parquet"
    n = 6_000_000  # run-length encoded: some kilobytes
    text = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * n, pyarrow.int8()), ["a"])
    pyarrow.parquet.write_table(pyarrow.table({"text": text, "label": text}), path)
    assert path.stat().st_size < 1e5
    with pytest.raises(BadFile, match=r"declares 6,000,000 rows; at most 5,000,000 are read"):
        read_examples(path)


def test_reads_long_fields_and_restores_the_limit(tmp_path):
    before = csv.field_size_limit()
    long = "word " * 100_000
    assert read_examples(written(tmp_path, "a.csv", f"text,label\n{long},0\n")).texts == (long,)
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", "", "unknown suffix '.xlsx'; expected one of"),
        ("a.parquet", "text", "a.parquet is damaged or no Parquet file"),
        ("a.csv", "", "has no rows; expected the columns label"),
        ("a.csv", "text,label\n", "has no rows below its header"),
        ("a.jsonl", "\n\n", "has no rows"),
        (
            "a.csv",
            "id,body,y\n1,a,0\n",
            r"line 1: the columns are \['body', 'id', 'y'\]; expected label, and .* --text-col",
        ),
        ("a.csv", "text,class,category,x\na,0,1,2\n", r"the columns are \['category', 'class', 'text', 'x'\]"),
        ("a.csv", "text,label,text\na,0,b\n", "the column 'text' occurs twice"),
        ("a.tsv", "text,label\na,0\n", "no tab in the header 'text,label'; name a file with commas .csv"),
        ("a.csv", "text,label\na,0\nb, c,1\n", "a.csv, line 3: not as many fields as the header"),
        ("a.csv", "text,label\na\n", "line 2: not as many fields as the header"),
        ("a.csv", 'text,label\nb,1\n"a,0\nc,1\n', "line 3: a quotation opens here and never closes"),
        (
            "a.csv",
            'text,label\n"a" b,0\n',
            r"line 2: not a readable table \(.*\). In a quoted field write a quotation mark",
        ),
        ("a.csv", 'text,label\n"a,0\nb",c,1\n', "line 2: not as many fields .*; the quotation there closes in line 3"),
        ("a.tsv", "text\tlabel\na\tb\t0\n", "line 2: not as many fields .* A text in a .tsv file has no tab"),
        ("a.csv", b"text,label\n\xff\xfe,0\n", "not UTF-8 text .* convert it to UTF-8"),
        ("a.csv", "text,label\na,0\nb,n/a\n", "line 3: the label is 'n/a', a word, unlike .*line 2 .0.; write all"),
        (
            "a.jsonl",
            '{"text": "a", "label": 1}\n{"text": "b", "label": true}\n',
            "line 2: .* True, true or false, unlike",
        ),
        ("a.csv", "text,label\na,\n", "line 2: the label is ''"),
        ("a.csv", f"text,{'x' * 1001}\na,0\n", "line 1: a column has a name of 1,001 characters, beginning with 'xx"),
        ("a.csv", f"text,label\na,{'x' * 501}\n", "line 2: the label is 'x*…, 501 characters; this column is no label"),
        ("a.csv", "text,label\na,nan\n", "line 2: the label is nan; expected a finite number"),
        ("a.csv", "text,label\n  ,1\n", "line 2: text is '  '; expected a text that is not blank"),
        ("a.jsonl", '{"text": "a", "label": 0}\n{"text": "b"', "a.jsonl, line 2: not JSON"),
        ("a.jsonl", "[1, 2]\n", "a.jsonl, entry 1: got a int; expected an object"),
        ("a.jsonl", '{"text": "a", "label": 0}\n[1, 2]\n', "line 2: got a list; expected an object"),
        ("a.json", '{"text": ["a", "b"], "label": [0]}', "a.json: one object, whose values are no columns of one len"),
        ("a.json", '{"data":\n [{"text": "a", "label": 0}]}', r"a.json, entry 1: the columns are \['data'\]; ex"),
        ("a.json", '{"text":\n "a"', "a.json: not JSON .*; expected one array of objects, or an object a line"),
        ("a.jsonl", '{"text": "a", "label": 0}\n{"text": "b"}\n', "line 2: the label is None"),
        ("a.jsonl", '{"text": "a", "label": 0}\n{"label": 1}\n', "line 2: text is None"),
        ("a.jsonl", '{"text": 5, "label": 0}\n', "line 1: text is 5"),
        ("a.jsonl", '{"text": "a", "label": 0, "label": 1}\n', "line 1: an object has one of its names"),
        ("a.jsonl", '{"text": "half \\ud83d", "label": 0}\n', "line 1: text holds half a character .* after 'half '"),
        ("a.json", '[{"text": "a", "label": 0}, 3]', "a.json, entry 2: got a int; expected an object"),
        ("a.json", '[{"text": "a", "label": 0}', "a.json: not JSON .*; expected one array of objects"),
        ("a.json", "[]", "has no rows"),
        ("a.jsonl", '{"text": "a", "label": [0]}\n', r"line 1: the label is \[0\]"),
        ("a.jsonl", '{"text": "a", "label": Infinity}\n', "line 1: the label is inf; expected a finite number"),
        ("a.jsonl", '{"text": "a", "label": 1' + "0" * 30 + "}\n", "expected a finite number below 1e"),
        ("a.jsonl", '{"text": "a", "label": ' + "9" * 5000 + "}\n", "line 1: .*digits"),
        ("a.jsonl", "[" * 100_000 + "\n", "a.jsonl: not JSON"),
    ],
)
def test_refuses(tmp_path, name, content, message):
    with pytest.raises(BadFile, match=message):
        read_examples(written(tmp_path, name, content))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("a", "NULL", "b"), "x.csv: the label 'NULL' counts as a class; if it stands for a missing label"),
        (("Pos", "neg", "pos"), "x.csv: the labels 'Pos' and 'pos' count as two classes; write them alike"),
        (("café", "cafe\u0301", "x"), "x.csv: the labels .* count as two classes"),
        (("$1.50", "$2.50", "$3.50"), "x.csv: the labels look like numbers and are read as words"),
        (("10%", "20%", "7 %"), "x.csv: the labels look like numbers and are read as words"),
    ],
)
def test_words_that_may_be_no_classes_are_warned_about(tmp_path, labels, message):
    path = written(tmp_path, "x.csv", "text,label\n" + "".join(f"text {x},{x}\n" for x in labels))
    with pytest.warns(UserWarning, match=message):
        assert len(set(read_examples(path).labels)) == 3


def test_decimal_commas_are_warned_about(tmp_path):
    path = written(tmp_path, "x.csv", "text;label\n" + "".join(f"text {i};{i},5\n" for i in range(3)))
    with pytest.warns(UserWarning, match=r"read as words \('0,5', '2,5'\), .* with a decimal point"):
        assert read_examples(path).labels == (0, 1, 2)


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


def test_a_text_as_long_as_a_book_is_refused(tmp_path):
    (path := tmp_path / "x.csv").write_text(f"text,label\n{'a long line ' * 100_000},1\n")
    with pytest.raises(BadFile, match=r"x.csv, line 2: text has 1,200,000 characters.*; at most 1,000,000 are read"):
        read_examples(path)


FLIPS = """
import sys
from pathlib import Path
from lab.tasks import BadFile
from lab.tasks.parquet_rows import parquet_rows

file = Path(sys.argv[1])
whole = file.read_bytes()
first = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
refused = 0
for bit in range(8 * 160):
    mutant = bytearray(whole)
    mutant[first + bit // 8] ^= 1 << bit % 8
    file.write_bytes(mutant)
    try:
        parquet_rows(file, None, None)
    except BadFile:
        refused += 1
print(refused)
"""


def test_no_bit_of_a_parquet_footer_ends_the_process(tmp_path):
    """pyarrow (26) does where it is asked about a column whose statistics are damaged."""
    table = pyarrow.table({"sentence": [f"text {i}" for i in range(24)], "label": ["good", "bad"] * 12})
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    done = subprocess.run(
        [sys.executable, "-c", FLIPS, str(tmp_path / "x.parquet")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert int(done.stdout) > 100


def test_a_parquet_file_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a" * 99] * 9, "label": [0] * 9}), tmp_path / "x.parquet")
    monkeypatch.setattr("lab.tasks.parquet_rows.MAX_BYTES", 100)
    with pytest.raises(BadFile, match=r"x.parquet unpacks to more than .*Save its texts and labels alone, or a part"):
        read_examples(tmp_path / "x.parquet")
