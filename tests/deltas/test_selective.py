from __future__ import annotations

import pytest

from lab.deltas import LastLayer, SelectiveModule, method_from_json
from lab.models.tiny import tiny_plm


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


@pytest.mark.parametrize("seed", range(4))
def test_random_modules_fill_a_budget_and_no_more(plm_of, seed):
    """Every module left out is larger than what is left: the budget of the last layer is used up but for that."""
    plm = plm_of()
    budget = LastLayer(head="frozen").on(plm).size
    chosen = SelectiveModule(budget=budget, head="frozen").on(plm, seed=seed)
    modules = {name.rpartition(".")[0] for name in chosen.layout.names}
    sizes = {}
    for part in plm.layout:
        if part.block is not None:
            owner = part.name.rpartition(".")[0]
            sizes[owner] = sizes.get(owner, 0) + part.size
    assert chosen.size == sum(sizes[m] for m in modules) <= budget
    assert all(size > budget - chosen.size for module, size in sizes.items() if module not in modules)


def test_one_block_is_all_its_own_budget_buys():
    plm = tiny_plm("bert", n_layers=1)
    last = LastLayer(head="frozen").on(plm)
    random = SelectiveModule(budget=last.size, head="frozen").on(plm, seed=5)
    assert set(random.layout.names) == set(last.layout.names)


def test_a_budget_too_small_for_any_module_is_refused(plm_of):
    with pytest.raises(ValueError, match=r"budget = 3 is less than any module .* smallest has 32 parameters"):
        SelectiveModule(budget=3).on(plm_of())


def test_json_holds_the_budget_only_where_there_is_one():
    assert "budget" not in SelectiveModule().to_json()
    assert method_from_json(SelectiveModule(budget=9).to_json()) == SelectiveModule(budget=9)
