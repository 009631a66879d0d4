"""Text and numbers as TeX prints them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from lab.figures.latex import booktabs, cell, escaped


@pytest.mark.parametrize(
    ("text", "tex"),
    [
        ("100 % & $5 #1 a_b {x}", r"100 \% \& \$5 \#1 a\_b \{x\}"),
        ("~^\\<>", r"\textasciitilde{}\textasciicircum{}\textbackslash{}\textless{}\textgreater{}"),
        ("ΔW · σ₁", r"\ensuremath{\Delta}W \ensuremath{\cdot} \ensuremath{\sigma}\ensuremath{_1}"),
        ("a\nb\x00c", "a b c"),
    ],
)
def test_special_letters(text, tex):
    assert escaped(text) == tex


@pytest.mark.parametrize(
    ("value", "tex"),
    [
        (22_713_216, "22{,}713{,}216"),
        (np.int64(7), "7"),
        (812.0, "812"),
        (0.83251, "0.8325"),
        (0.5, "0.5000"),
        (1.25e-7, r"\ensuremath{1.25\cdot 10^{-7}}"),
        (math.inf, r"\ensuremath{\infty}"),
        (-math.inf, r"\ensuremath{-\infty}"),
        (math.nan, "--"),
        (None, "--"),
        (pd.NA, "--"),
        (True, "yes"),
        (np.bool_(False), "no"),
        ("bbc_news", r"bbc\_news"),
    ],
)
def test_cells(value, tex):
    assert cell(value) == tex


def test_a_table_by_hand():
    table = pd.DataFrame({"task": ["bbc-news"], "d90 [count]": [812.0]})
    assert booktabs(table).splitlines() == [
        r"% needs \usepackage{booktabs}",
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"task & d90 [count] \\",
        r"\midrule",
        r"bbc-news & 812 \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]
