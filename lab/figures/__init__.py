"""Figures as pure functions of tidy tables; neither torch nor transformers is imported here."""

from __future__ import annotations

from lab.figures.amplification import AMPLIFICATION
from lab.figures.cka import CKA
from lab.figures.combination import COMBINATION
from lab.figures.control_at_test_time import CONTROL_AT_TEST_TIME
from lab.figures.control_energy import CONTROL_ENERGY
from lab.figures.controllability_ranking import CONTROLLABILITY_RANKING
from lab.figures.convergence import CONVERGENCE
from lab.figures.costates import COSTATES
from lab.figures.curvature_spectrum import CURVATURE_SPECTRUM
from lab.figures.d90 import D90, answers
from lab.figures.d90_curves import D90_CURVES
from lab.figures.delta_as_control import DELTA_AS_CONTROL
from lab.figures.delta_storage import DELTA_STORAGE
from lab.figures.export import FORMATS, Exported, Skipped, export, rendered
from lab.figures.extraction import EXTRACTION
from lab.figures.figure import TEXT, Column, Figure, TableError
from lab.figures.forced_tokens import FORCED_TOKENS
from lab.figures.generalization_gap import GENERALIZATION_GAP
from lab.figures.gramian_spectra import GRAMIAN_SPECTRA
from lab.figures.images import HOW_TO_GET_A_BROWSER, ImageError, find_browser
from lab.figures.intrinsic_dimension import INTRINSIC_DIMENSION
from lab.figures.intruder_forecast import INTRUDER_FORECAST
from lab.figures.intruder_mitigation import INTRUDER_MITIGATION
from lab.figures.intruder_onset import INTRUDER_ONSET
from lab.figures.intruder_strength import INTRUDER_STRENGTH
from lab.figures.intruder_sweep import INTRUDER_SWEEP
from lab.figures.intruder_time import INTRUDER_TIME
from lab.figures.intruders import INTRUDERS
from lab.figures.layer_scores import LAYER_SCORES
from lab.figures.learning_curves import LEARNING_CURVES
from lab.figures.loss_line import LOSS_LINE
from lab.figures.loss_plane import LOSS_PLANE
from lab.figures.memory_saved import MEMORY_SAVED
from lab.figures.performance import PERFORMANCE
from lab.figures.phase_portrait import PHASE_PORTRAIT
from lab.figures.planner import PLANNER
from lab.figures.planner_ranks import PLANNER_RANKS
from lab.figures.pmp_residual import PMP_RESIDUAL
from lab.figures.predicted_dimension import PREDICTED_DIMENSION
from lab.figures.prefix_mass import PREFIX_MASS
from lab.figures.principal_angles import PRINCIPAL_ANGLES
from lab.figures.reach_bound import REACH_BOUND
from lab.figures.reach_targets import REACH_TARGETS
from lab.figures.representation_dimension import REPRESENTATION_DIMENSION
from lab.figures.robustness import ROBUSTNESS
from lab.figures.scale import SCALE
from lab.figures.sequential_combination import SEQUENTIAL_COMBINATION
from lab.figures.serving_throughput import SERVING_THROUGHPUT
from lab.figures.solver_convergence import SOLVER_CONVERGENCE
from lab.figures.sources import Source
from lab.figures.spectral_density import SPECTRAL_DENSITY
from lab.figures.style import CONFIG, DARK, LIGHT, SIZES, THEMES, Size, Theme
from lab.figures.subspace_similarity import SUBSPACE_SIMILARITY
from lab.figures.template import TEMPLATE
from lab.figures.trace_shares import TRACE_SHARES
from lab.figures.training_compute import TRAINING_COMPUTE
from lab.figures.training_memory import TRAINING_MEMORY
from lab.figures.transfer import TRANSFER
from lab.figures.transfer_similarity import TRANSFER_SIMILARITY
from lab.figures.weight_difference_spectra import WEIGHT_DIFFERENCE_SPECTRA

METHODS_COMPARED: tuple[Figure, ...] = (
    PERFORMANCE,
    CONVERGENCE,
    GENERALIZATION_GAP,
    COMBINATION,
    SEQUENTIAL_COMBINATION,
    TRANSFER,
    TRANSFER_SIMILARITY,
    TEMPLATE,
    SCALE,
    MEMORY_SAVED,
    TRAINING_MEMORY,
    TRAINING_COMPUTE,
    DELTA_STORAGE,
    SERVING_THROUGHPUT,
)
"""The figures of the explorer's page on the methods compared, in its order."""

LOSS_VIEW: tuple[Figure, ...] = (
    CURVATURE_SPECTRUM,
    SPECTRAL_DENSITY,
    PREDICTED_DIMENSION,
    D90_CURVES,
    LOSS_PLANE,
    LOSS_LINE,
    REPRESENTATION_DIMENSION,
    CKA,
)
"""The figures of the explorer's page on the loss, in its order."""

