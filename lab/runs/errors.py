"""What can go wrong with a store; each message names the file and says what to do."""

from __future__ import annotations


class StoreError(Exception):
    """A store cannot be read or written as asked."""


class DamagedRecord(StoreError):
    """A stored file is not what was written: missing, truncated, altered, or of an unknown format."""


Damaged = dict[str, DamagedRecord]
"""What is wrong with records that cannot be read, by key."""


class StoreFull(StoreError):
    """The disk (or quota) of the store is full; nothing half-written is left."""


class UnknownRecord(StoreError, KeyError):
    """No record with this key, or a prefix that fits several."""

    def __str__(self) -> str:  # KeyError would print the repr
        return str(self.args[0]) if self.args else ""
