"""PLMs: one function (overrides, batch) ↦ logits per pre-trained model, whatever its family and head."""

# the noun
from lab.models.plm import PLM, Batch, Overrides

# where its weight matrices and sublayers are
from lab.models.architecture import Architecture, Place, WeightMatrix
from lab.models.families import ARCHITECTURES, architecture_of

# getting one
from lab.models.checkpoint import CheckpointError
from lab.models.loading import load_plm
from lab.models.packaged import PACKAGED
from lab.models.random_weights import random_weights
from lab.models.configurations import MODELS, meta_plm

# extra submodules on a copy
from lab.models.graft import Graft, graft

# isort: skip_file
