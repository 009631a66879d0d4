"""What the local models and tasks hold that a config names: a name is no promise, a fingerprint is."""

from __future__ import annotations

from lab.models.fingerprint import fingerprint as model_fingerprint
from lab.study.config import Config
from lab.tasks.fingerprint import fingerprint as task_fingerprint


def contents(config: Config) -> dict[str, str]:
    """sha256 by name of every local model folder and task file that a config names, its parts included.

    Packaged names, built-in models and ids of the hub are left out: packages have versions, which provenance holds.

    Raises:
        OSError: a file cannot be read.
    """
    found = {name: model_fingerprint(name) for name in config.named("model")}
    found |= {name: task_fingerprint(name) for name in config.named("task")}
    return {name: digest for name, digest in sorted(found.items()) if digest is not None}
