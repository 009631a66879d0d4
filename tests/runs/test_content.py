import os
from hashlib import sha256

import pytest

from lab.runs import content
from lab.runs.content import content_digest, file_digest


def test_the_digest_of_a_file_is_the_sha256_of_its_bytes(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"abc")
    assert file_digest(file) == sha256(b"abc").hexdigest()


def test_a_file_replaced_by_one_of_the_same_size_is_noticed_at_once(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"abc")
    first = file_digest(file)
    time = file.stat().st_mtime_ns
    file.write_bytes(b"abd")
    os.utime(file, ns=(time, time))  # as two writes within one tick of the clock
    assert file_digest(file) == sha256(b"abd").hexdigest() != first


def test_a_settled_file_is_read_once(tmp_path, monkeypatch):
    file = tmp_path / "a"
    file.write_bytes(b"abc")
    os.utime(file, (1e9, 1e9))
    first = file_digest(file)
    monkeypatch.setattr(content, "sha256", lambda: pytest.fail("the file was read again"))
    assert file_digest(file) == first


def test_the_digest_of_several_files_depends_on_names_and_contents_alone(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for name, held in (("a", b"1"), ("b", b"2"), ("elsewhere/a", b"1"), ("elsewhere/b", b"2")):
        (tmp_path / name).write_bytes(held)
    here = {"a": tmp_path / "a", "b": tmp_path / "b"}
    there = {"b": tmp_path / "elsewhere" / "b", "a": tmp_path / "elsewhere" / "a"}
    swapped = {"a": tmp_path / "b", "b": tmp_path / "a"}
    assert content_digest(here) == content_digest(there)
    assert content_digest(here) != content_digest(swapped)
