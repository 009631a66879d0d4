"""What a delta reaches on a fixed batch before and after training, and on random weights."""

from __future__ import annotations

import pandas as pd
from torch import Tensor

from lab.control import reach, rollout
from lab.control.reach_tables import share_table, spectrum_table
from lab.linalg import Spectrum
from lab.models import read_by_head
from lab.study.config import Config
from lab.study.fixed_batch import FixedBatch, fixed_batch_of

READ_SENTENCES = 2
"""Of the state that the head reads, whose whole spectrum is computed: as many products as it has numbers."""


def reached_everywhere(
    c: Config, phi: Tensor, *, eigenvalues: int, sentences: int | None, seed: int
) -> tuple[list[pd.DataFrame], pd.DataFrame]:
    """Spectra at the logits, at the end state and at what the head reads of it, and the trace shares after training.

    Args:
        c: the settings of the batch, by name (`fixed_batch_of`).
        phi: (d,), trained.
        eigenvalues: of the Gramian at the end state.
        sentences: of the state that the head reads; None: `READ_SENTENCES`.
        seed: of the estimates.

    Returns:
        Spectra before and after training and on random weights, but for the logits' before it; and the shares.
    """
    spectra = []
    shares = pd.DataFrame()
    for kind in ("at the start", "after training", "random weights"):
        weights = "random" if kind == "random weights" else "pretrained"
        setting = fixed_batch_of(c, weights=weights)
        at = phi.to(setting.delta.phi0) if kind == "after training" else setting.delta.phi0
        problem = setting.problem
        trajectory = rollout(problem, problem.split(at))
        end = reach(problem, trajectory, at="end", k=eigenvalues, seed=seed).spectrum
        spectra.append(spectrum_table(end, "end", kind))
        if n := READ_SENTENCES if sentences is None else sentences:
            few = fixed_batch_of(
                c, weights=weights, precision="float64", sentences=min(n, len(setting.batch["labels"]))
            )
            spectra.append(spectrum_table(read_spectrum(few, at), "read", kind))
        if kind != "at the start":  # there every job has it
            spectra.append(spectrum_table(reach(problem, trajectory, at="logits").spectrum, "logits", kind))
        if kind == "after training":
            shares = share_table(problem, trajectory, kind, seed)
    return spectra, shares


def read_spectrum(few: FixedBatch, phi: Tensor) -> Spectrum:
    """All singular values of the state that the head reads, of few sentences, in float64 for the sake of the rank."""
    problem = few.problem
    trajectory = rollout(problem, problem.split(phi.to(few.delta.phi0)))
    return reach(problem, trajectory, at=("end", lambda h: read_by_head(few.plm, h, few.batch)), k=None).spectrum
