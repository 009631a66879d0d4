"""The weight differences in a peft folder: LoRA, rsLoRA and DoRA without building the model, other types by merging."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lab.deltas.checkpoint_folder import BASE, CONFIG, Checkpoint, read_checkpoint
from lab.deltas.lora_checkpoint import is_plain_lora
from lab.deltas.peft_merge import merged_differences
from lab.geometry.adapter_options import LoRAOptions, lora_options
from lab.geometry.checkpoints import FLOATS, WeightFolder, coarser, open_weights
from lab.geometry.parameter_names import HEADS, Position, aligned, positions
from lab.geometry.weight_changes import WeightChange, WeightChanges
from lab.linalg import LowRank
from lab.models import load_plm
from lab.models.checkpoint import CheckpointError

# key endings in the file -> what they are; A (r, n) and B (m, r) of a linear layer, those of an embedding, DoRA's ‖row‖
_KINDS = {
    "lora_A.weight": "A",
    "lora_B.weight": "B",
    "lora_embedding_A": "A of an embedding",
    "lora_embedding_B": "B of an embedding",
    "lora_magnitude_vector": "magnitude",
    "lora_magnitude_vector.weight": "magnitude",
}
_VECTOR = "lora_B.bias"


@dataclass(frozen=True)
class Factors:
    """What a LoRA holds for one module.

    Attributes:
        module: its path.
        tensors: what it is ("A", "B", …) -> tensor.
        scale: s.
    """

    module: str
    tensors: Mapping[str, Tensor]
    scale: float

    @property
    def product(self) -> LowRank:
        """s·B·A; for an embedding the table (vocabulary, width) changes by its transpose."""
        if "A" in self.tensors:
            return LowRank(self.scale * self.tensors["B"].double(), self.tensors["A"].double())
        A, B = self.tensors["A of an embedding"].double(), self.tensors["B of an embedding"].double()
        return LowRank(self.scale * A.T, B.T)


def adapter_changes(adapter: str | Path, base: str | Path | None = None) -> WeightChanges:
    """ΔW of every matrix that a peft adapter changes; for LoRA as factors: s·B·A with s = α/r, or α/√r for rsLoRA.

    `rank_pattern` and `alpha_pattern` are respected, by peft's rule (the first pattern that matches the end of the
    module's path). DoRA is not low-rank: its ΔW = m ⊙ (W₀ + sBA)/‖W₀ + sBA‖_row − W₀ needs W₀ and is dense. Any other
    type with a weight difference (LoHa, LoKr, (IA)³, OFT, …) is merged by peft's own layers into the PLM, which needs
    `base` and the peft library.

    Args:
        adapter: folder with `adapter_config.json` and `adapter_model.safetensors`, or a hub id.
        base: the PLM, as for `open_weights`; without it, norms relative to W₀ are nan, and only LoRA and rsLoRA can be
            read. Of a quantised base no number is used.

    Raises:
        FileNotFoundError: no such adapter, or a file of it is missing.
        ValueError: it has no weight difference, or changes W₀ itself (PiSSA, OLoRA, LoftQ, …); an option means nothing;
            a factor is missing, has an unknown name, or its shape disagrees with its rank; a module is not among
            `target_modules`, or lacks factors; a tensor holds no floating-point numbers or is not finite; the base
            lacks a matrix or has another shape.
        ImportError: a type that needs peft's own layers, and peft is not installed.
    """
    checkpoint = read_checkpoint(adapter)
    config = checkpoint.config
    _require_floats(checkpoint)
    options = lora_options(checkpoint) if config["peft_type"] == "LORA" else None
    # trained biases and saved modules do not touch the matrices: they are excluded below, not refused
    ignored = {"use_dora": False, "bias": "none", "lora_bias": False}
    if options is None or not is_plain_lora({**config, **ignored}):
        if base is None:
            raise ValueError(
                f"{checkpoint.source} is not W + s·B·A (peft_type {config.get('peft_type')!r}, init_lora_weights "
                f"{config.get('init_lora_weights')!r}); its tensors alone do not give ΔW. Give base=, the PLM: "
                "peft's own layers are then merged into it."
            )
        return _merged_changes(checkpoint, base)
    factors, excluded = sorted_factors(checkpoint, options)
    weights = None if base is None else open_weights(base)
    note = "; ".join(part for part in (_note(weights), _other_name(base, weights, options)) if part)
    if weights and weights.quantised:
        weights = None  # its numbers are not W₀
    if options.dora and weights is None:
        raise ValueError(
            f"{checkpoint.source} is a DoRA adapter: its ΔW depends on W₀. Give base=, the unquantised PLM."
        )
    names = {f"{module}.weight": module for module in factors}
    pairs = _base_names(weights, list(names), checkpoint, options) if weights else {}
    places = positions(list(names))
    order = sorted(names, key=lambda name: -1 if places[name].block is None else places[name].block)  # type: ignore[arg-type,return-value]

    def read(name: str) -> WeightChange:
        own, at = factors[names[name]], places[name]
        W0 = None if weights is None else _base_matrix(weights, pairs[name], own, at, options)
        difference: Tensor | LowRank = own.product
        storage = coarser(*(str(tensor.dtype).removeprefix("torch.") for tensor in own.tensors.values()))
        if "magnitude" in own.tensors:
            difference = _dora_difference(own, W0, checkpoint)
            storage = coarser(storage, FLOATS[weights.dtypes[pairs[name]]]) if weights else storage
        return WeightChange(name, at.role, at.block, difference, W0, storage)

    return WeightChanges(tuple(order), read, excluded, note)


def _note(weights: WeightFolder | None) -> str:
    if weights and weights.rounded:
        return f"the base was dequantised from {weights.rounded}: relative norms are against its rounded weights"
    if weights and weights.quantised:
        return f"the base is quantised by {weights.quantised!r}: norms relative to W₀ are left out"
    return ""


def _other_name(base: str | Path | None, weights: WeightFolder | None, options: LoRAOptions) -> str:
    """A base of equal shapes and another name may be another PLM, or the same in another place."""
    if base is None or weights is None or not options.base:
        return ""
    given = {Path(base).name.lower(), weights.path.name.lower()}
    if Path(options.base).name.lower() in given:
        return ""
    return f"the adapter was made for {options.base!r}; W₀ is of {str(base)!r}"


def _require_floats(checkpoint: Checkpoint) -> None:
    """Codes of a quantisation are no weights; a count of batches (no dimension) does not matter."""
    for key, tensor in checkpoint.tensors.items():
        stored = str(tensor.dtype).removeprefix("torch.")
        if tensor.ndim and stored not in FLOATS.values():
            raise ValueError(
                f"{checkpoint.weights}: tensor {key!r} is stored as {stored}, not as floating point: quantised "
                "weights. Give the unquantised adapter."
            )


def _merged_changes(checkpoint: Checkpoint, base: str | Path) -> WeightChanges:
    """ΔW of any other peft type: peft's layers merged into W₀, minus W₀; the PLM is built for it, in float64."""
    plm = load_plm(base, dtype=torch.float64)
    differences, excluded = merged_differences(plm, checkpoint)
    matrices = {
        matrix.name: matrix for matrix in plm.matrices(plm.architecture.roles(plm.model)) if matrix.rows is None
    }
    places = positions(list(differences))

    def read(name: str) -> WeightChange:
        W0, difference, at = plm.parameters[name], differences[name], places[name]
        if name in matrices:
            W0, difference = matrices[name].of(W0), matrices[name].of(difference)
        return WeightChange(name, at.role, at.block, difference, W0, "float64")

    quantised = (plm.provenance or {}).get("quantised")
    note = f"the base was dequantised from {quantised}: ΔW is against its rounded weights" if quantised else ""
    order = sorted(differences, key=lambda name: -1 if places[name].block is None else places[name].block)  # type: ignore[arg-type,return-value]
    return WeightChanges(tuple(order), read, tuple(excluded), note)


