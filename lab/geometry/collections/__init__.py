"""Changes of many tasks on one PLM: what they share, and whether that is more than chance."""

from lab.geometry.collections import merging
from lab.geometry.collections.angles import interference, subspace_overlaps, task_map, task_maps
from lab.geometry.collections.beyond_chance import BeyondChance, beyond_chance
from lab.geometry.collections.collection import Collection, Member, from_updates
from lab.geometry.collections.compressed import compress, read_compressed
from lab.geometry.collections.drawn import from_base, from_inputs, nulls_of, redrawn, same_spaces, same_spectra
from lab.geometry.collections.folders import base_matrices, read_collection
from lab.geometry.collections.gram import Gram, gram, overlaps
from lab.geometry.collections.inputs import input_columns, input_moments
from lab.geometry.collections.leave_out import (
    explained_shares,
    leave_out,
    left_out_table,
    share_against_size,
    units_of,
)
from lab.geometry.collections.mode_subspaces import (
    ModeSubspaces,
    leave_out_modes,
    mode_shares,
    mode_subspaces,
    survey,
)
from lab.geometry.collections.of_deltas import from_coordinates, from_phis, update_on
from lab.geometry.collections.portrait import Portrait, portrait
from lab.geometry.collections.task_subspace import Subspace, combined, subspace_of, task_subspace
from lab.geometry.collections.written import WrittenAdapter, write_adapter

__all__ = [  # noqa: RUF022 (grouped by subject)
    # members
    "Collection",
    "Member",
    "from_coordinates",
    "from_phis",
    "from_updates",
    "read_collection",
    # what they span
    "Gram",
    "Subspace",
    "combined",
    "gram",
    "overlaps",
    "subspace_of",
    "task_subspace",
    "update_on",
    # per matrix
    "ModeSubspaces",
    "leave_out_modes",
    "mode_shares",
    "mode_subspaces",
    "survey",
    "subspace_overlaps",
    "task_map",
    "task_maps",
    # what others explain of a task, and what chance does
    "BeyondChance",
    "Portrait",
    "base_matrices",
    "beyond_chance",
    "explained_shares",
    "from_base",
    "from_inputs",
    "input_columns",
    "input_moments",
    "leave_out",
    "left_out_table",
    "nulls_of",
    "portrait",
    "units_of",
    "redrawn",
    "same_spaces",
    "same_spectra",
    "share_against_size",
    # one change out of many, and adapters
    "interference",
    "merging",
    "WrittenAdapter",
    "compress",
    "read_compressed",
    "write_adapter",
]
