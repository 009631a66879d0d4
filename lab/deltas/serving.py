"""One batch, many users: every row of a batch under the φ of its own user, in one call."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.func import vmap

from lab.deltas.delta import Delta
from lab.models.heads import inputs_of
from lab.models.plm import Batch

Strategy = Literal["vmap", "grouped"]
STRATEGIES: tuple[Strategy, ...] = ("vmap", "grouped")


def serve(delta: Delta, phis: Tensor, batch: Batch, users: Tensor, *, strategy: Strategy = "vmap") -> Tensor:
    """Logits of a batch whose row i belongs to user u_i: row i of the result is logits(φ_{u_i}, row i).

    Both strategies run the delta unmerged (`Delta.unmerged`), so θ is read, never copied or changed, and no user is
    switched in or out between calls.

    * "vmap": one forward pass, `vmap` over the pairs (φ_{u_i}, row i). Products with θ are shared by all rows; only
      what φ moves is done row by row. It gathers one φ per row, so it is for small φ.
    * "grouped": rows sorted by user, one forward pass per user that occurs. Better where rows per user are many, or
      φ is large (full fine-tuning).

    Args:
        delta: the method; its PLM serves all users.
        phis: (users, d), one φ per user.
        batch: what `delta.logits` takes, (rows, seq); "labels" is ignored.
        users: (rows,) int64, the row of `phis` that each row of the batch uses.
        strategy: see above.

    Returns:
        (rows, num_labels) with a classification head, in the order of the batch.

    Raises:
        ValueError: shapes that do not belong together, a user without φ, or an unknown strategy.

    Example:
        >>> from lab.deltas import BitFit
        >>> from lab.models.tiny import tiny_plm
        >>> delta = BitFit().on(tiny_plm("bert"))
        >>> phis = torch.randn(2, delta.size, dtype=torch.float64)
        >>> batch = {"input_ids": torch.randint(8, 40, (3, 5))}
        >>> mixed = serve(delta, phis, batch, torch.tensor([1, 0, 1]))
        >>> bool(torch.allclose(mixed[0], delta.logits(phis[1], batch)[0]))
        True
    """
    inputs = inputs_of(batch)
    _check(delta, phis, inputs["input_ids"].shape[0], users)
    if strategy == "vmap":
        rows = {name: value[:, None] for name, value in inputs.items()}  # every row a batch of one
        return vmap(delta.unmerged.logits)(phis[users], rows)[:, 0]
    if strategy == "grouped":
        return _grouped(delta.unmerged, phis, inputs, users)
    raise ValueError(f"strategy must be one of {STRATEGIES}; got {strategy!r}.")


def _grouped(delta: Delta, phis: Tensor, inputs: Batch, users: Tensor) -> Tensor:
    order = torch.argsort(users, stable=True)
    present, counts = torch.unique_consecutive(users[order], return_counts=True)
    pieces = torch.split(order, counts.tolist())
    logits = [
        delta.logits(phis[user], {name: value[rows] for name, value in inputs.items()})
        for user, rows in zip(present.tolist(), pieces, strict=True)
    ]
    return torch.cat(logits)[torch.argsort(order)]


def _check(delta: Delta, phis: Tensor, n_rows: int, users: Tensor) -> None:
    if phis.ndim != 2 or phis.shape[1] != delta.size:
        raise ValueError(
            f"phis must hold one φ per user, shape (users, {delta.size}) for this delta; got {tuple(phis.shape)}."
        )
    if users.shape != (n_rows,) or users.dtype != torch.int64:
        raise ValueError(
            f"users must name the user of each of the batch's {n_rows} rows, int64; got {users.dtype}, shape "
            f"{tuple(users.shape)}."
        )
    if n_rows and (int(users.min()) < 0 or int(users.max()) >= len(phis)):
        raise ValueError(
            f"users must be in 0..{len(phis) - 1}, the rows of phis; got {int(users.min())}..{int(users.max())}."
        )
