"""Text made safe for TeX: nothing in it is a command, and every letter is one that pdflatex sets."""

from __future__ import annotations

import re
import unicodedata

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "`": r"\textasciigrave{}", "–": "--", "—": "---", "─": "---", "…": r"\dots{}", "‘": "`",
    "’": "'", "“": "``", "”": "''", "„": ",,", "•": r"\textbullet{}", "\u00a0": "~", "\u202f": r"\,", "\u2009": r"\,",
    "\u2011": "-", "\u2010": "-", "§": r"\S{}", "†": r"\dag{}", "‡": r"\ddag{}", "©": r"\copyright{}",
    "ß": r"\ss{}", "ø": r"\o{}", "Ø": r"\O{}", "ł": r"\l{}", "Ł": r"\L{}", "æ": r"\ae{}", "Æ": r"\AE{}",
    "œ": r"\oe{}", "Œ": r"\OE{}", "ı": r"\i{}", "å": r"\aa{}", "Å": r"\AA{}",
}  # fmt: skip

# TeX has commands for Greek letters under their own names; capitals that look Latin have none.
_GREEK = {letter: unicodedata.name(letter).split()[-1].lower() for letter in "αβγδζηθικμνξπρστυχψω"}
_GREEK |= {letter: unicodedata.name(letter).split()[-1].capitalize() for letter in "ΓΔΘΞΠΣΥΦΨΩ"}
_GREEK |= {"λ": "lambda", "Λ": "Lambda", "φ": "varphi", "ε": "varepsilon", "ς": "varsigma", "ϕ": "phi", "ϑ": "vartheta"}
_GREEK |= {"ϱ": "varrho", "ϵ": "epsilon", "µ": "mu", "∆": "Delta", "∑": "sum", "∏": "prod"}

_LOOKALIKE = dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΧο", "ABEZHIKMNOPTXo", strict=True))

# The markers of plots need amssymb.
_SIGNS = {
    "−": "-", "×": r"\times", "·": r"\cdot", "⋅": r"\cdot", "÷": r"\div", "±": r"\pm", "∓": r"\mp", "∘": r"\circ",
    "⊙": r"\odot", "⊗": r"\otimes", "⊕": r"\oplus", "⊥": r"\perp", "∥": r"\parallel", "‖": r"\|", "∣": r"\mid",
    "≤": r"\le", "≥": r"\ge", "≪": r"\ll", "≫": r"\gg", "≈": r"\approx", "≠": r"\ne", "≡": r"\equiv", "∼": r"\sim",
    "≃": r"\simeq", "∝": r"\propto", "∞": r"\infty", "∂": r"\partial", "∇": r"\nabla", "√": r"\surd", "∫": r"\int",
    "∈": r"\in", "∉": r"\notin", "⊂": r"\subset", "⊆": r"\subseteq", "∩": r"\cap", "∪": r"\cup", "∅": r"\emptyset",
    "∀": r"\forall", "∃": r"\exists", "∧": r"\wedge", "∨": r"\vee", "¬": r"\neg", "→": r"\to", "←": r"\leftarrow",
    "↔": r"\leftrightarrow", "↦": r"\mapsto", "⇒": r"\Rightarrow", "⇔": r"\Leftrightarrow", "↑": r"\uparrow",
    "↓": r"\downarrow", "⟨": r"\langle", "⟩": r"\rangle", "⌈": r"\lceil", "⌉": r"\rceil", "⌊": r"\lfloor",
    "⌋": r"\rfloor", "ℓ": r"\ell", "ℝ": r"\mathbf{R}", "𝔼": r"\mathbf{E}", "°": r"{}^\circ", "′": "{}'", "″": "{}''",
    "½": r"\frac12", "¼": r"\frac14", "¾": r"\frac34", "⅓": r"\frac13", "†": r"\dagger", "⋯": r"\cdots",
    "●": r"\bullet", "○": r"\circ", "★": r"\star", "✓": r"\surd", "✗": r"\times", "✕": r"\times",
    "△": r"\triangle", "▲": r"\blacktriangle", "▽": r"\triangledown", "▼": r"\blacktriangledown",
    "◀": r"\blacktriangleleft", "▶": r"\blacktriangleright", "□": r"\square", "■": r"\blacksquare",
    "◇": r"\lozenge", "◆": r"\blacklozenge", "☆": r"\star", "✚": "+", "⬟": r"\bullet",
    "⬢": r"\bullet", "ᵀ": r"^{\mathsf{T}}", "⁺": "^{+}",
}  # fmt: skip

