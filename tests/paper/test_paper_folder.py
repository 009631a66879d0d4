"""A paper's folder: what is in it, that it compiles, and that nothing in a name is a command of TeX."""

from __future__ import annotations

import csv
import io
import itertools
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from lab.cli import app
from lab.deltas import LoRA, save_adapter
from lab.figures import FIGURES, HOW_TO_GET_A_BROWSER, figure, find_browser
from lab.figures.grammar.mark import _GLYPHS
from lab.figures.style import PRINT
from lab.models.tiny import tiny_plm
from lab.paper import VENUES, Origin, Piece, Template, contents, outline, read_template, write
from lab.paper.document import table
from lab.paper.picture import picture
from lab.paper.plot_marks import Points
from lab.paper.plot_styles import mark_style
from lab.paper.plot_words import Colours, words
from lab.paper.plots import plot

HOSTILE = r"\input{/etc/passwd} \write18{touch owned} 100 % & $x$ #1 a_b ^^5cbye {} ~ 中 ρ₂ᵀ é"
NEEDED = ("siunitx.sty", "booktabs.sty", "pgfplots.sty", "IEEEtran.cls", "beamer.cls", "ptmr8t.tfm")
MADE = {
    "commit": "abc",
    "python": "3.11",
    "packages": {"torch": "2.13"},
    "device": "a `chip`\n# no heading",
    "seeds": [0, 1],
}


def has_tex() -> bool:
    if not all(map(shutil.which, ("pdflatex", "bibtex", "kpsewhich", "pdftotext"))):
        return False
    return all(subprocess.run(["kpsewhich", name], capture_output=True, check=False).returncode == 0 for name in NEEDED)


needs_tex = pytest.mark.skipif(not has_tex(), reason=f"needs pdflatex, bibtex, pdftotext and {', '.join(NEEDED)}")


def piece(name: str, table: pd.DataFrame | None = None) -> Piece:
    drawn = figure(name)
    origins = [Origin("ab" * 32, f"deltalab run {name}", MADE)]
    return Piece(drawn, drawn.example() if table is None else table, origins, f"deltalab paper {name}")


def hostile(name: str, more: str = "", names: str = HOSTILE) -> Piece:
    rows = figure(name).example()
    return piece(name, rows.assign(label=names + more + " " + rows.label))


def compiled(files: dict[str, bytes], folder: Path, times: int = 1) -> tuple[str, str]:
    """The text of the pages, and the log; stops at the first error of TeX."""
    write(files, folder)
    for _ in range(times):
        done = subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "main"],
            cwd=folder, capture_output=True, text=True, errors="replace", timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == 0, re.findall(r"(?s)^!.{0,300}", done.stdout, re.MULTILINE)
    text = subprocess.run(
        ["pdftotext", "-layout", "main.pdf", "-"], cwd=folder, capture_output=True, text=True, check=False
    )
    return text.stdout, (folder / "main.log").read_text(errors="replace")


def fonts(folder: Path) -> str:
    """Every font of the document, with its type."""
    return subprocess.run(["pdffonts", "main.pdf"], cwd=folder, capture_output=True, text=True, check=True).stdout


def overfull(log: str) -> float:
    """By how much the worst line of a log is too long [pt]."""
    return max(map(float, re.findall(r"Overfull \\hbox \(([\d.]+)pt", log)), default=0.0)


@needs_tex
@pytest.mark.parametrize(  # two columns, and slides; the others are the same TeX in another width
    "venue", [name if name in ("icml", "beamer") else pytest.param(name, marks=pytest.mark.slow) for name in VENUES]
)
def test_every_venue_compiles_whatever_names_say(venue, tmp_path):
    pieces = [hostile("learning_curves"), hostile("sequential_combination")]
    files = contents(pieces, VENUES[venue], command="deltalab paper", pgf=True, browser=False)
    text, log = compiled(files, tmp_path)
    assert overfull(log) < 3
    assert r"\input{/etc/passwd}" in text.replace("\n", " ")
    assert "root:" not in text
    assert not (tmp_path / "owned").exists()
    assert "Type 3" not in fonts(tmp_path)


