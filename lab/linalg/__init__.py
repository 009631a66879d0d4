"""Matrix-free linear algebra on flat tensors: operators, and the algorithms that need only their products."""

from lab.linalg.differentiable import linear_map
from lab.linalg.layout import Layout, Part
from lab.linalg.operator import Diagonal, Identity, LinearOperator, LowRank, Matrix

__all__ = ["Diagonal", "Identity", "Layout", "LinearOperator", "LowRank", "Matrix", "Part", "linear_map"]
