"""From a configuration, tensors and a tokenizer to a `PLM`; shared by loading, tiny models and bare configurations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

import torch
from torch import nn

from lab.deferred import transformers
from lab.models.activations import plain_activations
from lab.models.architecture import Architecture
from lab.models.attention import Attention, implementation, settle_attention
from lab.models.classifier import classifier, with_linear_head
from lab.models.heads import ClassificationHead, Head, LanguageModelHead, VerbalizerHead, label_ids
from lab.models.numbering import last_unnumbered
from lab.models.plm import PLM
from lab.models.precision import exact_norms
from lab.models.structure import architecture_of_model

HeadKind = Literal["classification", "regression", "lm"]
HEADS: tuple[HeadKind, ...] = ("classification", "regression", "lm")


@dataclass(frozen=True)
class HeadRequest:
    """What the user asked of the head.

    Attributes:
        kind: "classification", "regression" or "lm".
        num_labels: classes; None leaves it to the configuration. 1 is a regression head, as in transformers.
        verbalizer: label words of an "lm" head, in the order of the labels.

    Raises:
        ValueError: these do not fit together.
    """

    kind: HeadKind = "classification"
    num_labels: int | None = None
    verbalizer: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.kind not in HEADS:
            raise ValueError(f"head must be one of {HEADS}; got {self.kind!r}.")
        if self.kind == "regression" and self.num_labels not in (None, 1):
            raise ValueError(f"a regression head has one output; got num_labels={self.num_labels}.")
        if self.kind == "classification" and self.num_labels == 1:
            object.__setattr__(self, "kind", "regression")
        if self.kind == "classification" and self.num_labels is not None and self.num_labels < 1:
            raise ValueError(f"num_labels must be 2 or more classes, or 1 for regression; got {self.num_labels}.")
        if self.verbalizer is not None and self.kind != "lm":
            raise ValueError(f'a verbalizer goes with head="lm"; got head={self.kind!r}.')
        if self.verbalizer is not None and self.num_labels not in (None, len(self.verbalizer)):
            raise ValueError(f"num_labels={self.num_labels}, but the verbalizer has {len(self.verbalizer)} words.")


def configured(config: Any, request: HeadRequest, tokenizer: Any) -> Any:
    """A copy of the configuration, set up for the head: labels, padding token, the decoder's start, no cache."""
    config = deepcopy(config)
    config.use_cache = False
    if getattr(config, "pad_token_id", None) is None and tokenizer is not None:
        config.pad_token_id = tokenizer.pad_token_id
    if config.is_encoder_decoder and config.to_dict().get("decoder_start_token_id") is None:
        own = config.to_dict().get("decoder")  # T5Gemma's decoder has a configuration, and a first token, of its own
        first = own.get("bos_token_id") if isinstance(own, dict) else None
        config.decoder_start_token_id = config.pad_token_id if first is None else first  # the former is T5's convention
    if _is_mixture(config):
        config._experts_implementation = "batched_mm"  # the one that every transform of torch.func goes through
    if request.kind == "regression":
        config.num_labels = 1
        config.problem_type = "regression"
    elif request.kind == "classification" and request.num_labels is not None:
        config.num_labels = request.num_labels
    return config


def _is_mixture(config: Any) -> bool:
    return bool({"num_experts", "num_local_experts", "n_routed_experts"} & config.to_dict().keys())


def model_class(architecture: Architecture, config: Any, kind: HeadKind) -> Any:
    """The class with that head: transformers', or where it has no classifier of a type, one with a linear head."""
    published = transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    if kind != "lm" and type(config) in published:
        cls = published[type(config)]
        return cls if architecture.kind == "encoder" else classifier(cls, architecture.kind)
    language_models = {
        "encoder": transformers.MODEL_FOR_MASKED_LM_MAPPING,
        "decoder": transformers.MODEL_FOR_CAUSAL_LM_MAPPING,
        "encoder-decoder": transformers.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    }[architecture.kind]
    if type(config) not in language_models:
        raise ValueError(
            f"transformers has no language model for model type {config.model_type!r} as {architecture.kind}; "
            'choose another head: head="lm" or head="classification".'
        )
    cls = language_models[type(config)]
    if kind == "lm":
        return cls
    made: Any = with_linear_head(cls, transformers.MODEL_MAPPING[type(config)])
    return classifier(made, architecture.kind)


