"""Text from records inside Streamlit's markdown: shown, never interpreted."""

from __future__ import annotations

import re

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|~<>$:&])")


def literal(text: object) -> str:
    """Markdown that shows the text as it is: no links, images, colours, formulas or icons; line breaks become spaces.

    Example:
        >>> literal("[a](http://x) :red[b] $c$")
        '\\\\[a\\\\]\\\\(http\\\\://x\\\\) \\\\:red\\\\[b\\\\] \\\\$c\\\\$'
    """
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))
