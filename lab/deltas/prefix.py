"""Prefix tuning (Li & Liang 2021): trained keys and values in front of every attention's own."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn

from lab.deltas.additive import Additive, grafted
from lab.deltas.cached_prefix import cached_heads, hand_over
from lab.deltas.delta import Delta, Reparameterized
from lab.deltas.method import DeltaMethod
from lab.deltas.prefixed_attention import PrefixTokens, use_prefixes
from lab.deltas.roles import present_places
from lab.deltas.text_positions import move_decoder, move_text
from lab.linalg import Layout, Part
from lab.models import PLM, Graft, Place, WeightMatrix
from lab.models.attention import has_interface, takes_interface


@dataclass(frozen=True)
class Prefix(DeltaMethod):
    """Attn(x; K, V) ↦ Attn(x; [P_K; K], [P_V; V]) in every attention module, cross-attention included.

    Per head this is (1 − λ(x))·Attn(x; K, V) + λ(x)·Attn(x; P_K, P_V), with λ(x) the softmax mass on the prefix
    (He et al. 2022, eq. 7; `prefix_mass` returns it). λ > 0, so there is no exact identity.

    Positions: a prefix has none (no rotation, no relative bias). In decoders the text's positions start after the
    prefix, as in Li & Liang's code and in peft; encoders and T5 keep theirs. Every token of the text sees the prefix,
    beyond a sliding window (Mistral, Gemma 2) too, where peft's is lost from sight. In decoders that attend by
    their own code (Falcon, BLOOM, GPT-Neo) it is a cache: windows, and ALiBi's slopes, reach back into it as into text.

    Attributes:
        tokens: length of the prefix. Default 5, the source text's setting.
        mlp: hidden width of the training-time reparameterisation P = W₂·tanh(W₁·E + b₁) + b₂ (Li & Liang 2021, section
            4.3); φ then holds E, W₁, b₁, W₂, b₂, and `counts.stored` is the prefix alone. None: the prefix itself is φ.
        embedding: width of E with an MLP; default that of the MLP.
        init_std: standard deviation of P at φ₀ without MLP. Default 0.02, as new parameters in BERT and GPT-2.
        label: name of the graft; give another one to put two on one PLM.
    """

    tokens: int = 5
    mlp: int | None = None
    embedding: int | None = None
    init_std: float = 0.02
    label: str = "prefix"

    name = "prefix"
    sized = (("tokens", "{}"),)
    family = "addition"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tokens < 1:
            raise ValueError(f"Prefix needs tokens >= 1; got {self.tokens}.")
        if any(width is not None and width < 1 for width in (self.mlp, self.embedding)):
            raise ValueError(f"Prefix needs widths >= 1 or None; got mlp {self.mlp}, embedding {self.embedding}.")
        if self.embedding is not None and self.mlp is None:
            raise ValueError(
                f"Prefix's embedding is the input of its MLP; give mlp too, or drop embedding {self.embedding}."
            )

    def body(self, plm: PLM, seed: int) -> Delta:
        std = 0.0 if self.mlp else self.init_std
        plain = prefix_delta(plm, self.tokens, self.label, std, seed)
        return (
            plain if self.mlp is None else _through_mlp(plain, self.tokens, self.mlp, self.embedding or self.mlp, seed)
        )


def prefix_delta(plm: PLM, tokens: int, label: str, std: float, seed: int, *, as_peft: bool = False) -> Additive:
    """φ = changes of the prefix of every attention module, by depth, keys before values; P ~ N(0, std²) at φ₀.

    Args:
        plm, label, seed: as for a method.
        tokens: length of the prefix.
        std: of P.
        as_peft: the map of peft instead: a key-value cache that the model finds at its call. The text's positions start
            after the prefix in encoders too, a sliding window reaches back into it no further than into the text, and
            in an encoder-decoder only the decoder's self-attention has one.

    Where a decoder attends by code of its own (Falcon, BLOOM, GPT-J) the model is handed a cache, as by peft.

    Raises:
        ValueError: the model takes neither its attention from transformers' interface nor a cache (DeBERTa, MPNet).
    """
    own_code = not by_interface(plm)
    heads = cached_heads(plm) if own_code else {}
    if own_code and not heads:
        raise ValueError(
            f"{plm.name!r} ({type(plm.model).__name__}) attends by its own code and takes no cache, so that no keys "
            "and values can be put in front of the text's, by peft neither; take Prompt(…), LoRA(…) or Adapter(…)."
        )
    two_stacks, moves = plm.architecture.kind == "encoder-decoder", plm.architecture.kind == "decoder" or as_peft
    widths = decoder_widths(plm) if two_stacks and as_peft else attention_widths(plm)
    if not widths:
        raise ValueError(f"{plm.name!r} does not attend in every block; take Prompt(…), LoRA(…) or Adapter(…).")
    base = (
        plm.architecture.base_path(plm.model).removesuffix(".")
        if two_stacks
        else plm.architecture.text_model(plm.model)
    )

    def attach(model: nn.Module) -> None:
        generator = torch.Generator().manual_seed(seed)
        for path, width in widths.items():
            noise = std * torch.randn(2, tokens, width, generator=generator, dtype=torch.float64)
            key, value = noise.to(dtype=plm.dtype, device=plm.device)
            own = PrefixTokens(key.clone(), value.clone(), positioned=moves, windowed=as_peft)
            model.get_submodule(path).add_module(label, own)
        if own_code:
            hand_over(model, base, heads)
            return
        use_prefixes(model)
        if moves and two_stacks:
            move_decoder(model, base, tokens, next(iter(widths)))
        elif moves:
            move_text(model, base, tokens, next(iter(widths)))

    return grafted(plm, Graft(label, attach), at_identity=False)


def by_interface(plm: PLM) -> bool:
    """Whether every attention module takes its attention from transformers' interface, where a prefix can join in."""
    attentions = (plm.model.get_submodule(path) for path in attention_paths(plm))
    return has_interface(type(plm.model)) and all(map(takes_interface, attentions))


