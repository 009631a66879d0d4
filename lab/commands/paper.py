"""``deltalab paper``: a folder for a paper, which compiles, from figures of records or from the files of an update."""

from __future__ import annotations

import importlib
import shlex
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

import lab.figures as figures  # its names bring plotly when they are first used
from lab.columns import known
from lab.commands.drawn import drawn_table
from lab.commands.spectra import keys, labelled, measured, opened
from lab.commands.terminal import complain, refusals
from lab.figures import figure
from lab.runs import everything, user_store

SPECTRA, BASKET = "spectra", "basket"

_MEDIANS = {
    "label": "update",
    "role": "role",
    "matrices": "matrices [count]",
    "stable_rank": "stable rank",
    "effective_rank": "effective rank",
    "null_effective_rank": "effective rank by chance",
    "relative_frobenius_norm": "‖ΔW‖/‖W₀‖ (Frobenius)",
}


def paper(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="FIGURE...",
            help="Names of figures; or: spectra BASE ADAPTER..., your own files; or: basket, filled in the explorer.",
        ),
    ],
    venue: Annotated[
        str | None,
        typer.Option(help="neurips, icml, acl, ieee or beamer.  [default: what --template is most like, else neurips]"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("paper"),
    where: Annotated[list[str] | None, typer.Option(help="Only rows with COLUMN=VALUE; may be repeated.")] = None,
    experiment: Annotated[str | None, typer.Option(help="Whose runs to draw, if several would do.")] = None,
    pgf: Annotated[
        bool, typer.Option("--pgf", help="Draw by PGFPlots, in the type of the paper, where that can be.")
    ] = False,
    template: Annotated[
        Path | None, typer.Option(help="Your own LaTeX document: figures, tables and references are put into a copy.")
    ] = None,
    dry: Annotated[bool, typer.Option("--dry", help="Say what the folder would hold, and write nothing.")] = False,
    store: Annotated[
        Path | None, typer.Option(help="Folder of the runs.  [default: $DELTALAB_STORE, else ./runs]")
    ] = None,
) -> None:
    """Write a paper's folder: main.tex, figures, tables, captions, references, and where the numbers are from.

    deltalab paper d90_curves performance --venue icml
    deltalab paper spectra minilm path/to/adapter --venue acl --template my_paper.tex
    deltalab paper basket --venue ieee
    """
    with refusals():
        library: Any = importlib.import_module("lab.paper")  # brings plotly
        document = library.read_template(template) if template is not None else None
        venue = venue or (document.venue if document is not None else "neurips")
        if venue not in library.VENUES:
            raise ValueError(f"unknown venue {venue!r}; choose one of: {', '.join(library.VENUES)}")
        options = [f"--experiment={experiment}"] if experiment else []
        options += [f"--where={condition}" for condition in where or []]
        options += [f"--store={store}"] if store else []
        page = [f"--venue={venue}", *(["--pgf"] if pgf else []), *([f"--template={template}"] if template else [])]
        if names[0] == SPECTRA:
            pieces = [spectra_piece(library, names[1:], page)]
        elif names == [BASKET]:
            pieces = library.Basket(user_store(store).path).pieces(everything(store), complain)
            if not pieces:
                raise ValueError("the basket is empty; add figures to it in the explorer: deltalab app")
        else:
            pieces = [
                record_piece(library, name, where or [], experiment, store, [*options, *page], len(names) == 1)
                for name in names
            ]
        if dry:
            for line in library.outline(pieces, library.VENUES[venue]):
                typer.echo(line)
            return
        command = shlex.join(["deltalab", "paper", *names, *options, *page])
        browser = figures.find_browser() is not None
        files = library.contents(
            pieces,
            library.VENUES[venue],
            command=command,
            pgf=pgf,
            browser=browser,
            template=document,
            tell=complain,
        )
        library.write(files, out)
        for path, content in files.items():
            typer.echo(f"wrote {out / path} ({len(content) / 1000:,.0f} kB)")
        typer.echo(f"to compile: cd {shlex.quote(str(out))} && {compiler()}")


def compiler() -> str:
    """The command that compiles main.tex here; that of latexmk where there is no TeX."""
    ways = {"latexmk": "latexmk -pdf main", "tectonic": "tectonic main.tex"}
    ways["pdflatex"] = "pdflatex main && bibtex main && pdflatex main && pdflatex main"
    return next((way for program, way in ways.items() if shutil.which(program)), ways["latexmk"])


def record_piece(
    library: Any,
    name: str,
    where: list[str],
    experiment: str | None,
    store: Path | None,
    options: list[str],
    only: bool,
) -> Any:
    """A figure of records: of the user's own, where any has its table, else of the gallery's.

    A condition holds for the tables that have its column; where a figure is the `only` one, it must have it.

    Raises:
        ValueError, StoreError: an unknown figure, no fitting rows.
    """
    chosen = figure(name)
    table = drawn_table(chosen, store=store, experiment=experiment, where=where, only=only)
    return library.Piece(
        chosen,
        table,
        library.origins(table, everything(store), complain),
        shlex.join(["deltalab", "paper", name, *options]),
    )


def spectra_piece(library: Any, paths: list[str], page: list[str]) -> Any:
    """The spectra of what updates did to a base, from their files.

    Raises:
        ValueError: no base or no update, or files that cannot be read.
    """
    if len(paths) < 2:
        raise ValueError("the spectra of an update need its base and its files: deltalab paper spectra BASE ADAPTER")
    geometry: Any = importlib.import_module("lab.geometry")  # brings torch
    provenance: Any = importlib.import_module("lab.runs.provenance")
    base, labels = paths[0], labelled(paths[1:])
    found = geometry.joined_spectra(
        {label: measured(geometry, changes, label, None) for label, changes in opened(geometry, base, labels).items()}
    )
    of = keys(labels)
    values = found.values.assign(model=base, key=found.values["label"].map(of))
    in_blocks = values.dropna(subset=["block"])
    medians = geometry.aggregated(found.summary, ["label", "role"])
    shown = {name: _MEDIANS[name] for name in _MEDIANS if name in medians}
    origin = library.Origin("", shlex.join(["deltalab", "spectra", *paths]), {**provenance.environment(), "files": of})
    again_ = shlex.join(["deltalab", "paper", SPECTRA, *paths, *page])
    drawn = in_blocks if len(in_blocks) else values
    return library.Piece(
        figure("weight_difference_spectra"),
        drawn,
        [origin],
        again_,
        summary=medians[[*shown]].rename(columns=shown),
        keys=[of[label] for label in medians["label"]],
        meanings={shown[name]: meant for name, meant in known(shown, "summary").items()},
    )
