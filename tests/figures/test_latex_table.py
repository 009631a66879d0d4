"""Text, numbers and tables as TeX prints them."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pandas as pd
import pytest

from lab.figures import FIGURES
from lab.figures.latex import booktabs, decimals, escaped, macro, numeral
from lab.figures.latex.table import tabulars


def cells(values, name="x", **options) -> list[str]:
    """A column of a table as TeX, its last cell first."""
    text = booktabs(pd.DataFrame({"row": ["a"] * len(values), name: values}), **options)
    return [line.partition(" & ")[2].removesuffix(r" \\") for line in text.splitlines() if line.startswith("a & ")]


@pytest.mark.parametrize(
    ("text", "tex"),
    [
        ("100 % & $5 #1 a_b {x}", r"100 \% \& \$5 \#1 a\_b \{x\}"),
        ("~^\\", r"\textasciitilde{}\textasciicircum{}\textbackslash{}"),
        ("<>|`", r"\textless{}\textgreater{}\textbar{}\textasciigrave{}"),
        ("ΔW · σ₁₂", r"\ensuremath{\Delta}W \ensuremath{\cdot} \ensuremath{\sigma}\ensuremath{_{12}}"),
        ("BᵀA x⁻¹", r"B\ensuremath{^{\mathsf{T}}}A x\ensuremath{^{-1}}"),
        ("a\nb\x00c", "a b c"),
        ("-0.5 [-1, 2] x-3 bbc-news", r"\ensuremath{-}0.5 [\ensuremath{-}1, 2] x-3 bbc-news"),
        ("5.25e-05", r"5.25\ensuremath{\cdot}10\ensuremath{^{-5}}"),
        ("a--b", "a-{}-b"),
        ("Demšar", r"Dem{\v{s}}ar"),
        ("naïve", r"na{\"{\i{}}}ve"),
        ("中\u202e", "U+4E2D"),
    ],
)  # fmt: skip
def test_text(text, tex):
    assert escaped(text) == tex


def test_every_letter_of_every_figure_is_one_that_pdflatex_has():
    """Captions, reading help, titles, columns, answers, axes, legends: nothing is left as a code point."""
    for drawn in FIGURES:
        table = drawn.example()
        answer, drawing = drawn.answer(table), json.dumps(json.loads(drawn.draw(table).to_json()), ensure_ascii=False)
        columns = [word for name, column in {**drawn.columns, **drawn.optional}.items() for word in (name, *column)]
        cited = [source.bibtex for source in drawn.source]
        words = [drawn.title, drawn.caption, drawn.reading, answer.sentence, *columns, *map(str, answer.table), drawing]
        tex = escaped(" ".join([*words, *map(str, answer.table.to_numpy().ravel())]))
        assert tex.isascii()
        assert not re.findall(r"U\+[0-9A-F]{4}", tex), drawn.name
        assert all(text.isascii() for text in cited)


@pytest.mark.parametrize(
    "name", [r"\input{/etc/passwd}", r"\write18{touch x}", "}\\csname end\\endcsname", "%", "^^5cbye", "$$"]
)
def test_no_command_of_a_name_is_left(name):
    tex = escaped(name)
    known = r"\\(textbackslash|textasciicircum|ensuremath|textdollar)\{\}|\\[{}%$_&#]"
    assert not re.search(r"[\\^$%#&~]", re.sub(known, "", tex).replace("{", "").replace("}", ""))
    assert tex.count("{") - tex.count(r"\{") == tex.count("}") - tex.count(r"\}")


def test_a_name_of_a_command_has_letters_only():
    assert macro("d90_curves") == "DNineZeroCurves"
    assert macro("cka") == "Cka"
    assert len({macro(drawn.name) for drawn in FIGURES}) == len(FIGURES)


@pytest.mark.parametrize(
    ("values", "tex"),
    [
        ([22_713_216, 7], ["22713216", "7"]),
        ([812.0], ["812"]),
        ([0.83251, 0.5], ["0.833", "0.500"]),
        ([15493.3, 12.0], ["15493", "12"]),
        ([1.25e-7, 3.0], [r"\num{1.25e-7}", r"\num{3.00e0}"]),
        ([-0.00004, 1.5], ["-0.00004", "1.50000"]),
        ([0.5, math.inf, -math.inf, math.nan], ["0.500", r"{\ensuremath{\infty}}", r"{\ensuremath{-\infty}}", "{--}"]),
        ([None, pd.NA, "x"], ["--", "--", "x"]),
        ([True, np.bool_(False)], ["yes", "no"]),
        (["bbc_news"], [r"bbc\_news"]),
    ],
)
def test_cells(values, tex):
    assert cells(values) == tex


def test_counts_have_no_decimals():
    assert cells([15492.33, 1_668.3], "tunable [count]") == ["15492", "1668"]


@pytest.mark.parametrize(("half", "places"), [(0.0259, 3), (2.6, 1), (350, -1), (0.0996, 2), (1.0, 1)])
def test_half_an_interval_leaves_two_digits(half, places):
    assert decimals(half) == places


def test_a_number_is_never_minus_nothing():
    assert numeral(-0.0004, 3) == "0.000"
    assert numeral(-0.4, 0) == "0"


def test_an_estimate_stands_with_its_interval():
    table = pd.DataFrame({"method": ["a", "b"], "score": [0.94167, 0.335], "score ±": [0.04702, 0.1761]})
    rows = booktabs(table).splitlines()
    assert r"a & 0.942 +- 0.047 \\" in rows
    assert r"b & 0.34 +- 0.18 \\" in rows
    assert r"{method} & {score} \\" in rows


def test_ends_of_intervals_stand_in_brackets_with_the_digits_of_their_width():
    table = pd.DataFrame({"d": [0.61, 0.5], "d low": [0.0321, math.nan], "d high": [0.8829, math.inf]})
    text = booktabs(table)
    assert re.search(r"0\.61 & \[\\num\[.*?\]\{0\.03\}, \\num\[.*?\]\{0\.88\}\]", text)
    assert "[open, open]" in text
    assert r"{interval}" in text


def test_the_best_is_bold_and_whatever_its_interval_does_not_tell_from_it():
    table = pd.DataFrame({"m": ["a", "b", "c"], "s": [0.9, 0.88, 0.5], "s ±": [0.02, 0.02, 0.1]})
    assert [r"\bfseries" in line for line in booktabs(table, best={"s": "highest"}).splitlines() if " +- " in line] == [
        True, True, False,
    ]  # fmt: skip
    assert r"\bfseries" not in booktabs(table.head(2), best={"s": "highest"})  # nothing tells them apart
    lowest = booktabs(table, best={"s": "lowest"})
    assert lowest.count(r"\bfseries") == 1
    assert r"c & \bfseries 0.50" in lowest
    assert r"\bfseries" not in booktabs(table)


def test_a_table_by_hand():
    table = pd.DataFrame({"task": ["bbc-news"], "d90 [count]": [812.0]})
    assert booktabs(table).splitlines() == [
        r"% needs \usepackage{booktabs,siunitx}",
        r"\begin{tabular}{l S[table-format=3.0, group-digits=integer, group-separator={,}, group-minimum-digits=4, "
        r"detect-weight=true, mode=text]}",
        r"\toprule",
        r"{task} & {\begin{tabular}[b]{@{}c@{}}d90 \\ {}[count]\end{tabular}} \\",
        r"\midrule",
        r"bbc-news & 812 \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_a_wide_table_is_continued_below_with_the_names_of_its_rows():
    table = pd.DataFrame({"method": ["LoRA"], **{f"column {i}": [0.5] for i in range(12)}})
    parts = tabulars(table, width=30)
    assert len(parts) > 1
    assert all(r"LoRA & " in part for part in parts)
    assert sum(len(re.findall(r"column \d+", part)) for part in parts) == 12
    assert len(tabulars(table)) == 1
