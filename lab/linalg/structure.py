"""What is known of an operator beside its products: that it is symmetric, that it is positive semidefinite.

A structure is a promise that travels with the operator through its algebra, as lineax's tags do; nothing is found out
by probing products. The three are a chain, each contained in the one before.
"""

from __future__ import annotations

from enum import IntEnum


class Structure(IntEnum):
    """General ⊃ symmetric (A = Aᵀ) ⊃ positive semidefinite (xᵀA x ≥ 0); a larger number promises more."""

    GENERAL = 0
    SYMMETRIC = 1
    POSITIVE_SEMIDEFINITE = 2
