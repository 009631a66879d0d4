"""Which page stands where: section -> its pages, in the order of the menu. A page that none names fails the build."""

from __future__ import annotations

SECTIONS: dict[str, tuple[str, ...]] = {
    "Tutorials": ("tutorials/*.md",),
    "How to": ("my_model_my_task.md", "my_adapters.md", "paper.md", "add_a_method.md", "runs.md"),
    "What holds here": ("claims.md", "gallery.md"),
    "Theory": (
        "notation.md", "intrinsic_dimension.md", "projections.md", "weight_differences.md", "intruders.md",
        "shared_subspaces.md", "subspaces.md", "curvature.md", "landscape.md", "representations.md",
        "learning_coefficient.md", "compression.md", "control.md", "pontryagin.md", "controllability.md", "solvers.md",
        "reach.md", "finite_reach.md", "planner.md", "robustness.md", "methods_compared.md", "combination.md",
        "efficiency.md", "papers.md",
    ),
    "The rooms": (
        "models.md", "tasks.md", "methods.md", "training.md", "linalg.md", "geometry.md", "statistics.md", "figures.md",
    ),
    "Look up": ("reference/commands.md", "reference/experiments.md", "reference/columns.md", "reference/python.md"),
    "The project": ("contributing.md", "changelog.md"),
}  # fmt: skip
