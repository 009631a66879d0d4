"""Engines that have the records of jobs made."""

from __future__ import annotations

from lab.execution.local import Local
from lab.execution.protocol import Engine, Failure, Interrupted, Measure, RunsFailed

__all__ = ["Engine", "Failure", "Interrupted", "Local", "Measure", "RunsFailed"]
