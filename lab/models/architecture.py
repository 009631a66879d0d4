"""Where a family keeps its blocks, weight matrices and sublayers, whatever the head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from lab.deferred import transformers


@dataclass(frozen=True)
class Rows:
    """Rows start, …, stop − 1 of every `period` rows of a stored matrix of `total` rows.

    GPT-2 keeps query, key and value one after the other (period = total); GPT-NeoX keeps those of one head together.
    """

    start: int
    stop: int
    period: int
    total: int

    def of(self, W: Tensor) -> Tensor:
        """(total, n) -> (m, n); a view where the rows follow each other."""
        if self.period == self.total:
            return W[self.start : self.stop]
        return W.unflatten(0, (-1, self.period))[:, self.start : self.stop].flatten(0, 1)

    def placed(self, x: Tensor, fill: float = 0.0) -> Tensor:
        """(…, m) -> (…, total), with the other places filled."""
        pieces = x.unflatten(-1, (self.total // self.period, self.stop - self.start))
        return nn.functional.pad(pieces, (self.start, self.period - self.stop), value=fill).flatten(-2)


@dataclass(frozen=True)
class Part:
    """Which part of a fused weight's outputs a matrix is: units start, …, stop − 1 of `units`, in each of `repeats`.

    GPT-2's query is Part(0, 1, 3); GPT-NeoX's, whose heads keep their own three together, Part(0, 1, 3, heads); that of
    four heads beside two of keys and two of values Part(0, 4, 8).
    """

    start: int
    stop: int
    units: int
    repeats: int = 1

    def rows(self, total: int) -> Rows:
        """The rows of a weight with so many."""
        unit = total // (self.units * self.repeats)
        return Rows(self.start * unit, self.stop * unit, self.units * unit, total)


@dataclass(frozen=True)
class WeightMatrix:
    """A matrix W (m, n), rows = outputs, that lives in a parameter: all of it, its transpose, or some of its columns.

    GPT-2 stores x ↦ xW' with W' = Wᵀ ("Conv1D") and keeps query, key and value side by side in one W'; elsewhere the
    parameter is W itself.

    Attributes:
        name: the parameter's name.
        role: "query", "key", "value", "output", "up", "down", "gate", "qkv", "key_value" or "gate_up" for a fused one,
            "query_down" and "key_value_down" before them where they go through a latent, or "cross_…" in the decoder of
            an encoder-decoder.
        block: index of the block it belongs to.
        shape: (m, n), outputs × inputs.
        transposed: the parameter holds Wᵀ.
        rows: W's rows within the stored matrix; None when it is all of it.
    """

    name: str
    role: str
    block: int
    shape: tuple[int, int]
    transposed: bool = False
    rows: Rows | None = None

    @property
    def label(self) -> str:
        """Unique among a model's matrices: the parameter's name, with the role where one parameter holds several."""
        return f"{self.name}[{self.role}]" if self.rows else self.name

    def of(self, parameter: Tensor) -> Tensor:
        """W (m, n), a view of the parameter where its rows follow each other."""
        W = parameter.mT if self.transposed else parameter
        return self.rows.of(W) if self.rows else W

    def added(self, parameter: Tensor, delta_w: Tensor) -> Tensor:
        """The parameter after W ↦ W + ΔW; ΔW has shape (m, n)."""
        if tuple(delta_w.shape) != self.shape:
            raise ValueError(f"ΔW of {self.label!r} must have shape {self.shape}; got {tuple(delta_w.shape)}.")
        if self.rows:
            delta_w = self.rows.placed(delta_w.mT).mT
        return parameter + (delta_w.mT if self.transposed else delta_w)


@dataclass(frozen=True)
class Slot:
    """One role of a block: the module that holds it.

    Attributes:
        module: path inside the block; "a.b|c" stands for a.b or, in variants without it, a.c.
        transposed: its weight is stored as (inputs, outputs).
        part: which part of a fused weight W is; None for all of it.
    """

    module: str
    transposed: bool = False
    part: Part | None = None


@dataclass(frozen=True)
class Stack:
    """A chain of blocks of the same build; all paths are relative to one block.

    Attributes:
        path: the list of blocks, relative to the base model.
        slots: role -> where its weight is. Roles whose module a variant lacks (T5's gate) are skipped there.
        places: name -> module path. "attention", "feed_forward", "cross_attention": the sublayers that compute them.
            "after_attention", "after_cross_attention", "after_feed_forward": the module whose output tensor is what the
            sublayer adds to the residual stream (where Houlsby et al. 2019 insert adapters).
        norms: paths of the block's normalisations, in order of use.
    """

    path: str
    slots: Mapping[str, Slot]
    places: Mapping[str, str]
    norms: tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """A module of a block.

    Attributes:
        path: full module path in the model.
        block: index of its block.
    """

    path: str
    block: int


@dataclass(frozen=True)
class Architecture:
    """Where things are in a family of PLMs: a row of `lab.models.families.ARCHITECTURES`, found, or given by a user.

    Attributes:
        family: its name in this lab.
        kind: "encoder", "decoder" or "encoder-decoder".
        model_types: values of `config.model_type` it covers.
        stacks: the chains of blocks, in order of depth.
        embedding: path of the word embedding, relative to the base model.
        final_norms: paths of the normalisations after the last block of each stack, relative to the base model.
        poolers: parameters of the base model that a checkpoint may lack because only some pre-training tasks use them.
        assumed: of a model whose type has no row: what was taken for what, in a sentence; "" for a row.
    """

    family: str
    kind: str
    model_types: tuple[str, ...]
    stacks: tuple[Stack, ...]
    embedding: str
    final_norms: tuple[str, ...] = ()
    poolers: tuple[str, ...] = field(default=())
    assumed: str = ""

    def base_path(self, model: nn.Module) -> str:
        """Path of the base model inside `model`, with its dot; "" when `model` has no wrapper around it."""
        return "" if model.base_model is model else f"{model.base_model_prefix}."

    def text_model(self, model: nn.Module) -> str:
        """Path of the model that embeds a text and runs the first stack: what every head calls.

        OPT's language model calls the decoder inside of its base model, not the base model.
        """
        parts = self.block_names(model)[0].split(".")
        paths = (".".join(parts[:n]) for n in range(len(parts), -1, -1))
        return next(p for p in paths if isinstance(model.get_submodule(p), transformers.PreTrainedModel))

    def _stack_names(self, model: nn.Module) -> tuple[tuple[Stack, tuple[str, ...]], ...]:
        base = self.base_path(model)
        return tuple(
            (
                stack,
                tuple(f"{base}{stack.path}.{i}" for i, _ in model.get_submodule(base + stack.path).named_children()),
            )
            for stack in self.stacks
        )

    def block_names(self, model: nn.Module) -> tuple[str, ...]:
        """Module paths of the blocks in order of depth (T5: the encoder's, then the decoder's)."""
        return tuple(name for _, names in self._stack_names(model) for name in names)

    def first_stack(self, model: nn.Module) -> tuple[int, ...]:
        """Block indices of the first stack: T5's encoder; all blocks elsewhere."""
        return tuple(range(len(self._stack_names(model)[0][1])))

    def block_of(self, model: nn.Module, parameter_name: str) -> int | None:
        """Index of the block that holds a parameter; None for embeddings, final norms and heads."""
        offset = 0
        for stack, names in self._stack_names(model):
            prefix = f"{self.base_path(model)}{stack.path}."
            if parameter_name.startswith(prefix):
                return offset + int(parameter_name[len(prefix) :].split(".", 1)[0])
            offset += len(names)
        return None

    def _blocks(self, model: nn.Module) -> list[tuple[Stack, str, nn.Module]]:
        return [(stack, name, model.get_submodule(name)) for stack, names in self._stack_names(model) for name in names]

    def roles(self, model: nn.Module) -> tuple[str, ...]:
        """The roles this model has."""
        found = {m.role: None for m in self._all_matrices(model)}
        return tuple(found)

    def matrices(self, model: nn.Module, roles: Sequence[str]) -> tuple[WeightMatrix, ...]:
        """The weight matrices of the given roles, block by block.

        Raises:
            ValueError: a role that this model does not have.
        """
        roles = (roles,) if isinstance(roles, str) else tuple(roles)
        known = self.roles(model)
        unknown = [role for role in roles if role not in known]
        if unknown:
            fused = next((role for role in ("qkv", "key_value") if role in known), None)
            held = fused and {*unknown} <= {"query", "key", "value"}
            remedy = f" They lie in one matrix; take that: targets=({fused!r},)." if held else ""
            raise ValueError(
                f"{self.family} has no weight matrix of role {unknown}; its roles are {list(known)}.{remedy}"
            )
        return tuple(m for m in self._all_matrices(model) if m.role in roles)

    def _all_matrices(self, model: nn.Module) -> list[WeightMatrix]:
        found = []
        for block, (stack, name, module) in enumerate(self._blocks(model)):
            for role, slot in stack.slots.items():
                there = _find(module, slot.module)
                if there is None:
                    continue
                path, owner = there
                weight = owner.get_parameter("weight")
                m, n = weight.shape[::-1] if slot.transposed else weight.shape
                rows = None
                if slot.part is not None:
                    rows = slot.part.rows(m)
                    m = m // rows.period * (rows.stop - rows.start)
                found.append(WeightMatrix(f"{name}.{path}.weight", role, block, (m, n), slot.transposed, rows))
        return found

    def places(self, model: nn.Module, place: str) -> tuple[Place, ...]:
        """The modules of one place ("attention", "after_feed_forward", …), block by block; see `Stack.places`.

        Raises:
            ValueError: a place that this family does not have.
        """
        known = list(dict.fromkeys(name for stack in self.stacks for name in stack.places))
        if place not in known:
            raise ValueError(f"{self.family} has no place {place!r}; it has {known}.")
        return tuple(
            Place(f"{name}.{stack.places[place]}", block)
            for block, (stack, name, _) in enumerate(self._blocks(model))
            if place in stack.places
        )

    def norms(self, model: nn.Module) -> tuple[str, ...]:
        """Paths of all normalisations inside the blocks, then the final ones."""
        base = self.base_path(model)
        inside = [f"{name}.{norm}" for stack, name, _ in self._blocks(model) for norm in stack.norms]
        return (*inside, *(base + norm for norm in self.final_norms))

    def embedding_name(self, model: nn.Module) -> str:
        """Path of the word-embedding module in the model."""
        return self.base_path(model) + self.embedding


def _find(block: nn.Module, path: str) -> tuple[str, nn.Module] | None:
    """The module at `path` with the path itself; "a.b|c" stands for a.b, or else a.c."""
    parent, _, names = path.rpartition(".")
    modules = dict(block.named_modules())
    for name in names.split("|"):
        full = f"{parent}.{name}" if parent else name
        if full in modules:
            return full, modules[full]
    return None
