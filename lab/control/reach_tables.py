"""What controls reach of a PLM's states and logits: singular values, shares of the trace, a random subspace."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor

from lab.control.gramian import control_jacobian
from lab.control.problem import ControlProblem, Trajectory, rollout
from lab.control.reachability import trace_share
from lab.linalg import Spectrum
from lab.projections import OneHot


def share_table(problem: ControlProblem, trajectory: Trajectory, kind: str, seed: int) -> pd.DataFrame:
    """One row per stage: its share of the Gramian's trace at the end state, with the estimate's standard error."""
    share = trace_share(problem, trajectory, at="end", n_samples=8, seed=seed)
    columns = {"trace": share.traces.tolist(), "share": share.shares.tolist(), "error": share.standard_errors.tolist()}
    columns |= {"stage": list(problem.names), "t": list(range(problem.T)), "controls": list(problem.sizes)}
    return pd.DataFrame(columns).assign(kind=kind)


def spectrum_table(spectrum: Spectrum, at: str, kind: str) -> pd.DataFrame:
    """One row per singular value."""
    values = spectrum.values.tolist()
    return pd.DataFrame({"at": at, "kind": kind, "index": range(1, len(values) + 1), "sigma": values})


def random_subspace_spectrum(problem: ControlProblem, phi0: Tensor, dimension: int, seed: int) -> Spectrum:
    """Singular values of J P: the control Jacobian at the logits after a random isotropic P.

    Args:
        problem: whose controls are restricted.
        phi0: (d,), where J is taken.
        dimension: columns of P.
        seed: of P.
    """
    J = control_jacobian(problem, rollout(problem, problem.split(phi0)), at="logits")
    P = OneHot(len(phi0), dimension, seed=seed)
    rows = [P.T @ (J.T @ row) for row in torch.eye(J.shape[0], dtype=J.dtype, device=J.device)]
    return Spectrum.of(torch.stack(rows))
