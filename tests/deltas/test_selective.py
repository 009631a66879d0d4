from __future__ import annotations

import pytest

from lab.deltas import LastLayer, SelectiveModule


def moved(method, plm, seed=0):
    delta = method.on(plm, seed=seed)
    return {name.rpartition(".")[0] for name in delta.layout.names}


def test_last_layer_takes_the_last_blocks_of_the_first_stack(plm_of):
    last = LastLayer(head="frozen").on(plm_of("t5")).layout.names
    assert last
    assert all(name.startswith("transformer.encoder.block.1.") for name in last)
    both = LastLayer(n_layers=2, head="frozen").on(plm_of())
    assert both.layout.blocks == (0, 1)


@pytest.mark.parametrize("n_layers", [0, 3])
def test_last_layer_needs_layers_that_exist(plm_of, n_layers):
    with pytest.raises(ValueError, match=rf"n_layers must be in 1\.\.2 for 'tiny-bert'; got {n_layers}"):
        LastLayer(n_layers=n_layers).on(plm_of())


def test_modules_by_pattern(plm_of):
    method = SelectiveModule(patterns=("*.query", "*pooler*"), head="frozen")
    assert moved(method, plm_of()) == {
        "bert.encoder.layer.0.attention.self.query",
        "bert.encoder.layer.1.attention.self.query",
        "bert.pooler.dense",
    }


def test_modules_at_random_depend_on_the_seed(plm_of):
    method = SelectiveModule(n_modules=3, head="frozen")
    assert len(moved(method, plm_of(), seed=0)) == 3
    assert moved(method, plm_of(), seed=0) == moved(method, plm_of(), seed=0)
    assert len({frozenset(moved(method, plm_of(), seed=s)) for s in range(5)}) > 1


def test_nothing_to_choose_is_refused(plm_of):
    with pytest.raises(ValueError, match=r"no module of 'tiny-bert' matches \('nowhere',\)"):
        SelectiveModule(patterns=("nowhere",)).on(plm_of())
    with pytest.raises(ValueError, match=r"n_modules must be in 1\.\.16 for 'tiny-bert'; got 17"):
        SelectiveModule(n_modules=17).on(plm_of())
