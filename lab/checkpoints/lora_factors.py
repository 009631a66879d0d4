"""The tensors of a LoRA adapter, sorted: factors by module, trained tokens, parameters stored whole."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from lab.checkpoints.adapter_folder import BASE, CONFIG, AdapterFolder
from lab.checkpoints.error import CheckpointError
from lab.checkpoints.lora_options import LoRAOptions
from lab.checkpoints.names import EMBEDDINGS, HEADS, is_buffer
from lab.checkpoints.safetensors_file import require_floats
from lab.linalg import LowRank

# key endings in the file -> what they are; A (r, n) and B (m, r) of a linear layer, those of an embedding, DoRA's norms
_KINDS = {
    "lora_A.weight": "A",
    "lora_B.weight": "B",
    "lora_embedding_A": "A of an embedding",
    "lora_embedding_B": "B of an embedding",
    "lora_magnitude_vector": "magnitude",
    "lora_magnitude_vector.weight": "magnitude",
}
_VECTOR, _TOKENS, _STORED = "lora_B.bias", "token_adapter.trainable_tokens_delta", "base_layer."


@dataclass(frozen=True, eq=False)
class Factors:
    """A and B of one module.

    Attributes:
        module: path of the module.
        A, B: as stored: (r, n) and (m, r); of an embedding (r, vocabulary) and (width, r).
        scale: s.
        embedding: whether they belong to an embedding, whose table changes by s·(BA)ᵀ.
        magnitude: DoRA's norms, one per output (of an embedding: per column of its table), or None.
        keys: where "A" and "B" stand in the file.
    """

    module: str
    A: Tensor
    B: Tensor
    scale: float
    embedding: bool = False
    magnitude: Tensor | None = None
    keys: Mapping[str, str] = field(default_factory=dict)

    @property
    def product(self) -> LowRank:
        """s·B·A; for an embedding the table (vocabulary, width) changes by its transpose."""
        A, B = self.A.double(), self.B.double()
        return LowRank(self.scale * A.T, B.T) if self.embedding else LowRank(self.scale * B, A)

    @property
    def rank(self) -> int:
        return self.A.shape[0]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All that is stored of it."""
        return (self.A, self.B) if self.magnitude is None else (self.A, self.B, self.magnitude)

    @property
    def shape(self) -> tuple[int, int]:
        """Of the matrix that changes: (m, n), or (vocabulary, width)."""
        m, n = self.B.shape[0], self.A.shape[1]
        return (n, m) if self.embedding else (m, n)


@dataclass(frozen=True, eq=False)
class LoRATensors:
    """What an adapter stores, by what it is for.

    Attributes:
        factors: path of the module -> its factors.
        tokens: path of an embedding -> its trained rows, (tokens, width), which replace those of W₀.
        saved: name of a parameter of the PLM -> its stored value.
        bases: name of a parameter -> its value where peft stored it below the factors (embeddings).
        excluded: (key, reason) of vectors and factors of convolutions.
    """

    factors: Mapping[str, Factors] = field(default_factory=dict)
    tokens: Mapping[str, Tensor] = field(default_factory=dict)
    saved: Mapping[str, Tensor] = field(default_factory=dict)
    bases: Mapping[str, Tensor] = field(default_factory=dict)
    excluded: tuple[tuple[str, str], ...] = ()


def lora_tensors(adapter: AdapterFolder, options: LoRAOptions) -> LoRATensors:
    """Sort the tensors of a LoRA adapter, and check its factors against its options.

    Raises:
        CheckpointError: codes of a quantisation; a factor of an unknown name, missing or twice, whose shape disagrees
            with its rank, or of a module that `target_modules` does not name.
    """
    grouped: dict[str, dict[str, tuple[str, Tensor]]] = {}
    tokens, saved, bases, excluded = {}, {}, {}, []
    for key, tensor in adapter.tensors.items():
        require_floats(adapter.weights, key, adapter.entries[key])
        # an adapter's name, which peft leaves out of the file
        plain = re.sub(r"\.(lora_\w+)\.default(?=\.|$)", r".\1", key)
        name = plain.removeprefix(BASE)
        ending = next((e for e in _KINDS if plain.endswith("." + e)), None)
        if ending is None and ".lora_" in key and not plain.endswith("." + _VECTOR):
            raise CheckpointError(
                f"{adapter.weights}: tensor {key!r} is no factor we know; expected a name that ends in one of "
                f"{', '.join(_KINDS)}."
            )
        if plain.endswith("." + _VECTOR):
            excluded.append((key, "trained bias"))
        elif plain.endswith("." + _TOKENS):
            tokens[name.removesuffix("." + _TOKENS)] = tensor
        elif ending is None and "." + _STORED in plain:
            bases[name.replace("." + _STORED, ".")] = tensor
        elif ending is None and is_buffer(key):
            excluded.append((key, "buffer: no weight"))
        elif ending is None:
            saved[name] = tensor
        elif tensor.ndim > 2:
            excluded.append((key, f"factor of a convolution, shape {tuple(tensor.shape)}"))
        else:
            module = name.removesuffix("." + ending)
            if _KINDS[ending] in grouped.setdefault(module, {}):
                raise CheckpointError(
                    f"{adapter.weights}: module {module!r} has {_KINDS[ending]} twice, once as {key!r}."
                )
            grouped[module][_KINDS[ending]] = key, tensor
    for module, twin in _tied_heads(grouped, options).items():
        why = f"tied: the same numbers as {twin}.weight, counted once"
        if "magnitude" in grouped[module]:
            why = f"tied: the factors of {twin}.weight under a magnitude of their own, which no one matrix has"
        excluded += [(key, why) for key, _ in grouped[module].values()]
        del grouped[module]
    for module in grouped:
        if not options.targets.names_some_prefix(module):
            if options.tied and EMBEDDINGS.search(f"{module}.weight"):
                raise CheckpointError(
                    f"{adapter.weights}: module {module!r}, a table that is tied to others, has factors, but "
                    f"target_modules of {adapter.options} do not name it: peft (0.21) writes such a folder of a model "
                    "with several tied tables, and reads it without these factors. Adapt the shared table alone "
                    "(target_modules without the head), or compare the merged model as a folder."
                )
            raise CheckpointError(
                f"{adapter.weights}: module {module!r} is not among target_modules "
                f"({adapter.config.get('target_modules')!r:.200}) of {adapter.options}; it was renamed, or the two "
                "files are of different adapters."
            )
    factors = {module: _checked(adapter, module, parts, options) for module, parts in grouped.items()}
    return LoRATensors(factors, tokens, saved, bases, tuple(excluded))


