"""The optimal-control view of delta tuning: layers are time, the delta's coordinates are the controls."""

# the problem, and a delta on a PLM as one
from lab.control.problem import ControlProblem, Trajectory, rollout
from lab.control.layerwise import hidden_state, layerwise
from lab.control.delta_as_control import control_summary, delta_as_control
from lab.control.injection import Injection, injections

# the maximum principle
from lab.control.pontryagin import Adjoint, PMPResidual, adjoint, costates, hamiltonian, hamiltonian_slope, pmp_residual

# solvers of first order: successive approximations
from lab.control.solution import Solution, Status
from lab.control.successive import augmented_maximization, extended_msa, full_maximization, gradient_ascent
from lab.control.successive import msa, optimizer_ascent, sign_ascent
from lab.control.layer_choice import LayerScores, best_layer_ascent, layer_scores

# of second order
from lab.control.ilqr import Step, control_gauss_newton, gauss_newton_cg, ilqr, riccati

# controllability
from lab.control.gramian import Gramian, MinimumEnergy, control_jacobian, gramian, layer_jacobians, minimum_energy
from lab.control.reachability import Reach, TraceShare, reach, trace_share, whole_spectrum

# from theory to a budget
from lab.control.planner import RULES, Allocation, Recommendation, Survey, allocate, logarithmic_gains, plan
from lab.control.planner import gauss_newton_falls, promised_fall, recommend, spectral_gains, survey, water_filling

# what prompts can reach
from lab.control.prompt_reach import Approach, AttentionHead, ReachBound, Reached, first_heads, furthest_reach
from lab.control.prompt_reach import nearest_reach, orthogonal_part, prompt_entrance, reach_bound, unreachable_share
from lab.control.prompt_reach import unreached_without_prompt
from lab.control.discrete_prompts import ForcedToken, NextToken, controllable_share, force_token, substitutions

# control at test time
from lab.control.robust import ActivationSubspace, TestTimeControl, activation_subspaces, off_subspace, output_states
from lab.control.robust import robust_control
from lab.control.steering import Steering, energy, injected_energy, lqr_of_energy, lqr_steering, pid_of_energy
from lab.control.steering import pid_steering, random_of_energy, steering
from lab.control.balanced_steering import BalancedSubspace, balanced_steering, balanced_subspaces

# closed forms and toys
from lab.control.lqr import BoundarySolution, LinearQuadratic, RiccatiSolution, lqr, two_point_boundary
from lab.control.tracking import Tracker, block_stages, held, linearised, references, tracking_lqr
from lab.control.toys import deep_linear, double_integrator, linear_quadratic, residual_toy

# isort: skip_file

__all__ = [
    "RULES",
    "ActivationSubspace",
    "Adjoint",
    "Allocation",
    "Approach",
    "AttentionHead",
    "BalancedSubspace",
    "BoundarySolution",
    "ControlProblem",
    "ForcedToken",
    "Gramian",
    "Injection",
    "LayerScores",
    "LinearQuadratic",
    "MinimumEnergy",
    "NextToken",
    "PMPResidual",
    "Reach",
    "ReachBound",
    "Reached",
    "Recommendation",
    "RiccatiSolution",
    "Solution",
    "Status",
    "Steering",
    "Step",
    "Survey",
    "TestTimeControl",
    "TraceShare",
    "Tracker",
    "Trajectory",
    "activation_subspaces",
    "adjoint",
    "allocate",
    "augmented_maximization",
    "balanced_steering",
    "balanced_subspaces",
    "best_layer_ascent",
    "block_stages",
    "control_gauss_newton",
    "control_jacobian",
    "control_summary",
    "controllable_share",
    "costates",
    "deep_linear",
    "delta_as_control",
    "double_integrator",
    "energy",
    "extended_msa",
    "first_heads",
    "force_token",
    "full_maximization",
    "furthest_reach",
    "gauss_newton_cg",
    "gauss_newton_falls",
    "gradient_ascent",
    "gramian",
    "hamiltonian",
    "hamiltonian_slope",
    "held",
    "hidden_state",
    "ilqr",
    "injected_energy",
    "injections",
    "layer_jacobians",
    "layer_scores",
    "layerwise",
    "linear_quadratic",
    "linearised",
    "logarithmic_gains",
    "lqr",
    "lqr_of_energy",
    "lqr_steering",
    "minimum_energy",
    "msa",
    "nearest_reach",
    "off_subspace",
    "optimizer_ascent",
    "orthogonal_part",
    "output_states",
    "pid_of_energy",
    "pid_steering",
    "plan",
    "pmp_residual",
    "promised_fall",
    "prompt_entrance",
    "random_of_energy",
    "reach",
    "reach_bound",
    "recommend",
    "references",
    "residual_toy",
    "riccati",
    "robust_control",
    "rollout",
    "sign_ascent",
    "spectral_gains",
    "steering",
    "substitutions",
    "survey",
    "trace_share",
    "tracking_lqr",
    "two_point_boundary",
    "unreachable_share",
    "unreached_without_prompt",
    "water_filling",
    "whole_spectrum",
]
