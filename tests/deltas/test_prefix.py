from __future__ import annotations

import pytest
import torch
from torch.func import functional_call
from transformers import AttentionInterface, AttentionMaskInterface

from lab.deltas import Adapter, BitFit, Prefix, prefix_mass
from lab.deltas.prefix import attention_widths
from lab.deltas.prefixed_attention import use_prefixes
from lab.models.attention import SDPA, additive_mask, eager_attention
from lab.models.graft import structural_copy

FAMILIES = ("bert", "roberta", "llama", "gpt2", "t5", "gemma", "gemma2", "mistral")


def after_attention(plm, overrides, batch, paths):
    """What each attention module hands to its output projection: (batch, tokens, heads · head_dim)."""
    model = structural_copy(plm.model)
    seen = {}
    roles = ("output", "cross_output") if plm.architecture.family == "t5" else ("output",)
    outputs = [matrix.name.removesuffix(".weight") for matrix in plm.matrices(roles)]
    projections = {p: p.replace(".output.dense", ".self") for p in outputs}  # BERT's stands beside its attention
    for path, attention in projections.items():
        owner = next(a for a in paths if attention.startswith(a))
        module = model.get_submodule(path)
        module.register_forward_pre_hook(lambda m, args, owner=owner: seen.update({owner: args[0]}))
    plm.head.logits(lambda **inputs: functional_call(model, overrides, (), inputs), batch)
    return seen


def first_query(plm, batch):
    """The query (batch, heads, tokens, head_dim) of the bare PLM's first attention, and the scale of its scores."""
    model, seen = structural_copy(plm.model), []

    def recording(module, query, key, value, mask, **kwargs):
        seen.append((query, kwargs))
        return eager_attention(module, query, key, value, mask, **kwargs)

    AttentionInterface.register("recording", recording)
    AttentionMaskInterface.register("recording", additive_mask)
    for module in model.modules():
        if hasattr(module, "config"):
            module.config._attn_implementation = "recording"
    plm.head.logits(lambda **inputs: model(**inputs), batch)
    query, kwargs = seen[0]
    return query, kwargs.get("scaling") or query.shape[-1] ** -0.5, kwargs.get("softcap")