@needs_tex
@pytest.mark.slow
@pytest.mark.parametrize("drawer", ["pgfplots", "browser"])
@pytest.mark.parametrize("venue", VENUES)
def test_every_figure_compiles_in_every_venue(venue, drawer, tmp_path):
    # a browser writes Chinese by whatever font the machine has, and an OpenType one as Type 3
    names = HOSTILE if drawer == "pgfplots" else HOSTILE.replace("中 ", "")
    pieces = [hostile(drawn.name, names=names) if "label" in drawn.columns else piece(drawn.name) for drawn in FIGURES]
    if drawer == "browser" and find_browser() is None:
        pytest.skip(HOW_TO_GET_A_BROWSER)
    if drawer == "pgfplots":
        pieces = [one for one in pieces if all(plot(one.name, d) for d in picture(one, VENUES[venue]).drawings)]
    pgf = drawer == "pgfplots"
    _, log = compiled(contents(pieces, VENUES[venue], command="", pgf=pgf, browser=not pgf), tmp_path)
    assert overfull(log) < 3
    assert "Type 3" not in fonts(tmp_path)


@needs_tex
def test_what_is_cited_is_in_the_references(tmp_path):
    files = contents([piece("learning_curves"), piece("cka")], VENUES["acl"], command="", pgf=True, browser=False)
    compiled(files, tmp_path)
    done = subprocess.run(["bibtex", "main"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "Warning" not in done.stdout
    text, log = compiled(files, tmp_path, times=2)
    assert "undefined" not in log
    assert "Kornblith" in text


def test_references_hold_what_is_cited_and_no_more():
    files = contents([piece("learning_curves"), piece("cka")], VENUES["acl"], command="", pgf=True, browser=False)
    cited = set(re.findall(r"\\cite\{([^}]*)\}", files["captions.tex"].decode()))
    keys = set(re.findall(r"@\w+\{([^,]+),", files["refs.bib"].decode()))
    assert keys == {key for group in cited for key in group.split(",")}


def test_a_folder_holds_what_it_takes():
    files = contents([piece("cka")], VENUES["ieee"], command="deltalab paper cka", pgf=True, browser=False)
    assert set(files) == {
        "main.tex", "deltalab.tex", "captions.tex", "refs.bib", "PROVENANCE.md", "tables/cka.tex", "tables/cka.csv",
        "tables/cka.columns.csv", "figures/cka.tex", "figures/cka.points.csv",
    }  # fmt: skip
    assert all(content.isascii() for path, content in files.items() if path.endswith((".tex", ".bib")))
    assert r"\documentclass[conference]{IEEEtran}" in files["main.tex"].decode()
    rows = list(csv.reader(io.StringIO(files["figures/cka.points.csv"].decode())))
    assert {len(row) for row in rows} == {len(rows[0])}
    assert len(list(csv.DictReader(io.StringIO(files["tables/cka.csv"].decode())))) == len(piece("cka").rows)


def test_provenance_says_records_commands_versions_machines_and_runs_nothing():
    text = contents([piece("cka")], VENUES["acl"], command="deltalab paper cka", pgf=True, browser=False)[
        "PROVENANCE.md"
    ].decode()
    for fact in ("abababababab", "deltalab run cka", "commit abc", "torch 2.13", "a `chip`", "seeds 0, 1"):
        assert fact in text
    assert "\n# no heading" not in text


def drawn_in_names(one: Piece) -> bool:
    """Whether a panel has names beside it, which keep their height: only such a figure may be too high for a page."""
    grid = one.figure.grid(one.table, PRINT)
    return any(len(grid.axis(panel.number, "y").names) >= 8 for panel in grid.panels)


@pytest.mark.parametrize("venue", [VENUES["icml"], VENUES["beamer"]], ids=lambda venue: venue.name)  # two columns; low
@pytest.mark.parametrize("drawn", FIGURES, ids=lambda drawn: drawn.name)
def test_every_figure_and_table_fits_the_page(drawn, venue):
    one = piece(drawn.name)
    drawn = picture(one, venue)
    width, height = drawn.inches
    assert width == pytest.approx(venue.text if drawn.wide else venue.column, abs=0.01)
    assert drawn.fits == (height <= venue.highest)
    assert drawn.fits or drawn_in_names(one)
    for drawing in drawn.drawings:
        assert drawing.layout.template.layout.font.size == pytest.approx(venue.type / 72.27 * 96)
        assert drawing.layout.template.layout.font.family == venue.font
    made = table(one, venue)
    assert made.tex.count(r"\begin{tabular}{") >= 1
    assert made.tex.count(" \\\\\n") <= venue.height * 72.27 / venue.type


def test_few_figures_are_scaled_down_and_it_is_said():
    lines = outline([piece("left_out_tasks")], VENUES["beamer"])
    assert len(lines) == 2
    assert re.fullmatch(r"left_out_tasks is [\d.]+ in high, the page 2.6 in: it is scaled down\. Draw .*", lines[1])


def test_panels_too_high_for_a_slide_go_on_in_another():
    one = piece("weight_difference_spectra")
    drawn = picture(one, VENUES["beamer"])
    assert len(drawn.drawings) == 2
    assert drawn.fits
    (line,) = outline([one], VENUES["beamer"])
    assert ", 2 slides; table" in line
    files = contents([one], VENUES["beamer"], command="", pgf=True, browser=False)
    assert {name for name in files if name.startswith("figures/")} == {
        f"figures/{name}.{kind}" for name in drawn.named(one.name) for kind in ("tex", "points.csv")
    }
    main = files["main.tex"].decode()
    for i, name in enumerate(drawn.named(one.name), 1):
        assert f"--- {i} of 2}}\n  \\centering\n  \\input{{figures/{name}}}" in main


def test_what_is_too_high_for_a_page_of_a_paper_goes_on_under_the_same_number():
    made = figure("cka").example()
    one = piece("cka", pd.concat([made.assign(label=f"method {i}") for i in range(40)], ignore_index=True))
    drawn = picture(one, VENUES["icml"])
    assert len(drawn.drawings) > 1
    assert drawn.fits
    main = contents([one], VENUES["icml"], command="", pgf=True, browser=False)["main.tex"].decode()
    pages = len(drawn.drawings)
    assert f", {pages} pages; table" in outline([one], VENUES["icml"])[0]
    assert main.count(r"\begin{figure*}") == main.count(r"\caption{\CkaCaption}") + main.count(r"{Continued.}") == pages
    assert all(rf"\input{{figures/{name}}}" in main for name in drawn.named("cka"))


def test_who_writes_a_figure_that_is_scaled_down_is_told():
    one, told = piece("left_out_tasks"), list[str]()
    contents([one], VENUES["beamer"], command="", pgf=True, browser=False, tell=told.append)
    assert told == outline([one], VENUES["beamer"])[1:]
    assert len(told) == 1


def test_an_outline_draws_no_picture_and_names_sources():
    (line,) = outline([piece("cka")], VENUES["neurips"])
    assert re.search(
        r"cka: figure 5\.50 × [\d.]+ in, across the text; table of \d+ rows; 1 record; cites kornblith", line
    )


@pytest.mark.skipif(find_browser() is None, reason=HOW_TO_GET_A_BROWSER)
def test_pictures_are_vectors_of_the_venue_s_width_with_their_fonts_inside(tmp_path):
    files = contents([piece("learning_curves")], VENUES["icml"], command="")
    pdf = files["figures/learning_curves.pdf"]
    assert len(pdf) < 300_000
    assert b"/FontFile2" in pdf  # TrueType: venues refuse Type 3
    assert b"/Type3" not in pdf
    box = re.search(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", pdf)
    assert box is not None
    assert float(box[1]) == pytest.approx(72 * picture(piece("learning_curves"), VENUES["icml"]).inches[0], abs=1)


def test_lines_are_broken_outside_of_braces():
    assert words("<b>d<sub>90</sub> = 8<br>[4, 16]</b>") == r"\textbf{d\textsubscript{90} = 8}\\{}\textbf{[4, 16]}"
    assert words("</b>a<b>c</b></i>") == r"a\textbf{c}"


def test_what_tex_would_read_for_long_stays_a_pdf(monkeypatch):
    points = Points()
    points.add(x=[1.0], y=[2.0])
    points.add(x=[1.0, 2.0, 3.0], y=[2.0, 3.0, 4.0])
    lines = points.csv().splitlines()[1:]
    assert points.cells == sum(line.count(",") + 1 for line in lines) == 12  # those that fill up are read as well
    (drawing,) = picture(piece("cka"), VENUES["icml"]).drawings
    assert plot("cka", drawing) is not None
    monkeypatch.setattr("lab.paper.plots._MOST", 12)
    assert plot("cka", drawing) is None


def test_series_differ_in_grey_and_in_their_markers():
    def lightness(colour: str) -> float:
        linear = [
            (c / 255) / 12.92 if c < 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in bytes.fromhex(colour[1:])
        ]
        y = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        return 116 * y ** (1 / 3) - 16

    levels = sorted(lightness(colour) for colour in PRINT.palette)
    assert min(b - a for a, b in itertools.pairwise(levels)) > 7
    assert len({PRINT.symbol(i) for i in range(len(PRINT.palette))}) == len(PRINT.palette)
    assert len({(PRINT.colour(i), PRINT.symbol(i)) for i in range(64)}) == 64


def test_every_marker_of_the_figures_has_its_own_shape_in_tikz():
    """An arrow where an interval goes on must not look like an estimate."""
    colours = Colours()
    symbols = [name for name in _GLYPHS if name not in ("solid", "dash", "dot", "dashdot", "longdash")]
    styles = [mark_style({"symbol": symbol, "color": "#000000"}, colours) for symbol in symbols]
    assert {a for a, b in itertools.combinations(range(len(styles)), 2) if styles[a] == styles[b]} <= {
        symbols.index("x"),  # thin or not
    }


def test_no_figure_or_the_same_one_twice_is_refused():
    with pytest.raises(ValueError, match="each once; got cka, cka"):
        contents([piece("cka"), piece("cka")], VENUES["acl"], command="")
    with pytest.raises(ValueError, match="one figure or more, each once; got none"):
        contents([], VENUES["acl"], command="")


def test_the_room_imports_no_torch():
    code = "import sys, lab.paper; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("set()", "")


OWN = r"""\documentclass{article}
\usepackage{mystyle}
% \begin{document} in a comment
\begin{document}
\section{Mine} My own words, after \cite{mine}.
\bibliographystyle{plain}
\bibliography{own}
\end{document}
"""
STYLE = rb"\ProvidesPackage{mystyle}\usepackage[margin=3cm]{geometry}"
CITED = b"@misc{mine, author = {Me}, title = {Before}, year = {2020}}"


@needs_tex
def test_one_s_own_template_compiles_with_its_words_style_and_references(tmp_path):
    own = Template(OWN, {"mystyle.sty": STYLE, "own.bib": CITED})
    pieces = [piece("cka"), hostile("learning_curves", " ę ő")]
    files = contents(pieces, VENUES["neurips"], command="", pgf=True, browser=False, template=own)
    compiled(files, tmp_path)
    done = subprocess.run(["bibtex", "main"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    text, log = compiled(files, tmp_path, times=2)
    assert "undefined" not in log
    assert text.index("My own words") < text.index("Kornblith") < len(text)
    assert "Before" in text
    assert "CMR10" in fonts(tmp_path)  # the template's own type, though deltalab's letters are more than it has


@needs_tex
@pytest.mark.skipif(find_browser() is None, reason=HOW_TO_GET_A_BROWSER)
def test_three_commands_lead_from_an_adapter_and_a_template_to_a_page(tmp_path, monkeypatch):
    """The walk of docs/paper.md, with its own template: one page with the figure, its table and its citation."""
    text = (Path(__file__).parents[2] / "docs" / "paper.md").read_text()
    (template,) = re.findall(r"```latex\n(.*?)```", text, re.DOTALL)
    (tmp_path / "my_paper.tex").write_text(template)
    (tmp_path / "mine.bib").write_text("@misc{minilm, author = {Me}, title = {Before}, year = {2020}}")
    delta = LoRA(rank=2).on(tiny_plm("bert"), seed=0)
    phi = torch.randn(delta.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    save_adapter(delta, phi, tmp_path / "my-lora")
    monkeypatch.chdir(tmp_path)
    command = ["paper", "spectra", "-", "my-lora", "--template", "my_paper.tex", "--out", "paper"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    files = {str(path.relative_to("paper")): path.read_bytes() for path in Path("paper").rglob("*") if path.is_file()}
    compiled(files, tmp_path / "page")
    subprocess.run(["bibtex", "main"], cwd="page", capture_output=True, check=True)
    page, log = compiled(files, tmp_path / "page", times=2)
    assert "undefined" not in log
    for said in (
        "We adapt a small encoder [3]",
        "Median effective rank",
        "Figure 1: Singular values",
        "Table 1:",
        "Before",
        "LoRA",
    ):
        assert said in page
    assert "Type 3" not in fonts(tmp_path / "page")


def test_a_template_is_filled_at_its_ends():
    filled = Template(OWN, {}).filled("PREAMBLE\n", "BODY\n")
    assert filled.replace("PREAMBLE\n", "").replace("BODY\n", "").replace("own,deltalab", "own") == OWN
    assert filled.index("mystyle") < filled.index("in a comment") < filled.index("PREAMBLE") < filled.index("Mine")
    assert filled.index("own words") < filled.index("BODY") < filled.index(r"\bibliographystyle")
    bare = Template("\\documentclass{article}\n\\begin{document}\n\\end{document}\n", {}).filled("", "BODY\n")
    assert bare.endswith("plain\\fi}\n\\bibliography{deltalab}\n\\end{document}\n")
    printed = Template("\\begin{document}\n\\printbibliography\n\\end{document}", {}).filled("", "BODY\n")
    assert printed.startswith("\\addbibresource{deltalab.bib}\n\\begin{document}\nBODY\n\\printbibliography")


@pytest.mark.parametrize(
    ("preamble", "venue"),
    [
        (r"\documentclass{article}", "neurips"),
        (r"\documentclass[10pt,twocolumn]{article}", "icml"),
        ("% \\documentclass{beamer}\n\\documentclass[conference]{IEEEtran}", "ieee"),
        (r"\documentclass[aspectratio=169]{beamer}", "beamer"),
        ("\\documentclass[11pt]{article}\n\\usepackage[review]{acl}", "acl"),
        ("\\documentclass{article}\n\\usepackage{url, icml2026}", "icml"),
        ("\\documentclass{article}\n\\usepackage[final]{neurips_2026}", "neurips"),
        ("\\documentclass{article}\n\\usepackage{aclass}", "neurips"),
    ],
)
def test_figures_get_the_width_of_a_template_s_venue(preamble, venue):
    assert Template(f"{preamble}\n\\begin{{document}}\n\\end{{document}}\n", {}).venue == venue


def test_what_is_no_template_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"no \\begin\{document\} … \\end\{document\}; expected a whole LaTeX document"
    ):
        Template("Dear sir", {})
    with pytest.raises(ValueError, match=r"folder has captions\.tex, which the paper's folder holds too; rename it"):
        Template(OWN, {"captions.tex": b""})
    with pytest.raises(ValueError, match="cannot be read"):
        read_template(tmp_path / "none.tex")
    (tmp_path / "mine.tex").write_text(OWN)
    (tmp_path / "mystyle.sty").write_bytes(STYLE)
    (tmp_path / "notes.docx").write_bytes(b"")
    assert set(read_template(tmp_path / "mine.tex").files) == {"mystyle.sty"}