def sorted_factors(
    checkpoint: Checkpoint, options: LoRAOptions
) -> tuple[dict[str, Factors], tuple[tuple[str, str], ...]]:
    """Module -> its factors, and (key, reason) of what is none; only names, shapes and dtypes are looked at.

    Raises:
        ValueError: as `adapter_changes`, for factors.
    """
    grouped: dict[str, dict[str, Tensor]] = {}
    excluded = []
    for key, tensor in checkpoint.tensors.items():
        # an adapter's name, which peft leaves out of the file
        plain = re.sub(r"\.(lora_\w+)\.default(?=\.|$)", r".\1", key)
        ending = next((e for e in _KINDS if plain.endswith("." + e)), None)
        if ending is None and ".lora_" in key and not plain.endswith("." + _VECTOR):
            raise ValueError(
                f"{checkpoint.weights}: tensor {key!r} is no factor we know; expected a name that ends in one of "
                f"{', '.join(_KINDS)}."
            )
        if ending is None:
            excluded.append((key, "no LoRA factor: a trained bias or a saved module"))
            continue
        if tensor.ndim > 2:
            excluded.append((key, f"factor of a convolution, shape {tuple(tensor.shape)}"))
            continue
        module = plain.removesuffix("." + ending).removeprefix(BASE)
        if _KINDS[ending] in grouped.setdefault(module, {}):
            raise ValueError(f"{checkpoint.weights}: module {module!r} has {_KINDS[ending]} twice, once as {key!r}.")
        grouped[module][_KINDS[ending]] = tensor
    if not grouped:
        raise ValueError(
            f"{checkpoint.weights} holds no LoRA factors; its keys are e.g. {list(checkpoint.tensors)[:3]}."
        )
    for module in grouped:
        if options.targets != () and not options.names(module):
            raise ValueError(
                f"{checkpoint.weights}: module {module!r} is not among target_modules "
                f"({checkpoint.config['target_modules']!r:.200}) of {checkpoint.source / CONFIG}; it was renamed, or "
                "the two files are of different adapters."
            )
    factors = {module: _checked(checkpoint, module, tensors, options) for module, tensors in grouped.items()}
    return factors, tuple(excluded)


