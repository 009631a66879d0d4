"""Maps R^d -> R^D from a subspace to the weights, each a seeded LinearOperator.

`P = Fastfood(D, d, seed=0)`; `P.shape == (D, d)`; `P @ x`, `P.T @ y`.
"""

from lab.plugins import loaded
from lab.projections.basis import Basis
from lab.projections.blockwise import Blockwise
from lab.projections.diagnostics import Isometry, coverage, isometry
from lab.projections.fastfood import Fastfood
from lab.projections.gaussian import Gaussian
from lab.projections.hadamard import hadamard_transform
from lab.projections.one_hot import OneHot
from lab.projections.projection import Projection
from lab.projections.sparse import Sparse

PROJECTIONS: tuple[type[Projection], ...] = (
    Gaussian,
    Sparse,
    Fastfood,
    OneHot,
    *loaded("projections", Projection),
)

__all__ = [
    "PROJECTIONS",
    "Basis",
    "Blockwise",
    "Fastfood",
    "Gaussian",
    "Isometry",
    "OneHot",
    "Projection",
    "Sparse",
    "coverage",
    "hadamard_transform",
    "isometry",
]
