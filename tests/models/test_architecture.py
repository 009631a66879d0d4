"""Where things are: a matrix found by role is the one the forward pass uses, and every parameter knows its block."""

from __future__ import annotations

import re

import pytest
import torch

from lab.models import ARCHITECTURES, architecture_of
from lab.models.tiny import CONFIGURATIONS, FAMILIES, FEED_FORWARD, HIDDEN, tiny_plm

SHAPES = {
    "query": (HIDDEN, HIDDEN),
    "key": (HIDDEN, HIDDEN),
    "value": (HIDDEN, HIDDEN),
    "output": (HIDDEN, HIDDEN),
    "up": (FEED_FORWARD, HIDDEN),
    "down": (HIDDEN, FEED_FORWARD),
}


@pytest.mark.parametrize("family", CONFIGURATIONS)
@pytest.mark.parametrize("head", ["classification", "lm"])
def test_every_role_is_found_in_every_block_with_rows_as_outputs(family, head):
    plm = tiny_plm(family, head=head)
    shared = {"falcon": HIDDEN // 4, "falcon-grouped": HIDDEN // 2, "phi": HIDDEN}.get(family, HIDDEN // 2)
    grouped = family.startswith("falcon") or "num_key_value_heads" in plm.model.config.to_dict()
    four_times = {"up": (4 * HIDDEN, HIDDEN), "down": (HIDDEN, 4 * HIDDEN)} if family == "bloom" else {}
    for role, shape in (SHAPES | four_times).items():
        if family == "qwen3_moe" and role in ("up", "down"):
            continue  # its experts are no matrices of a block
        matrices = plm.matrices([role])
        assert [m.block for m in matrices] == list(range(plm.n_blocks))
        expected = (shared, HIDDEN) if grouped and role in ("key", "value") else shape
        assert {m.shape for m in matrices} == {expected}
        assert all(m.of(plm.parameters[m.name]).shape == m.shape for m in matrices)
        assert all(plm.architecture.block_of(plm.model, m.name) == m.block for m in matrices)


@pytest.mark.parametrize("family", CONFIGURATIONS)
def test_the_roles_cover_every_matrix_of_the_blocks(family):
    plm = tiny_plm(family)
    roles = [role for role in plm.architecture.roles(plm.model) if role not in ("qkv", "gate_up")]
    labels = [m.label for m in plm.matrices(roles)]
    assert len(set(labels)) == len(labels)
    named = {m.name for m in plm.matrices(roles)}
    in_blocks = {part.name for part in plm.layout if part.block is not None and len(part.shape) == 2}
    assert in_blocks - named == {name for name in in_blocks if re.search(r"relative_attention_bias|mlp\.gate\.", name)}


@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_partition_the_layout_in_order_of_depth(family):
    plm = tiny_plm(family)
    names = plm.architecture.block_names(plm.model)
    assert plm.layout.blocks == tuple(range(len(names)))
    for part in plm.layout:
        inside = [t for t, name in enumerate(names) if part.name.startswith(f"{name}.")]
        assert inside == ([] if part.block is None else [part.block])


def test_a_t5_encoder_comes_before_its_decoder():
    plm = tiny_plm("t5")
    names = plm.architecture.block_names(plm.model)
    assert [name.split(".")[1] for name in names] == ["encoder", "encoder", "decoder", "decoder"]
    assert plm.architecture.first_stack(plm.model) == (0, 1)
    assert {m.block for m in plm.matrices(["cross_query", "cross_key", "cross_value", "cross_output"])} == {2, 3}


def test_gpt2_thirds_make_up_the_fused_weight():
    plm = tiny_plm("gpt2")
    fused = plm.matrices(["qkv"])[1]
    weight = plm.parameters[fused.name]
    thirds = [m for m in plm.matrices(["query", "key", "value"]) if m.block == 1]
    assert torch.equal(torch.cat([m.of(weight) for m in thirds]), fused.of(weight))
    x = torch.randn(HIDDEN, dtype=torch.float64)
    attention = plm.model.get_submodule("transformer.h.1.attn")
    query, key, value = attention.c_attn(x[None, None]).split(HIDDEN, dim=2)
    bias = attention.c_attn.bias.split(HIDDEN)
    for matrix, output, b in zip(thirds, (query, key, value), bias, strict=True):
        torch.testing.assert_close(matrix.of(weight) @ x + b, output[0, 0])


@pytest.mark.parametrize("family", FAMILIES)
def test_added_moves_its_own_matrix_by_delta_w_and_nothing_else(family):
    plm = tiny_plm(family)
    roles = plm.architecture.roles(plm.model)
    for matrix in plm.matrices(roles):
        weight = plm.parameters[matrix.name]
        delta_w = torch.randn(matrix.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        moved = matrix.added(weight, delta_w)
        torch.testing.assert_close(matrix.of(moved), matrix.of(weight) + delta_w)
        assert moved.shape == weight.shape
        torch.testing.assert_close((moved - weight).norm(), delta_w.norm())
        assert torch.equal(matrix.added(weight, torch.zeros_like(delta_w)), weight)


def test_added_refuses_another_shape():
    matrix = tiny_plm("gpt2").matrices(["up"])[0]
    with pytest.raises(ValueError, match=r"must have shape \(24, 16\); got \(16, 24\)"):
        matrix.added(torch.zeros(16, 24), torch.zeros(16, 24))


def test_one_role_may_be_given_as_a_string():
    plm = tiny_plm("bert")
    assert plm.matrices("query") == plm.matrices(["query"])


@pytest.mark.parametrize(("family", "role"), [("bert", "gate"), ("llama", "cross_query"), ("t5", "qkv"), ("gpt2", "Q")])
def test_unknown_roles_name_the_known_ones(family, role):
    plm = tiny_plm(family)
    with pytest.raises(ValueError, match=rf"no weight matrix of role \['{role}'\]; its roles are \['query', 'key'"):
        plm.matrices(["query", role])


@pytest.mark.parametrize("family", CONFIGURATIONS)
def test_places_norms_and_embedding_are_modules_of_the_model(family):
    plm = tiny_plm(family)
    where, model = plm.architecture, plm.model
    for place in ("attention", "feed_forward", "after_attention", "after_feed_forward"):
        found = where.places(model, place)
        assert [p.block for p in found] == list(range(plm.n_blocks))
        assert all(model.get_submodule(p.path) is not None for p in found)
    norms = where.norms(model)
    in_layout = {part.name for part in plm.layout if len(part.shape) == 1}
    assert {f"{norm}.weight" for norm in norms} <= in_layout
    assert where.embedding_name(model) + ".weight" in plm.parameters
    embedding = model.get_submodule(where.embedding_name(model))
    assert embedding is model.get_input_embeddings()


def test_cross_attention_is_a_place_of_t5_only():
    plm = tiny_plm("t5")
    assert [p.block for p in plm.architecture.places(plm.model, "after_cross_attention")] == [2, 3]
    bert = tiny_plm("bert")
    with pytest.raises(ValueError, match=r"bert has no place 'cross_attention'; it has \['attention'"):
        bert.architecture.places(bert.model, "cross_attention")


@pytest.mark.parametrize("family", CONFIGURATIONS)
@pytest.mark.parametrize("sublayer", ["attention", "feed_forward"])
def test_what_leaves_the_after_place_is_what_the_residual_stream_receives(family, sublayer, batch_of):
    # h + sublayer(h): zeroing the output of that place must be the same as skipping the sublayer
    plm = tiny_plm(family)
    batch = batch_of(plm)
    places = plm.architecture.places(plm.model, f"after_{sublayer}")
    caught = {}
    block = plm.model.get_submodule(plm.architecture.block_names(plm.model)[0])
    first = plm.model.get_submodule(places[0].path)
    other = plm.architecture.places(plm.model, "after_feed_forward" if sublayer == "attention" else "after_attention")
    second = plm.model.get_submodule(other[0].path)
    hooks = [
        first.register_forward_hook(lambda module, args, output: torch.zeros_like(output)),
        second.register_forward_hook(lambda module, args, output: torch.zeros_like(output)),
        block.register_forward_hook(lambda module, args, output: caught.update(before=args[0], after=output)),
    ]
    plm.logits({}, batch)
    for hook in hooks:
        hook.remove()
    after = caught["after"][0] if isinstance(caught["after"], tuple) else caught["after"]
    post_norm = plm.architecture.kind == "encoder" and family != "modernbert"
    if post_norm or family == "bart":  # LN(LN(h))
        norms = [plm.model.get_submodule(n) for n in plm.architecture.norms(plm.model)[:2]]
        norms = norms[::-1] if family == "albert" else norms  # registered the other way round
        torch.testing.assert_close(after, norms[1](norms[0](caught["before"])))
    else:
        torch.testing.assert_close(after, caught["before"])


def test_unknown_model_types_name_the_known_ones():
    with pytest.raises(ValueError, match=r"no architecture row covers model_type 'mamba'.*'bert'.*architecture=…"):
        architecture_of("mamba")


def test_no_model_type_has_two_rows():
    types = [t for architecture in ARCHITECTURES for t in architecture.model_types]
    assert len(set(types)) == len(types)
