"""Notebooks as pages: prose, code, and what they showed when they were run last; pictures as files."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter
from traitlets.config import Config
from writing import written

TEMPLATE = """{% extends 'markdown/index.md.j2' %}
{% block data_html scoped %}
````{raw} html
<div class="shown">{{ output.data['text/html'] }}</div>
````
{% endblock %}
{% block data_text scoped %}
````text
{{ output.data['text/plain'] | strip_ansi }}
````
{% endblock %}
{% block stream %}
````text
{{ output.text | strip_ansi }}
````
{% endblock %}
"""
"""Tables as they are, whatever blank lines they hold; text as text, and not as indented Markdown."""

BESIDE = re.compile(r"\]\((\w+)\.ipynb\)")
"""A link to another notebook."""

PRIORITY = ["image/svg+xml", "image/png", "text/html", "text/markdown", "image/jpeg", "text/plain"]
"""A picture before plotly's own form: it weighs a fiftieth, and needs no script."""


def tutorials(notebooks: Path, folder: Path) -> dict[str, str]:
    """Page -> text; pictures are written into the folder."""
    config = Config()
    config.NbConvertBase.display_data_priority = PRIORITY
    config.ExtractOutputPreprocessor.enabled = True
    exporter = MarkdownExporter(config=config, raw_template=TEMPLATE)
    pages = {}
    for path in sorted(notebooks.glob("*.ipynb")):
        resources = {"output_files_dir": f"{path.stem}_files", "unique_key": path.stem}
        text, made = exporter.from_notebook_node(nbformat.read(path, as_version=4), resources)
        for name, content in made["outputs"].items():
            written(folder / "tutorials" / name, content)
        text = text.replace("](../docs/", "](../").replace("```ipython3", "```python")
        text = BESIDE.sub(r"](\1.md)", text).replace("](../CONTRIBUTING.md", "](../contributing.md")
        note = (
            f"*This page is `notebooks/{path.name}`, with what it showed when it was run; `make notebooks` opens it.*"
        )
        title, newline, rest = text.lstrip().partition("\n")
        pages[f"tutorials/{path.stem}.md"] = f"{title}{newline}\n{note}\n{rest}"
    return pages