def attention_paths(plm: PLM) -> tuple[str, ...]:
    """Paths of the attention modules, by depth; in a block of two, that of the cross-attention is the second."""
    return tuple(place.path for place in present_places(plm, ("attention", "cross_attention")))


def attention_widths(plm: PLM) -> dict[str, int]:
    """Path of each attention module, by depth -> key-value heads · head dimension; of a cache where it takes one.

    Raises:
        ValueError: the keys have no matrix of their own (latent attention, a fused one of unknown layout).
    """
    if not by_interface(plm) and (heads := cached_heads(plm)):
        return {path: n * width for path, (n, width) in heads.items()}
    if "key" not in plm.architecture.roles(plm.model):
        raise ValueError(
            f"{plm.name!r} has no matrix of keys by itself, so that a prefix's width cannot be told; take Prompt(…), "
            "LoRA(…) or Adapter(…)."
        )
    pairs: list[tuple[Place, WeightMatrix]] = []
    for place, role in (("attention", "key"), ("cross_attention", "cross_key")):
        modules = present_places(plm, (place,))
        keys = plm.matrices((role,)) if modules else ()
        pairs += zip(modules, keys, strict=True)
    return {module.path: key.shape[0] for module, key in sorted(pairs, key=lambda pair: pair[0].block)}


def decoder_widths(plm: PLM) -> dict[str, int]:
    """The same of the self-attention modules of an encoder-decoder's decoder alone."""
    encoder = plm.architecture.first_stack(plm.model)
    own = {m.path for m in plm.architecture.places(plm.model, "attention") if m.block not in encoder}
    return {path: width for path, width in attention_widths(plm).items() if path in own}


def _through_mlp(plain: Additive, tokens: int, width: int, inputs: int, seed: int) -> Delta:
    """The prefix as the output of a two-layer MLP; weights uniform on ±1/√(inputs), E standard normal, biases 0."""
    columns = [part.shape[1] for part in plain.layout]
    shapes: dict[str, tuple[int, ...]] = {"mlp.E": (tokens, inputs), "mlp.W1": (width, inputs), "mlp.b1": (width,)}
    shapes |= {"mlp.W2": (sum(columns), width), "mlp.b2": (sum(columns),)}
    layout = Layout(tuple(Part(name, shape) for name, shape in shapes.items()))
    generator = torch.Generator().manual_seed(seed)
    start = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}
    start["mlp.E"].normal_(generator=generator)
    for name in ("mlp.W1", "mlp.W2"):
        bound = 1 / sqrt(shapes[name][1])
        start[name].uniform_(-bound, bound, generator=generator)

    def generate(z: Tensor) -> Tensor:
        p = layout.unflatten(z)
        hidden = torch.tanh(p["mlp.E"] @ p["mlp.W1"].mT + p["mlp.b1"])
        prefix = hidden @ p["mlp.W2"].mT + p["mlp.b2"]  # (tokens, keys and values of all attention modules)
        return torch.cat([piece.reshape(-1) for piece in prefix.split(columns, dim=-1)])

    z0 = layout.flatten(start).to(dtype=plain.plm.dtype, device=plain.plm.device)
    return Reparameterized(plain, generate, z0, at_identity=False, layout=layout, stored_size=plain.size)
