"""The laboratory's questions, one module each; what an experiment must define: `lab.execution.experiment`."""

EXPERIMENTS = (
    # one run, the child of all others
    "training_run",
    # the optimisation view
    "intrinsic_dimension",
    "weight_differences",
    "subspace_similarity",
    "intruders",
    "intruder_time",
    "extraction",
    "curvature",
    "predicted_dimension",
    "quadratic",
    "landscape",
    "representations",
    # the methods compared
    "performance",
    "convergence",
    "generalization_gap",
    "combination",
    "transfer",
    "template",
    "scale",
    "efficiency",
    "sharing",
    # the optimal-control view
    "pontryagin",
    "solvers",
    "planner",
    "robustness",
    "reach",
    "controllability",
)
