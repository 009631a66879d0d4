"""Settings that say how much: steps of training, and examples that something is scored on."""

from __future__ import annotations

from dataclasses import MISSING
from typing import Any

from lab.study.settings import setting


def training_steps(help: str = "AdamW steps", default: Any = MISSING) -> Any:
    """A number of training steps: at least one."""
    return setting(
        help, default, unit="step", low=1, why="without a step nothing is trained, and all is as at the start"
    )


def scored_examples(help: str, default: Any = MISSING, *, keyed: bool = False) -> Any:
    """A number of examples that something is scored on: at least two."""
    return setting(
        help, default, unit="example", low=2, keyed=keyed, why="one alone is right or wrong, which is no score"
    )