def fresh(cls: Any, config: Any, *, seed: int, attention: Attention, purpose: str = "") -> nn.Module:
    """A model initialised as its configuration says, in float32; no global generator is moved."""
    name = implementation(attention, cls)
    with seeded(seed, purpose):
        model = cls._from_config(deepcopy(config), attn_implementation=name, dtype=torch.float32)
    settle_attention(model)
    return model


@contextmanager
def seeded(seed: int, purpose: str = "") -> Iterator[None]:
    """torch's CPU generator at `seed` inside, as it was before outside.

    A purpose keeps draws of one seed apart: a head and random weights of seed 0 must not be the same numbers.
    """
    state = torch.random.get_rng_state()
    if purpose:
        seed = int.from_bytes(sha256(f"{purpose} {seed}".encode()).digest()[:8], "little", signed=True)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would touch the GPU's generators too
    try:
        yield
    finally:
        torch.random.set_rng_state(state)


@torch.no_grad()
def reseed_head(model: Any, new_names: Sequence[str], seed: int) -> None:
    """Draw the new parameters again, in float32, from `seed` alone: not from what was loaded before, nor the dtype."""
    new = set(new_names)
    with seeded(seed):
        for name in _topmost_new_modules(model, new):
            module = model.get_submodule(name)
            draft = deepcopy(module).float()
            for parameter in draft.parameters():
                parameter.__dict__.pop("_is_hf_initialized", None)
            for child in _children_first(draft):
                model._init_weights(child)
            for target, source in zip(module.parameters(), draft.parameters(), strict=True):
                target.copy_(source)


def _topmost_new_modules(model: nn.Module, new: set[str]) -> list[str]:
    """Modules all of whose parameters are new, and whose parent's are not."""
    found: list[str] = []
    for name, module in model.named_modules():
        names = {f"{name}.{child}" for child, _ in module.named_parameters()}
        if names and names <= new and not any(name.startswith(f"{above}.") for above in found):
            found.append(name)
    return found


def _children_first(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        yield from _children_first(child)
    yield module


def as_plm(
    name: str,
    model: Any,
    request: HeadRequest,
    tokenizer: Any,
    *,
    new_names: Sequence[str] = (),
    provenance: Mapping[str, Any] | None = None,
    architecture: Architecture | None = None,
) -> PLM:
    """Freeze the model and put the PLM together; its architecture is its row's, or found, unless it is given.

    Raises:
        ValueError: a verbaliser without a tokenizer, or with words that are no single tokens.
    """
    architecture = architecture or architecture_of_model(model)
    plain_activations(model)
    if next(model.parameters()).dtype == torch.float64:
        exact_norms(model)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    head, num_labels = _head(architecture, model, request, tokenizer)
    return PLM(
        name=name,
        model=model.eval(),
        architecture=architecture,
        head=head,
        num_labels=num_labels,
        tokenizer=tokenizer,
        new_names=frozenset(new_names),
        provenance=provenance,
    )


def _head(architecture: Architecture, model: Any, request: HeadRequest, tokenizer: Any) -> tuple[Head, int]:
    config, after = model.config, last_unnumbered(model)
    if request.kind != "lm":
        return ClassificationHead(numbered_after=after), config.num_labels
    start = config.decoder_start_token_id if architecture.kind == "encoder-decoder" else None
    if request.verbalizer is None:
        return LanguageModelHead(start, numbered_after=after), config.get_text_config().vocab_size
    if tokenizer is None:
        raise ValueError("a verbalizer needs a tokenizer, and this model came without one.")
    ids = label_ids(tokenizer, request.verbalizer)
    mask_id = tokenizer.mask_token_id if architecture.kind == "encoder" else None
    if architecture.kind == "encoder" and mask_id is None:
        raise ValueError("a verbalizer on an encoder needs a mask token, and this tokenizer has none.")
    return VerbalizerHead(ids, mask_id, start, numbered_after=after), len(ids)