CONTROL_VIEW: tuple[Figure, ...] = (
    COSTATES,
    PMP_RESIDUAL,
    PHASE_PORTRAIT,
    DELTA_AS_CONTROL,
    SOLVER_CONVERGENCE,
    LAYER_SCORES,
    GRAMIAN_SPECTRA,
    TRACE_SHARES,
    CONTROL_ENERGY,
    CONTROLLABILITY_RANKING,
    # what the theory is good for, and how far it reaches
    PLANNER,
    PLANNER_RANKS,
    ROBUSTNESS,
    CONTROL_AT_TEST_TIME,
    PREFIX_MASS,
    REACH_BOUND,
    REACH_TARGETS,
    FORCED_TOKENS,
)
"""The figures of the explorer's page on optimal control, in its order."""

WEIGHT_DIFFERENCES: tuple[Figure, ...] = (
    WEIGHT_DIFFERENCE_SPECTRA,
    SUBSPACE_SIMILARITY,
    PRINCIPAL_ANGLES,
    AMPLIFICATION,
    INTRUDERS,
    INTRUDER_SWEEP,
    INTRUDER_FORECAST,
    INTRUDER_STRENGTH,
    INTRUDER_TIME,
    INTRUDER_ONSET,
    INTRUDER_MITIGATION,
    EXTRACTION,
)
"""The figures of the explorer's page on weight differences, in its order."""

FIGURES: tuple[Figure, ...] = (
    LEARNING_CURVES,
    # the optimisation view
    INTRINSIC_DIMENSION,
    *WEIGHT_DIFFERENCES,
    *LOSS_VIEW,
    # the methods compared
    *METHODS_COMPARED,
    # the optimal-control view
    *CONTROL_VIEW,
)


def figure(name: str) -> Figure:
    """The figure of this name.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    for candidate in FIGURES:
        if candidate.name == name:
            return candidate
    raise ValueError(f"no figure is called {name!r}; there are {', '.join(f.name for f in FIGURES)}")


__all__ = [
    "AMPLIFICATION",
    "CKA",
    "COMBINATION",
    "CONFIG",
    "CONTROLLABILITY_RANKING",
    "CONTROL_AT_TEST_TIME",
    "CONTROL_ENERGY",
    "CONTROL_VIEW",
    "CONVERGENCE",
    "COSTATES",
    "CURVATURE_SPECTRUM",
    "D90",
    "D90_CURVES",
    "DARK",
    "DELTA_AS_CONTROL",
    "DELTA_STORAGE",
    "EXTRACTION",
    "FIGURES",
    "FORCED_TOKENS",
    "FORMATS",
    "GENERALIZATION_GAP",
    "GRAMIAN_SPECTRA",
    "HOW_TO_GET_A_BROWSER",
    "INTRINSIC_DIMENSION",
    "INTRUDERS",
    "INTRUDER_FORECAST",
    "INTRUDER_MITIGATION",
    "INTRUDER_STRENGTH",
    "INTRUDER_SWEEP",
    "LAYER_SCORES",
    "LEARNING_CURVES",
    "LIGHT",
    "LOSS_LINE",
    "LOSS_PLANE",
    "LOSS_VIEW",
    "MEMORY_SAVED",
    "METHODS_COMPARED",
    "PERFORMANCE",
    "PHASE_PORTRAIT",
    "PLANNER",
    "PLANNER_RANKS",
    "PMP_RESIDUAL",
    "PREDICTED_DIMENSION",
    "PREFIX_MASS",
    "PRINCIPAL_ANGLES",
    "REACH_BOUND",
    "REACH_TARGETS",
    "REPRESENTATION_DIMENSION",
    "ROBUSTNESS",
    "SCALE",
    "SEQUENTIAL_COMBINATION",
    "SERVING_THROUGHPUT",
    "SIZES",
    "SOLVER_CONVERGENCE",
    "SPECTRAL_DENSITY",
    "SUBSPACE_SIMILARITY",
    "TEMPLATE",
    "TEXT",
    "THEMES",
    "TRACE_SHARES",
    "TRAINING_COMPUTE",
    "TRAINING_MEMORY",
    "TRANSFER",
    "TRANSFER_SIMILARITY",
    "WEIGHT_DIFFERENCES",
    "WEIGHT_DIFFERENCE_SPECTRA",
    "Column",
    "Exported",
    "Figure",
    "ImageError",
    "Size",
    "Skipped",
    "Source",
    "TableError",
    "Theme",
    "answers",
    "export",
    "figure",
    "find_browser",
    "rendered",
]
