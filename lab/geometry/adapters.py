"""The weight differences in a peft folder: LoRA, rsLoRA and DoRA without building the model, other types by merging."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lab.checkpoints.adapter_folder import AdapterFolder, read_adapter
from lab.checkpoints.error import CheckpointError
from lab.checkpoints.folder import WeightFolder
from lab.checkpoints.lora_factors import Factors, LoRATensors, lora_tensors
from lab.checkpoints.lora_options import SUBTRACTED, LoRAOptions, lora_options
from lab.checkpoints.lora_starts import subtracted_start
from lab.checkpoints.names import EMBEDDINGS, HEADS, aligned
from lab.deltas.peft_merge import merged_differences, require_weights
from lab.geometry.folders import coarser
from lab.geometry.weight_changes import WeightChange, WeightChanges
from lab.linalg import LowRank
from lab.models import PLM, load_plm
from lab.models.assemble import HeadKind
from lab.models.folders import open_weights
from lab.models.in_memory import Source
from lab.models.positions import Position, architecture_in, positions


def adapter_changes(adapter: str | Path, base: Source | None = None) -> WeightChanges:
    """ΔW of every matrix that a peft adapter changes; for LoRA as factors: s·B·A with s = α/r, or α/√r for rsLoRA.

    `rank_pattern` and `alpha_pattern` are respected, by peft's rule (the first pattern that matches the end of the
    module's path). These need W₀: DoRA, ΔW = m ⊙ (W₀ + sBA)/‖W₀ + sBA‖ − W₀, which is dense; PiSSA and OLoRA, which
    took s·B₀A₀ out of W₀ before training, so that ΔW = s·(BA − B₀A₀); embeddings stored whole, or by rows. Any other
    type with a weight difference (LoHa, LoKr, (IA)³, OFT, …) is merged by peft's own layers into the PLM, which needs
    `base` and the peft library.

    Args:
        adapter: folder with `adapter_config.json` and `adapter_model.safetensors`, or a hub id.
        base: the PLM, as for `open_weights`; without it, norms relative to W₀ are nan, and only LoRA and rsLoRA can be
            read. Of a quantised base no number is used.

    Raises:
        FileNotFoundError: no such adapter, or a file of it is missing.
        CheckpointError: it has no weight difference, or changed W₀ in a way that its files do not hold (LoftQ, …); an
            option means nothing; a factor is missing, has an unknown name, or its shape disagrees with its rank; a
            module is not among `target_modules`, or lacks factors; a tensor holds no floating-point numbers or is not
            finite; the base lacks a matrix or has another shape. A ValueError.
        ImportError: a type that needs peft's own layers, and peft is not installed.
    """
    checkpoint = read_adapter(adapter)
    options = lora_options(checkpoint.options, checkpoint.config) if checkpoint.kind == "LORA" else None
    needs_base = options is None or options.further or options.start in SUBTRACTED
    if base is None and needs_base:
        raise CheckpointError(
            f"{checkpoint.source} is not W + s·B·A (peft_type {checkpoint.kind!r}, init_lora_weights "
            f"{checkpoint.config.get('init_lora_weights')!r}); its tensors alone do not give ΔW. Give base=, the PLM."
        )
    if base is not None and (options is None or options.further):
        return _merged_changes(checkpoint, base)
    assert options is not None
    if options.reason:
        raise CheckpointError(f"{checkpoint.options}: no ΔW can be read: {options.reason}.")
    found = lora_tensors(checkpoint, options)
    weights = None if base is None else open_weights(base)
    note = "; ".join(part for part in (_note(weights), _other_name(base, weights, options)) if part)
    if weights and weights.quantised:
        weights = None  # its numbers are not W₀
    if weights is None and (options.dora or options.start):
        name = "DoRA" if options.dora else str(checkpoint.config.get("init_lora_weights"))
        raise CheckpointError(
            f"{checkpoint.source} is a {name} adapter: its ΔW depends on W₀. Give base=, the unquantised PLM."
        )
    return _LoRA(checkpoint, options, found, weights).changes(note)


@dataclass(frozen=True, eq=False)
class _LoRA:
    """A LoRA adapter, opened beside its base."""

    adapter: AdapterFolder
    options: LoRAOptions
    found: LoRATensors
    weights: WeightFolder | None

    def changes(self, note: str) -> WeightChanges:
        whole, excluded = self._stored_whole()
        names = [*(f"{module}.weight" for module in self.found.factors), *whole]
        if not names:
            raise CheckpointError(
                f"{self.adapter.weights} holds no LoRA factors; its keys are e.g. {list(self.adapter.tensors)[:3]}."
            )
        pairs = self._base_names(names) if self.weights else {}
        places = positions(names, architecture_in(self.weights) if self.weights else None)
        order = sorted(names, key=lambda name: (places[name].block is not None, places[name].block or 0))

        def read(name: str) -> WeightChange:
            own, at = self.found.factors.get(name.removesuffix(".weight")), places[name]
            W0 = self._base_matrix(pairs[name], name, at) if name in pairs else None
            if own is None:
                return self._stored_change(name, whole[name], W0, at)
            self._require_shape(name, W0, own.shape)
            difference, W0 = self._difference(own, W0, self.found.bases.get(name))
            storage = coarser(*(str(tensor.dtype).removeprefix("torch.") for tensor in own.tensors))
            if self.weights and name in pairs and not isinstance(difference, LowRank):
                storage = coarser(storage, self.weights.storage(pairs[name]))
            return WeightChange(name, at.role, at.block, difference, W0, storage, self._is_transposed(name, at))

        return WeightChanges(tuple(order), read, (*self.found.excluded, *excluded), note)

    def _stored_whole(self) -> tuple[dict[str, Tensor], list[tuple[str, str]]]:
        """Matrices stored whole, or by rows, that differ from W₀; and (key, reason) of what is left out."""
        whole: dict[str, Tensor] = {}
        excluded: list[tuple[str, str]] = []
        for name, tensor in self.found.saved.items():
            table = EMBEDDINGS.search(name) or HEADS.search(name)
            twin = next((other for other in whole if table and torch.equal(whole[other], tensor)), None)
            if twin:
                excluded.append((name, f"tied: the same numbers as {twin}, counted once"))
            elif tensor.ndim != 2 or HEADS.search(name):
                excluded.append((name, "no LoRA factor: a trained bias or a saved module"))
            elif self.weights is None:
                excluded.append((name, "a saved module: its ΔW needs W₀"))
            else:
                whole[name] = tensor
        excluded += [(name, "trained bias") for name, tensor in self.found.bases.items() if tensor.ndim == 1]
        for module, rows in self.found.tokens.items():
            if self.weights is None:
                excluded.append((f"{module}.weight", f"{len(rows)} trained tokens: their ΔW needs W₀"))
            else:
                whole[f"{module}.weight"] = rows
        twice = [name for name in whole if name.removesuffix(".weight") in self.found.factors]
        twice += [f"{module}.weight" for module in self.found.tokens if f"{module}.weight" in self.found.saved]
        if twice:
            raise CheckpointError(f"{self.adapter.weights} stores {twice[0]!r} in two ways; one of them is meant.")
        return whole, excluded

    def _stored_change(self, name: str, stored: Tensor, W0: Tensor | None, at: Position) -> WeightChange:
        """ΔW of a matrix that is stored whole, or of which rows are."""
        assert W0 is not None
        tuned = stored.to(torch.float64)
        tuned = tuned.T if self._is_transposed(name, at) else tuned
        module = name.removesuffix(".weight")
        if module in self.found.tokens:
            self._require_shape(name, W0[: len(tuned)], tuple(tuned.shape))
            rows = token_indices(self.adapter, module, len(stored), len(W0))
            tuned = W0.index_copy(0, torch.tensor(rows), tuned)
        self._require_shape(name, W0, tuple(tuned.shape))
        storage = str(stored.dtype).removeprefix("torch.")
        return WeightChange(name, at.role, at.block, tuned - W0, W0, storage, self._is_transposed(name, at))

    def _difference(
        self, own: Factors, W0: Tensor | None, below: Tensor | None
    ) -> tuple[Tensor | LowRank, Tensor | None]:
        """ΔW, and W₀; `below` is what peft stored below the factors: W₀, unless it was trained or extended."""
        product = own.product
        stored = None if below is None else below.to(torch.float64)
        W0 = stored if W0 is None else W0
        if W0 is not None and stored is not None and stored.shape != W0.shape:
            raise CheckpointError(
                f"{self.adapter.weights}: module {own.module!r} was stored with a table of shape "
                f"{tuple(stored.shape)}; that of the base has {tuple(W0.shape)}: its vocabulary was resized."
            )
        if own.magnitude is not None:
            assert W0 is not None
            below = W0 if stored is None else stored
            return _dora_difference(own, below, product) + below - W0, W0
        if self.options.start and not own.embedding:
            assert W0 is not None
            B0, A0 = subtracted_start(W0, self.options.start, own.rank, own.scale)
            left = torch.cat([product.left, -own.scale * B0.double()], dim=1)
            return LowRank(left, torch.cat([product.right, A0.double()])), W0
        if W0 is None or stored is None or torch.equal(stored, W0):
            return product, W0
        return product.to_dense() + stored - W0, W0

    def _base_names(self, names: Sequence[str]) -> dict[str, str]:
        assert self.weights is not None
        pairs, others, missing = aligned(self.weights.files, names)
        pairs = {**pairs, **self._tables_of_heads(missing)}
        missing = [
            name for name in missing if name not in {*pairs, *self.found.bases}
        ]  # a tied head: W₀ came with the adapter
        if missing:
            raise CheckpointError(
                f"{self.weights.path} has no {missing[0]!r}, which {self.adapter.source} changes ({len(missing)} such "
                f"matrices); it is not the base of this adapter ({self.options.base or None!r})."
            )
        chosen = self.options.targets
        lacking = [
            name
            for name in others
            if name.endswith(".weight")
            and len(self.weights.entries[name].shape) == 2
            and not HEADS.search(name)
            and chosen.modules is not None
            and chosen.names_some_prefix(name.removesuffix(".weight"))
        ]
        if lacking and not chosen.narrowed:
            raise CheckpointError(
                f"{self.adapter.weights} has no factors for {len(lacking)} matrices of {self.weights.path} that "
                f"target_modules names, e.g. {lacking[:3]}: they were removed or renamed, or this is not the base of "
                "the adapter."
            )
        return pairs

    def _tables_of_heads(self, names: Sequence[str]) -> dict[str, str]:
        """Heads that the base does not store because they are its word embedding -> that table."""
        assert self.weights is not None
        tables = [name for name in self.weights.files if EMBEDDINGS.search(name)]
        if len(tables) != 1 or self.weights.config.get("tie_word_embeddings") is False:
            return {}
        return {name: tables[0] for name in names if HEADS.search(name)}

    def _base_matrix(self, stored_as: str, name: str, at: Position) -> Tensor:
        """W₀ (m, n), as its layer applies it."""
        assert self.weights is not None
        self.weights.storage(stored_as)
        stored = self.weights.tensor(stored_as).to(torch.float64)
        return stored.T if self._is_transposed(name, at) else stored

    def _require_shape(self, name: str, W0: Tensor | None, shape: tuple[int, ...]) -> None:
        if W0 is not None and tuple(W0.shape) != shape:
            assert self.weights is not None
            raise CheckpointError(
                f"{self.weights.path}: tensor {name!r} has shape {tuple(W0.shape)} (outputs, inputs), but the adapter "
                f"changes a matrix of shape {shape}; it was made for another base."
            )

    def _is_transposed(self, name: str, at: Position) -> bool:
        # what peft says of its layers holds for linear maps; a table of embeddings has a row per token anywhere
        module = name.removesuffix(".weight")
        own = self.found.factors.get(module)
        table = at.role == "embedding" or module in self.found.tokens or (own is not None and own.embedding)
        return at.transposed or (self.options.fan_in_fan_out and not at.known and not table)


def token_indices(adapter: AdapterFolder, module: str, rows: int, vocabulary: int) -> list[int]:
    """The token of each stored row of an embedding, from `trainable_token_indices`.

    Raises:
        CheckpointError: they are no list of tokens of the vocabulary, or not as many as rows.
    """
    chosen: Any = adapter.config.get("trainable_token_indices")
    if isinstance(chosen, Mapping):
        chosen = next((found for ending, found in chosen.items() if f".{module}".endswith(f".{ending}")), None)
    whole = isinstance(chosen, list) and all(isinstance(i, int) and not isinstance(i, bool) for i in chosen)
    if not whole or len(chosen) != rows or not all(0 <= i < vocabulary for i in chosen):
        raise CheckpointError(
            f"{adapter.options}: trainable_token_indices is {str(chosen)[:80]} for module {module!r}; expected {rows} "
            f"numbers of tokens below {vocabulary}."
        )
    return list(chosen)


def _dora_difference(own: Factors, W0: Tensor, product: LowRank) -> Tensor:
    """m ⊙ V/‖V‖ − W₀ with V = W₀ + sBA (Liu et al. 2024, eq. 5); one norm per output, as in peft.

    The outputs of an embedding are the columns of its table. peft starts with m = ‖W₀‖ in the dtype of m. Where m is
    still that, but for the last two places, the exact norm takes its place: an untrained DoRA is 0, not rounding.
    """
    assert own.magnitude is not None
    inputs = 0 if own.embedding else 1
    magnitude = own.magnitude.to(torch.float64)
    start = torch.linalg.vector_norm(W0, dim=inputs)
    untouched = (magnitude - start).abs() <= 2 * torch.finfo(own.magnitude.dtype).eps * start
    magnitude = torch.where(untouched, start, magnitude)
    V = W0 + product.to_dense()
    return (magnitude / torch.linalg.vector_norm(V, dim=inputs)).unsqueeze(inputs) * V - W0


def _note(weights: WeightFolder | None) -> str:
    if weights and weights.rounded:
        return f"the base was dequantised from {weights.rounded}: relative norms are against its rounded weights"
    if weights and weights.quantised:
        return f"the base is quantised by {weights.quantised!r}: norms relative to W₀ are left out"
    return ""


def _other_name(base: Source | None, weights: WeightFolder | None, options: LoRAOptions) -> str:
    """A base of equal shapes and another name may be another PLM, or the same in another place."""
    if base is None or isinstance(base, nn.Module) or weights is None or not options.base:
        return ""
    given = {Path(base).name.lower(), weights.path.name.lower()}
    if Path(options.base).name.lower() in given:
        return ""
    return f"the adapter was made for {options.base!r}; W₀ is of {str(base)!r}"


def _merged(checkpoint: AdapterFolder, base: Source) -> tuple[PLM, tuple[dict[str, Tensor], list[tuple[str, str]]]]:
    """The PLM with a classifier or, where the adapter does not fit that, with its language-model head; and ΔW."""
    require_weights(checkpoint)
    plm = _in_double(base)
    try:
        return plm, merged_differences(plm, checkpoint)
    except CheckpointError as misfit:
        first = misfit
    try:
        plm = _in_double(base, head="lm")
        return plm, merged_differences(plm, checkpoint)
    except ValueError:
        raise first from None


def _in_double(base: Source, head: HeadKind = "classification") -> PLM:
    """A PLM in float64, of a type too whose forward pass runs in float32 alone (XGLM): nothing is run to merge."""
    try:
        return load_plm(base, head=head, dtype=torch.float64)
    except CheckpointError as refused:
        try:
            plm = load_plm(base, head=head)
        except ValueError:
            raise refused from None
    return replace(plm, model=plm.model.double())


def _merged_changes(checkpoint: AdapterFolder, base: Source) -> WeightChanges:
    """ΔW of any other peft type: peft's layers merged into W₀, minus W₀; the PLM is built for it, in float64."""
    plm, (differences, excluded) = _merged(checkpoint, base)
    matrices = {
        matrix.name: matrix for matrix in plm.matrices(plm.architecture.roles(plm.model)) if matrix.rows is None
    }
    places = positions(list(differences), plm.architecture)

    def read(name: str) -> WeightChange:
        W0: Tensor = plm.model.get_parameter(name)
        difference, at = differences[name], places[name]
        if name in matrices:
            W0, difference = matrices[name].of(W0), matrices[name].of(difference)
        return WeightChange(name, at.role, at.block, difference, W0, "float64", at.transposed)

    quantised = (plm.provenance or {}).get("quantised")
    note = f"the base was dequantised from {quantised}: ΔW is against its rounded weights" if quantised else ""
    order = sorted(differences, key=lambda name: (places[name].block is not None, places[name].block or 0))
    return WeightChanges(tuple(order), read, tuple(excluded), note)
