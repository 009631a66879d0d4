"""One method on many tasks: starts, sizes, labels, and what does not make a collection."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from experiments.shared_subspace import EXPERIMENT
from lab.execution import Local
from lab.runs import Store
from lab.study import Lab
from lab.study.collected import Collected, collection_of, short, trained

LORA, BOTH_SEEDS = EXPERIMENT.configs("smoke")
PROMPT = replace(BOTH_SEEDS, seeds=(0,), targets=(), shots=())


def _start(run):
    """The soft tokens a prompt starts at, on one PLM (tiny ones are drawn by the run's seed)."""
    delta = run.on(PROMPT.opened())
    return delta.overrides(delta.phi0)[delta.layout.names[0]]


def test_starts_differ_unless_one_is_asked_for():
    seeds = [LORA.run(task, seed).seed for task in LORA.tasks for seed in (0, 1)]
    assert len(set(seeds)) == len(seeds)
    assert {PROMPT.run(task, 0).seed for task in PROMPT.tasks} == {0}
    other = replace(LORA, tasks=(*reversed(LORA.tasks), "imdb"), targets=())
    assert other.run("bbc-news", 0) == LORA.run("bbc-news", 0)  # no run depends on its company
    twice = replace(PROMPT, seeds=(0, 1))
    first, second = (twice.run("bbc-news", seed) for seed in twice.seeds)
    assert first == PROMPT.run("bbc-news", 0)
    assert (second.seed, second.start) == (1, 0)
    tokens = [_start(run) for run in (first, second, replace(second, start=None))]
    assert torch.equal(tokens[0], tokens[1])  # one start; heads, and the order of examples, differ
    assert not torch.equal(tokens[0], tokens[2])


def test_sizes_are_capped_by_what_a_task_has():
    large = replace(LORA, n_train=10**6, n_validation=10**6)
    data = large.run("drug-reviews", 0).data
    assert 400 < len(data.train) < 600
    assert len(data.test) == LORA.n_test
    assert large.run("drug-reviews", 0, shots=4).n_train == 12  # three classes


def test_every_target_is_scored_with_all_data_and_with_few_shots():
    parts = BOTH_SEEDS.unseen()
    assert [(part.target, part.shots) for part in parts] == [("drug-reviews", None), ("drug-reviews", 4)]
    assert [part.run(part.target, 0, part.shots).n_train for part in parts] == [BOTH_SEEDS.n_train, 12]


def test_what_is_no_collection_is_refused():
    with pytest.raises(ValueError, match="--tasks has 'imdb' twice; expected each once"):
        replace(LORA, tasks=("imdb", "imdb", "bbc-news"), targets=())
    with pytest.raises(
        ValueError, match="three tasks or more, each once; got imdb, imdb, bbc-news with imdb more than"
    ):
        replace(LORA, tasks=("/a/imdb", "/b/imdb", "bbc-news"), targets=())
    with pytest.raises(ValueError, match="three tasks or more"):
        replace(LORA, tasks=("imdb", "bbc-news"), targets=())
    with pytest.raises(ValueError, match="targets are tasks of the collection; imdb: not among --tasks"):
        replace(LORA, targets=("imdb",))


def test_a_path_is_called_by_its_last_part():
    assert short("/somewhere/tasks/rte") == "rte"


def test_runs_make_a_collection_and_displacements_need_one_start(tmp_path):
    lab = Lab(Local(Store(tmp_path), progress=False))
    small = replace(PROMPT, tasks=("rotten-tomatoes", "drug-reviews", "same-topic"))
    members = trained(small, lab)
    assert [each.member.type for each in members] == ["sentiment", "sentiment", "pairs"]
    assert all(0 <= each.score <= 1 and 0 < each.chance < 1 for each in members)
    held = collection_of(small, members)
    assert (len(held), held.layout.size) == (3, 2 * 16)
    twice = replace(small, seeds=(0, 1))
    both = collection_of(twice, trained(twice, lab))
    assert [member.name for member in both.members][2:4] == ["same-topic, seed 0", "rotten-tomatoes, seed 1"]
    torch.testing.assert_close(both.vectors().to_dense()[:, :3], held.vectors().to_dense())
    assert [own.run.seed for own in trained(twice, lab, tasks=["same-topic"], seeds=[1])] == [1]
    own = small.to(Collected, own_starts=True)
    with pytest.raises(ValueError, match="prompt 2 is compared in its own coordinates, which need one start"):
        collection_of(own, members)
