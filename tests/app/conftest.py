"""A store with made-up records of every kind the explorer shows."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from lab.figures import HOW_TO_GET_A_BROWSER, INTRINSIC_DIMENSION, LEARNING_CURVES, figure, find_browser
from lab.runs import Job, Record, Store, places
from lab.study.catalogue import outline_of, outlines

ROOT = Path(__file__).resolve().parents[2]

LATER = "2099-11"
"""Year and month in which records end here: after all of the gallery, beside which a server shows them."""

PROVENANCE = {
    "device": "a processor",
    "started": "2026-11-01T10:00:00+00:00",
    "ended": "2026-11-01T10:00:12+00:00",
    "seconds": 12.5,
    "seeds": [0, 1],
}


def search(method: str, task: str, *, head: str = "inside", factor: float = 1.0, day: int = 1) -> Record:
    """A search for d90, its d axis stretched by a factor."""
    config = {"model": "minilm", "task": task, "method": method, "projection": "fastfood", "head": head, "seed": 0}
    table = INTRINSIC_DIMENSION.example().astype({"d": float})
    stretched = ~table.kind.isin(["full", "linear_probe"])
    table.loc[stretched, "d"] = (table.d[stretched] * factor).round()
    table = table.assign(label=f"{method.upper()} fastfood", task=task)
    history = LEARNING_CURVES.example()
    command = f"deltalab run intrinsic_dimension --scale demo --task={task} --method={method} --head={head}"
    return Record(
        Job("intrinsic_dimension", config),
        {"d90": 1797 * factor, "metric": "accuracy", "tunable": 1797},
        {INTRINSIC_DIMENSION.table: table, LEARNING_CURVES.table: history},
        provenance={**PROVENANCE, "ended": f"{LATER}-{day:02d}T10:00:12+00:00", "command": command},
    )


def training_run(seed: int) -> Record:
    """A single run, whose history names neither label nor seed."""
    history = LEARNING_CURVES.example()
    history = history[(history.label == "LoRA r = 8") & (history.seed == seed)].drop(columns=["label", "seed"])
    config = {"model": "minilm", "task": "bbc-news", "method": {"method": "lora", "rank": 8}, "seed": seed}
    metrics = {"score": 0.9 + 0.01 * seed, "metric": "accuracy", "tunable": 73_728, "stored": 73_728}
    return Record(Job("training_run", config), metrics, {LEARNING_CURVES.table: history}, provenance=PROVENANCE)


def measurement(experiment: str, *, day: int = 1, **settings: object) -> Record:
    """A record with the table of every figure of an experiment."""
    config = {"model": "minilm", "task": "bbc-news", "method": "full", "seed": 0, **settings}
    tables = {drawn.table: drawn.example() for drawn in map(figure, outline_of(experiment).figures)}
    made = {**PROVENANCE, "ended": f"{LATER}-{day:02d}T10:00:12+00:00"}
    return Record(Job(experiment, config), {"loss": 0.5}, tables, provenance=made)


def fill(store: Store) -> None:
    """Puts some of everything into a store."""
    store.put(search("did", "bbc-news", day=3))
    store.put(search("said", "bbc-news", factor=0.5, day=2))
    store.put(search("did", "rotten-tomatoes", factor=2.0))
    for seed in (0, 1):
        store.put(training_run(seed))
    for outline in outlines():
        if outline.scaled and outline.name not in ("intrinsic_dimension", "training_run"):
            store.put(measurement(outline.name))


@pytest.fixture(scope="session", autouse=True)
def cards(tmp_path_factory) -> Iterator[None]:
    """Keeps the cards that are drawn here out of the user's cache; processes of one run share them."""
    own = tmp_path_factory.getbasetemp()
    run = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DELTALAB_CACHE", str(run / "explorer cache"))
        yield


def visit(page: str, **query: str | list[str]) -> AppTest:
    """The page of an address, on the store and the gallery of the test."""
    shown = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=240)
    for name, value in query.items():
        shown.query_params[name] = value
    shown._page_hash = calc_hash(page)  # a page that is no file has no other name in AppTest
    return shown.run()


@pytest.fixture
def visited() -> Callable[..., AppTest]:
    """`visit`, for tests that choose store and gallery themselves."""
    return visit


