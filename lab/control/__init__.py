"""The optimal-control view of delta tuning: layers are time, the delta's coordinates are the controls."""

# the problem and its forward pass
# second order
from lab.control.gramian import Gramian, MinimumEnergy, control_jacobian, gramian, layer_jacobians, minimum_energy
from lab.control.ilqr import Step, gauss_newton, gauss_newton_cg, ilqr, riccati
from lab.control.layer_choice import LayerScores, layer_scores

# a PLM's blocks as dynamics
from lab.control.layerwise import hidden_state, layerwise

from lab.control.reachability import Reach, TraceShare, reach, trace_share

# closed forms and toys
from lab.control.lqr import LinearQuadratic, lqr, two_point_boundary

# the maximum principle
from lab.control.pontryagin import Adjoint, PMPResidual, adjoint, costates, hamiltonian, pmp_residual
from lab.control.problem import ControlProblem, Trajectory, rollout
from lab.control.solution import Solution, Status

# first order: successive approximations
from lab.control.successive import (
    augmented_maximization,
    extended_msa,
    full_maximization,
    gradient_ascent,
    msa,
    sign_ascent,
)
from lab.control.toys import deep_linear, double_integrator, linear_quadratic, residual_toy

__all__ = [
    "Adjoint",
    "ControlProblem",
    "Gramian",
    "LayerScores",
    "LinearQuadratic",
    "MinimumEnergy",
    "PMPResidual",
    "Reach",
    "Solution",
    "Status",
    "Step",
    "TraceShare",
    "Trajectory",
    "adjoint",
    "augmented_maximization",
    "control_jacobian",
    "costates",
    "deep_linear",
    "double_integrator",
    "extended_msa",
    "full_maximization",
    "gauss_newton",
    "gauss_newton_cg",
    "gradient_ascent",
    "gramian",
    "hamiltonian",
    "hidden_state",
    "ilqr",
    "layer_jacobians",
    "layer_scores",
    "layerwise",
    "linear_quadratic",
    "lqr",
    "minimum_energy",
    "msa",
    "pmp_residual",
    "reach",
    "residual_toy",
    "riccati",
    "rollout",
    "sign_ascent",
    "trace_share",
    "two_point_boundary",
]
