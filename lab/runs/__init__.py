"""What was asked and what was measured: jobs, records, stores. Importable without torch."""

from __future__ import annotations

from lab.runs.errors import Damaged, DamagedRecord, StoreError, StoreFull, UnknownRecord
from lab.runs.job import SHOWN_KEY, Job, canonical, described, flattened, key, settings
from lab.runs.manifest import Manifest, newest_first
from lab.runs.places import everything, user_store
from lab.runs.provenance import environment, observe
from lab.runs.record import Record
from lab.runs.search import table_with
from lab.runs.store import Overlay, Records, Store
from lab.runs.table import tabulate

__all__ = [
    "SHOWN_KEY",
    "Damaged",
    "DamagedRecord",
    "Job",
    "Manifest",
    "Overlay",
    "Record",
    "Records",
    "Store",
    "StoreError",
    "StoreFull",
    "UnknownRecord",
    "canonical",
    "described",
    "environment",
    "everything",
    "flattened",
    "key",
    "newest_first",
    "observe",
    "settings",
    "table_with",
    "tabulate",
    "user_store",
]
