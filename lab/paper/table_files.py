"""A paper's table as data: its rows with the records that each is from, and what its columns mean."""

from __future__ import annotations

from lab.columns import TEXT, Column
from lab.deferred import pandas as pd
from lab.figures.cells import columns_csv, csv_text
from lab.paper.piece import Piece

_ENDS = {"±": "half the width", "low": "lower end", "high": "upper end"}
_KEYS = "keys of the records that the row is from; of what comes from files, the sha256 of these"


def rows_csv(piece: Piece) -> str:
    """The rows that are printed, and all that a page has no room for, each with its keys."""
    return csv_text(piece.rows.assign(key=keys(piece)))


def meanings_csv(piece: Piece) -> str:
    """Column, type, unit and meaning, of every column of `rows_csv`."""
    return columns_csv({**meanings(piece), "key": Column(_KEYS, TEXT)})


def keys(piece: Piece) -> pd.Series:
    """Of each row of a piece's table the keys behind it, a blank between them; "" where there are none.

    A row is from the records whose rows have its words in all columns of text that both tables have; where the answer
    says other words than its records do, from all of them.
    """
    rows, drawn = piece.whole, piece.figure.read(piece.table)
    if piece.keys is not None:
        return pd.Series(list(piece.keys), index=rows.index)
    if "key" not in drawn:
        return pd.Series("", index=rows.index)
    shared = [
        name
        for name in map(str, rows)
        if name in drawn and not pd.api.types.is_numeric_dtype(drawn[name]) and rows[name].isin(drawn[name]).all()
    ]

    def behind(row: pd.Series) -> str:
        fitting = drawn
        for name in shared:
            fitting = fitting[fitting[name] == row[name]]
        return " ".join(map(str, dict.fromkeys(fitting["key"].dropna())))

    return pd.Series([behind(rows.iloc[i]) for i in range(len(rows))], index=rows.index)


def meanings(piece: Piece) -> dict[str, Column]:
    """What the columns of a piece's table mean: as the records say it; ends and halves of intervals by their names.

    Where a column is the figure's own summary, its name is all there is to say.
    """
    figure, found, estimate = piece.figure, dict[str, Column](), ""
    known = {**figure.columns, **figure.optional}
    for name in map(str, piece.rows):
        quantity, _, unit = name.partition(" [")
        said = piece.meanings.get(name) or known.get(quantity) or known.get(quantity.lower().replace(" ", "_"))
        words = quantity.replace(",", " ").split()
        for mark, end in _ENDS.items():
            if mark in words:
                of = " ".join(word for word in words if word != mark) or estimate
                said = Column(f"{end} of the 95 % interval of {of}", unit.rstrip("]"))
        estimate = estimate if set(words) & set(_ENDS) else quantity
        numbers = pd.api.types.is_numeric_dtype(piece.rows[name])
        own = unit.rstrip("]") or (said.unit if said else "") or ("1" if numbers else TEXT)
        found[name] = Column(said.description if said else "", own)
    return found