_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁼⁽⁾ⁿⁱᵈᵏᵐᵗ", "0123456789-=()nidkmt", strict=True)) | {
    "⁺": "+",
    "ᵀ": r"\mathsf{T}",
    "ᴴ": "H",
}
_LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", "0123456789-=()aehijklmnoprstuvx", strict=True)) | {"₊": "+"}

_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": ".",
    "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c", "\u0328": "k",
}  # fmt: skip
"""Combining accents -> TeX's accent command; TeX sets them over the letter before."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]+")
_POWER = re.compile(r"(?<![\w.])(-?\d+(?:\.\d+)?)e([+-]?\d+)(?![\w.])")
_MINUS = re.compile(r"(?<![\w.)\]}-])-(?=\d)")
_RUN = re.compile(f"[{''.join(map(re.escape, _RAISED))}]+|[{''.join(map(re.escape, _LOWERED))}]+")


def escaped(text: object) -> str:
    r"""Text that TeX prints as it is, in ASCII: nothing in it is a command, whatever it holds.

    Line breaks and control characters become spaces. A number keeps its sign as a minus, and 5.25e-05 is set as a
    power of ten. What no font of pdflatex has is written as its code point, U+4E2D.

    Example:
        >>> escaped("100 % of d_90")
        '100 \\% of d\\_90'
        >>> escaped("‖ΔW‖₂² ≥ -0.5")
        '\\ensuremath{\\|}\\ensuremath{\\Delta}W\\ensuremath{\\|}\\ensuremath{_{2}}\\ensuremath{^{2}} \\ensuremath{\\ge} \\ensuremath{-}0.5'
    """  # noqa: E501
    words = _CONTROL.sub(" ", unicodedata.normalize("NFC", str(text)))
    words = _POWER.sub(lambda found: f"{found[1]}·10{_superscript(int(found[2]))}", words)
    words = _RUN.sub(_moved, _MINUS.sub("−", words).replace("--", "-\u200b-"))
    return "".join(part if part.startswith("\x00") else _letter(part) for part in _parts(words)).replace("\x00", "")


def macro(name: str) -> str:
    r"""A name as letters that a TeX command may have: "d90_curves" is ``DNineZeroCurves``."""
    digits = ("Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")
    words = re.split(r"[^a-z]+", re.sub(r"\d", lambda found: f" {digits[int(found[0])]} ", name).lower())
    return "".join(word.capitalize() for word in words)


def _superscript(exponent: int) -> str:
    raised = {plain: letter for letter, plain in _RAISED.items()}
    return "".join(raised[digit] for digit in str(exponent))


def _moved(found: re.Match[str]) -> str:
    """A run of raised or lowered letters, marked as TeX by a zero byte, which no text holds any more."""
    raised = found[0][0] in _RAISED
    letters = "".join((_RAISED if raised else _LOWERED)[letter] for letter in found[0])
    return f"\x00\\ensuremath{{{'^' if raised else '_'}{{{letters}}}}}\x00"


def _parts(words: str) -> list[str]:
    """Letters one by one; what `_moved` has made, whole and with its mark."""
    parts: list[str] = []
    for i, part in enumerate(words.split("\x00")):
        parts += [f"\x00{part}"] if i % 2 else list(part)
    return parts


def _letter(letter: str) -> str:
    if letter in _SPECIAL:
        return _SPECIAL[letter]
    if " " <= letter <= "~":
        return letter
    if letter in _GREEK:
        return f"\\ensuremath{{\\{_GREEK[letter]}}}"
    if letter in _SIGNS:
        return f"\\ensuremath{{{_SIGNS[letter]}}}"
    if letter in _LOOKALIKE:
        return _LOOKALIKE[letter]
    if letter == "\u200b":
        return "{}"
    if unicodedata.category(letter) in ("Cf", "Cc"):  # marks of direction, joiners: nothing to see
        return ""
    return _composed(letter)


def _composed(letter: str) -> str:
    """A letter with accents as TeX's accents over its base; else its code point."""
    base, *accents = list(unicodedata.normalize("NFKD", letter))
    if base.isascii() and base.isalnum() and all(accent in _ACCENTS for accent in accents):
        made = base if base not in "ij" or not accents else f"\\{base}{{}}"
        for accent in accents:
            made = f"{{\\{_ACCENTS[accent]}{{{made}}}}}"  # in braces, as BibTeX wants them
        return made
    if letter in _ACCENTS or unicodedata.combining(letter):
        return ""
    return f"U+{ord(letter):04X}"
