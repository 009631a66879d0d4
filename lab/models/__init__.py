"""PLMs: one function (overrides, batch) ↦ logits per pre-trained model, whatever its family and head."""

# what is wrong with a file
from lab.checkpoints.error import CheckpointError

# where weight matrices and sublayers are
from lab.models.architecture import Architecture, Part, Place, Slot, Stack, WeightMatrix

# getting a PLM
from lab.models.configurations import MODELS, meta_plm, untrained_plm
from lab.models.families import ARCHITECTURES, architecture_of

# extra submodules on a copy
from lab.models.graft import Graft

# what leaves each block
from lab.models.hidden_states import head_position, hidden_states, pooled, read_by_head
from lab.models.host import graft
from lab.models.loading import load_plm
from lab.models.packaged import PACKAGED

# the noun
from lab.models.plm import PLM, Batch, Overrides
from lab.models.random_weights import random_weights

# a trained change made part of the PLM
from lab.models.settle import settled
from lab.models.structure import architecture_for

__all__ = [
    "ARCHITECTURES",
    "MODELS",
    "PACKAGED",
    "PLM",
    "Architecture",
    "Batch",
    "CheckpointError",
    "Graft",
    "Overrides",
    "Part",
    "Place",
    "Slot",
    "Stack",
    "WeightMatrix",
    "architecture_for",
    "architecture_of",
    "graft",
    "head_position",
    "hidden_states",
    "load_plm",
    "meta_plm",
    "pooled",
    "random_weights",
    "read_by_head",
    "settled",
    "untrained_plm",
]
