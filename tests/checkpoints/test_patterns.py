"""Patterns of module paths: the language of `re`, in linear time."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.checkpoints.patterns import Pattern, PatternError

ATOMS = st.sampled_from(["a", "b", r"\.", ".", r"\d", "[ab]", "[^a.]", r"\w", "0", r"\b", "^", "$", "_"])
QUANTIFIERS = st.sampled_from(["", "", "", "*", "+", "?", "*?", "+?", "??", "{2}", "{1,2}", "{0,1}", "{,2}", "{1,}"])


@st.composite
def expressions(draw, depth: int = 2) -> str:
    pieces = []
    for _ in range(draw(st.integers(0, 4))):
        if depth and draw(st.integers(0, 3)) == 0:
            opening = draw(st.sampled_from(["(", "(?:", "(?=", "(?!", "(?P<n>"]))
            inner = "|".join(draw(expressions(depth=depth - 1)) for _ in range(draw(st.integers(1, 3))))
            closing = ")" if opening in ("(?=", "(?!") else ")" + draw(st.sampled_from(["", "", "?"]))
            pieces.append(opening + inner + closing)
        else:
            atom = draw(ATOMS)
            pieces.append(atom + (draw(QUANTIFIERS) if atom not in (r"\b", "^", "$") else ""))
    return "".join(pieces)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(expressions(), st.lists(st.text("ab.0_", max_size=9), min_size=4, max_size=8))
def test_matches_what_re_matches(text, subjects):
    try:
        pattern = Pattern(text)
    except PatternError:  # a name given twice, or too many repetitions
        return
    for subject in subjects:
        assert pattern.fullmatch(subject) == bool(re.fullmatch(text, subject))
        assert pattern.ends(subject) == bool(re.match(rf"(.*\.)?({text})$", subject))


PATHS = ["model.layers.3.self_attn.q_proj", "model.layers.11.mlp.down_proj", "lm_head", "vision.blocks.0.attn.q_proj"]


@pytest.mark.parametrize(
    "text",
    [
        r".*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)",
        r"model\.layers\.\d+\.self_attn\.(q_proj|v_proj)",
        r"^(?!.*vision).*\.(q_proj|down_proj)$",
        r"(?:.*?(?:language|text).*?(?:self_attn|mlp).*?(?:q_proj|v_proj).*?)|"
        r"(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|mlp)\.(?:(?:q_proj|down_proj)))",
        r"(?=.*\.(3|11)\.)(?=.*proj).*",
        "",
    ],
)
def test_what_people_write_is_read_as_in_re(text):
    for path in PATHS:
        assert Pattern(text).fullmatch(path) == bool(re.fullmatch(text, path))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("(a+)+$", "without repetitions or choices inside a repetition"),
        ("(a|a)*", "without repetitions or choices inside a repetition"),
        ("(.*a){20}", "without repetitions or choices inside a repetition"),
        ("((((a{60}){60}){60}){60})", "without repetitions or choices inside a repetition"),
        (".*" * 9 + "x", "at most 6 repetitions and 24 choices"),
        ("a?" * 30 + "a" * 30, "at most 6 repetitions and 24 choices"),
        ("(a|a)" * 30, "at most 6 repetitions and 24 choices"),
        ("a{2000}", "counts of at most 64"),
        ("a" * 3000, "at most 2000 characters"),
        ("(" * 30 + "a" + ")" * 30, "nested at most 20 deep"),
        ("(", "a regular expression"),
        ("a{99999999999}", "a regular expression"),
        ("(?<=a)b", r"without '\(\?<='"),
        (r"(a)\1", r"without '\\\\1'"),
        ("(?i)a", r"without '\(\?i\)'"),
        ("a++", "without possessive repetitions"),
    ],
)
def test_what_could_take_for_ever_is_refused_at_once(text, reason):
    start = time.perf_counter()
    with pytest.raises(PatternError, match=reason):
        Pattern(text)
    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize(
    "text", [".*" * 6 + "x", ".{0,64}" * 6, "(?=.*(?=.*(?=.*(?=.*(?=.*z)))))", "a?" * 12 + "a" * 12]
)
def test_no_pattern_takes_long(text):
    pattern, subject = Pattern(text), "a" * 150
    start = time.perf_counter()
    pattern.fullmatch(subject)
    pattern.ends(subject)
    assert time.perf_counter() - start < 2


def test_light_patterns_may_be_given_to_a_backtracking_matcher():
    assert Pattern(r"layers\.\d+\.(q|v)_proj").light
    assert not Pattern(".*.*.*x").light
