"""Matrix-free linear algebra on flat tensors: operators, and the algorithms that need only their products."""

from lab.linalg.angles import principal_angles, random_angle_band, random_angles
from lab.linalg.autodiff import Hessian, Jacobian
from lab.linalg.differentiable import linear_map
from lab.linalg.krylov import Lanczos, LinearSolve, conjugate_gradients, lanczos, tridiagonalize
from lab.linalg.layout import Layout, Part
from lab.linalg.operator import (
    Diagonal,
    Identity,
    LinearOperator,
    LowRank,
    Matrix,
    is_positive_semidefinite,
    is_symmetric,
    tagged,
)
from lab.linalg.quadrature import SpectralDensity, spectral_density
from lab.linalg.random_matrix import (
    MarchenkoPastur,
    gaussian_samples,
    gaussian_singular_values,
    hard_threshold,
    largest_gaussian_singular_value,
    product_interval,
    product_samples,
    tracy_widom_cdf,
    tracy_widom_quantile,
)
from lab.linalg.randomized import RandomizedSVD, TraceEstimate, hutchinson_trace, hutchpp_trace, randomized_svd
from lab.linalg.recorded import RecordedHessian, RecordedJacobian
from lab.linalg.spectrum import Spectrum, require_finite
from lab.linalg.spikes import RankOneUpdate, Spike, spike_forward, spike_inverse, spike_threshold
from lab.linalg.structure import Structure
from lab.linalg.tails import PowerLawTail, power_law_tail

__all__ = [  # noqa: RUF022 (grouped by subject)
    # operators, and what autodiff makes of functions
    "Diagonal",
    "Hessian",
    "Identity",
    "Jacobian",
    "RecordedHessian",
    "RecordedJacobian",
    "LinearOperator",
    "LowRank",
    "Matrix",
    "linear_map",
    # what is known of them
    "Structure",
    "is_positive_semidefinite",
    "is_symmetric",
    "tagged",
    # one flat vector and its named parts
    "Layout",
    "Part",
    # eigenvalues, systems, traces
    "Lanczos",
    "LinearSolve",
    "SpectralDensity",
    "TraceEstimate",
    "conjugate_gradients",
    "hutchinson_trace",
    "hutchpp_trace",
    "lanczos",
    "spectral_density",
    "tridiagonalize",
    # singular values and subspaces
    "RandomizedSVD",
    "Spectrum",
    "principal_angles",
    "randomized_svd",
    "require_finite",
    # their laws at random: the nulls
    "MarchenkoPastur",
    "PowerLawTail",
    "RankOneUpdate",
    "Spike",
    "gaussian_samples",
    "gaussian_singular_values",
    "hard_threshold",
    "largest_gaussian_singular_value",
    "power_law_tail",
    "product_interval",
    "product_samples",
    "random_angle_band",
    "random_angles",
    "spike_forward",
    "spike_inverse",
    "spike_threshold",
    "tracy_widom_cdf",
    "tracy_widom_quantile",
]
