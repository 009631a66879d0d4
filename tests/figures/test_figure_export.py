"""Files: which are written, what they hold, what is said where none can be; nothing is fetched."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from lab.figures import (
    FIGURES,
    HOW_TO_GET_A_BROWSER,
    IDENTITY,
    INTRINSIC_DIMENSION,
    SIZES,
    ImageError,
    export,
    exporting,
    figure,
    find_browser,
    rendered,
    sheet_count,
)
from lab.figures import images as images_module

TEXTS = ("html", "csv", "tex")
needs_browser = pytest.mark.skipif(find_browser() is None, reason=HOW_TO_GET_A_BROWSER)


@pytest.fixture
def no_browser(monkeypatch):
    monkeypatch.setattr(images_module, "find_browser", lambda: None)


class _Links(HTMLParser):
    """Everything a browser would fetch by itself."""

    def __init__(self):
        super().__init__()
        self.fetched: list[str] = []
        self.policy = ""

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag != "a":
            self.fetched += [value for name, value in attrs if name in ("src", "href", "srcset", "data") and value]
        if tag == "meta" and given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"]


@pytest.mark.parametrize("drawn", FIGURES, ids=lambda f: f.name)
def test_text_formats_need_no_browser(drawn, tmp_path, no_browser):
    done = export(drawn, tmp_path / "deep" / "fig.v1", TEXTS, drawn.example())
    names = ["fig.v1.html", "fig.v1.csv", "fig.v1.tex", "fig.v1.columns.csv", "fig.v1.caption.tex", "fig.v1.bib"]
    assert [path.name for path in done.written] == names
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == sorted(names)
    assert done.skipped == ()


@pytest.mark.parametrize("drawn", FIGURES, ids=lambda f: f.name)
def test_html_is_whole_and_fetches_nothing(drawn):
    text = rendered(drawn, drawn.example(), "html").decode()
    links = _Links()
    links.feed(text)
    assert links.fetched == []
    assert links.policy.startswith("default-src 'none'")
    assert len(text) > 3_000_000  # plotly.js is inside
    assert '"showSendToCloud": false' in text
    assert 'role="img"' in text
    assert drawn.caption.split("(")[0].split("'")[0].strip()[:40] in text


def test_the_same_table_gives_the_same_bytes():
    table = INTRINSIC_DIMENSION.example()
    for kind in ("html", "csv", "tex"):
        assert rendered(INTRINSIC_DIMENSION, table, kind) == rendered(INTRINSIC_DIMENSION, table, kind)


def test_html_escapes_what_it_is_given():
    hostile = "</script><script>alert(1)</script>"
    table = INTRINSIC_DIMENSION.example().assign(label=hostile, task='"><img src=https://x.example/a.png>')
    text = rendered(INTRINSIC_DIMENSION, table, "html", provenance={"command": hostile}).decode()
    links = _Links()
    links.feed(text)
    assert links.fetched == []
    assert "<script>alert" not in text


@pytest.mark.parametrize("drawn", FIGURES, ids=lambda f: f.name)
def test_csv_holds_the_table(drawn):
    table = drawn.example()
    rows = list(csv.DictReader(io.StringIO(rendered(drawn, table, "csv").decode())))
    assert len(rows) == len(table)
    own = [*drawn.columns, *(name for name in drawn.optional if name in table)]
    assert list(rows[0]) == [*own, *(name for name in IDENTITY if name not in own)]


@pytest.mark.parametrize("drawn", FIGURES, ids=lambda f: f.name)
def test_tex_has_a_row_per_answer(drawn):
    table = drawn.example()
    text = rendered(drawn, table, "tex").decode()
    assert sum(line.endswith(r"\\") for line in text.splitlines()) == 1 + len(drawn.summarize(table))
    assert all(rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule"))
    alignment = re.search(r"\\begin\{tabular\}\{(.+)\}\n", text)
    assert alignment is not None
    columns = len(re.findall(r"[lrS]", re.sub(r"\[.*?\]", "", alignment.group(1))))
    assert columns <= len(drawn.summarize(table).columns)
    assert all(line.count(" & ") == columns - 1 for line in text.splitlines() if line.endswith(r"\\"))


def test_caption_cites_and_carries_provenance(tmp_path):
    table = INTRINSIC_DIMENSION.example().assign(key="ab" * 32)
    made = {"command": "deltalab run intrinsic_dimension\n--scale demo"}
    done = export(INTRINSIC_DIMENSION, tmp_path / "fig", ["html"], table, provenance=made)
    caption = next(path for path in done.written if path.name == "fig.caption.tex").read_text()
    assert r"\cite{li2018measuring,aghajanyan2020intrinsic}" in caption
    assert r"\def\IntrinsicDimensionCaption{" in caption
    assert "% keys: abababababab\n% command: deltalab run intrinsic_dimension --scale demo\n" in caption
    assert "abababababab" in (tmp_path / "fig.html").read_text()
    assert (tmp_path / "fig.bib").read_text().count("@") == 2


def test_without_a_browser_the_rest_is_written_and_the_way_out_is_said(tmp_path, no_browser):
    done = export(INTRINSIC_DIMENSION, tmp_path / "fig", table=INTRINSIC_DIMENSION.example())
    assert {path.name for path in done.written} == {
        "fig.html",
        "fig.csv",
        "fig.columns.csv",
        "fig.tex",
        "fig.caption.tex",
        "fig.bib",
    }
    assert [skip.format for skip in done.skipped] == ["pdf", "svg"]
    assert "apt-get install chromium" in done.message
    assert "no PDF, SVG: " in done.message
    with pytest.raises(ImageError, match="apt-get install chromium"):
        rendered(INTRINSIC_DIMENSION, INTRINSIC_DIMENSION.example(), "pdf")


@needs_browser
def test_an_image_taller_than_a_page_is_a_zip_of_the_files_that_export_writes(tmp_path):
    drawn = figure("weight_difference_spectra")
    table = pd.concat([drawn.example().assign(label=f"run {i}") for i in range(6)], ignore_index=True)
    written = export(drawn, tmp_path / drawn.name, ["svg"], table).written
    images = {path.name: path.read_bytes() for path in written if path.suffix == ".svg"}
    assert len(images) == sheet_count(drawn, table, "double") > 1
    with zipfile.ZipFile(io.BytesIO(rendered(drawn, table, "svg"))) as archive:
        assert archive.namelist() == [f"{drawn.name}/{name}" for name in images]
        assert all(archive.read(f"{drawn.name}/{name}").startswith(b"<svg") for name in images)
    assert sheet_count(drawn, drawn.example(), "double") == 1
    assert rendered(drawn, drawn.example(), "svg").startswith(b"<svg")


def test_a_browser_that_fails_is_a_reason_not_a_crash(tmp_path, monkeypatch):
    monkeypatch.setattr(images_module, "find_browser", lambda: "/bin/false")
    monkeypatch.setattr(images_module, "TIMEOUT", 5.0)
    monkeypatch.setenv("BROWSER_PATH", "/bin/false")
    done = export(INTRINSIC_DIMENSION, tmp_path / "fig", ["csv", "svg"], INTRINSIC_DIMENSION.example())
    assert [skip.format for skip in done.skipped] == ["svg"]
    assert "the browser at /bin/false could not draw the figure" in done.message
    assert (tmp_path / "fig.csv").exists()


@needs_browser
def test_pdf_svg_and_png_by_the_browser(tmp_path):
    done = export(
        INTRINSIC_DIMENSION, tmp_path / "fig", ["pdf", "svg", "png"], INTRINSIC_DIMENSION.example(), size="single"
    )
    assert done.skipped == ()
    assert (tmp_path / "fig.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "fig.png").read_bytes().startswith(b"\x89PNG")
    svg = (tmp_path / "fig.svg").read_text()
    assert 'width="336"' in svg
    assert "<image" not in svg


def test_a_figure_that_no_page_holds_is_written_and_said_to_be(tmp_path):
    table = figure("left_out_tasks").example()
    many = pd.concat([table.assign(member=table.member + f" {i}") for i in range(12)])
    done = export(figure("left_out_tasks"), tmp_path / "figure", ["csv"], many, size="single")
    assert "in tall, a page has room for 9: draw fewer rows" in done.message
    assert "in tall" not in export(figure("left_out_tasks"), tmp_path / "one", ["csv"], table).message


def test_a_figure_taller_than_a_page_goes_on_in_further_files(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(exporting, "images", lambda asked, scale: [drawn.append(one) or b"" for one, _ in asked])
    table = pd.concat([figure("cka").example().assign(label=f"method {i}") for i in range(30)])
    done = export(figure("cka"), tmp_path / "cka", ["csv", "svg", "pdf"], table, size="single")
    pages = len(drawn) // 2
    assert pages > 1
    assert {path.name for path in done.written if path.suffix in (".svg", ".pdf")} == {
        f"cka{'' if i == 1 else f'-{i}'}.{kind}" for i in range(1, pages + 1) for kind in ("svg", "pdf")
    }
    assert max(one.layout.height for one in drawn) <= SIZES["single"].tallest
    assert sum(len(one.data) for one in drawn) == 2 * 30
    assert f"goes on in {pages - 1} more" in done.message


def test_a_finished_drawing_is_exported_without_what_it_lacks(tmp_path):
    drawing = INTRINSIC_DIMENSION.draw(INTRINSIC_DIMENSION.example())
    done = export(drawing, tmp_path / "fig", TEXTS)
    assert [path.name for path in done.written] == ["fig.html"]
    assert {skip.format for skip in done.skipped} == {"csv", "tex", "caption", "bib"}
    assert "a finished drawing has no table" in done.message


def test_misuse_is_refused(tmp_path):
    table = INTRINSIC_DIMENSION.example()
    with pytest.raises(ValueError, match=r"formats are \['gif'\]; choose from html"):
        export(INTRINSIC_DIMENSION, tmp_path / "fig", ["gif"], table)
    with pytest.raises(ValueError, match="formats are 'html'; choose from"):
        export(INTRINSIC_DIMENSION, tmp_path / "fig", "html", table)
    with pytest.raises(ValueError, match="size is 'huge'; choose one of screen, single"):
        export(INTRINSIC_DIMENSION, tmp_path / "fig", ["csv"], table, size="huge")
    with pytest.raises(ValueError, match="needs a table; call export"):
        export(INTRINSIC_DIMENSION, tmp_path / "fig", ["csv"])
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    table = INTRINSIC_DIMENSION.example()
    export(INTRINSIC_DIMENSION, tmp_path / "fig", ["csv"], table)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        export(INTRINSIC_DIMENSION, tmp_path / "fig", ["csv"], table.head(3))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
