"""Builds the documentation site, without a network: ``python docs/site [--out FOLDER] [--pictures HOW]``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python docs/site", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "docs", help="where the site is written")
    parser.add_argument("--pictures", choices=("svg", "sketch", "none"), default="svg", help="svg needs a browser")
    given = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    sys.path.insert(0, str(ROOT))  # the clone's packages, and nothing installed before them
    from sphinx.cmd.build import build_main
    from stage import stage

    start, out = time.monotonic(), given.out.resolve()
    stage(ROOT, out / "source", given.pictures)
    staged = time.monotonic()
    # -W: a warning is an error; -n: a name of ours that is documented nowhere is a warning
    options = [
        "-b",
        "html",
        "-W",
        "--keep-going",
        "-n",
        "-q",
        "-c",
        str(ROOT / "docs" / "site"),
        "-d",
        str(out / "read"),
    ]
    failed = build_main([*options, str(out / "source"), str(out / "html")])
    print(f"{staged - start:.0f} s for the pages, {time.monotonic() - staged:.0f} s for the site")
    print(f"open {out / 'html' / 'index.html'}" if not failed else "the site has faults; they are named above")
    return failed


if __name__ == "__main__":
    sys.exit(main())
