"""`load_plm`: a name, a hub id or a folder becomes a `PLM`."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lab.checkpoints.error import CheckpointError
from lab.checkpoints.folder import CONFIG
from lab.checkpoints.sizes import check_total
from lab.deferred import transformers
from lab.models.architecture import Architecture
from lab.models.assemble import HeadKind, HeadRequest, as_plm, configured, model_class, reseed_head, seeded
from lab.models.attention import Attention, implementation, settle_attention
from lab.models.checkpoint import Checkpoint, read_checkpoint
from lab.models.device import device_of
from lab.models.folders import model_source
from lab.models.in_memory import Source
from lab.models.numbering import learned_positions
from lab.models.plm import PLM
from lab.models.quiet import quiet
from lab.models.structure import architecture_for, is_tried
from lab.models.tiny import BUILT_IN, built_in, tiny_plm
from lab.models.tokenizer import NO_LIMIT, tokenizer_of, warn_of_another
from lab.models.trial import Unfit, try_once


def load_plm(
    name: Source,
    *,
    num_labels: int | None = None,
    head: HeadKind = "classification",
    verbalizer: Sequence[str] | None = None,
    n_layers: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    attention: Attention = "eager",
    seed: int = 0,
    architecture: Architecture | None = None,
) -> PLM:
    """Load a pre-trained language model, frozen, with a head.

    Weights come from safetensors only; no code from the folder runs, and no pickle is read. The same call gives the
    same PLM, its new head included, whatever the global random state, which it leaves alone.

    Args:
        name: "minilm", "smollm2", "mpnet" or "gemma3" (they install from the package registry), a local folder that
            `save_pretrained` wrote, a hub id such as "google/t5-v1_1-base" (cached or downloaded), or "tiny-bert",
            "tiny-llama", …: the random two-layer models of `lab.models.tiny.CONFIGURATIONS`. A local folder of that
            name wins. Or a model in memory, of transformers or of peft (`PeftModel`: its adapters are merged in a
            copy), which must have the head that is asked for.
        num_labels: classes of the head, `task.num_labels`; 1 is a regression head. Default: the checkpoint's
            configuration (2 if it says nothing). A checkpoint's own head is kept when its width fits, and replaced by a
            new one otherwise.
        head: "classification", "regression" (one output), or "lm", the pre-trained language-model head.
        verbalizer: with head="lm": one word per label; logits are then the scores of these words, (batch, labels).
        n_layers: keep only the first so many blocks of each stack. Default: all.
        dtype: of all parameters: float32 for training, float64 for theory.
        device: where the weights go.
        attention: "eager" keeps the softmax in the dtype, for theory; "sdpa" is faster in training (inside a transform
            of `torch.func` it takes its slower mathematical kernel).
        seed: of the new head's weights. They depend on nothing else, not even on the dtype. Of a built-in model: of
            all weights.
        architecture: where a model keeps its blocks, roles, sublayers and norms. Default: the row of its type
            (`lab.models.families`), or what its structure says (`lab.models.structure`), which a warning spells out for
            types that the lab's tests do not try. Those are run on two short texts before they are handed over.

    Returns:
        The PLM. `plm.new_names` are the parameters the checkpoint did not hold: the head, and BERT's pooler when the
        checkpoint has none. `plm.provenance` says where the weights came from, their sha256, whether they were
        quantised, and which of the checkpoint's tensors are not used ("unused").

    Raises:
        ModuleNotFoundError: a packaged PLM that is not installed; the message is the command.
        OSError: an id that is not in the hub's cache, and no network; the message names the packaged PLMs.
        CheckpointError: a folder that cannot be used, or whose model gives padded texts other logits (a ValueError).
        ValueError: arguments that do not fit together, an unknown "tiny-…", a device that is not here, a PeftModel
            whose adapters cannot be merged.
        TypeError: an object that is no model of transformers or peft.

    Warns:
        UserWarning: a local folder has the name of a built-in model; an architecture was found by structure alone; the
            tokenizer may be that of another model.
    """
    if _is_built_in(name):
        return tiny_plm(
            str(name).removeprefix(BUILT_IN), seed=seed, num_labels=num_labels, n_layers=n_layers, head=head,
            verbalizer=tuple(verbalizer) if verbalizer is not None else None, dtype=dtype, device=device,
            attention=attention,
        )  # fmt: skip
    request = HeadRequest(head, num_labels, tuple(verbalizer) if verbalizer is not None else None)
    place = device_of(device)
    folder, provenance = model_source(name)
    checkpoint = read_checkpoint(folder)
    tokenizer = tokenizer_of(checkpoint)
    where = architecture or _found(checkpoint)
    if where.assumed:
        warnings.warn(f"{checkpoint.folder}: {where.assumed} Otherwise give load_plm(…, architecture=…).", stacklevel=2)
    config = configured(checkpoint.config, request, tokenizer)
    tensors = checkpoint.tensors
    if n_layers is not None:
        tensors = _truncate(config, where, tensors, n_layers)
    model, new_names, unused = _build(checkpoint, config, where, tensors, request, dtype, attention, seed)
    warn_of_another(checkpoint, tokenizer)
    model = model.to(place)
    provenance |= {
        "files": checkpoint.files,
        "n_layers": n_layers,
        "head": request.kind,
        "head_seed": seed,
        "unused": unused,
    }
    if isinstance(name, nn.Module):
        label = checkpoint.config.model_type
    else:
        label = os.fspath(name) if provenance["source"] != "folder" else folder.name
    if tokenizer is not None:
        tokenizer.model_max_length = learned_positions(model) or NO_LIMIT
    if where.assumed:
        provenance |= {"assumed": where.assumed}
    plm = as_plm(label, model, request, tokenizer, new_names=new_names, provenance=provenance, architecture=where)
    if not is_tried(checkpoint.config.model_type):
        try:
            try_once(plm)
        except Unfit as error:
            raise CheckpointError(
                f"{checkpoint.folder}: a model of type {checkpoint.config.model_type!r} is not for deltas as it was "
                f"loaded: {error}."
            ) from error
    return plm


def _is_built_in(name: Source) -> bool:
    """Whether a name means a built-in random model; a folder of that name goes first, with a warning."""
    if not isinstance(name, str) or not built_in(name):
        return False
    if not os.path.isdir(name):
        return True
    warnings.warn(
        f"loading the folder {name!r} that lies here, not the built-in model of that name; write './{name}' to say so.",
        stacklevel=3,
    )
    return False


def _found(checkpoint: Checkpoint) -> Architecture:
    file = checkpoint.folder / CONFIG
    saved = checkpoint.config.architectures
    named = str(saved[0]) if isinstance(saved, list) and saved else ""
    two_stacks = type(checkpoint.config) in transformers.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING
    if two_stacks and named.endswith("ForCausalLM"):
        raise CheckpointError(
            f"{file} is of a {named}: the decoder of an encoder-decoder by itself, which is not read. Give the whole "
            "model's folder."
        )
    with _describing(file), quiet():
        try:
            return architecture_for(checkpoint.config)
        except ValueError as error:
            unknown = error
    raise CheckpointError(f"{file}: {unknown}") from unknown


def _truncate(config: Any, architecture: Architecture, tensors: dict[str, Tensor], n_layers: int) -> dict[str, Tensor]:
    """Set the configuration to its first `n_layers` blocks and drop the tensors of the others."""
    depth = config.num_hidden_layers
    if not 1 <= n_layers <= depth:
        raise ValueError(f"n_layers must be in 1..{depth} for this PLM; got {n_layers}.")
    config.num_hidden_layers = n_layers
    for name in ("num_decoder_layers", "decoder_layers") if architecture.kind == "encoder-decoder" else ():
        if name in config.to_dict():
            setattr(config, name, min(n_layers, getattr(config, name)))
    if config.to_dict().get("layer_types") is not None:
        config.layer_types = config.layer_types[:n_layers]
    stacks = "|".join(re.escape(stack.path) for stack in architecture.stacks)
    block = re.compile(rf"(?:^|\.)(?:{stacks})\.(\d+)\.")
    found = {name: block.search(name) for name in tensors}
    return {name: t for name, t in tensors.items() if not (m := found[name]) or int(m[1]) < n_layers}


def _build(
    checkpoint: Checkpoint,
    config: Any,
    architecture: Architecture,
    tensors: dict[str, Tensor],
    request: HeadRequest,
    dtype: torch.dtype,
    attention: Attention,
    seed: int,
) -> tuple[nn.Module, tuple[str, ...], tuple[str, ...]]:
    """The model with the checkpoint's tensors, the names that are new, and the tensors it has no place for."""
    cls = model_class(architecture, config, request.kind)
    shapes = _check_total(checkpoint, cls, config)
    unsaid = not {"num_labels", "id2label"} & checkpoint.headers.config.keys()
    if request.kind == "classification" and request.num_labels is None and unsaid:
        config.num_labels = _stored_width(config.num_labels, shapes, tensors)
    with seeded(seed), quiet(), _describing(checkpoint.folder / CONFIG):
        model, info = cls.from_pretrained(
            None,
            config=config,
            state_dict=tensors,
            dtype=dtype,
            attn_implementation=implementation(attention, cls),
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    settle_attention(model)
    misfits = {name: (tuple(got), tuple(wanted)) for name, got, wanted in info["mismatched_keys"]}
    missing = {*info["missing_keys"], *misfits} & set(dict(model.named_parameters()))
    _check(checkpoint, architecture, model, request, missing, misfits)
    new_names = tuple(name for name, _ in model.named_parameters() if name in missing)
    with _describing(checkpoint.folder / CONFIG):
        reseed_head(model, new_names, seed)
    unused = tuple(sorted({*info["unexpected_keys"], *misfits}))
    if misfits and request.kind == "classification" and request.num_labels is None:
        name, (stored, wanted) = next(iter(misfits.items()))
        warnings.warn(
            f"{checkpoint.folder}: {name} has the shape {stored}, and config.json asks for {wanted}: a new head is "
            f"drawn. To keep the stored one say num_labels={stored[0]}.",
            stacklevel=3,
        )
    _warn_of_unused(checkpoint, architecture, unused)
    return model, new_names, unused


@contextmanager
def _describing(file: Path) -> Iterator[None]:
    """Says that a configuration is at fault where the model's own code fails on it."""
    try:
        yield
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{file} describes no model that can be built: transformers' code for it says {type(error).__name__}: "
            f"{error}. Compare its entries with those of the published model, or take another one."
        ) from error


