"""The one verb: logits under overrides, for every family, and what torch.func makes of it."""

from __future__ import annotations

import pytest
import torch
import transformers
from torch.func import grad, jvp, vjp, vmap
from torch.nn.functional import cross_entropy

from lab.models.attention import EAGER, SDPA, has_interface
from lab.models.numbering import learned_positions
from lab.models.tiny import CONFIGURATIONS, FAMILIES, FOUND, tiny_plm

LABELS = torch.tensor([0, 1, 1])
HEADS = [{"head": "classification"}, {"head": "lm", "verbalizer": ("bad", "good")}]


COVERING = [
    pytest.param(
        family, marks=pytest.mark.slow if family in FOUND and family not in ("deberta", "bart", "phi3") else ()
    )
    for family in CONFIGURATIONS
]
"""Every tiny model; of those found by their structure most under `slow`."""


def flat_problem(plm, batch):
    """θ, a direction, and θ ↦ logits of a closed batch."""
    layout = plm.layout
    theta = layout.flatten({name: plm.parameters[name] for name in layout.names})
    direction = torch.randn(theta.shape, generator=torch.Generator().manual_seed(3), dtype=theta.dtype)
    return theta, direction, lambda t: plm.logits(layout.unflatten(t), batch)


@pytest.mark.parametrize("family", CONFIGURATIONS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_no_override_is_the_model_itself_bit_for_bit(family, dtype, batch_of):
    plm = tiny_plm(family, dtype=dtype)
    batch = batch_of(plm)
    logits = plm.logits({}, batch)
    assert logits.shape == (3, 2)
    assert logits.dtype == plm.dtype == dtype
    assert torch.equal(logits, plm.model(**batch).logits)
    assert torch.equal(logits, plm.logits(plm.parameters, batch))


@pytest.mark.parametrize("family", CONFIGURATIONS)
def test_in_float32_the_bits_are_those_of_transformers_own_eager_model(family, batch_of):
    plm = tiny_plm(family, dtype=torch.float32)
    batch = batch_of(plm)
    config = plm.model.config
    auto = transformers.AutoModelForSequenceClassification
    stock = auto.from_config(config, attn_implementation="eager").eval()
    stock.load_state_dict(plm.model.state_dict())
    assert torch.equal(plm.logits({}, batch), stock(**batch).logits)


def test_gemma2_stays_eager_because_it_caps_its_scores(batch_of):
    plm = tiny_plm("gemma2")
    for fast in (tiny_plm("gemma2", attention="sdpa"), plm.with_attention("sdpa")):
        assert fast.model.config._attn_implementation == EAGER
        assert torch.equal(fast.logits({}, batch_of(plm)), plm.logits({}, batch_of(plm)))


def test_other_attentions_are_refused():
    with pytest.raises(ValueError, match=r"attention must be \"eager\" .* or \"sdpa\" .*; got 'flash'"):
        tiny_plm("bert").with_attention("flash")


@pytest.mark.parametrize("family", [p for p in COVERING if p.values[0] != "gemma2"])
def test_sdpa_agrees_with_eager(family, batch_of):
    plm = tiny_plm(family)
    batch = batch_of(plm)
    fast = plm.with_attention("sdpa")
    assert fast.model.config._attn_implementation == (SDPA if has_interface(type(plm.model)) else EAGER)
    assert all(fast.parameters[name] is parameter for name, parameter in plm.parameters.items())
    torch.testing.assert_close(fast.logits({}, batch), plm.logits({}, batch))
    torch.testing.assert_close(tiny_plm(family, attention="sdpa").logits({}, batch), plm.logits({}, batch))
    assert torch.equal(fast.with_attention("eager").logits({}, batch), plm.logits({}, batch))


@pytest.mark.parametrize("family", ["bert", "llama", "t5"])
def test_sdpa_goes_through_forward_mode_and_vmap(family, batch_of):
    """With padding in one of the rows that `vmap` runs over: the mask must not steer Python."""
    plm = tiny_plm(family)
    fast, batch = plm.with_attention("sdpa"), batch_of(plm)
    theta, direction, logits = flat_problem(plm, batch)
    _, _, fast_logits = flat_problem(fast, batch)
    found, expected = (jvp(f, (theta,), (direction,))[1] for f in (fast_logits, logits))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)  # transformers' masks are in float32
    rows = {name: value[:, None] for name, value in batch.items()}
    each = vmap(lambda t, row: fast.logits(plm.layout.unflatten(t), row))(theta.expand(3, -1), rows)[:, 0]
    torch.testing.assert_close(each, plm.logits({}, batch))