@pytest.mark.parametrize("family", FAMILIES)
def test_prefix_identity_per_head_and_token(plm_of, batch_of, noise, family):
    """head(x) = (1 − λ)·Attn(x; K, V) + λ·Attn(x; P_K, P_V) in the first attention, whose x no prefix has touched.

    Attn(x; P_K, P_V) = softmax(qP_Kᵀ)·P_V from the query of the bare PLM, which runs at the positions the prefix leaves
    to the text.
    """
    plm, batch = plm_of(family), batch_of(plm_of(family))
    delta = Prefix(tokens=3, head="frozen").on(plm, seed=1)
    phi = delta.phi0 + noise(delta.size, seed=2)
    paths = list(attention_widths(plm))
    first = paths[0]
    overrides = delta.overrides(phi)
    moved = {"position_ids": torch.arange(3, 9)[None]} if plm.architecture.kind == "decoder" else {}
    query, scale, softcap = first_query(plm, {**batch, **moved})
    heads, width = query.shape[1], query.shape[-1]
    P_k, P_v = (overrides[f"{first}.prefix.{x}"].unflatten(-1, (-1, width)).transpose(0, 1) for x in ("key", "value"))
    P_k, P_v = (x.repeat_interleave(heads // len(x), dim=0) for x in (P_k, P_v))  # GQA: a group reads one head
    scores = scale * query @ P_k.mT
    scores = scores if softcap is None else softcap * torch.tanh(scores / softcap)
    attention_p = (scores.softmax(-1) @ P_v).transpose(1, 2)  # (batch, tokens, heads, head_dim)
    bare = after_attention(plm, {}, {**batch, **moved}, paths)[first].unflatten(-1, (heads, width))
    head = after_attention(delta.plm, overrides, batch, paths)[first].unflatten(-1, (heads, width))
    share = prefix_mass(delta, phi, batch)[first].transpose(1, 2)[..., None]
    torch.testing.assert_close((1 - share) * bare + share * attention_p, head, rtol=0, atol=1e-6)


def test_prefix_attention_from_the_formula(plm_of, batch_of, noise):
    """BERT's first block by hand: λ = Σ exp(qP_Kᵀ/√d) / (Σ exp(qP_Kᵀ/√d) + Σ exp(qKᵀ/√d)), without masked tokens."""
    plm, batch = plm_of(), batch_of(plm_of())
    delta = Prefix(tokens=2, head="frozen").on(plm)
    phi = delta.phi0 + noise(delta.size)
    path = "bert.encoder.layer.0.attention.self"
    model = structural_copy(plm.model)
    projected = {}
    for part in ("query", "key", "value"):
        module = model.get_submodule(f"{path}.{part}")
        module.register_forward_hook(lambda m, a, out, part=part: projected.update({part: out}))
    model(**batch)
    q, k, v = (projected[part].unflatten(-1, (4, 4)).transpose(1, 2) for part in ("query", "key", "value"))
    P_k, P_v = (
        delta.overrides(phi)[f"{path}.prefix.{x}"].unflatten(-1, (4, 4)).transpose(0, 1) for x in ("key", "value")
    )
    text = (q @ k.mT / 2).exp() * batch["attention_mask"][:, None, None, :]  # √4 = 2
    prefix = (q @ P_k.mT / 2).exp()
    lam = prefix.sum(-1) / (prefix.sum(-1) + text.sum(-1))
    torch.testing.assert_close(prefix_mass(delta, phi, batch)[path], lam, rtol=0, atol=1e-12)
    expected = (text @ v + prefix @ P_v) / (text.sum(-1) + prefix.sum(-1))[..., None]
    got = after_attention(delta.plm, delta.overrides(phi), batch, list(attention_widths(plm)))[path]
    torch.testing.assert_close(got.unflatten(-1, (4, 4)).transpose(1, 2), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_mass_has_every_layer_head_and_token(plm_of, batch_of, family):
    plm, batch = plm_of(family), batch_of(plm_of(family))
    delta = Prefix(tokens=3).on(plm)
    mass = prefix_mass(delta, delta.phi0, batch)
    assert list(mass) == list(attention_widths(plm))
    for path, share in mass.items():
        assert share.shape == (3, 4, 6), path
        assert bool(((share > 0) & (share < 1)).all())


@pytest.mark.parametrize("family", FAMILIES)
def test_sdpa_and_eager_give_the_same_logits(plm_of, batch_of, noise, family):
    if family == "gemma2":
        pytest.skip("transformers' SDPA refuses Gemma 2's softcap")
    eager, sdpa = plm_of(family), plm_of(family, attention="sdpa")
    for padding in (True, False):  # without padding SDPA would take its own causal mask
        batch = batch_of(eager, padding=padding)
        one, two = Prefix(tokens=3).on(eager), Prefix(tokens=3).on(sdpa)
        phi = one.phi0 + 0.5 * noise(one.size)
        torch.testing.assert_close(two.logits(phi, batch), one.logits(phi, batch), rtol=0, atol=1e-6)


def test_mass_is_found_under_sdpa_too(plm_of, batch_of):
    eager, sdpa = plm_of("llama"), plm_of("llama", attention="sdpa")
    one, two = Prefix(tokens=2).on(eager), Prefix(tokens=2).on(sdpa)
    expected = prefix_mass(one, one.phi0, batch_of(eager))
    for path, share in prefix_mass(two, two.phi0, batch_of(eager)).items():
        torch.testing.assert_close(share, expected[path], rtol=0, atol=1e-6)
    assert sdpa.model.config._attn_implementation == SDPA


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_decoders_stay_causal_behind_a_prefix(plm_of, batch_of, noise, family):
    """Logits at a position do not depend on what comes after it."""
    plm = plm_of(family, head="lm")
    delta = Prefix(tokens=2).on(plm)
    phi = delta.phi0 + noise(delta.size)
    batch = batch_of(plm, padding=False)
    changed = {**batch, "input_ids": batch["input_ids"].clone()}
    changed["input_ids"][:, -1] = 9
    before, after = delta.logits(phi, batch), delta.logits(phi, changed)
    assert torch.equal(before[:, :-1], after[:, :-1])
    assert not torch.equal(before[:, -1], after[:, -1])


def test_positions_start_after_the_prefix_in_decoders_only(plm_of, batch_of):
    for family, offset in (("gpt2", 3), ("bert", 0)):
        plm, batch = plm_of(family), batch_of(plm_of(family))
        delta = Prefix(tokens=3).on(plm)
        given = {**batch, "position_ids": torch.arange(6)[None]}
        assert torch.equal(delta.logits(delta.phi0, given), delta.logits(delta.phi0, batch)), family
        seen = []
        table = next(m for n, m in delta.plm.model.named_modules() if n.endswith(("wpe", "position_embeddings")))
        table.register_forward_hook(lambda m, args, out, seen=seen: seen.append(args[0]))
        delta.logits(delta.phi0, batch)
        assert seen[0].flatten()[:6].tolist() == [offset + i for i in range(6)]


def test_an_mlp_is_trained_and_only_the_prefix_stored(plm_of):
    plain = Prefix(tokens=5, head="frozen").on(plm_of())
    through = Prefix(tokens=5, mlp=7, head="frozen").on(plm_of(), seed=0)
    assert through.counts.stored == plain.counts.stored == plain.size == 5 * 2 * 2 * 16
    assert through.counts.trained == through.counts.added == 5 * 7 + 7 * 7 + 7 + 64 * 7 + 64
    assert through.layout.names == ("mlp.E", "mlp.W1", "mlp.b1", "mlp.W2", "mlp.b2")


def test_the_mlp_writes_keys_and_values_layer_by_layer(plm_of, noise):
    delta = Prefix(tokens=2, mlp=3, embedding=4, head="frozen").on(plm_of("llama"))
    z = noise(delta.size)
    p = delta.layout.unflatten(z)
    rows = torch.tanh(p["mlp.E"] @ p["mlp.W1"].mT + p["mlp.b1"]) @ p["mlp.W2"].mT + p["mlp.b2"]
    overrides = delta.overrides(z)
    for i, (path, part) in enumerate((p, x) for p in attention_widths(plm_of("llama")) for x in ("key", "value")):
        torch.testing.assert_close(overrides[f"{path}.prefix.{part}"], rows[:, 8 * i : 8 * i + 8], rtol=0, atol=1e-14)


def test_two_prefixes_are_one_long_prefix(plm_of, batch_of, noise):
    plm, batch = plm_of("llama"), batch_of(plm_of("llama"))
    two = Prefix(tokens=1, head="frozen").on(plm) + Prefix(tokens=2, label="robust", head="frozen").on(plm)
    phi = two.phi0 + noise(two.size)
    overrides = two.overrides(phi)
    long = Prefix(tokens=3, head="frozen").on(plm)
    joined = {
        name: torch.cat([overrides[name], overrides[name.replace(".prefix.", ".robust.")]])
        for name in long.layout.names
    }
    torch.testing.assert_close(two.logits(phi, batch), long.plm.logits(joined, batch), rtol=0, atol=1e-13)
    for path, share in prefix_mass(two, phi, batch).items():
        assert bool((share < 1).all()), path


def test_a_prefix_works_beside_other_grafts(plm_of, batch_of):
    plm, batch = plm_of(), batch_of(plm_of())
    prefix = Prefix(tokens=2, head="frozen").on(plm)
    both = prefix + Adapter(bottleneck=2, head="frozen").on(plm)
    assert torch.equal(both.logits(both.phi0, batch), prefix.logits(prefix.phi0, batch))


def test_the_default_is_the_source_texts_five_tokens():
    assert Prefix().tokens == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens": 0}, "tokens >= 1; got 0"),
        ({"mlp": 0}, "widths >= 1 or None; got mlp 0"),
        ({"embedding": 4}, "give mlp too, or drop embedding 4"),
    ],
)
def test_misuse_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Prefix(**options)


def test_more_positions_than_the_model_has_are_refused(plm_of, batch_of):
    plm = plm_of("gpt2")
    for delta in (Prefix(tokens=3).on(plm), Prefix(tokens=2).on(plm) + Prefix(tokens=1, label="second").on(plm)):
        with pytest.raises(ValueError, match=r"exceed this model's 256 positions; shorten .* or the prefix \(tokens\)"):
            delta.logits(delta.phi0, batch_of(plm, length=254))
        assert delta.logits(delta.phi0, batch_of(plm, length=253)).isfinite().all()
    for family in ("bert", "llama"):  # encoders leave the text where it is, rotations have no end
        delta = Prefix(tokens=3).on(plm_of(family))
        assert delta.logits(delta.phi0, batch_of(plm_of(family), length=256)).isfinite().all()


def test_mass_needs_trained_tokens(plm_of, batch_of):
    delta = BitFit().on(plm_of())
    with pytest.raises(ValueError, match="no prefix and no prompt is grafted on 'tiny-bert'"):
        prefix_mass(delta, delta.phi0, batch_of(plm_of()))


def test_an_attention_of_another_kind_is_refused(plm_of):
    model = structural_copy(plm_of().model)
    model.config._attn_implementation = "flex_attention"
    with pytest.raises(ValueError, match=r"this model uses 'flex_attention'.*load_plm"):
        use_prefixes(model)
