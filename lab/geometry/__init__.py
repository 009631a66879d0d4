"""The optimisation view: how many dimensions, which spectrum, what curvature."""

from lab.geometry.adapters import adapter_changes
from lab.geometry.amplification import amplification
from lab.geometry.collections import (
    Collection,
    Member,
    Subspace,
    beyond_chance,
    leave_out,
    mode_subspaces,
    read_collection,
    task_subspace,
)
from lab.geometry.curvature import empirical_fisher, fisher, gauss_newton, hessian, ntk, on_block
from lab.geometry.curvature_factor import (
    FactorSpectrum,
    covariance_factor,
    factor_spectrum,
    gauss_newton_factor,
    gauss_newton_target,
    kernel_factor,
    kernel_target,
    output_jacobian,
)
from lab.geometry.extracted_lora import ExtractedLoRA, extract_lora
from lab.geometry.extraction import Extraction, extract
from lab.geometry.folders import folder_changes
from lab.geometry.generalization import compression_bound
from lab.geometry.intrinsic_dimension import IntrinsicDimension, intrinsic_dimension
from lab.geometry.intruder_forecast import IntruderForecast, forecast_intruder
from lab.geometry.intruder_onset import intruder_onset
from lab.geometry.intruders import Intruders, intruder_dimensions, intruder_sweep, intruders_by_strength, mitigate
from lab.geometry.landscape import (
    coordinates,
    loss_line,
    loss_plane,
    plane_through,
    random_directions,
    trajectory_directions,
)
from lab.geometry.nulls import SpectrumNull, above_null, randomly_turned, spectrum_null
from lab.geometry.passage import extrapolated_passage, first_passage
from lab.geometry.predicted_dimension import PredictedDimension, krylov_spectrum, predicted_intrinsic_dimension
from lab.geometry.representation import (
    ESTIMATORS,
    RepresentationDimension,
    linear_cka,
    representation_dimension,
    shuffled_cka,
)
from lab.geometry.sources import changes_between
from lab.geometry.subspace_angles import subspace_angles
from lab.geometry.subspace_similarity import SubspaceSimilarity, subspace_similarity
from lab.geometry.update_similarity import update_cosine, update_of, update_subspace_similarity
from lab.geometry.weight_changes import WeightChange, WeightChanges, delta_changes
from lab.geometry.weight_differences import (
    SUMMARY_COLUMNS,
    WeightDifferenceSpectra,
    aggregated,
    change_spectra,
    joined_spectra,
    weight_difference_spectra,
)
from lab.models.folders import open_weights

__all__ = [  # noqa: RUF022 (grouped by subject)
    # how many dimensions
    "IntrinsicDimension",
    "intrinsic_dimension",
    "PredictedDimension",
    "krylov_spectrum",
    "predicted_intrinsic_dimension",
    "compression_bound",
    # curvature of the loss
    "empirical_fisher",
    "fisher",
    "gauss_newton",
    "hessian",
    "ntk",
    "on_block",
    # the same exactly, where outputs are few
    "FactorSpectrum",
    "covariance_factor",
    "factor_spectrum",
    "gauss_newton_factor",
    "gauss_newton_target",
    "kernel_factor",
    "kernel_target",
    "output_jacobian",
    # the loss on lines and planes
    "coordinates",
    "loss_line",
    "loss_plane",
    "plane_through",
    "random_directions",
    "trajectory_directions",
    # hidden states as point clouds
    "ESTIMATORS",
    "RepresentationDimension",
    "linear_cka",
    "representation_dimension",
    "shuffled_cka",
    # weight differences: where they come from, their spectra
    "WeightChange",
    "WeightChanges",
    "adapter_changes",
    "changes_between",
    "delta_changes",
    "folder_changes",
    "open_weights",
    "SUMMARY_COLUMNS",
    "SpectrumNull",
    "WeightDifferenceSpectra",
    "aggregated",
    "change_spectra",
    "joined_spectra",
    "above_null",
    "spectrum_null",
    "weight_difference_spectra",
    # what the differences of many tasks share (more in lab.geometry.collections)
    "Collection",
    "Member",
    "Subspace",
    "beyond_chance",
    "leave_out",
    "mode_subspaces",
    "read_collection",
    "task_subspace",
    # directions of a difference
    "ExtractedLoRA",
    "Extraction",
    "IntruderForecast",
    "Intruders",
    "SubspaceSimilarity",
    "update_cosine",
    "update_of",
    "update_subspace_similarity",
    "amplification",
    "extract",
    "extract_lora",
    "forecast_intruder",
    "intruder_dimensions",
    "intruder_onset",
    "intruder_sweep",
    "intruders_by_strength",
    "mitigate",
    "extrapolated_passage",
    "first_passage",
    "randomly_turned",
    "subspace_angles",
    "subspace_similarity",
]
