"""The bridge to the peft library: each of its methods as a delta method.

peft itself is imported only where one of its own layers is needed.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import torch

from lab.checkpoints.adapter_options import check_options
from lab.deltas.delta import Delta
from lab.deltas.method import DeltaMethod
from lab.deltas.peft_layers import PeftLayers, attachment, inject, trained_names, transposed_names
from lab.deltas.peft_prompts import PREFIXES, PROMPTS, prompt_learning
from lab.deltas.peft_refused import require_map
from lab.deltas.values import Values
from lab.models import PLM, Graft, graft
from lab.models.heads import VerbalizerHead

_OPTIONS = Path("peft's configuration")
"""What messages name where there is no file."""


@dataclass(frozen=True)
class PeftMethod(DeltaMethod):
    """A method of the peft library on this lab's PLMs: peft's own layers, grafted; φ₀ = peft's initial values.

    `from_peft` builds it from a peft configuration. The PLM's classification head is treated by `head`, whatever the
    configuration says. The map is that of peft's layers in evaluation: dropout is off, as everywhere here, and what
    peft does beside it in training (AdaLoRA's budget, OSF's projected gradients, PVeRA's sampling) is not taken over.

    Attributes:
        options: the configuration as canonical JSON.
        label: name of the graft.
    """

    options: str = '{"peft_type": "LORA"}'
    label: str = "peft"

    name = "peft"
    family = "reparameterisation"

    def __post_init__(self) -> None:
        super().__post_init__()
        options = json.loads(self.options)
        check_options(_OPTIONS, options)
        require_map(options)

    def body(self, plm: PLM, seed: int) -> Delta:
        peft, config = peft_library(), self.config()
        if config.peft_type.value in (*PROMPTS, *PREFIXES):
            return prompt_learning(plm, config, peft, seed, self.label)
        return injected(plm, inject(plm, config, peft, seed), self.label)

    def config(self) -> Any:
        """The peft configuration, ready for a model without task type: heads are not peft's business here."""
        fields = {**json.loads(self.options), "task_type": None, "inference_mode": False}
        peft = peft_library()
        known = sorted(kind.value for kind in peft.PeftType)
        if fields.get("peft_type") not in known:
            raise ValueError(
                f"peft_type is {fields.get('peft_type')!r}, which peft {peft.__version__} does not have; it has "
                f"{', '.join(known)}."
            )
        return peft.PeftConfig.from_peft_type(**fields)


def from_peft(config: Any) -> DeltaMethod:
    """The delta method of a peft configuration, e.g. `from_peft(peft.LoHaConfig(r=4, target_modules=["query"]))`.

    Every peft type whose layers stand in for layers of the PLM (LoRA and its variants, IA³, OFT, VeRA, LN tuning, …) or
    that learns a prompt can become a delta; `lab.deltas.peft_refused` lists the others.

    Args:
        config: a `peft.PeftConfig`.

    Raises:
        ImportError: peft is not installed.
        TypeError: not a peft configuration.
        ValueError: a type or option that is no map from its parameters to a changed PLM.
    """
    if not isinstance(config, peft_library().PeftConfig):
        raise TypeError(f"from_peft needs a peft configuration, e.g. peft.LoraConfig(…); got {type(config).__name__}.")
    return PeftMethod(json.dumps(config.to_dict(), default=_plain, sort_keys=True))


def injected(plm: PLM, injection: PeftLayers, label: str) -> Values:
    """The delta of peft's layers on a host that carries them; φ holds the values of what peft trains, head excepted."""
    host = graft(plm, Graft(label, attachment(plm, injection, label))) if injection.layers else plm
    transposes = transposed_names(injection, host, label)
    left = {*plm.new_names, *transposes}
    trained = [name for name in trained_names(injection, host, label).values() if name not in left]
    probe = Values(host, trained, transposes=transposes)
    return Values(host, trained, transposes=transposes, at_identity=_is_identity(plm, probe))


@torch.no_grad()
def _is_identity(plm: PLM, delta: Delta) -> bool:
    """Whether φ₀ gives the PLM's logits bit for bit, on one batch: peft does not say, so try."""
    if plm.device.type == "meta":
        return False
    vocabulary = plm.parameters[plm.word_table].shape[0]
    ids = torch.arange(16, device=plm.device).reshape(2, 8) % vocabulary
    if isinstance(plm.head, VerbalizerHead) and plm.head.mask_id is not None:
        ids[:, 1] = plm.head.mask_id
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return torch.equal(delta.logits(delta.phi0, batch), plm.logits({}, batch))


def peft_library() -> Any:
    """The peft library.

    Raises:
        ImportError: it is not installed.
    """
    try:
        return importlib.import_module("peft")
    except ImportError as error:
        raise ImportError(
            'this needs the peft library, which is not installed: pip install "peft>=0.21" accelerate. '
            "LoRA and prompt checkpoints are read without it."
        ) from error


def _plain(value: Any) -> Any:
    """JSON form of what peft keeps in its configurations: sets and enums."""
    if isinstance(value, (set, frozenset, tuple)):
        return sorted(value)
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"{value!r} in a peft configuration has no JSON form; from_peft needs plain values.")
