"""A collection from the records of a store: the runs' own ΔW, read when asked for; who does not fit is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lab.runs import Record, Store, key
from lab.study.recorded import recorded_collection
from lab.study.training_run import TRAINING_RUN, TrainingRun

RUN = TrainingRun(
    model="tiny-bert",
    task="bbc-news",
    method={"method": "lora", "rank": 2},
    seed=0,
    steps=1,
    max_length=8,
    batch_size=4,
)


def put(store: Store, run: TrainingRun, **arrays: np.ndarray) -> str:
    """The record of a run that was not made: its φ is given."""
    job = TRAINING_RUN.job(run)
    store.put(Record(job, {"score": 0.5}, arrays=arrays))
    return key(job)


def some_phi(run: TrainingRun, seed: int) -> torch.Tensor:
    size = run.on(run.opened()).size
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def test_members_are_the_weight_changes_of_the_runs(tmp_path):
    store, runs = Store(tmp_path), [RUN, replace(RUN, task="rotten-tomatoes", seed=3)]
    phis = [some_phi(run, i) for i, run in enumerate(runs)]
    keys = [put(store, run, phi=phi.numpy()) for run, phi in zip(runs, phis, strict=True)]
    held = recorded_collection(store, [key[:12] for key in keys])
    assert [(m.task, m.type, m.seed) for m in held.members] == [
        ("bbc-news", "topic", 0), ("rotten-tomatoes", "sentiment", 3)
    ]  # fmt: skip
    for i, (run, phi) in enumerate(zip(runs, phis, strict=True)):
        delta = run.on(run.opened())
        for name, dw in delta.weight_difference(phi).items():
            if name in held.names:
                torch.testing.assert_close(held.change(i, name).to_dense(), dw.to_dense().double())
    assert not set(held.names) & set(RUN.opened().new_names)


def test_prompts_of_one_start_are_displacements(tmp_path):
    store, prompt = Store(tmp_path), replace(RUN, method={"method": "prompt", "tokens": 2})
    runs = [prompt, replace(prompt, task="rotten-tomatoes", seed=1, start=0)]
    phis = [some_phi(run, i) for i, run in enumerate(runs)]
    keys = [put(store, run, phi=phi.numpy()) for run, phi in zip(runs, phis, strict=True)]
    held = recorded_collection(store, keys)
    phi0 = prompt.on(prompt.opened()).phi0[: 2 * 16]
    torch.testing.assert_close(held.vectors().to_dense()[:, 1], (phis[1][: 2 * 16] - phi0).double())
    other = replace(prompt, task="drug-reviews", seed=1)
    with pytest.raises(ValueError, match=r"'drug-reviews, .*' starts at another φ₀ than 'bbc-news, "):
        recorded_collection(store, [*keys, put(store, other, phi=some_phi(other, 2).numpy())])


def test_who_does_not_fit_is_named(tmp_path):
    store = Store(tmp_path)
    own = put(store, RUN, phi=some_phi(RUN, 0).numpy())
    gpt2, bare = replace(RUN, model="tiny-gpt2"), replace(RUN, task="drug-reviews")
    with pytest.raises(ValueError, match=r"'bbc-news, .*' was trained on tiny-gpt2, pretrained, .* on tiny-bert"):
        recorded_collection(store, [own, put(store, gpt2)])
    with pytest.raises(ValueError, match=r"the record of member 'drug-reviews, .*' holds no φ"):
        recorded_collection(store, [own, put(store, bare)]).change(
            1, "bert.encoder.layer.0.attention.self.query.weight"
        )
    with pytest.raises(ValueError, match="a run in a random subspace of 3 dimensions is no member"):
        recorded_collection(store, [own, put(store, replace(RUN, subspace=3))])
    bias = replace(RUN, method={"method": "lora", "rank": 2, "targets": ["query"]})
    with pytest.raises(ValueError, match=r"changes 2 matrices, 'bbc-news, .*' 4; in one of them only"):
        recorded_collection(store, [own, put(store, bias)])
