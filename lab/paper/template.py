r"""Somebody's own LaTeX template: what a paper needs is put into it, its words and settings stay."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

BESIDE = (".cls", ".sty", ".bst", ".bib", ".bbx", ".cbx", ".def", ".clo", ".tex", ".pdf", ".png", ".jpg", ".eps")
"""Suffixes of what a template needs from its folder."""

REFERENCES = "deltalab"
"""Name of our references beside those of the template."""

_STYLES = r"\ifdefined\citet plainnat\else plain\fi"
"""natbib, which styles of venues load, cites by author and year: not in the style `plain`."""

_CLASSES = {"beamer": "beamer", "IEEEtran": "ieee"}

_OURS = ("main.tex", "deltalab.tex", "captions.tex", f"{REFERENCES}.bib", "PROVENANCE.md")
_BEGIN = re.compile(r"(?m)^[^%\n]*?(\\begin\{document\})")
_END = re.compile(r"(?m)^[^%\n]*?(\\end\{document\})")
_BIBLIOGRAPHY = re.compile(r"(?m)^([^%\n]*?\\bibliography\{)([^}]*)\}")
_STYLE = re.compile(r"(?m)^[^%\n]*?\\bibliographystyle\{")
_CLASS = re.compile(r"(?m)^[^%\n]*?\\documentclass\s*(?:\[([^\]]*)\])?\s*\{([^}]*)\}")
_PACKAGES = re.compile(r"(?m)^[^%\n]*?\\usepackage\s*(?:\[[^\]]*\])?\s*\{([^}]*)\}")
_PRINTED = re.compile(r"(?m)^[^%\n]*?\\printbibliography")


@dataclass(frozen=True)
class Template:
    """A document of somebody's own, and the files that it needs.

    Attributes:
        text: of the document.
        files: name -> content of what lies beside it: classes, styles, bibliographies, parts.
    """

    text: str
    files: dict[str, bytes]

    def __post_init__(self) -> None:
        if not _BEGIN.search(self.text) or not _END.search(self.text):
            raise ValueError(r"the template has no \begin{document} … \end{document}; expected a whole LaTeX document")
        taken = sorted(set(self.files) & set(_OURS))
        if taken:
            raise ValueError(
                f"the template's folder has {', '.join(taken)}, which the paper's folder holds too; rename it, or put "
                "the template in a folder of its own"
            )

    @property
    def venue(self) -> str:
        """The venue whose page is the nearest to the document's, by its class and styles; neurips for one column."""
        options, name = found.groups() if (found := _CLASS.search(self.text)) else ("", "")
        if name in _CLASSES:
            return _CLASSES[name]
        loaded = [word.strip() for group in _PACKAGES.findall(self.text) for word in group.split(",")]
        styles = [
            venue
            for word in loaded
            for venue in ("neurips", "icml", "acl")
            if re.fullmatch(rf"{venue}(\d|_).*|{venue}", word)
        ]
        return styles[0] if styles else "icml" if "twocolumn" in (options or "") else "neurips"

    def filled(self, preamble: str, body: str) -> str:
        """The document with more at the end of its preamble and of its text, and our references in its own.

        Args:
            preamble, body: TeX.
        """
        text = self.text
        printed = _PRINTED.search(text)
        if printed:
            preamble += f"\\addbibresource{{{REFERENCES}.bib}}\n"
        begin = _place(_BEGIN, text)
        text = f"{text[:begin]}{preamble}{text[begin:]}"
        if found := _BIBLIOGRAPHY.search(text):
            both = f"{found[1]}{found[2]},{REFERENCES}}}"
            text = text[: found.start()] + both + text[found.end() :]
        elif not printed:
            body += f"\\bibliographystyle{{{_STYLES}}}\n\\bibliography{{{REFERENCES}}}\n"
        ends = [mark.start() for pattern in (_STYLE, _BIBLIOGRAPHY, _PRINTED) if (mark := pattern.search(text))]
        end = min([*(place for place in ends if place > begin), _place(_END, text)])
        return f"{text[:end]}{body}{text[end:]}"


def _place(pattern: re.Pattern[str], text: str) -> int:
    found = pattern.search(text)
    assert found is not None  # looked for when the template was made
    return found.start(1)


def read_template(path: Path) -> Template:
    """A template from its file, with what lies beside it; nothing of it is run.

    Raises:
        ValueError: there is no such file, it is not UTF-8, or it is no whole document.
    """
    try:
        text = path.read_text(encoding="utf-8")
        beside = [other for other in sorted(path.parent.iterdir()) if other.suffix in BESIDE and other.is_file()]
        files = {other.name: other.read_bytes() for other in beside if other != path}
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the template {path} cannot be read: {error}") from error
    return Template(text, files)
