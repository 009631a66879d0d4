"""The explorer in a browser: CPU seconds that Chromium takes for every page, opened by its address and by a link.

The explorer is started as `deltalab app` does, on the gallery. Seconds are those of all processes of the browser, as
Chromium counts them, until the page is no longer at work and its figure no longer changes; the server's are not in
them (`deltalab bench explorer` has those).

    opened     by its address, in a new tab whose browser has the explorer's own scripts in its cache
    switched   by a click in the sidebar, from the page before

    deltalab bench browser [--pages performance planner] [--width 1440] [--out benchmarks/results]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _report import write
from explorer import QUESTIONS, ROOT, served
from playwright.sync_api import Browser, Page, sync_playwright

from lab.figures import HOW_TO_GET_A_BROWSER, find_browser

BOUND_S = 2.0
SOON = 120_000  # ms
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
AT_REST = "[data-testid=stApp][data-test-script-state=notRunning]"


def settle(tab: Page) -> None:
    """Waits until the script has ended, the figure is there and half a second has passed without another run."""
    tab.locator(AT_REST).wait_for(timeout=SOON)
    tab.locator(".js-plotly-plot .main-svg, h1").first.wait_for(timeout=SOON)
    tab.wait_for_timeout(500)
    tab.locator(AT_REST).wait_for(timeout=SOON)
    tab.wait_for_timeout(500)


def seconds_of(browser: Browser) -> Callable[[], float]:
    """CPU seconds of all processes of the browser that run now, since they began."""
    session = browser.new_browser_cdp_session()
    return lambda: sum(process["cpuTime"] for process in session.send("SystemInfo.getProcessInfo")["processInfo"])


def measured(browser: Browser, address: str, shown: list[str], width: int) -> list[dict[str, Any]]:
    """One row per page."""
    seconds, context = seconds_of(browser), browser.new_context()
    walking = context.new_page()
    walking.set_viewport_size({"width": width, "height": 900})
    walking.goto(address)
    settle(walking)
    rows = []
    for page in shown:
        before = seconds()
        walking.locator(f"[data-testid=stSidebarNav] a[href$='/{page}']").first.click(timeout=SOON)
        walking.wait_for_url(f"**/{page}*", timeout=SOON)
        settle(walking)
        switched = seconds() - before
        tab = context.new_page()
        tab.set_viewport_size({"width": width, "height": 900})
        before = seconds()
        tab.goto(f"{address}/{page}")
        settle(tab)
        rows.append(
            {
                "page": page, "switched_s": round(switched, 2), "opened_s": round(seconds() - before, 2),
                "bound_s": BOUND_S,
            }
        )  # fmt: skip
        tab.close()
        print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", nargs="*", default=QUESTIONS)
    parser.add_argument("--width", type=int, default=1440)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    found = find_browser()
    if found is None:
        raise SystemExit(HOW_TO_GET_A_BROWSER)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        store = Path(folder) / "none"
        store.mkdir()
        browser = driver.chromium.launch(executable_path=found, args=FLAGS)
        with served(store) as (_, port):
            rows = measured(browser, f"http://127.0.0.1:{port}", list(options.pages), options.width)
        browser.close()
    write(options.out, "browser", {"settings": {"width": options.width}}, rows)


if __name__ == "__main__":
    main()