def _stored_width(num_labels: int, shapes: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Tensor]) -> int:
    """How many classes the checkpoint's own head has, where its configuration does not say.

    transformers writes no number of labels where it is 2, and BART reads 3 then.
    """
    for name, shape in shapes.items():
        stored = tuple(tensors[name].shape) if name in tensors else shape
        if shape[:1] == (num_labels,) and stored[1:] == shape[1:] and 1 < stored[0] != num_labels:
            return stored[0]
    return num_labels


def _check_total(checkpoint: Checkpoint, cls: Any, config: Any) -> dict[str, tuple[int, ...]]:
    """Refuse sizes that the weights do not have, on a model without memory; returns its shapes."""
    file = checkpoint.folder / CONFIG
    with torch.device("meta"), quiet(), _describing(file):
        skeleton = cls._from_config(
            deepcopy(config), attn_implementation=implementation("eager", cls), dtype=torch.float32
        )
    shapes = {name: tuple(t.shape) for name, t in (*skeleton.named_parameters(), *skeleton.named_buffers())}
    check_total(file, shapes, checkpoint.headers.entries)
    return shapes


def _check(
    checkpoint: Checkpoint,
    architecture: Architecture,
    model: nn.Module,
    request: HeadRequest,
    missing: set[str],
    misfits: dict[str, tuple[tuple[int, ...], tuple[int, ...]]],
) -> None:
    base = architecture.base_path(model)
    heads = {name for name in missing if base and not name.startswith(base)}
    optional = {name for name in missing if name.startswith(f"{base}pooler.")}
    optional |= {base + name for name in architecture.poolers}
    files = ", ".join(checkpoint.files)
    body = sorted(missing - heads - optional)
    wrong = [name for name in body if name in misfits]
    if wrong:
        got, wanted = misfits[wrong[0]]
        raise CheckpointError(
            f"{checkpoint.folder}: tensor {wrong[0]!r} in {files} has shape {got}, but config.json asks for {wanted} "
            f"({len(wrong)} tensors differ); configuration and weights do not belong together."
        )
    if body or (request.kind == "lm" and not base and missing):
        absent = body or sorted(missing)
        prefix = next((n.removesuffix(absent[0]) for n in checkpoint.tensors if n.endswith(f".{absent[0]}")), "")
        if prefix:
            raise CheckpointError(
                f"{checkpoint.folder}: the names in {files} begin with {prefix!r}, as something wrapped around the "
                "model (DDP, torch.compile, a trainer) writes them; save the model inside it with `save_pretrained`."
            )
        raise CheckpointError(
            f"{checkpoint.folder}: {files} lacks {len(absent)} tensors of this {architecture.family} model, first "
            f"{absent[:3]}; the file is incomplete, or belongs to another configuration."
        )
    if request.kind == "lm" and heads:
        raise CheckpointError(
            f"{checkpoint.folder} holds no language-model head ({files} lacks {sorted(heads)[:3]}); its predictions "
            'would be random. Use head="classification", or a PLM with that head, e.g. "smollm2".'
        )


def _warn_of_unused(checkpoint: Checkpoint, architecture: Architecture, unused: tuple[str, ...]) -> None:
    """Other heads are expected in a checkpoint; tensors of blocks that the configuration does not have are not."""
    stacks = tuple(f"{stack.path}." for stack in architecture.stacks)
    blocks = [name for name in unused if any(stack in name for stack in stacks)]
    if blocks:
        warnings.warn(
            f"{checkpoint.folder}: {len(blocks)} tensors of the weights have no place in the model, first {blocks[:3]}"
            "; config.json may describe a smaller model.",
            stacklevel=3,
        )
