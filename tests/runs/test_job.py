from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.runs import Job, canonical, flattened, key

NUMBERS = st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | NUMBERS | st.text("aé\ud800 \x00", max_size=5)
CONFIGS = st.dictionaries(st.text("abü_", max_size=3), SCALARS | st.lists(SCALARS))


def test_canonical_json_is_the_published_form():
    job = Job("toy", {"b": (1, 2.0), "a": {"y": None, "x": True}, "z": 0.1, "ü": "é"})
    expected = (
        '{"config":{"a":{"x":true,"y":null},"b":[1,2.0],"z":0.1,"\\u00fc":"\\u00e9"},"experiment":"toy"}'  # by hand
    )
    assert canonical(job) == expected
    assert key(job) == hashlib.sha256(expected.encode()).hexdigest()


def test_key_is_stable_between_versions_of_the_lab():
    """A constant: if this changes, every store in the world is recomputed."""
    expected = hashlib.sha256(b'{"config":{"d":10,"lr":0.0003},"experiment":"toy"}').hexdigest()
    assert key(Job("toy", {"lr": 3e-4, "d": 10})) == expected


@given(CONFIGS)
def test_order_and_tuples_do_not_matter(config):
    reordered = {
        name: tuple(value) if isinstance(value, list) else value for name, value in reversed(list(config.items()))
    }
    assert key(Job("toy", config)) == key(Job("toy", reordered))
    assert Job("toy", config) == Job("toy", reordered)
    assert len({Job("toy", config), Job("toy", reordered)}) == 1


@pytest.mark.parametrize(
    ("one", "other"), [(1, 1.0), (True, 1), ("1", 1), (None, "null"), ([1], [1, 1]), (0.1, 0.1 + 1e-16)]
)
def test_different_values_have_different_keys(one, other):
    assert key(Job("toy", {"x": one})) != key(Job("toy", {"x": other}))


def test_the_experiment_is_part_of_the_key():
    assert key(Job("a", {})) != key(Job("b", {}))
    assert Job("a", {}) != "a"


def test_the_config_is_a_copy():
    inner = [1]
    job = Job("toy", {"x": inner})
    before = key(job)
    inner.append(2)
    assert key(job) == before


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_numbers_are_refused(bad):
    with pytest.raises(ValueError, match=r"config\.a\[1\] is -?(nan|inf); expected a finite number"):
        Job("toy", {"a": [0.0, bad]})


@pytest.mark.parametrize("bad", [np.float32(1), np.int64(1), np.zeros(2), {1, 2}, b"x", object()])
def test_values_that_are_not_json_are_refused(bad):
    with pytest.raises(TypeError, match=r"config\.a is a .*; expected str, int, float, bool, None"):
        Job("toy", {"a": bad})


def test_other_misuse_is_refused():
    with pytest.raises(TypeError, match="has the key 1 of type int; expected str"):
        Job("toy", {"a": {1: 2}})
    with pytest.raises(TypeError, match="config is a list; expected a mapping"):
        Job("toy", [1])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"two entries of the config are called 'a.b' when flattened"):
        Job("toy", {"a": {"b": 1}, "a.b": 2})


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", ".hidden", "a b", "a\n", "-x"])
def test_experiment_names_that_are_no_folder_names_are_refused(name):
    with pytest.raises(ValueError, match="expected a name of letters"):
        Job(name, {})


def test_flattened_joins_names_by_dots():
    config = Job("toy", {"method": {"name": "LoRA", "targets": ("query", "value")}, "seed": 0}).config
    assert flattened(config) == {"method.name": "LoRA", "method.targets": '["query", "value"]', "seed": 0}
