"""The documentation site: every page has its place, every link and name leads somewhere, and it builds."""

from __future__ import annotations

import importlib
import importlib.util
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import lab

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), ROOT / "CONTRIBUTING.md", ROOT / "README.md"])
SECTIONS: dict[str, tuple[str, ...]] = runpy.run_path(str(DOCS / "site" / "contents.py"))["SECTIONS"]
MADE = ("tutorials/*.md", "gallery.md", "contributing.md", "changelog.md")
"""Pages that are made when the site is built, and those of reference/."""


def anchors(text: str) -> set[str]:
    """Of the headings of a page, as GitHub and the site make them."""
    headings = re.findall(r"^#{1,6} (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", heading).lower()) for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in plain}


def links(page: Path) -> list[tuple[Path, str]]:
    """File and anchor of every link of a page to another, or to itself."""
    found = re.findall(r"\]\(([^)#:\s]*)#([^)\s]+)\)", page.read_text())
    return [((page.parent / file).resolve() if file else page, anchor) for file, anchor in found if ":" not in file]


def test_every_page_of_docs_has_one_place_in_the_menu():
    placed = [entry for entries in SECTIONS.values() for entry in entries]
    assert len(set(placed)) == len(placed)
    own = {entry for entry in placed if entry not in MADE and not entry.startswith("reference/")}
    assert own == {page.name for page in DOCS.glob("*.md")} - {"index.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_headings_lead_to_one(page):
    assert [(str(file), anchor) for file, anchor in links(page) if anchor not in anchors(file.read_text())] == []


@pytest.fixture(scope="module")
def staged(tmp_path_factory) -> Path:
    """The folder that Sphinx reads: pages of docs/, of notebooks, figures, commands, experiments, columns and names."""
    pytest.importorskip("nbconvert", reason="needs the extra notebooks")
    folder, before = tmp_path_factory.mktemp("site"), set(sys.modules)
    sys.path.insert(0, str(DOCS / "site"))
    try:
        importlib.import_module("stage").stage(ROOT, folder, "none")
    finally:
        sys.path.remove(str(DOCS / "site"))
        for name in {path.stem for path in (DOCS / "site").glob("*.py")} - before:
            sys.modules.pop(name, None)
    return folder


def led_astray(page: Path) -> list[str]:
    """Links and entries of menus in a page that lead to no page, file or heading."""
    text = page.read_text()
    prose = re.sub(r"(?ms)^(`{3,})(?!\{toctree).*?^\1$|`[^`\n]*`", "", text)
    lost = []
    for file, anchor in re.findall(r"\]\(([^)#:\s]*)#?([^)\s:]*)\)", prose):
        target = page.parent / file if file else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            lost.append(f"{file}#{anchor}")
    for entry in " ".join(re.findall(r"(?s)```\{toctree\}(.*?)```", re.sub(r"(?m)^:.*$", "", text))).split():
        lost += [] if any((page.parent / f"{entry}{kind}").exists() for kind in (".md", ".rst")) else [entry]
    return lost


def test_what_leads_astray_is_found(tmp_path):
    page = tmp_path / "a.md"
    page.write_text(
        "# Here\n[a](#here) [b](b.md) [c](#there) `[d](d.md)` [e](https://x.org/e.md)\n"
        "```{toctree}\n:hidden:\n:caption: A b\n\na\nf\n```\n"
    )
    assert led_astray(page) == ["b.md#", "#there", "f"]


def test_every_link_of_every_page_leads_somewhere(staged):
    """Without Sphinx: what a build with -W would say of pages, in a tenth of its time."""
    pages = sorted(staged.rglob("*.md"))
    assert len(pages) > 100
    assert {str(page.relative_to(staged)): lost for page in pages if (lost := led_astray(page))} == {}


def test_every_page_stands_in_one_menu(staged):
    """A figure that has the name of a page of docs/ stands in the gallery's, and not beside that page."""
    menus = [
        str((page.parent / entry).relative_to(staged))
        for page in staged.rglob("*.md")
        for tree in re.findall(r"(?s)```\{toctree\}\n(?::.*?\n)*\n(.*?)```", page.read_text())
        for entry in tree.split()
    ]
    assert len(set(menus)) == len(menus) > 100
    pages = {
        str(page.relative_to(staged).with_suffix("")) for page in staged.rglob("*.*") if page.suffix in (".md", ".rst")
    }
    assert set(menus) == pages - {"index"}


def test_every_name_of_the_reference_exists(staged):
    """Roles and directives of the pages of Python: `lab.linalg.Spectrum`, .. autofunction:: lab.d90."""
    text = "".join(page.read_text() for page in (staged / "reference" / "python").glob("*.rst"))
    names = set(re.findall(r":: (lab\.[\w.]+)$|`(lab\.[\w.]+)`", text, re.MULTILINE))
    found = runpy.run_path(str(DOCS / "site" / "docstrings.py"))["found"]
    assert len(names) > 200
    assert [name for pair in sorted(names) for name in pair if name and not found(name)] == []


def test_my_model_on_my_task_on_a_gpu_is_two_clicks_away():
    index = (DOCS / "index.md").read_text()
    (row,) = (line for line in index.splitlines() if "intrinsic dimension of my model on my task on a GPU" in line)
    (link,) = re.findall(r"\((\S+)\)", row)
    file, anchor = link.split("#")
    section = (DOCS / file).read_text().split("\n## ")[1]
    assert anchor in anchors(f"## {section}")
    assert "deltalab run intrinsic_dimension --model ./my-model --task reviews.csv" in section
    assert "GPU" in section


@pytest.mark.parametrize("room", lab.rooms())
def test_every_name_that_a_room_offers_exists(room):
    module = importlib.import_module(f"lab.{room}")
    assert [name for name in getattr(module, "__all__", ()) if not hasattr(module, name)] == []


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("furo"), reason="needs the extra docs: make docs installs it")
def test_it_builds_without_a_warning(tmp_path):
    """About a minute; with figures left out, which need no link. A name of ours that is nowhere is a warning too."""
    command = [sys.executable, str(DOCS / "site"), "--pictures", "none", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list((tmp_path / "html").rglob("*.html"))
    hosts = {host for page in pages for host in re.findall(r'(?:src|href)="(https?://[^/"]+)[^"]*\.(?:js|css|woff2?)"',
             page.read_text())}  # fmt: skip
    assert hosts == set(), "nothing may come from another host when a page is read"
    assert (tmp_path / "html" / "searchindex.js").stat().st_size > 100_000
