"""Figures that a person collects for a paper, in an order, with a sentence each; kept in the store, as its journal is.

``<store>/.basket/items.json`` is the list, replaced whole under a lock; ``<id>.parquet`` beside it are the rows as they
were when the figure was added, so that what is written is what was seen, whatever is run later.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lab.deferred import pandas as pd
from lab.figures import Figure, TableError, figure
from lab.figures.exporting import write_whole
from lab.paper.origins import origins
from lab.paper.piece import Origin, Piece
from lab.runs import Overlay
from lab.runs.lease import leased

BASKET = ".basket"

LONGEST = 2000
"""Characters of a sentence that are kept."""

_NAME = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Item:
    """A figure in the basket.

    Attributes:
        name: 32 hex digits, of its rows' file.
        figure: name of the figure.
        sentence: what its owner says of it; "" before anything is said.
        address: of the page where it was found, "" without one.
        command: that gives the numbers, where they are in no record.
    """

    name: str
    figure: str
    sentence: str = ""
    address: str = ""
    command: str = ""


class Basket:
    """The basket of a store; every change is one of the list on disk, so that any number of pages may hold it.

    Args:
        store: the folder of the store.
    """

    def __init__(self, store: Path) -> None:
        self.folder = store / BASKET

    def items(self) -> tuple[Item, ...]:
        """The figures in their order; entries that cannot be read, or whose figure there is not, are left out."""
        try:
            rows = json.loads((self.folder / "items.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return ()
        return tuple(item for row in rows if (item := _item(row)) is not None) if isinstance(rows, list) else ()

    def table(self, item: Item) -> pd.DataFrame:
        """The rows of a figure, as they were when it was added.

        Raises:
            TableError: they are gone, or damaged.
        """
        try:
            return pd.read_parquet(self.folder / f"{item.name}.parquet")
        except Exception as error:  # parquet readers fail in many ways; all mean: no rows
            raise TableError(
                f"the rows of {item.figure!r} cannot be read ({type(error).__name__}); add the figure again"
            ) from error

    def add(self, drawn: Figure, table: pd.DataFrame, *, address: str = "", command: str = "") -> Item:
        """Puts a figure of a table last.

        Raises:
            OSError: the basket cannot be written.
            TableError: the table has not what the figure needs.
        """
        item = Item(uuid.uuid4().hex, drawn.name, "", address, command)
        kept = drawn.checked(table)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / f"{item.name}.parquet", kept.to_parquet(index=False))
        self._change(lambda items: [*items, item])
        return item

    def say(self, name: str, sentence: str) -> None:
        """Writes the sentence of a figure; blanks and line breaks become single spaces."""
        said = " ".join(sentence.split())[:LONGEST]
        self._change(lambda items: [replace(i, sentence=said) if i.name == name else i for i in items])

    def move(self, name: str, places: int) -> None:
        """Moves a figure down the order by so many places (up, where negative), as far as there are."""

        def moved(items: list[Item]) -> list[Item]:
            at = next((i for i, item in enumerate(items) if item.name == name), None)
            if at is None:
                return items
            rest = [item for item in items if item.name != name]
            to = min(max(at + places, 0), len(rest))
            return [*rest[:to], items[at], *rest[to:]]

        self._change(moved)

    def remove(self, name: str) -> None:
        """Takes a figure out."""
        self._change(lambda items: [item for item in items if item.name != name])
        if _NAME.fullmatch(name):
            (self.folder / f"{name}.parquet").unlink(missing_ok=True)

    def pieces(self, runs: Overlay, complain: Callable[[str], None] | None = None) -> list[Piece]:
        """The pieces of a paper, in order; a figure that comes again has a number behind its name.

        Args:
            runs: where the records of the rows are.
            complain: called with a sentence for each record that is not there any more.

        Raises:
            TableError: rows that cannot be read.
        """
        found, seen = [], dict[str, int]()
        for item in self.items():
            table, drawn = self.table(item), figure(item.figure)
            seen[item.figure] = seen.get(item.figure, 0) + 1
            name = item.figure if seen[item.figure] == 1 else f"{item.figure}_{seen[item.figure]}"
            made = origins(table, runs, complain) or [Origin("", item.command)] * bool(item.command)
            found.append(Piece(drawn, table, made, "deltalab paper basket", file=name, remark=item.sentence))
        return found

    def _change(self, make: Callable[[list[Item]], list[Item]]) -> None:
        if self.folder.is_symlink():
            raise OSError(f"{self.folder} is a link; a store follows none")
        self.folder.mkdir(parents=True, exist_ok=True)
        with leased(self.folder / "lock"):
            text = json.dumps([asdict(item) for item in make(list(self.items()))], ensure_ascii=False, indent=1)
            write_whole(self.folder / "items.json", text.encode())


def _item(row: object) -> Item | None:
    """An entry of the list, where it is one: its name is a file's, and must not lead elsewhere."""
    try:
        item = Item(**row)  # type: ignore[arg-type]
        if not all(isinstance(value, str) for value in asdict(item).values()) or not _NAME.fullmatch(item.name):
            return None
        figure(item.figure)
    except (TypeError, ValueError):
        return None
    return item
