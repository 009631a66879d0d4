"""The optimisation view: how many dimensions, which spectrum, what curvature."""

from lab.geometry.adapters import adapter_changes
from lab.geometry.amplification import amplification
from lab.geometry.checkpoints import folder_changes, open_weights
from lab.geometry.curvature import empirical_fisher, fisher, gauss_newton, ntk, on_block
from lab.geometry.extraction import Extraction, extract
from lab.geometry.intrinsic_dimension import IntrinsicDimension, intrinsic_dimension
from lab.geometry.intruder_forecast import IntruderForecast, forecast_intruder
from lab.geometry.intruders import Intruders, intruder_dimensions, intruder_sweep, intruders_by_strength, mitigate
from lab.geometry.landscape import (
    coordinates,
    loss_line,
    loss_plane,
    plane_through,
    random_directions,
    trajectory_directions,
)
from lab.geometry.nulls import SpectrumNull, spectrum_null
from lab.geometry.predicted_dimension import PredictedDimension, predicted_intrinsic_dimension
from lab.geometry.subspace_similarity import SubspaceSimilarity, subspace_similarity
from lab.geometry.weight_changes import WeightChange, WeightChanges, delta_changes
from lab.geometry.weight_differences import (
    SUMMARY_COLUMNS,
    WeightDifferenceSpectra,
    aggregated,
    change_spectra,
    joined_spectra,
    weight_difference_spectra,
)

__all__ = [  # noqa: RUF022 (grouped by subject)
    # how many dimensions
    "IntrinsicDimension",
    "intrinsic_dimension",
    "PredictedDimension",
    "predicted_intrinsic_dimension",
    # curvature of the loss
    "empirical_fisher",
    "fisher",
    "gauss_newton",
    "ntk",
    "on_block",
    # the loss on lines and planes
    "coordinates",
    "loss_line",
    "loss_plane",
    "plane_through",
    "random_directions",
    "trajectory_directions",
    # weight differences: where they come from, their spectra
    "WeightChange",
    "WeightChanges",
    "adapter_changes",
    "delta_changes",
    "folder_changes",
    "open_weights",
    "SUMMARY_COLUMNS",
    "SpectrumNull",
    "WeightDifferenceSpectra",
    "aggregated",
    "change_spectra",
    "joined_spectra",
    "spectrum_null",
    "weight_difference_spectra",
    # directions of a difference
    "Extraction",
    "IntruderForecast",
    "Intruders",
    "SubspaceSimilarity",
    "amplification",
    "extract",
    "forecast_intruder",
    "intruder_dimensions",
    "intruder_sweep",
    "intruders_by_strength",
    "mitigate",
    "subspace_similarity",
]
