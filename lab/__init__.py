"""deltalab: a laboratory for the theory of delta tuning.

The names one starts with, each imported when it is first used:

    >>> import lab
    >>> plm = lab.load_plm("tiny-bert", num_labels=2)
    >>> delta = lab.LoRA(rank=2).on(plm, seed=0)
    >>> delta.at_identity
    True

`dir(lab)` lists them; everything else lies in the rooms: `lab.deltas`, `lab.geometry`, `lab.control`, …
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab.control import costates
    from lab.control.gramian import gramian
    from lab.control.layerwise import layerwise
    from lab.deltas import (
        DID,
        IA3,
        METHODS,
        SAID,
        Adapter,
        AddedBias,
        BitFit,
        DiffPruning,
        FullFineTuning,
        LastLayer,
        LinearProbe,
        LoRA,
        Mask,
        Prefix,
        Prompt,
        SelectiveModule,
        from_peft,
        load_adapter,
    )
    from lab.drawing import show
    from lab.geometry import weight_difference_spectra as spectra
    from lab.geometry.intrinsic_dimension import intrinsic_dimension
    from lab.jupyter import live
    from lab.models import load_plm
    from lab.runs import Store
    from lab.study.d90 import d90
    from lab.tasks import load_task
    from lab.training.fit import fit
    from lab.training.predict import predict

_ROOM = {
    "load_plm": "models",
    "load_task": "tasks",
    # the methods
    "METHODS": "deltas",
    "FullFineTuning": "deltas",
    "LinearProbe": "deltas",
    "Adapter": "deltas",
    "Prefix": "deltas",
    "Prompt": "deltas",
    "IA3": "deltas",
    "AddedBias": "deltas",
    "BitFit": "deltas",
    "LastLayer": "deltas",
    "SelectiveModule": "deltas",
    "DiffPruning": "deltas",
    "Mask": "deltas",
    "LoRA": "deltas",
    "DID": "deltas",
    "SAID": "deltas",
    "from_peft": "deltas",
    "load_adapter": "deltas",
    # what is done with them
    "fit": "training",
    "predict": "training",
    "d90": "study.d90",
    "show": "drawing",
    "live": "jupyter",
    "intrinsic_dimension": "geometry",
    "spectra": "geometry",
    "costates": "control",
    "gramian": "control",
    "layerwise": "control",
    "Store": "runs",
}
_NAME_THERE = {"spectra": "weight_difference_spectra"}
__all__ = [  # noqa: RUF022 (in the order of use)
    "load_plm", "load_task", "METHODS", "FullFineTuning", "LinearProbe", "Adapter", "Prefix", "Prompt", "IA3",
    "AddedBias", "BitFit", "LastLayer", "SelectiveModule", "DiffPruning", "Mask", "LoRA", "DID", "SAID", "from_peft",
    "load_adapter", "fit", "predict", "d90", "show", "live", "intrinsic_dimension", "spectra", "costates", "gramian",
    "layerwise", "Store",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _ROOM:
        found = getattr(import_module(f"lab.{_ROOM[name]}"), _NAME_THERE.get(name, name))
        globals()[name] = found
        return found
    if name in rooms():
        return import_module(f"lab.{name}")
    if name.startswith("__"):  # asked by machinery, not by people
        raise AttributeError(f"module 'lab' has no attribute {name!r}")
    raise AttributeError(_unknown(name))


def __dir__() -> list[str]:
    return sorted([*__all__, *rooms()])


def rooms() -> tuple[str, ...]:
    """The packages of the laboratory, attributes of `lab` without an import of their own."""
    return tuple(module.name for module in iter_modules(__path__) if module.ispkg)


def _unknown(name: str) -> str:
    from difflib import get_close_matches  # a wrong name is rare: keep `import lab` light

    known = {candidate.lower(): candidate for candidate in __dir__()}
    near = [known[match] for match in get_close_matches(name.lower(), known, n=3)]
    near += [f"lab.{room}.{name}" for room in rooms() if _holds(room, name)]
    meant = f"Did you mean {' or '.join(near)}?" if near else "dir(lab) lists what there is."
    return f"lab has no name {name!r}. {meant}"


def _holds(room: str, name: str) -> bool:
    """Whether a room's list of public names has this one; read, not imported."""
    from pathlib import Path

    listed = Path(__path__[0], room, "__init__.py").read_text(encoding="utf-8")
    return f'"{name}"' in listed
