"""The words of an answer: as many parts as fit, and how many are left."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

LONGEST = 350
"""Characters of an answer's sentences, whatever the table's size: what a screen reader says in about 25 s."""


def listed(lead: str, parts: Sequence[str], *, end: str = ".", longest: int = LONGEST) -> str:
    """A sentence of parts, at most `longest` characters: "Lead: a; b; and 7 more.".

    The parts that do not fit are counted; the first is cut where it alone is too long.

    Args:
        lead: what the parts are; "" begins with the first part.
        parts: most important first.
        end: closes the sentence; may hold a second one.
    """
    lead, parts, end = f"{typeset(lead)}: " if lead else "", [typeset(part) for part in parts], typeset(end)
    room = longest - len(lead) - len(end)
    shown: list[str] = []
    for i, part in enumerate(parts):
        left = len(parts) - i - 1
        rest = f"; and {left} more" if left else ""
        if len("; ".join([*shown, part])) + len(rest) > room:
            break
        shown.append(part)
    left = len(parts) - len(shown)
    if not shown and parts:
        rest = f"; and {left - 1} more" if left > 1 else ""
        return f"{lead}{cut(parts[0], max(1, room - len(rest)))}{rest}{end}"
    return lead + "; ".join(shown) + (f"; and {left} more" if left else "") + end


def typeset(text: str) -> str:
    """Numbers as they are printed in a text: a minus for a hyphen, powers of ten raised.

    Example:
        >>> typeset("gap -0.05 [-0.1, 0.02] of bigram-2, loss 5.25e-05")
        'gap −0.05 [−0.1, 0.02] of bigram-2, loss 5.25·10⁻⁵'
    """
    text = re.sub(r"(?<![\w.)\]-])-(?=\d)", "−", text)
    return re.sub(r"(?<![\w.])(\d+(?:\.\d+)?)e([+-])0*(\d+)(?!\w)", _power, text)


def _power(found: re.Match[str]) -> str:
    return f"{found[1]}·10{('⁻' if found[2] == '-' else '') + found[3].translate(_RAISED)}"


_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def cut(text: str, longest: int = LONGEST) -> str:
    """The text, its end replaced by "…" where it is too long."""
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


def rounded(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """The table with two digits of every fraction in a column's names, all of them where two names would be one.

    Example:
        >>> rounded(pd.DataFrame({"label": ["LoRA, η = 0.416537", "LoRA, η = 0.0001"]}), "label").label.tolist()
        ['LoRA, η = 0.42', 'LoRA, η = 0.0001']
    """
    short = {name: _rounded(str(name)) for name in table[column].dropna().unique()}
    if len(set(short.values())) < len(short):
        return table
    return table.assign(**{column: table[column].map(short)})


def _rounded(name: str) -> str:
    name = re.sub(r" lr=(?=\d)", ", η = ", name)
    return re.sub(r"(?<![\d.,])\d+\.\d{3,}(?:e-?\d+)?(?![\d.])", lambda found: f"{float(found[0]):.2g}", name)
