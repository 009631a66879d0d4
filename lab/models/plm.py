"""`PLM`: a frozen pre-trained language model and its one verb, `logits(overrides, batch)`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lab.faces import Facts, faced
from lab.linalg.layout import Layout, Part
from lab.models.architecture import Architecture, WeightMatrix
from lab.models.attention import Attention, has_interface, implementation
from lab.models.graft import Graft, structural_copy
from lab.models.heads import Head
from lab.models.numbering import learned_positions

Batch = Mapping[str, Tensor]
Overrides = Mapping[str, Tensor]


def _facts(plm: PLM) -> Facts:
    return {
        "name": plm.name, "family": plm.architecture.family, "parameters": plm.size, "blocks": plm.n_blocks,
        "new": ", ".join(sorted(plm.new_names)) or None, "logits": plm.num_labels,
        "grafts": len(plm.grafts) or None, "dtype": str(plm.dtype).removeprefix("torch."), "device": str(plm.device),
    }  # fmt: skip


@faced(_facts)
@dataclass(frozen=True, eq=False)
class PLM:
    """A frozen PLM θ with the function (overrides, batch) ↦ logits. Never mutated.

    Attributes:
        name: what the user asked for ("minilm", a hub id, a folder's name).
        model: the transformers module, in eval mode, no parameter requires grad. Parameter names are transformers'.
        architecture: where this family keeps its blocks, attention, feed-forward and norms.
        head: how a batch becomes logits (classification, regression, or the language-model head).
        num_labels: width of the logits of a classification or verbaliser head.
        tokenizer: the tokenizer; None for models built without one.
        new_names: names of parameters that are newly initialised (the head), hence not pre-trained.
        grafts: what has been grafted onto the structural copy in `model` (see `lab.models.graft`).
        provenance: where the weights came from: source, sha256, quantisation of the source file if any.
    """

    name: str
    model: nn.Module
    architecture: Architecture
    head: Head
    num_labels: int
    tokenizer: Any = None
    new_names: frozenset[str] = frozenset()
    grafts: tuple[Graft, ...] = ()
    provenance: Mapping[str, Any] | None = None

    @cached_property
    def parameters(self) -> dict[str, Tensor]:
        """Every parameter by name, native and grafted, tied ones once."""
        return dict(self.model.named_parameters())

    @cached_property
    def _places(self) -> dict[str, tuple[str, ...]]:
        """Every name of a tied parameter, by the one it has in `parameters`.

        Found once: `functional_call` would look for ties at every call, which takes longer than all else it does.
        """
        names: dict[int, list[str]] = {}
        for name, parameter in self.model.named_parameters(remove_duplicate=False):
            names.setdefault(id(parameter), []).append(name)
        return {found[0]: tuple(found) for found in names.values() if len(found) > 1}

    @cached_property
    def n_positions(self) -> int | None:
        """Tokens a text may have (`lab.models.numbering.learned_positions`); None for relative and most rotary ones."""
        return learned_positions(self.model)

    @cached_property
    def word_table(self) -> str:
        """Name of the table of word embeddings in `parameters`; of a tied one that of another place (jina's head)."""
        place = self.architecture.embedding_name(self.model) + ".weight"
        return next((name for name, places in self._places.items() if place in places), place)

    @cached_property
    def n_embeddings(self) -> int | None:
        """Rows of the table of word embeddings: the tokens it has; None where a graft stands for the table."""
        table = self.parameters.get(self.word_table)
        return None if table is None else table.shape[0]

    @cached_property
    def grafted_names(self) -> frozenset[str]:
        """Names of the parameters that grafts added."""
        return frozenset(name for graft in self.grafts for name in graft.parameter_names)

    @cached_property
    def layout(self) -> Layout:
        """Layout of θ: all native parameters (head included, tied ones once), with block indices; size D."""
        return self.layout_of(name for name in self.parameters if name not in self.grafted_names)

    @property
    def size(self) -> int:
        """D, the number of native parameters, head included."""
        return self.layout.size

    def layout_of(self, names: Iterable[str]) -> Layout:
        """Layout of the named parameters, in the order given; of a set, which has none, in the PLM's."""
        names = [name for name in self.layout.names if name in names] if isinstance(names, frozenset | set) else names
        block_of = self.architecture.block_of
        return Layout(tuple(Part(n, tuple(self.parameters[n].shape), block_of(self.model, n)) for n in names))

    def matrices(self, roles: Sequence[str]) -> tuple[WeightMatrix, ...]:
        """The weight matrices that play the given roles ("query", "value", …), in order of depth."""
        return self.architecture.matrices(self.model, roles)

    @property
    def n_blocks(self) -> int:
        """T, the number of blocks (encoder blocks, then decoder blocks)."""
        return len(self.architecture.block_names(self.model))

    @property
    def dtype(self) -> torch.dtype:
        return next(iter(self.parameters.values())).dtype

    @property
    def device(self) -> torch.device:
        return next(iter(self.parameters.values())).device

    def with_attention(self, attention: Attention) -> PLM:
        """The same PLM, θ shared, with another attention: "eager" for analyses, "sdpa" for training.

        A model whose attention is code of its own (DeBERTa, MPNet, Falcon) stays eager.
        """
        model: Any = structural_copy(self.model)
        name = implementation(attention, type(model))
        if has_interface(type(model)):
            model.set_attn_implementation(name)
        return replace(self, model=model)

    def logits(self, overrides: Overrides, batch: Batch) -> Tensor:
        """Logits of a batch with some parameters replaced.

        Args:
            overrides: parameter name -> tensor used in its place; {} is the PLM itself. A tied parameter is
                replaced everywhere by overriding its one name (the one in `parameters`).
            batch: "input_ids" (batch, seq), "attention_mask" (batch, seq), optionally "token_type_ids"; "labels" is
                ignored.

        Returns:
            (batch, num_labels) for a classification, regression or verbaliser head; (batch, seq, vocabulary) for a
            language-model head without verbaliser.

        Raises:
            ValueError: an override is no parameter of this PLM, the batch has no "input_ids", or longer texts than the
                model has positions.
        """
        if not overrides.keys() <= self.parameters.keys():
            unknown = sorted(overrides.keys() - self.parameters.keys())
            raise ValueError(
                f"{self.name!r} has no parameter {unknown[:3]}; names are those of `plm.parameters`, where a tied "
                f"parameter occurs once, e.g. {list(self.parameters)[:2]}."
            )
        limit, ids = self.n_positions, batch.get("input_ids")
        if limit is not None and ids is not None and ids.shape[-1] > limit:
            raise ValueError(
                f"{self.name!r} has {limit} positions; got texts of {ids.shape[-1]} tokens. Cut them: "
                f"max_length={limit}."
            )
        everywhere = {place: value for name, value in overrides.items() for place in self._places.get(name, (name,))}

        def run(**inputs: Any) -> Any:
            return functional_call(self.model, everywhere, (), inputs, tie_weights=False)

        return self.head.logits(run, batch)
