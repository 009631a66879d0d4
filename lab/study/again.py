"""The command that makes one record again, from its job alone."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

CONTENT = "content"
"""Entry of a job's config with the fingerprints of the local models and tasks that it names; no field of a config."""


def again(experiment: str, config: Mapping[str, Any]) -> str:
    """``deltalab run EXPERIMENT --config JSON``, whatever made the record the first time.

    Args:
        experiment: name of the job's experiment.
        config: of the job; its fingerprints are left out, as they are made anew.
    """
    own = {name: value for name, value in config.items() if name != CONTENT}
    return shlex.join(["deltalab", "run", experiment, "--config", json.dumps(own, ensure_ascii=False)])
