"""Every file, name, test, command and paper that README.md and docs/ speak of exists."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import unicodedata
from pathlib import Path

import pytest
from typer.main import get_command

from lab.cli import app
from lab.figures import FIGURES
from lab.study.catalogue import experiment_names, load_experiment

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
FOLDERS = ("lab", "experiments", "app", "tests", "docs", "notebooks", "benchmarks", "gallery")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def paths(text: str) -> set[str]:
    """`lab/…`, `tests/…` and so on; of lab/deltas/<name>.py the folder, of a URL nothing."""
    found = re.findall(rf"(?<![\w/.:<-])(?:{'|'.join(FOLDERS)})/[\w./*-]*", text)
    return {path.rstrip("./") for path in found}


def unknown_tests(text: str) -> list[str]:
    """Of `tests/x/test_y.py::test_z`, and `…::test_z` or `…z` for another of the file named last, what is not there."""
    file, unknown = None, []
    for name, sep, test in re.findall(r"((?:tests/)?[\w/]*\btest_\w+\.py)|(::|…:{0,2})(\w+)", text):
        if name:
            file = next(ROOT.glob(name if name.startswith("tests/") else f"tests/**/{name}"), None)
            unknown += [] if file else [name]
        elif file:
            function = test if test.startswith("test_") else f"test_{test}"
            unknown += [] if re.search(rf"^def {function}\b", file.read_text(), flags=re.MULTILINE) else [sep + test]
    return unknown


def resolved(dotted: str) -> object:
    """The module or attribute of a dotted name."""
    parts = dotted.split(".")
    for n in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:n]))
        except ModuleNotFoundError:
            continue
        for name in parts[n:]:
            found = inspect.getattr_static(found, name) if inspect.isclass(found) else getattr(found, name)
        return found
    raise AttributeError(dotted)


def exists(dotted: str) -> bool:
    try:
        resolved(dotted)
    except AttributeError:
        return False
    return True


def test_what_is_wrong_is_found():
    text = "`lab/nowhere.py` lab/deltas/<name>.py https://x.org/docs/a.md, docs/b.md."
    assert paths(text) == {"lab/nowhere.py", "lab/deltas", "docs/b.md"}
    text = (
        "tests/test_docs.py::test_paths_exist, `…::test_commands_exist`, `…paths_exist`, ``…nothing``, `test_none.py`"
    )
    assert unknown_tests(text) == ["…nothing", "test_none.py"]
    assert unknown_tests("`test_docs.py::test_nothing`") == ["::test_nothing"]
    assert exists("lab.linalg.Spectrum.stable_rank")
    assert not exists("lab.linalg.Spectre")
    assert not exists("lab.nowhere.Spectrum")


@pages
def test_paths_exist(page):
    assert [path for path in sorted(paths(page.read_text())) if not list(ROOT.glob(path))] == []


@pages
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pages
def test_dotted_names_exist(page):
    names = re.findall(r"(?<![\w./])(?:lab|experiments)(?:\.[A-Za-z_]\w*)+", page.read_text())
    assert [name for name in names if not exists(name)] == []


@pages
def test_python_blocks_parse_and_import_what_exists(page):
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL):
        imports = [node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.ImportFrom)]
        names = [f"{node.module}.{alias.name}" for node in imports for alias in node.names]
        assert [name for name in names if name.startswith("lab.") and not exists(name)] == []


@pages
def test_named_tests_exist(page):
    assert unknown_tests(page.read_text()) == []


@pages
def test_commands_exist(page):
    text = page.read_text()
    commands = set(re.findall(r"(?:^|`)deltalab ([a-z]+)", text, flags=re.MULTILINE))
    assert commands <= set(get_command(app).commands)  # type: ignore[attr-defined]
    runs = set(re.findall(r"(?:^|`)deltalab run ([a-z_]+)", text, flags=re.MULTILINE))
    assert runs <= set(experiment_names())
    exported = set(re.findall(r"(?:^|`)deltalab export ([a-z_0-9]+)", text, flags=re.MULTILINE))
    assert exported <= {figure.name for figure in FIGURES}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, flags=re.MULTILINE)) <= targets


def unknown_options(text: str) -> list[str]:
    """Options of commands that these have not: of `deltalab run NAME` those of the experiment count as well."""
    commands = get_command(app).commands  # type: ignore[attr-defined]
    unknown = []
    for line in re.findall(r"(?:^|`) *deltalab ([^`\n]*)", text, flags=re.MULTILINE):
        words = re.sub(r"'[^']*'", "", line.partition(" #")[0]).split()
        if not words or words[0] not in commands or (words[0] == "run" and words[1] not in experiment_names()):
            continue
        known = {option for parameter in commands[words[0]].params for option in parameter.opts} | {"--help"}
        if words[0] == "run":
            known |= set(re.findall(r"--[a-z][a-z0-9-]*", load_experiment(words[1]).help()))
        options = re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", " ".join(words))
        unknown += [f"{words[0]} {option}" for option in options if option not in known]
    return unknown


def test_unknown_options_are_found():
    text = "`deltalab export cka --siez single`\ndeltalab run scale --sizes minilm --lurning 3  # --not-this\n"
    assert unknown_options(text) == ["export --siez", "run --lurning"]


@pages
def test_options_of_commands_exist(page):
    assert unknown_options(page.read_text()) == []


# papers


def bibliography() -> dict[str, str]:
    """Key -> entry."""
    entries = re.split(r"(?m)^@", (ROOT / "docs" / "papers.bib").read_text())[1:]
    return {entry[entry.index("{") + 1 : entry.index(",")]: entry for entry in entries}


def plain(text: str) -> str:
    """ASCII letters only: TeX accents and Unicode accents both go."""
    text = re.sub(r"\{\\ss\}", "ss", text).replace("ß", "ss")
    text = re.sub(r"[{}]|\\[`'\"^~=.]|\\[A-Za-z]+", "", text.replace(r"\AA", "A"))
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def test_bibtex_entries_are_whole_and_balanced():
    entries = bibliography()
    assert len(entries) == (ROOT / "docs" / "papers.bib").read_text().count("\n@")
    for key, entry in entries.items():
        body = entry.split("% ----")[0]
        assert body.count("{") == body.count("}"), key
        assert all(f"  {field} = " in body for field in ("author", "title", "year")), key
        kind = body[: body.index("{")]
        home = {"article": "journal", "inproceedings": "booktitle", "incollection": "booktitle", "book": "publisher"}
        assert kind == "misc" or f"  {home[kind]} = " in body, key


def test_table_and_bibliography_have_the_same_papers():
    assert set(re.findall(r"\[`([a-z0-9]+)`\]", (ROOT / "docs" / "papers.md").read_text())) == set(bibliography())


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_sources_of_figures_are_in_the_bibliography(figure):
    entries = bibliography()
    for source in figure.source:
        assert str(source.year) in entries[source.key]
        assert source.arxiv in entries[source.key]


def test_papers_that_docstrings_cite_are_in_the_bibliography():
    known = []
    for entry in bibliography().values():
        author = re.search(r"author = \{(.*)\},", entry)
        year = re.search(r"year = \{(\d+)\}", entry)
        assert author is not None
        assert year is not None
        known.append((plain(author[1]), year[1]))
    several = r"(\w[\w-]+)(?: et al\.| (?:&|and) [A-Z]\w+|, [A-Z]\w+ (?:&|and) [A-Z]\w+) \(?((?:19|20)\d\d)\b"
    alone = r"\(([A-Z][\w-]+) ((?:19|20)\d\d)[),;]"
    missing = set()
    for file in [*(ROOT / "lab").rglob("*.py"), *(ROOT / "experiments").glob("*.py")]:
        for surname, year in re.findall(several, file.read_text()) + re.findall(alone, file.read_text()):
            if not any(plain(surname) in authors and when == year for authors, when in known):
                missing.add(f"{file.relative_to(ROOT)}: {surname} {year}")
    assert missing == set(), "add them to docs/papers.bib and docs/papers.md"