def _checked(checkpoint: Checkpoint, module: str, tensors: dict[str, Tensor], options: LoRAOptions) -> Factors:
    present = set(tensors) - {"magnitude"}
    if present not in ({"A", "B"}, {"A of an embedding", "B of an embedding"}):
        raise ValueError(f"{checkpoint.weights}: module {module!r} has only {sorted(tensors)}; a factor is missing.")
    rank = options.rank_of(module)
    A, B = (tensors[kind] for kind in sorted(present))
    if A.ndim != 2 or B.ndim != 2 or A.shape[0] != rank or B.shape[1] != rank:
        raise ValueError(
            f"{checkpoint.weights}: module {module!r} has A {tuple(A.shape)} and B {tuple(B.shape)}, but its rank is "
            f"{rank} by {checkpoint.source.name}/adapter_config.json; expected A ({rank}, n) and B (m, {rank})."
        )
    return Factors(module, tensors, options.scale_of(module))


def _base_names(
    weights: WeightFolder, names: list[str], checkpoint: Checkpoint, options: LoRAOptions
) -> dict[str, str]:
    pairs, others, missing = aligned(weights.files, names)
    if missing:
        raise CheckpointError(
            f"{weights.path} has no {missing[0]!r}, which {checkpoint.source} changes ({len(missing)} such matrices); "
            f"it is not the base of this adapter ({checkpoint.config.get('base_model_name_or_path')!r})."
        )
    lacking = [
        name
        for name in others
        if name.endswith(".weight")
        and len(weights.shapes[name]) == 2
        and not HEADS.search(name)
        and options.names(name.removesuffix(".weight"))
    ]
    if lacking and not options.narrowed:
        raise CheckpointError(
            f"{checkpoint.weights} has no factors for {len(lacking)} matrices of {weights.path} that target_modules "
            f"names, e.g. {lacking[:3]}: they were removed or renamed, or this is not the base of the adapter."
        )
    return pairs


def _base_matrix(weights: WeightFolder, name: str, own: Factors, at: Position, options: LoRAOptions) -> Tensor:
    if weights.dtypes[name] not in FLOATS:
        raise CheckpointError(
            f"{weights.files[name]}: tensor {name!r} is stored as {weights.dtypes[name]}, not as floating point: "
            "quantised weights. Give the unquantised PLM, or no base."
        )
    stored = weights.tensor(name).to(torch.float64)
    W0 = stored.T if at.transposed or (options.fan_in_fan_out and at.role == "other") else stored
    if tuple(W0.shape) != own.product.shape:
        raise CheckpointError(
            f"{weights.files[name]}: tensor {name!r} has shape {tuple(W0.shape)} (outputs, inputs), but the adapter "
            f"changes a matrix of shape {own.product.shape}; it was made for another base."
        )
    return W0


def _dora_difference(own: Factors, W0: Tensor | None, checkpoint: Checkpoint) -> Tensor:
    """m ⊙ V/‖V‖_row − W₀ with V = W₀ + sBA (Liu et al. 2024, eq. 5); one norm per output, as in peft.

    peft starts with m = ‖W₀‖_row in the dtype of m. Where m is still that, but for the last two places, the exact norm
    takes its place: an untrained DoRA is 0, not rounding.
    """
    magnitude = own.tensors["magnitude"].to(torch.float64)
    if W0 is None or magnitude.shape != (W0.shape[0],):
        raise ValueError(
            f"{checkpoint.weights}: module {own.module!r} has a magnitude of shape {tuple(magnitude.shape)}, one per "
            "output of W₀ is needed."
        )
    start = torch.linalg.vector_norm(W0, dim=1)
    untouched = (magnitude - start).abs() <= 2 * torch.finfo(own.tensors["magnitude"].dtype).eps * start
    magnitude = torch.where(untouched, start, magnitude)
    V = W0 + own.product.to_dense()
    return (magnitude / torch.linalg.vector_norm(V, dim=1))[:, None] * V - W0
