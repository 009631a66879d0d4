"""Hidden states as point clouds: their intrinsic dimension, and how alike two of them are (linear CKA)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import exp, inf, sqrt
from typing import Literal, get_args

import numpy as np
import scipy  # its names load their modules on first use
import torch
from torch import Tensor

Estimator = Literal["TwoNN", "MLE", "GRIDE", "lPCA"]
ESTIMATORS: tuple[Estimator, ...] = get_args(Estimator)

_GROUPS = 5
"""Groups of the jackknife: five fits beside the whole one."""

_LOCAL = 20
"""Neighbours of the maximum-likelihood estimate: the largest of Levina & Bickel 2004, section 3 (k = 10 … 20)."""


@dataclass(frozen=True)
class RepresentationDimension:
    """An estimate of the dimension of the set that points lie on.

    Attributes:
        dimension: the estimate.
        low, high: 95 % interval, both > 0, of a grouped jackknife of log dimension (five groups of points left out in
            turn, Student's t).
        n_points: distinct points used.
    """

    dimension: float
    low: float
    high: float
    n_points: int


def representation_dimension(X: Tensor, estimator: Estimator, *, seed: int = 0) -> RepresentationDimension:
    """Intrinsic dimension of the points X, by scikit-dimension 0.5.

    * "TwoNN" (Facco et al. 2017): ratio of the distances to the two nearest neighbours;
    * "MLE" (Levina & Bickel 2004): maximum likelihood over 20 nearest neighbours, averaged as inverses (MacKay);
    * "GRIDE" (Denti et al. 2022): as TwoNN between the 8th and the 16th neighbour, a larger scale;
    * "lPCA": principal variances above 5 % of the largest (Fukunaga & Olsen 1971), of the whole cloud: a linear
      dimension.

    All but the last assume locally uniform density, and all see the scale that the spacing of the points allows: n
    points resolve a dimension of about 2·log n at most. Compare layers at equal n, not values across papers, and read
    them against Gaussian clouds of that n (`read_against`).

    Args:
        X: (n, features), n ≥ 40 distinct points; repeated ones (equal sentences) count once.
        estimator: one of the above.
        seed: of the jackknife's groups.

    Raises:
        ValueError: an unknown estimator, too few distinct points, or values that are not finite.
        ModuleNotFoundError: scikit-dimension is not installed; the message is the command.
    """
    points = _distinct(X, estimator)
    whole = _fit(points, estimator)
    order = np.random.default_rng(seed).permutation(len(points))
    left_out = np.log([_fit(np.delete(points, order[g::_GROUPS], axis=0), estimator) for g in range(_GROUPS)])
    error = sqrt((_GROUPS - 1) / _GROUPS * float(np.square(left_out - left_out.mean()).sum()))
    factor = exp(float(scipy.stats.t.ppf(0.975, _GROUPS - 1)) * error)
    return RepresentationDimension(whole, whole / factor, whole * factor, len(points))


CALIBRATED = (1, 2, 5, 10, 20, 40, 80, 160)
"""Dimensions of the Gaussian clouds that an estimator is read against."""


@lru_cache
def calibration(
    n: int, estimator: Estimator, dimensions: tuple[int, ...] = CALIBRATED, *, seed: int = 0
) -> tuple[float, ...]:
    """What an estimator says of n points of standard Gaussian clouds of known dimensions: its null at this n.

    Neighbours of n points in many dimensions are all far away, so the estimates that look at distances level off: of
    300 points GRIDE gives about 12 for a dimension of 20, 20 for 40 and 27 for 80.

    Args:
        n: points, at least 40.
        estimator: of `representation_dimension`.
        dimensions: of the clouds, increasing.
        seed: of the points.

    Raises:
        ValueError: an unknown estimator, or fewer points than it needs.
    """
    generator = np.random.default_rng(seed)
    clouds = (torch.from_numpy(generator.standard_normal((n, d))) for d in dimensions)
    clouds = (torch.nn.functional.pad(X, (0, 1)) for X in clouds)  # flat in one coordinate more: some ask for two
    return tuple(_fit(_distinct(X, estimator), estimator) for X in clouds)


def read_against(estimate: float, n: int, estimator: Estimator, *, seed: int = 0) -> float:
    """The dimension of the Gaussian cloud of which the estimator says the same at this n.

    Interpolated between the clouds of `calibration`, both axes logarithmic; infinite above the largest of them, where
    the estimator says nothing any more, and the smallest dimension, 1, below all of them.

    Args:
        estimate: that is to be read.
        n, estimator, seed: of `calibration`.
    """
    said = np.maximum.accumulate(calibration(n, estimator, seed=seed))  # noise must not fold the curve
    if estimate > said[-1]:
        return inf
    keep = np.concatenate([[True], np.diff(said) > 0])
    return float(np.exp(np.interp(np.log(estimate), np.log(said[keep]), np.log(np.array(CALIBRATED)[keep]))))


def _distinct(X: Tensor, estimator: Estimator) -> np.ndarray:
    """The distinct points of X, where an estimator can use them."""
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator must be one of {ESTIMATORS}; got {estimator!r}.")
    points = np.unique(X.detach().cpu().to(torch.float64).numpy(), axis=0) if X.ndim == 2 else np.empty((0, 0))
    if len(points) < 2 * _LOCAL or not np.isfinite(points).all():
        raise ValueError(
            f"an intrinsic dimension needs at least {2 * _LOCAL} distinct finite points (n, features); "
            f"got {len(points)} of {tuple(X.shape)}."
        )
    return points


def _fit(points: np.ndarray, estimator: Estimator) -> float:
    try:
        import skdim
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the intrinsic dimension of representations needs scikit-dimension: pip install 'deltalab[dimension]'"
        ) from error
    if estimator == "TwoNN":
        return float(skdim.id.TwoNN().fit(points).dimension_)
    if estimator == "MLE":
        return float(skdim.id.MLE().fit(points, n_neighbors=_LOCAL).dimension_)
    if estimator == "GRIDE":
        return float(skdim.id.GRIDE(n1=8, n2=16).fit(points).dimension_)
    with np.errstate(divide="ignore", invalid="ignore"):  # of its gaps between variances, which are not used here
        return float(skdim.id.lPCA().fit(points).dimension_)


def linear_cka(X: Tensor, Y: Tensor, *, unbiased: bool = True) -> float:
    """Linear centred kernel alignment of two representations of the same examples (Kornblith et al. 2019, eq. 1).

    CKA = HSIC(K, L)/√(HSIC(K, K)·HSIC(L, L)) with K = XXᵀ, L = YYᵀ. Plain HSIC uses centred Gram matrices, and CKA is
    ‖Y_cᵀX_c‖_F²/(‖X_cᵀX_c‖_F ‖Y_cᵀY_c‖_F): of single columns it is the squared correlation. It grows towards 1 with
    features/n even for independent representations; the unbiased HSIC (Song et al. 2012, eq. 5; Nguyen et al. 2021) has
    expectation 0 there, and may be slightly negative.

    Invariant under orthogonal maps, shifts and isotropic scaling of either representation.

    Args:
        X: (n, p); Y: (n, q); rows are the same examples in the same order.
        unbiased: default True, since hidden sizes are not small against the number of sentences. Needs n ≥ 4.

    Raises:
        ValueError: different or too few rows, or a representation without variance.
    """
    least = 4 if unbiased else 2
    if X.ndim != 2 or Y.ndim != 2 or len(X) != len(Y) or len(X) < least:
        raise ValueError(
            f"CKA needs two matrices with the same rows, at least {least}; got {tuple(X.shape)} and {tuple(Y.shape)}."
        )
    K, L = _gram(X), _gram(Y)
    hsic = _unbiased_hsic if unbiased else _plain_hsic
    xx, yy = hsic(K, K), hsic(L, L)
    floor = 1e-12
    if not (xx > floor * float(K.square().sum()) and yy > floor * float(L.square().sum())):
        raise ValueError("a representation is the same for all examples: CKA is not defined.")
    return hsic(K, L) / sqrt(xx * yy)


def shuffled_cka(X: Tensor, Y: Tensor, *, n_shuffles: int = 20, seed: int = 0, unbiased: bool = True) -> Tensor:
    """The null of `linear_cka`: its values after shuffling the rows of Y, (n_shuffles,)."""
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(Y), generator=generator).to(Y.device) for _ in range(n_shuffles)]
    return torch.tensor([linear_cka(X, Y[order], unbiased=unbiased) for order in orders], dtype=torch.float64)


def _gram(X: Tensor) -> Tensor:
    """XXᵀ of centred columns, in float64."""
    centred = X.detach().to(torch.float64)
    centred = centred - centred.mean(dim=0)
    return centred @ centred.T


def _plain_hsic(K: Tensor, L: Tensor) -> float:
    """tr(KL) of centred Gram matrices, without its factor 1/(n − 1)², which cancels in CKA."""
    return float((K * L).sum())


def _unbiased_hsic(K: Tensor, L: Tensor) -> float:
    """Σ_{i≠j} K_ij L_ij + (1ᵀK1)(1ᵀL1)/((n−1)(n−2)) − 2/(n−2)·1ᵀKL1, all with zero diagonals."""
    n = len(K)
    K, L = K - torch.diag(K.diag()), L - torch.diag(L.diag())
    cross = float(K.sum(dim=0) @ L.sum(dim=0))
    return float((K * L).sum()) + float(K.sum() * L.sum()) / ((n - 1) * (n - 2)) - 2 * cross / (n - 2)
