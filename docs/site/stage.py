"""The folder that the site is built from: the pages of docs/, and those made from notebooks, figures and names."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

from contents import SECTIONS
from figure_pages import Pictures, gallery
from lookup_pages import columns_page, commands_page, experiments_page
from python_pages import reference
from tutorial_pages import tutorials
from writing import written

LINK = re.compile(r"\]\((?:\.\./)?(CONTRIBUTING|CHANGELOG)\.md")
NOTEBOOK = re.compile(r"\]\(\.\./notebooks/(\w+)\.ipynb")


def stage(root: Path, folder: Path, pictures: Pictures = "svg") -> None:
    """Writes the folder; files of an earlier build stay as they are where nothing changed, so that Sphinx reads less.

    Args:
        root: of the clone.
        folder: to write.
        pictures: how figures are drawn.
    """
    kept = folder.parent / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    made = {page.name: page.read_text(encoding="utf-8") for page in sorted((root / "docs").glob("*.md"))}
    made["contributing.md"] = (root / "CONTRIBUTING.md").read_text(encoding="utf-8").replace("](docs/", "](")
    made["changelog.md"] = (root / "CHANGELOG.md").read_text(encoding="utf-8").replace("](docs/", "](")
    made |= tutorials(root / "notebooks", folder)
    made |= gallery(folder, kept, pictures)
    made |= reference()
    made |= {
        "reference/commands.md": commands_page(),
        "reference/experiments.md": experiments_page(),
        "reference/columns.md": columns_page(),
    }
    made["index.md"] = made["index.md"].replace("the gallery of figures", "[the gallery of figures](gallery.md)")
    made["index.md"] += _trees(made)
    for name, text in made.items():
        text = NOTEBOOK.sub(r"](tutorials/\1.md", text)
        written(folder / name, LINK.sub(lambda found: f"]({found[1].lower()}.md", text))
    for name in (
        "papers.bib",
        *(str(path.relative_to(root / "docs")) for path in (root / "docs" / "img").rglob("*.*")),
    ):
        written(folder / name, (root / "docs" / name).read_bytes())
    for page in folder.rglob("*"):
        if page.suffix in (".md", ".rst") and str(page.relative_to(folder)) not in made:
            page.unlink()


def _trees(made: dict[str, str]) -> str:
    """The contents beside every page, one tree for each section; patterns stand for all pages of a folder."""
    trees = ""
    for caption, entries in SECTIONS.items():
        pages: list[str] = []
        for entry in entries:
            found = sorted(name for name in made if fnmatch(name, entry) and not name.endswith("/index.md"))
            if not found:
                raise ValueError(f"docs/site/contents.py names {entry!r}, and there is no such page")
            pages += [name.removesuffix(".md").removesuffix(".rst") for name in found if name not in pages]
        trees += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{chr(10).join(pages)}\n```\n"
    return trees
