"""What the maximum principle says of a delta at one moment of its training, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lab.control.pontryagin import adjoint, hamiltonian, pmp_residual
from lab.control.problem import ControlProblem
from lab.models import PLM, read_by_head
from lab.models.plm import Batch


def at_step(problem: ControlProblem, step: int, phi: Tensor) -> pd.DataFrame:
    """One row per stage: the costate of the state that leaves it, H_t, and the residual of its controls."""
    at = adjoint(problem, problem.split(phi))
    residual = pmp_residual(problem, at.trajectory.controls, known=at)
    return pd.DataFrame(
        {
            "step": step,
            "stage": problem.names,
            "t": range(problem.T),
            "controls": problem.sizes,
            "costate": [float(torch.linalg.vector_norm(p)) for p in at.costates[1:]],
            "hamiltonian": hamiltonian(problem, at.trajectory, at.costates).tolist(),
            "residual": residual.absolute.tolist(),
            "residual_to_cost": residual.to_cost.tolist(),
            "residual_relative": residual.relative.tolist(),
            "loss": float(at.trajectory.cost),
        }
    )


def total_residual(along: pd.DataFrame, step: int) -> float:
    """Euclidean norm of the residuals of all stages after a step of training; `along` has the rows of `at_step`."""
    return float(np.sqrt(along.residual[along.step == step].pow(2).sum()))


def phase_portrait(plm: PLM, kinds: Mapping[str, Sequence[Tensor]], batch: Batch, classes: list[str]) -> pd.DataFrame:
    """States at the position the head reads, projected on the two main axes of each layer's own states.

    Args:
        plm: without grafts.
        kinds: kind of weights -> hidden states h_0 … h_T of the batch.
        batch: the sentences.
        classes: of the sentences, for colours.
    """
    read = {kind: [read_by_head(plm, h, batch) for h in states[1:]] for kind, states in kinds.items()}
    tables = []
    for t in range(plm.n_blocks):
        X = torch.cat([states[t] for states in read.values()]).double()
        X = X - X.mean(0)
        _, sigma, axes = torch.linalg.svd(X, full_matrices=False)
        sign = torch.sign(axes.gather(1, axes.abs().argmax(1, keepdim=True)))  # an axis has no sign of its own
        xy = X @ (axes * sign)[:2].T
        explained = float(sigma[:2].square().sum() / sigma.square().sum())
        columns = {"x": xy[:, 0].tolist(), "y": xy[:, 1].tolist(), "class": classes * len(read)}
        columns |= {"kind": [kind for kind in read for _ in classes], "example": [*range(len(classes))] * len(read)}
        tables.append(pd.DataFrame(columns).assign(block=t, explained=explained))
    return pd.concat(tables, ignore_index=True)
