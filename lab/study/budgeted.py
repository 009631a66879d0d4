"""Delta methods at one parameter budget under a frozen head, and the step sizes that are tried for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab.study.equal_budget import at_budget
from lab.study.materials import without_biases

METHODS: dict[str, tuple[dict[str, Any], tuple[float, ...]]] = {
    "LoRA": ({"method": "lora", "rank": 1}, (1e-2, 3e-2, 1e-1)),
    "adapter": ({"method": "adapter", "placement": "pfeiffer"}, (3e-3, 1e-2, 3e-2)),
    "prefix": ({"method": "prefix"}, (3e-2, 1e-1, 3e-1)),
    "prompt": ({"method": "prompt"}, (1e-2, 3e-2, 1e-1)),
    "BitFit": ({"method": "bitfit"}, (3e-3, 1e-2, 3e-2)),
    "added biases": ({"method": "added-bias"}, (3e-3, 1e-2, 3e-2)),
    "full fine-tuning": ({"method": "full"}, (1e-4, 3e-4, 1e-3)),
    "IA3": ({"method": "ia3"}, (1e-2, 3e-2, 1e-1)),
    "mask": ({"method": "mask", "targets": ["query", "value"]}, (1e-3, 3e-3, 1e-2)),
    "last layer": ({"method": "last-layer"}, (3e-4, 1e-3, 3e-3)),
    "diff pruning": ({"method": "diff-pruning"}, (1e-4, 3e-4, 1e-3)),
}
"""Label -> (the method, whose size `at_budget` chooses; the step sizes tried).

Step sizes are those of a frozen random head, which is all that training has to work with: up to ten times what a method
needs with a head of its own. The last four cannot have the budget in every sense: (IA)³ has no size to choose, a mask
has a score per weight, the last layer is one block; diff pruning moves all weights, and keeps as many of them as the
budget. Of BitFit and added biases a PLM gets the one that its family has a use for."""

ALL_WEIGHTS = ("full fine-tuning", "diff pruning")
"""Methods whose Jacobian has a column for every weight: each product goes through all of them."""

MOVED = {"adapter": (1e-2, 3e-2, 1e-1), "prefix": (3e-3, 1e-2, 3e-2), "prompt": (3e-3, 1e-2, 3e-2)}
"""Step sizes tried on SmolLM2: of those above, adapter and prefix had their best at the edge; the prompt goes along."""


def frozen(method: dict[str, Any]) -> dict[str, Any]:
    """The method under a head that does not move."""
    return method | {"head": "frozen"}


def budgeted(
    model: str, labels: Sequence[str], *, moved: bool, tried: int
) -> dict[str, tuple[dict[str, Any], tuple[float, ...]]]:
    """Label -> the method at the budget of a PLM, and the first of the step sizes to try.

    Args:
        model: name for `load_plm`.
        labels: of `METHODS`; none: all that the PLM has a use for.
        moved: the step sizes of SmolLM2 (`MOVED`).
        tried: how many step sizes.
    """
    useless = "BitFit" if without_biases(model) else "added biases"
    found = {}
    for label in labels or [label for label in METHODS if label != useless]:
        method, step_sizes = METHODS[label]
        sizes = MOVED.get(label, step_sizes) if moved else step_sizes
        found[label] = (at_budget(frozen(method), model), sizes[:tried])
    return found