def tied_only(adapter: AdapterFolder, options: LoRAOptions) -> tuple[str, ...]:
    """Paths of the heads that a LoRA adapter has factors of, and does not name, because they are tied.

    Asked for a LoRA of the head with `ensure_weight_tying`, peft (0.21) names the embedding alone in the file.
    """
    modules = {
        key.removeprefix(BASE).removesuffix(".lora_A.weight")
        for key in adapter.tensors
        if key.endswith("lora_A.weight")
    }
    heads = (module for module in modules if HEADS.search(f"{module}.") and not options.targets.names(module))
    return tuple(sorted(heads)) if options.tied else ()


def _tied_heads(grouped: Mapping[str, Mapping[str, tuple[str, Tensor]]], options: LoRAOptions) -> dict[str, str]:
    """Heads adapted only because they are tied -> the embedding, whose factors theirs are, transposed."""
    if not options.tied:
        return {}
    stored = {module: {kind: tensor for kind, (_, tensor) in parts.items()} for module, parts in grouped.items()}
    tables = {m: parts for m, parts in stored.items() if {"A of an embedding", "B of an embedding"} <= parts.keys()}
    heads = {
        m: parts
        for m, parts in stored.items()
        if parts.keys() - {"magnitude"} == {"A", "B"} and not options.targets.names(m)
    }
    return {
        head: table
        for head, own in heads.items()
        for table, other in tables.items()
        if own["A"].equal(other["B of an embedding"].T) and own["B"].equal(other["A of an embedding"].T)
    }


def _checked(
    adapter: AdapterFolder, module: str, stored: dict[str, tuple[str, Tensor]], options: LoRAOptions
) -> Factors:
    parts = {kind: tensor for kind, (_, tensor) in stored.items()}
    present = set(parts) - {"magnitude"}
    if present not in ({"A", "B"}, {"A of an embedding", "B of an embedding"}):
        other = next((k for k, t in adapter.tensors.items() if t.ndim > 2 and f"{module}.lora_" in k), None)
        there = "" if other is None else f", or is {other!r} of shape {tuple(adapter.tensors[other].shape)}, no matrix"
        raise CheckpointError(
            f"{adapter.weights}: module {module!r} has only {sorted(parts)}; a factor is missing{there}."
        )
    rank = options.rank_of(module)
    A, B = (parts[kind] for kind in sorted(present))
    if A.ndim != 2 or B.ndim != 2 or A.shape[0] != rank or B.shape[1] != rank:
        raise CheckpointError(
            f"{adapter.weights}: module {module!r} has A {tuple(A.shape)} and B {tuple(B.shape)}, but its rank is "
            f"{rank} by {adapter.source.name}/{CONFIG}; expected A ({rank}, n) and B (m, {rank})."
        )
    magnitude = parts.get("magnitude")
    if (magnitude is None) == options.dora:
        found, wanted = ("no", "one") if magnitude is None else ("one", "none")
        raise CheckpointError(
            f"{adapter.weights}: module {module!r} has {found} magnitude vector, but use_dora in {adapter.options} "
            f"asks for {wanted}; the two files are of different adapters."
        )
    if magnitude is not None and magnitude.numel() != B.shape[0]:
        raise CheckpointError(
            f"{adapter.weights}: module {module!r} has a magnitude of shape {tuple(magnitude.shape)}; one per output, "
            f"({B.shape[0]},), is needed."
        )
    flat = None if magnitude is None else magnitude.reshape(-1)
    keys = {kind[0]: stored[kind][0] for kind in present}
    return Factors(module, A, B, options.scale_of(module), "A" not in present, flat, keys)
