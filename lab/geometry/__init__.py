"""The optimisation view: how many dimensions, which spectrum, what curvature."""

from lab.geometry.intrinsic_dimension import IntrinsicDimension, intrinsic_dimension

__all__ = ["IntrinsicDimension", "intrinsic_dimension"]