def test_padding_does_not_change_a_rows_logits(batch_of):
    for family in FAMILIES:
        plm = tiny_plm(family)
        batch = batch_of(plm)
        alone = dict(plm.tokenizer(["bad"], return_tensors="pt"))
        torch.testing.assert_close(plm.logits({}, batch)[1], plm.logits({}, alone)[0])


# ModernBERT's rotation and the router of a mixture go through float32 in transformers (5.23): no central differences
@pytest.mark.parametrize("family", [p for p in COVERING if p.values[0] not in ("modernbert", "qwen3_moe")])
@pytest.mark.parametrize("kind", HEADS, ids=lambda kind: kind["head"])
def test_derivatives_of_first_and_second_order_are_exact(family, kind, batch_of):
    plm = tiny_plm(family, **kind)
    theta, v, F = flat_problem(plm, batch_of(plm, masked=kind["head"] == "lm"))
    v = v / v.norm()

    def loss(t):
        return cross_entropy(F(t), LABELS)

    def central(f, step=1e-4):  # error step², about 1e-8 of the values
        return (f(theta + step * v) - f(theta - step * v)) / (2 * step)

    logits, tangent = jvp(F, (theta,), (v,))
    assert torch.equal(logits, F(theta))
    torch.testing.assert_close(tangent, central(F), rtol=1e-6, atol=1e-7)
    w = torch.ones_like(logits)
    pulled = vjp(F, theta)[1](w)[0]
    torch.testing.assert_close(pulled @ v, (w * tangent).sum())
    hessian_v = jvp(grad(loss), (theta,), (v,))[1]
    torch.testing.assert_close(hessian_v, central(grad(loss)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", COVERING)
@pytest.mark.parametrize("kind", HEADS, ids=lambda kind: kind["head"])
def test_vmap_over_overrides_tangents_and_examples_equals_a_loop(family, kind, batch_of):
    plm = tiny_plm(family, **kind)
    batch = batch_of(plm, masked=kind["head"] == "lm")
    theta, v, F = flat_problem(plm, batch)
    points = torch.stack([theta, theta + 0.01 * v])
    torch.testing.assert_close(vmap(F)(points), torch.stack([F(t) for t in points]))
    directions = torch.stack([v, -2 * v])
    tangents = vmap(lambda u: jvp(F, (theta,), (u,))[1])(directions)
    torch.testing.assert_close(tangents[1], -2 * tangents[0])

    def loss(t, example, label):
        logits = plm.logits(plm.layout.unflatten(t), {name: x[None] for name, x in example.items()})
        return cross_entropy(logits, label[None])

    per_example = vmap(grad(loss), in_dims=(None, 0, 0))(theta, batch, LABELS)
    one_by_one = [grad(loss)(theta, {k: x[i] for k, x in batch.items()}, LABELS[i]) for i in range(3)]
    torch.testing.assert_close(per_example, torch.stack(one_by_one), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("family", "name", "tied"),
    [
        ("bert", "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"),
        ("llama", "model.embed_tokens.weight", "lm_head.weight"),
        ("gpt2", "transformer.wte.weight", "lm_head.weight"),
        ("t5", "shared.weight", "lm_head.weight"),
        ("gemma", "model.embed_tokens.weight", "lm_head.weight"),
    ],
)
def test_tied_weights_are_counted_once_and_overridden_everywhere(family, name, tied, batch_of):
    plm = tiny_plm(family, head="lm")
    assert name in plm.parameters
    assert tied not in plm.parameters
    assert plm.size == sum({id(p): p.numel() for p in plm.model.parameters()}.values())
    batch = batch_of(plm)
    doubled = 2 * plm.parameters[name]
    expected = tiny_plm(family, head="lm")
    with torch.no_grad():
        dict(expected.model.named_parameters(remove_duplicate=False))[tied].copy_(doubled)
    assert expected.model.get_input_embeddings().weight is expected.model.get_output_embeddings().weight
    assert torch.equal(plm.logits({name: doubled}, batch), expected.logits({}, batch))
    with pytest.raises(ValueError, match=rf"no parameter \['{tied}'\]; .*a tied parameter occurs once"):
        plm.logits({tied: doubled}, batch)


def test_logits_refuse_unknown_parameters_and_batches_without_text(batch_of):
    plm = tiny_plm("bert")
    with pytest.raises(ValueError, match=r"'tiny-bert' has no parameter \['bert.x'\]; names are those of"):
        plm.logits({"bert.x": torch.zeros(1)}, batch_of(plm))
    with pytest.raises(ValueError, match=r"a batch needs \"input_ids\" \(batch, seq\); got the entries \['labels'\]"):
        plm.logits({}, {"labels": LABELS})


def test_nothing_is_mutated_and_nothing_requires_grad(batch_of):
    plm = tiny_plm("gpt2")
    before = {name: parameter.clone() for name, parameter in plm.parameters.items()}
    plm.logits({name: torch.zeros_like(p) for name, p in before.items()}, batch_of(plm))
    assert all(torch.equal(plm.parameters[name], value) for name, value in before.items())
    assert not any(p.requires_grad for p in plm.model.parameters())
    assert not plm.model.training


def test_the_layout_holds_every_parameter_and_knows_the_new_head():
    plm = tiny_plm("roberta", num_labels=5)
    assert plm.layout.names == tuple(plm.parameters)
    assert plm.size == sum(p.numel() for p in plm.parameters.values())
    assert plm.num_labels == 5
    assert plm.new_names == {f"classifier.{m}.{p}" for m in ("dense", "out_proj") for p in ("weight", "bias")}
    assert all(part.block is None for part in plm.layout if part.name in plm.new_names)


@pytest.mark.parametrize(
    ("family", "limit"), [("bert", 256), ("roberta", 256), ("gpt2", 256), ("bart", 256), ("opt", 256)]
)
def test_texts_longer_than_the_positions_are_refused_in_a_sentence(family, limit):
    plm = tiny_plm(family)
    assert plm.n_positions == limit
    assert plm.logits({}, {"input_ids": torch.full((1, limit), 9)}).shape == (1, 2)
    with pytest.raises(ValueError, match=rf"'tiny-{family}' has {limit} positions; got texts of {limit + 1} tokens"):
        plm.logits({}, {"input_ids": torch.full((1, limit + 1), 9)})
    assert tiny_plm("llama").n_positions is None


@pytest.mark.parametrize(
    ("cls", "rope", "limit"),
    [
        ("Llama", {"rope_type": "default"}, None),
        ("Llama", {"rope_type": "yarn", "factor": 2.0}, None),
        ("Llama", {"rope_type": "dynamic", "factor": 2.0}, 20),
        (
            "Phi3",
            {
                "rope_type": "longrope",
                "short_factor": [1.0] * 2,
                "long_factor": [3.0] * 2,
                "factor": 4.0,
                "original_max_position_embeddings": 16,
            },
            16,
        ),
    ],
)
def test_rotary_frequencies_that_follow_the_longest_text_end_the_texts(cls, rope, limit):
    config = getattr(transformers, f"{cls}Config")(
        vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=4,
        max_position_embeddings=20, original_max_position_embeddings=16, pad_token_id=0,
        rope_parameters={"rope_theta": 1e4} | rope, initializer_range=0.3,
    )  # fmt: skip
    torch.manual_seed(0)  # and weights that make positions count: the default's 0.02 left some draws below 1e-5
    model = getattr(transformers, f"{cls}Model")(config).eval()
    assert learned_positions(model) == limit
    pair = torch.arange(5, 31).expand(2, -1)
    mask = torch.ones_like(pair)
    mask[1, 9:] = 0
    together = model(pair, attention_mask=mask).last_hidden_state[1, :9]
    alone = model(pair[1:, :9]).last_hidden_state[0]
    assert torch.allclose(together, alone, atol=1e-5) == (limit is None)


def test_parts_of_a_set_have_the_plm_s_order():
    plm = tiny_plm("bert", num_labels=2)
    some = plm.layout.names[::-3]
    assert plm.layout_of(some).names == some
    assert plm.layout_of(frozenset(some)).names == some[::-1]