@pytest.fixture
def opened(monkeypatch, tmp_path) -> Callable[..., AppTest]:
    """Opens the page of an address on a store, with nothing in the gallery."""
    monkeypatch.setattr(places, "GALLERY", tmp_path / "no gallery")

    def opened(page: str, store: Path, **query: str | list[str]) -> AppTest:
        monkeypatch.setenv("DELTALAB_STORE", str(store))
        return visit(page, **query)

    return opened


@pytest.fixture(scope="session")
def filled(tmp_path_factory) -> Path:
    """Path of a store with records; not to be changed."""
    path = tmp_path_factory.mktemp("explorer") / "runs"
    fill(Store(path))
    return path


@pytest.fixture
def of_two_plms(tmp_path) -> Path:
    """A store with the weight differences of two PLMs, SmolLM2's newer."""
    store = Store(tmp_path / "of two PLMs")
    store.put(measurement("weight_differences", model="minilm", day=1))
    store.put(measurement("weight_differences", model="smollm2", day=2))
    return store.path


@pytest.fixture
def of_four_seeds(tmp_path) -> Path:
    """A store with the intruders of four seeds, the last one newest."""
    store = Store(tmp_path / "of four seeds")
    for seed in range(4):
        store.put(measurement("intruders", seed=seed, day=1 + seed))
    return store.path


@pytest.fixture
def of_predictions(tmp_path) -> Path:
    """A store with eight predictions of each search, of two PLMs, one of them on two tasks."""
    store, drawn = Store(tmp_path / "of predictions"), figure("predicted_dimension")
    made = drawn.example()
    rows = pd.concat([made.assign(variant=f"variant {i}") for i in range(8)], ignore_index=True)
    for day, (model, task) in enumerate((("minilm", "bbc-news"), ("minilm", "imdb"), ("smollm2", "bbc-news")), 1):
        asked = measurement("predicted_dimension", model=model, task=task, day=day)
        table = rows.assign(label=f"{model} · {task} · " + rows.label.str[-1])
        store.put(Record(asked.job, asked.metrics, {drawn.table: table}, provenance=asked.provenance))
    return store.path


@pytest.fixture
def of_eight_tasks(tmp_path) -> Path:
    """A store with comparisons of methods on eight tasks, a record each."""
    store, drawn = Store(tmp_path / "of eight tasks"), figure("performance")
    made = drawn.example().query("task == 'topic'")
    for day in range(1, 9):
        asked = measurement("performance", task=f"task {day}", day=day)
        tables = {drawn.table: made.assign(task=f"task {day}")}
        store.put(Record(asked.job, asked.metrics, tables, provenance=asked.provenance))
    return store.path


@pytest.fixture
def of_two_runs(tmp_path) -> Path:
    """A store with the principal angles of two runs, the shorter one newer."""
    store = Store(tmp_path / "of two runs")
    store.put(measurement("subspace_similarity", steps=30, day=2))
    store.put(measurement("subspace_similarity", steps=60, day=1))
    return store.path


@pytest.fixture
def hostile(tmp_path) -> Path:
    """A store whose names try to be links, images, scripts and formulas."""
    evil = "[x](https://x.example) ![](https://x.example/i.png) <script>alert(1)</script> $x$ :red[y]"
    record = search("did", "bbc-news")
    table = record.tables[INTRINSIC_DIMENSION.table].assign(label=evil, task=evil, model=evil, metric=evil)
    config = {**record.job.config, "model": evil, "task": evil}
    tables: dict[str, pd.DataFrame] = {**record.tables, INTRINSIC_DIMENSION.table: table}
    Store(tmp_path / "hostile").put(
        Record(Job("intrinsic_dimension", config), {"note": evil}, tables, provenance={**PROVENANCE, "command": evil})
    )
    return tmp_path / "hostile"


@pytest.fixture
def of_two_budgets(tmp_path) -> Path:
    """A store with comparisons of methods at two budgets, the longer one newer."""
    store = Store(tmp_path / "of two budgets")
    store.put(measurement("performance", steps=64, day=1))
    store.put(measurement("performance", steps=160, day=2))
    return store.path


FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@contextmanager
def _server(store: Path, log: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    main = [sys.executable, "-m", "streamlit", "run", "app/main.py"]
    environment = {**os.environ, "DELTALAB_STORE": str(store)}
    with log.open("w") as out:
        server = subprocess.Popen(
            [*main, f"--server.port={port}", "--server.headless=true"],
            cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            for _ in range(300):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1).close()
                    break
                except OSError:
                    assert server.poll() is None, log.read_text()
                    time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(timeout=20)


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[Callable[[Path], str]]:
    """Starts the explorer as ``deltalab app`` does, on a store and a free port; returns its address."""
    with ExitStack() as servers:

        def start(store: Path) -> str:
            return servers.enter_context(_server(store, tmp_path_factory.mktemp("server") / "log"))

        yield start


@pytest.fixture(scope="module")
def chromium():
    """An installed Chromium; tests that ask for it are skipped where there is none."""
    browser = find_browser()
    if browser is None:
        pytest.skip(HOW_TO_GET_A_BROWSER)
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=browser, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def window(chromium):
    """A browser whose tabs share what they have loaded: the explorer's own scripts take a second to compile."""
    context = chromium.new_context()
    yield context
    context.close()


@pytest.fixture
def tabs(window, chromium):
    """Opens tabs that remember what they asked of whom; each is a session of its own, `apart` a browser of its own."""
    with ExitStack() as opened_here:

        def opened(width: int = 1300, height: int = 900, *, apart: bool = False):
            context = chromium.new_context() if apart else window
            page = context.new_page()
            opened_here.callback(context.close if apart else page.close)
            page.set_viewport_size({"width": width, "height": height})
            page.asked, page.said = [], []
            page.on("request", lambda asked: page.asked.append(asked.url))
            page.on("dialog", lambda dialog: (page.said.append(dialog.message), dialog.dismiss()))
            return page

        yield opened


@pytest.fixture
def tab(tabs):
    """One tab."""
    return tabs()


SOON = 120_000  # ms: two cores may be shared
PLACE = """(drawing, [trace, point]) => {
  const {xaxis, yaxis} = drawing._fullData[trace], axis = (id) => drawing._fullLayout[id[0] + "axis" + id.slice(1)];
  const [x, y] = [axis(xaxis), axis(yaxis)], box = drawing.getBoundingClientRect(), own = drawing._fullData[trace];
  return [box.left + x._offset + x.d2p(own.x[point]), box.top + y._offset + y.d2p(own.y[point])];
}"""


def settle(tab) -> None:
    """Waits until the page is no longer at work."""
    tab.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for(timeout=SOON)
    tab.wait_for_timeout(400)  # what the browser tells of its width comes a little later
    tab.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for(timeout=SOON)


@pytest.fixture
def settled() -> Callable:
    """`settle`."""
    return settle


@pytest.fixture
def drawn() -> Callable:
    """The first figure of a page, once it is there and no longer changes its size."""

    def drawn(tab):
        figure = tab.locator(".js-plotly-plot").first
        figure.locator(".main-svg").first.wait_for(timeout=SOON)
        settle(tab)
        return figure

    return drawn


@pytest.fixture
def click() -> Callable:
    """Clicks a point of a trace of a figure, as a person does."""

    def click(tab, figure, trace: int, point: int) -> None:
        figure.scroll_into_view_if_needed()
        x, y = figure.evaluate(PLACE, [trace, point])
        tab.mouse.move(x - 3, y)
        tab.mouse.move(x, y, steps=3)
        tab.wait_for_timeout(200)  # plotly looks under the pointer some 20 times a second
        tab.mouse.click(x, y)

    return click


@pytest.fixture
def outside() -> Callable:
    """What a tab has asked of others than the explorer at an address."""

    def outside(tab, address: str) -> list[str]:
        own = (address, address.replace("http", "ws"), "data:", "blob:")
        return [url for url in tab.asked if not url.startswith(own)]

    return outside


@pytest.fixture
def models_imported(filled) -> Callable[[str], str]:
    """Runs a script in a Python of its own, on the store of this file: which libraries of models it has imported."""

    def imported(script: str) -> str:
        code = f"{script}import sys; print(sorted({{'torch', 'transformers', 'peft'}} & set(sys.modules)))"
        environment = {"DELTALAB_STORE": str(filled), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return imported
