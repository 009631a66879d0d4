"""Parameters that an adapter stores whole (a head, `modules_to_save`), as those of a PLM."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lab.checkpoints.adapter_folder import AdapterFolder
from lab.checkpoints.error import CheckpointError
from lab.models import PLM


def stored_values(plm: PLM, adapter: AdapterFolder, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name in the PLM's layout -> stored value; a tied parameter has one name, all of its names one value.

    Raises:
        CheckpointError: the PLM has no such parameter, or another shape of it; only a part of the names of a tied
            parameter is stored, or with different values: peft then unties it, which a delta cannot. A ValueError.
    """
    places: dict[int, list[str]] = {}
    for name, parameter in plm.model.named_parameters(remove_duplicate=False):
        places.setdefault(id(parameter), []).append(name)
    shared = {name: names for names in places.values() for name in names}
    unknown = sorted(name for name in stored if name not in shared)
    if unknown:
        raise CheckpointError(
            f"{adapter.weights} does not fit this PLM: {len(unknown)} tensors are unexpected (e.g. {unknown[:3]})."
        )
    values: dict[str, Tensor] = {}
    for name, value in stored.items():
        names = shared[name]
        if tuple(value.shape) != tuple(plm.parameters[names[0]].shape):
            raise CheckpointError(
                f"{adapter.weights}: tensor {name!r} has shape {tuple(value.shape)}; expected "
                f"{tuple(plm.parameters[names[0]].shape)}."
            )
        absent = [other for other in names if other not in stored or not stored[other].equal(value)]
        if absent:
            remedy = (
                "Peft tied nothing here, in spite of ensure_weight_tying; compare"
                if adapter.config.get("ensure_weight_tying")
                else "Train it with ensure_weight_tying=True, or compare"
            )
            raise CheckpointError(
                f"{adapter.weights} stores {name!r}, which {plm.name!r} shares with {absent[0]!r}: peft changes the "
                f"one and leaves the other, which a delta of tied weights cannot. {remedy} the "
                "merged model as a folder."
            )
        values.setdefault(names[0], value)
    return {name: values[name] for name in plm.layout.names if name in values}
