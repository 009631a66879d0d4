"""The basket: order, sentences, removal, rows as they were, two holders at once, and entries that mean harm."""

from __future__ import annotations

import io
import json
import threading
import zipfile

import pandas as pd
import pytest
from typer.testing import CliRunner

from lab.cli import app
from lab.figures import CKA, INTRINSIC_DIMENSION, TableError
from lab.paper import VENUES, Basket, contents, zipped
from lab.paper.basket import BASKET, LONGEST
from lab.runs import Job, Record, Store, everything


def test_figures_stay_in_order_with_their_sentences_for_every_holder(tmp_path):
    one, other = Basket(tmp_path), Basket(tmp_path)
    a = one.add(CKA, CKA.example(), address="representations?task=imdb")
    b = other.add(INTRINSIC_DIMENSION, INTRINSIC_DIMENSION.example())
    c = one.add(CKA, CKA.example().head(3), command="deltalab spectra a b")
    one.say(b.name, " What  was\nseen. ")
    other.move(c.name, -1)
    assert [item.name for item in one.items()] == [a.name, c.name, b.name]
    other.move(a.name, 5)
    assert [(item.name, item.sentence) for item in one.items()] == [
        (c.name, ""),
        (b.name, "What was seen."),
        (a.name, ""),
    ]
    other.remove(b.name)
    assert [item.name for item in one.items()] == [c.name, a.name]
    assert one.items()[1].address == "representations?task=imdb"
    assert not (tmp_path / BASKET / f"{b.name}.parquet").exists()
    one.say(a.name, 3000 * "x")
    assert len(other.items()[1].sentence) == LONGEST


def test_the_rows_are_those_that_were_seen(tmp_path):
    table = INTRINSIC_DIMENSION.example().assign(
        key="ab" * 32, unrelated=[object()] * len(INTRINSIC_DIMENSION.example())
    )
    item = Basket(tmp_path).add(INTRINSIC_DIMENSION, table)
    pd.testing.assert_frame_equal(Basket(tmp_path).table(item), INTRINSIC_DIMENSION.checked(table))


def test_two_who_add_at_once_lose_nothing(tmp_path):
    threads = [threading.Thread(target=Basket(tmp_path).add, args=(CKA, CKA.example())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Basket(tmp_path).items()) == 8


def test_entries_that_lead_elsewhere_or_nowhere_are_left_out(tmp_path):
    item = Basket(tmp_path).add(CKA, CKA.example())
    path = tmp_path / BASKET / "items.json"
    (good,) = json.loads(path.read_text())
    harmful = {"name": "../../x"}, {"figure": "pie"}, {"figure": "os.path"}, {"sentence": 3}
    path.write_text(json.dumps([*({**good, **one} for one in harmful), {"name": good["name"]}, None, 3, good]))
    assert Basket(tmp_path).items() == (item,)
    path.write_text("{")
    assert Basket(tmp_path).items() == ()


def test_rows_that_are_gone_are_said(tmp_path):
    item = Basket(tmp_path).add(CKA, CKA.example())
    (tmp_path / BASKET / f"{item.name}.parquet").write_bytes(b"PAR1")
    with pytest.raises(TableError, match=r"the rows of 'cka' cannot be read .*; add the figure again"):
        Basket(tmp_path).table(item)
    with pytest.raises(TableError, match="missing"):
        Basket(tmp_path).add(CKA, CKA.example().iloc[:, :1])


def test_a_basket_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / BASKET).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="a store follows none"):
        Basket(tmp_path).say("0" * 32, "x")


def filled(store: Store) -> Basket:
    store.put(Record(Job("representations", {"model": "mine"}), {"x": 1.0}, tables={"cka": CKA.example()}))
    (key,) = store.keys()
    basket = Basket(store.path)
    first = basket.add(CKA, CKA.example().assign(key=key))
    basket.add(CKA, CKA.example().assign(key="0" * 64), command="deltalab spectra a b")
    basket.say(first.name, r"100 % of \input{it}.")
    return basket


def test_pieces_have_names_origins_and_remarks(tmp_path):
    said: list[str] = []
    one, two = filled(Store(tmp_path / "runs")).pieces(everything(tmp_path / "runs"), said.append)
    assert (one.name, two.name) == ("cka", "cka_2")
    assert one.origins[0].command.startswith("deltalab run representations --config")
    assert [origin.command for origin in two.origins] == ["deltalab spectra a b"]
    assert len(said) == 1  # of the record that there is not
    files = contents([one, two], VENUES["neurips"], command="deltalab paper basket", pgf=True, browser=False)
    assert rb"\CkaRemark{} \CkaAnswer{}" in files["main.tex"]
    assert rb"\CkaTwoAnswer{}" in files["main.tex"]
    assert rb"\CkaTwoRemark" not in files["main.tex"]
    assert rb"\input{it}" not in files["captions.tex"]
    archive = zipfile.ZipFile(io.BytesIO(zipped(files, "paper")))
    assert {name.removeprefix("paper/") for name in archive.namelist()} == set(files)
    assert archive.testzip() is None


def test_the_command_writes_the_folder_of_the_basket(tmp_path):
    run = CliRunner().invoke
    done = run(app, ["paper", "basket", "--dry", "--store", str(tmp_path / "none")])
    assert done.exit_code == 2
    assert "the basket is empty" in done.output
    filled(Store(tmp_path / "runs"))
    done = run(app, ["paper", "basket", "--dry", "--store", str(tmp_path / "runs")])
    assert done.exit_code == 0, done.output
    assert "cka_2: figure" in done.output
