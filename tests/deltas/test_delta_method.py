from __future__ import annotations

import dataclasses

import pytest

from lab.deltas import METHODS, BitFit, Combination, LinearProbe, LoRA, SelectiveModule, method_from_json
from lab.deltas.method import body_names, head_names
from lab.study.compared_methods import compared_methods


@pytest.mark.parametrize("method", METHODS)
def test_an_unknown_head_treatment_is_refused(method):
    with pytest.raises(ValueError, match=f"{method.__name__}: head must be one of"):
        method(head="melted")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_names_itself_and_its_family(method):
    assert method().to_json()["method"] == method.name
    assert method.family in ("addition", "specification", "reparameterisation", "full")
    assert dataclasses.is_dataclass(method)


def test_a_method_has_one_name_in_titles_and_comparisons():
    compared = compared_methods("tiny-bert", head_lr=0.01, prompt_tokens=4, dimension=8)
    of_no_size = {label: method for label, (method, _) in compared.items() if not method.sized}
    assert {"IA3", "last layer", "random modules", "diff pruning", "BitFit", "mask"} <= set(of_no_size)
    assert {label: method.title for label, method in of_no_size.items()} == {label: label for label in of_no_size}
    assert SelectiveModule(patterns=("*.query",)).title == "named modules"
    assert Combination(parts=(LoRA(rank=2), BitFit())).title == "LoRA r = 2 + BitFit"


def test_unknown_fields_and_names_are_refused():
    with pytest.raises(ValueError, match=r"LoRA has no hyperparameter \['rnak'\]; it has .*'rank'"):
        LoRA.from_fields({"rnak": 3})
    with pytest.raises(ValueError, match="unknown delta method 'lara'; choose one of"):
        method_from_json({"method": "lara"})


def test_the_head_is_free_by_default_and_counted(plm_of):
    plm = plm_of()
    free, frozen = BitFit().on(plm), BitFit(head="frozen").on(plm)
    assert free.size - frozen.size == free.head_size == 2 * 16 + 2
    assert free.counts.percent > free.counts.percent_without_head == frozen.counts.percent


def test_a_language_model_head_is_pretrained_not_new(plm_of):
    plm = plm_of("bert", head="lm")
    assert head_names(plm) == ()
    assert set(body_names(plm)) == set(plm.layout.names)
    with pytest.raises(ValueError, match="has no head to probe with"):
        LinearProbe().on(plm)
