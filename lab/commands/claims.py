"""``deltalab claims``: what the records say of the claims of the literature."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer

import lab.study as study  # its names bring torch when they are first used
from lab.claims_page import IMAGES, claims_page, sections
from lab.commands.terminal import name_damaged, output, refusals
from lab.reports import claims_table
from lab.runs import Damaged, everything


def claims(
    out: Annotated[Path | None, typer.Option(help="Write a Markdown page to this file.")] = None,
    store: Annotated[
        Path | None, typer.Option(help="Folder of the runs; `gallery` for its records alone.  [default: ./runs]")
    ] = None,
) -> None:
    """Judge the claims of the literature by the records in the store and the gallery."""
    with refusals():
        damaged: Damaged = {}
        verdicts = study.all_verdicts(everything(store), damaged)
        name_damaged(damaged)
        if not verdicts:
            raise ValueError("no record tests a claim yet; run an experiment first: deltalab list shows them")
        if out is None:
            output().print(claims_table(verdicts))
        else:
            out.write_text(claims_page(verdicts), encoding="utf-8")
            typer.echo(f"{len(verdicts)} verdicts written to {out}")
            plots = importlib.import_module("lab.commands.claim_plots")  # brings plotly
            typer.echo(plots.drawn([s for s in sections(verdicts) if s.verdicts], out.parent / IMAGES))
