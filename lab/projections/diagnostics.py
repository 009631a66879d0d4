"""How good a projection is: how far it bends lengths, how it is conditioned, which weights it can move."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt

import torch
from torch import Tensor

from lab.linalg.krylov import lanczos
from lab.linalg.layout import Layout
from lab.linalg.operator import LinearOperator
from lab.projections.projection import Gram, Projection

PROBES = 4
DENSE, DENSE_BY_PARTS = 256, 2048
"""Largest d of an exact isometry: where PᵀP costs products of P, and where its eigenvalues are all the cost."""


@dataclass(frozen=True)
class Isometry:
    """Extreme singular values of P, from the eigenvalues of PᵀP.

    Attributes:
        smallest, largest: singular values σ_min and σ_max.
        exact: from the whole Gram matrix; else by Lanczos, which approaches both from inside.
    """

    smallest: float
    largest: float
    exact: bool

    @property
    def defect(self) -> float:
        """δ = max |‖Px‖²/‖x‖² - 1| over all x: the restricted-isometry constant of the whole of R^d."""
        return max(abs(self.largest**2 - 1), abs(self.smallest**2 - 1))

    @property
    def condition(self) -> float:
        """σ_max/σ_min; infinite where P has a kernel."""
        return self.largest / self.smallest if self.smallest > 0 else inf


def isometry(P: LinearOperator, *, exact_up_to: int | None = None, seed: int = 0) -> Isometry:
    """Isometry defect and condition number of P: R^d -> R^D.

    For a Gaussian P of large D the singular values fill [1 - √(d/D), 1 + √(d/D)] (Marchenko & Pastur), the null to
    compare with.

    Args:
        P: any operator (D, d), in float64.
        exact_up_to: largest d for which the Gram matrix PᵀP is formed; beyond it, Lanczos from both ends, some hundred
            of its products. None: `DENSE` where forming it takes 2·d products of P, `DENSE_BY_PARTS` where P knows it
            without any (`Projection.gram`), as Kronecker does.
        seed: of Lanczos's start.
    """
    gram = P.gram() if isinstance(P, Projection) else Gram(P)
    if exact_up_to is None:
        exact_up_to = DENSE if isinstance(gram, Gram) else DENSE_BY_PARTS
    if P.shape[1] <= exact_up_to:
        matrix = gram.to_dense()
        values = torch.linalg.eigvalsh((matrix + matrix.T) / 2)
        return Isometry(_root(values[0]), _root(values[-1]), exact=True)
    low = lanczos(gram, 1, which="smallest", generator=seed, tol=1e-3, max_iterations=120)
    high = lanczos(gram, 1, which="largest", generator=seed, tol=1e-3, max_iterations=120)
    return Isometry(_root(low.ritz_values[0]), _root(high.ritz_values[0]), exact=False)


def coverage(P: LinearOperator, layout: Layout | None = None, *, seed: int = 0) -> list[dict[str, str | int | float]]:
    """Which coordinates P can move, and how strongly, over all of them and part by part.

    Args:
        P: operator (D, d).
        layout: named parts of R^D; None: one row for the whole.
        seed: of the Gaussian probes x.

    Returns:
        Rows with `part`, `size`, `covered` (share of coordinates that move for a random x, in [0, 1]) and `energy`
        (mean (Px)_i² within the part over its mean everywhere: 1 for an isotropic map).

    Raises:
        ValueError: if the layout has another size than D.
    """
    D, d = P.shape
    if layout is not None and layout.size != D:
        raise ValueError(f"coverage needs a layout of {D} coordinates, the length of P's image; got {layout.size}.")
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(d, PROBES, generator=generator, dtype=torch.float64).to(P.device)
    energy = (P @ X).square().sum(1)
    parts = {} if layout is None else layout.slices
    rows: list[dict[str, str | int | float]] = []
    for name, where in {"all": slice(0, D), **parts}.items():
        inside = energy[where]
        rows.append(
            {
                "part": name,
                "size": len(inside),
                "covered": float((inside > 0).double().mean()),
                "energy": float(inside.mean() / energy.mean()),
            }
        )
    return rows


def _root(value: Tensor) -> float:
    return sqrt(max(float(value), 0.0))
