"""What was asked and what was measured: jobs, records, stores. Importable without torch."""

from __future__ import annotations

from lab.runs.claims import (
    Interval,
    Verdict,
    absolute,
    mean_interval,
    proportion_interval,
    rank_correlation_interval,
    stratified_interval,
)
from lab.runs.errors import DamagedRecord, StoreError, StoreFull, UnknownRecord
from lab.runs.factorial import effects_beside, factorial_effects
from lab.runs.folder import Manifest
from lab.runs.job import SHOWN_KEY, Job, canonical, described, flattened, key, settings
from lab.runs.places import everything, user_store
from lab.runs.provenance import environment, observe
from lab.runs.ranking import Ranking, critical_difference
from lab.runs.record import Record
from lab.runs.search import table_with
from lab.runs.store import Overlay, Records, Store
from lab.runs.table import tabulate

__all__ = [
    "SHOWN_KEY",
    "DamagedRecord",
    "Interval",
    "Job",
    "Manifest",
    "Overlay",
    "Ranking",
    "Record",
    "Records",
    "Store",
    "StoreError",
    "StoreFull",
    "UnknownRecord",
    "Verdict",
    "absolute",
    "canonical",
    "critical_difference",
    "described",
    "effects_beside",
    "environment",
    "everything",
    "factorial_effects",
    "flattened",
    "key",
    "mean_interval",
    "observe",
    "proportion_interval",
    "rank_correlation_interval",
    "settings",
    "stratified_interval",
    "table_with",
    "tabulate",
    "user_store",
]
