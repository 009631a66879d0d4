"""Methods at one parameter budget: the size of each whose count of coordinates on a PLM comes nearest to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from math import log
from typing import Any

import torch

from lab.deltas import LoRA, method_from_json
from lab.models import MODELS, PLM, load_plm, meta_plm
from lab.models.tiny import built_in
from lab.study.materials import open_plm

SIZED = {"adapter": "bottleneck", "prefix": "tokens", "prompt": "tokens"}
"""Method -> the attribute that decides how many coordinates it has, each unit as many as any other."""


@lru_cache(maxsize=1)
def bare_plm(model: str) -> PLM:
    """A PLM to count on: without weights where its configuration is known, loaded where it is not; the last is kept."""
    if built_in(model):
        return load_plm(model, dtype=torch.float32, device="meta")
    if model in {known.name for known in MODELS}:
        return meta_plm(model)
    return open_plm(model)


@lru_cache
def budget_of(model: str) -> int:
    """Coordinates of LoRA of rank 1 on query and value: 9,216 on MiniLM, 57,600 on SmolLM2."""
    return LoRA(rank=1, head="frozen").on(bare_plm(model)).size


def at_budget(method: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The method with the size that brings its coordinates nearest to the budget, by ratio; at least 1.

    Diff pruning keeps as many weights as the budget; a method without a size to choose stays as it is.

    Args:
        method: `DeltaMethod.to_json()`, without the size.
        model: name for `load_plm`.

    Example:
        >>> at_budget({"method": "prefix", "head": "frozen"}, "minilm")
        {'method': 'prefix', 'head': 'frozen', 'tokens': 2}
    """
    return json.loads(_at_budget(json.dumps(method), model))


@lru_cache(maxsize=256)
def _at_budget(written: str, model: str) -> str:
    """`at_budget` of a method and with a result written as JSON: every count builds the method on a PLM."""
    method = json.loads(written)
    name, budget, plm = method["method"], budget_of(model), bare_plm(model)
    if name == "diff-pruning":
        full = method_from_json({"method": "full", "head": "frozen"}).on(plm).size
        return json.dumps({**method, "sparsity": budget / full})
    if name not in SIZED:
        return written
    one, two = (method_from_json({**method, SIZED[name]: n}).on(plm).size for n in (1, 2))
    below = max(1, (budget - 2 * one + two) // (two - one))
    nearest = min((below, below + 1), key=lambda n: abs(log((one + (n - 1) * (two - one)) / budget)))
    return json.dumps({**method, SIZED[name]: nearest})
