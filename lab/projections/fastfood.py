"""Fastfood: a Gaussian-like random matrix applied in O(D log d), with nothing stored but its seed (Le et al. 2013)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from types import ModuleType
from typing import ClassVar, Literal

from torch import Tensor

from lab.linalg.differentiable import linear_map
from lab.linalg.operator import LinearOperator
from lab.projections import fastfood_cpu, fastfood_reference
from lab.projections.fastfood_plan import Plan
from lab.projections.fastfood_rows import FastfoodRows
from lab.projections.projection import Projection

fastfood_triton: ModuleType | None = None
if find_spec("triton"):
    from lab.projections import fastfood_triton  # type: ignore[no-redef]

Form = Literal["stacked", "published"]
Backward = Literal["exact", "published"]


@dataclass(frozen=True)
class Fastfood(Projection):
    """P = S⁻¹ H G Π H B: signs B, Hadamard H, permutation Π, Gaussians G.

    stacked (Le, Sarlós & Smola 2013, "Fastfood", ICML, without its row lengths S): with n = 2^⌈log2 d⌉, ⌈D/n⌉ blocks
        y_b = H_n G_b Π_b H_n B_b x / √(D Σ G_b²),   y = the rows of all blocks, cut to D.

    published (the form that copies of Aghajanyan et al. 2020's code compute): one block of length L = 2^⌈log2 D⌉, x
        padded to L, y = (H_L G Π H_L B x)[:D] / (√(L Σ G²) √(D/L)) = (H_L G Π H_L B x)[:D] / √(D Σ G²).

    The scale is the same in both. So both are isotropic, E‖P x‖² = ‖x‖², and where D is a multiple of the block (of a
    group of interleaved blocks, see `fastfood_plan`) every column has norm 1 exactly, as Li et al. 2018 ask. Against a
    Gaussian P the singular values spread √2 times as wide, 1 ± √(2d/D): E G⁴ = 3 enters ‖G Π H B x‖².

    Cost: O(D log d) additions for stacked, O(D log D) for published. State: none. Extra memory: for stacked some
    hundred KiB per thread up to n = 65,536; else, and for published, at most 2 D numbers.

    Attributes:
        form: "stacked" by default: the same law of rows, no transform of length D.
        backward: "exact", or "published": the gradient as compacter, Intrinsic-Prompt-Tuning and Unified-DeltaTuning
            compute it, whose transform is not normalised forward but scaled by 1/√L backward: wrong by the factor 1/L
            (two transforms). Only to reproduce their curves.

    Raises:
        ValueError: for d > D, d ≤ 0, and unknown options.

    Example:
        >>> P = Fastfood(1 << 14, 100, seed=0)
        >>> x = torch.ones(100, dtype=torch.float64)
        >>> bool(abs((P @ x) @ (P @ x) - x @ (P.T @ (P @ x))) < 1e-12 * 100)
        True
    """

    form: Form = "stacked"
    backward: Backward = "exact"

    name: ClassVar[str] = "fastfood"

    def __post_init__(self):
        super().__post_init__()
        if self.form not in ("stacked", "published"):
            raise ValueError(f"form must be 'stacked' or 'published'; got {self.form!r}.")
        if self.backward not in ("exact", "published"):
            raise ValueError(f"backward must be 'exact' or 'published'; got {self.backward!r}.")

    @cached_property
    def plan(self) -> Plan:
        """Where each number of the map comes from."""
        make = Plan.stacked if self.form == "stacked" else Plan.published
        return make(self.D, self.d, self.seed)

    def _product(self, X: Tensor) -> Tensor:
        return _path(self.plan, X).product(self.plan, X)

    def _adjoint_product(self, Y: Tensor) -> Tensor:
        return _path(self.plan, Y).adjoint(self.plan, Y)

    def _matmat(self, X: Tensor) -> Tensor:
        if self.backward == "exact":
            return super()._matmat(X)
        return linear_map(self._product, lambda Y: self._adjoint_product(Y) / self.plan.length, X)

    @property
    def has_cheap_rows(self) -> bool:
        return self.backward == "exact" and fastfood_cpu.in_cache(self.plan)

    def rows(self, places: Tensor | slice) -> LinearOperator:
        if not self.has_cheap_rows or (isinstance(places, Tensor) and places.device.type != "cpu"):
            return super().rows(places)
        return FastfoodRows(self.plan, self._checked(places))


def _path(plan: Plan, X: Tensor) -> ModuleType:
    """The module whose `product` and `adjoint` serve this device."""
    if X.device.type == "cpu":
        return fastfood_cpu
    if X.device.type == "cuda" and fastfood_triton is not None and fastfood_triton.has_kernel(plan):
        return fastfood_triton
    return fastfood_reference
