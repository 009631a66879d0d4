"""Maps R^d -> R^D from a subspace to the weights, each a seeded LinearOperator.

`P = Fastfood(D, d, seed=0)`; `P.shape == (D, d)`; `P @ x`, `P.T @ y`.
"""

from functools import cache
from typing import TYPE_CHECKING, Any

from lab.plugins import loaded
from lab.projections.basis import Basis
from lab.projections.blockwise import Blockwise
from lab.projections.diagnostics import Isometry, coverage, isometry
from lab.projections.fastfood import Fastfood
from lab.projections.gaussian import Gaussian
from lab.projections.hadamard import hadamard_transform
from lab.projections.kronecker import Kronecker
from lab.projections.one_hot import OneHot
from lab.projections.projection import Projection
from lab.projections.sparse import Sparse

PROJECTIONS: tuple[type[Projection], ...]
"""Every projection; made when it is first asked for, as a module of another package that adds one imports this room."""

_LISTED: tuple[type[Projection], ...] = (Gaussian, Sparse, Fastfood, OneHot, Kronecker)


@cache
def _projections() -> tuple[type[Projection], ...]:
    """Those listed, and what other packages add."""
    return (*_LISTED, *loaded("projections", Projection))


if not TYPE_CHECKING:  # a checker would take any name for one of this module

    def __getattr__(name: str) -> Any:
        if name == "PROJECTIONS":
            return _projections()
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "PROJECTIONS",
    "Basis",
    "Blockwise",
    "Fastfood",
    "Gaussian",
    "Isometry",
    "Kronecker",
    "OneHot",
    "Projection",
    "Sparse",
    "coverage",
    "hadamard_transform",
    "isometry",
]
