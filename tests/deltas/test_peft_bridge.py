from __future__ import annotations

import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from lab.checkpoints.adapter_folder import CONFIG, WEIGHTS
from lab.deltas import (
    IA3,
    Adapter,
    AddedBias,
    BitFit,
    LoRA,
    PeftMethod,
    Prefix,
    from_peft,
    load_adapter,
    method_from_json,
)
from lab.deltas.peft_layers import inject, trained_names
from lab.deltas.peft_prompts import PREFIXES, PROMPTS
from lab.deltas.peft_refused import TYPES

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning",
    "ignore:fan_in_fan_out",
    "ignore:Sparse invariant checks",  # SHiRA's layer
)

LINEAR = {"bert": ["query", "value"], "llama": ["q_proj", "v_proj"], "t5": ["q", "v"], "gpt2": ["c_attn"]}
DOWN = {"bert": "output.dense", "llama": "down_proj", "t5": "wo", "gpt2": "mlp.c_proj"}
NORM = {"bert": "LayerNorm", "llama": "input_layernorm", "t5": "layer_norm", "gpt2": "ln_1"}


def configs(family):
    """One configuration, or more, of each peft type that has layers for this family."""
    q = {"target_modules": LINEAR[family]}
    both = {
        "LORA": peft.LoraConfig(r=2, lora_alpha=6, **q),
        "DORA": peft.LoraConfig(r=2, use_dora=True, **q),
        "LORA_BIAS": peft.LoraConfig(r=2, bias="all", **q),
        "LORA_TOKENS": peft.LoraConfig(r=2, trainable_token_indices=list(range(8, 60)), **q),
        "ADALORA": peft.AdaLoraConfig(total_step=10, **q),
        "IA3": peft.IA3Config(target_modules=[*LINEAR[family], DOWN[family]], feedforward_modules=[DOWN[family]]),
        "VERA": peft.VeraConfig(r=3, **q),
        "FOURIERFT": peft.FourierFTConfig(n_frequency=10, **q),
        "VBLORA": peft.VBLoRAConfig(num_vectors=8, vector_length=4, topk=2, r=2, **q),
        "LN_TUNING": peft.LNTuningConfig(target_modules=[NORM[family]]),
        "TRAINABLE_TOKENS": peft.TrainableTokensConfig(token_indices=list(range(8, 60))),
        "RANDLORA": peft.RandLoraConfig(r=4, **q),
        "DEFT": peft.DeftConfig(r=2, **q),
        "FROD": peft.FrodConfig(progressbar=False, **q),
        "GRALORA": peft.GraloraConfig(r=4, gralora_k=2, **q),
        "HIRA": peft.HiraConfig(r=2, **q),
        "PVERA": peft.PveraConfig(r=3, **q),
        "TINYLORA": peft.TinyLoraConfig(r=2, u=3, **q),
        "UNILORA": peft.UniLoraConfig(r=2, theta_d_length=32, **q),
    }
    only_linear = {
        "LOHA": peft.LoHaConfig(r=2, **q),
        "LOKR": peft.LoKrConfig(r=2, **q),
        "OFT": peft.OFTConfig(r=0, oft_block_size=4, **q),
        "BOFT": peft.BOFTConfig(boft_block_size=4, **q),
        "HRA": peft.HRAConfig(r=2, **q),
        "MISS": peft.MissConfig(r=4, **q),
        "C3A": peft.C3AConfig(block_size=4, **q),
        "SHIRA": peft.ShiraConfig(r=2, **q),
        "WAVEFT": peft.WaveFTConfig(n_frequency=10, **q),
        "DELORA": peft.DeloraConfig(r=2, **q),
        "ADAMSS": peft.AdamssConfig(r=4, num_subspaces=2, **q),
        "BEFT": peft.BeftConfig(**q),
        "GLORA": peft.GloraConfig(r=2, **q),
        "OSF": peft.OSFConfig(effective_rank=3, **q),
        "PEANUT": peft.PeanutConfig(r=2, **q),
        "PSOFT": peft.PsoftConfig(r=4, **q),
        "ROAD": peft.RoadConfig(group_size=4, **q),
        "SUPERTUNING": peft.SupertuningConfig(sparsity=0.9, **q),
    }
    of_decoders = {"ADAPTION_PROMPT": peft.AdaptionPromptConfig(adapter_len=2, adapter_layers=1)}
    few = {name: config for name, config in (both | only_linear).items() if name in FEW}
    return {"bert": both | only_linear, "gpt2": both | of_decoders, "llama": few | of_decoders, "t5": few}[family]


FEW = ("LORA", "DORA", "IA3", "LN_TUNING", "LOHA")
CASES = [(family, name) for family in LINEAR for name in configs(family)]
cases = pytest.mark.parametrize(("family", "name"), CASES, ids=[f"{f}-{n}" for f, n in CASES])
# their layers have autograd functions in the old style, which torch.func refuses; plain backward works
OLD_STYLE = {"LOHA", "C3A", "RANDLORA"}
NO_VMAP = {"ADALORA", "DELORA", "FOURIERFT", "FROD", "GRALORA", "OFT", "SHIRA", "WAVEFT"}
IDENTITY = {
    *("LORA", "LORA_BIAS", "LORA_TOKENS", "ADALORA", "IA3", "VERA", "LN_TUNING", "TRAINABLE_TOKENS", "LOHA", "LOKR"),
    *("ADAMSS", "BEFT", "GLORA", "GRALORA", "HIRA", "PEANUT", "PVERA", "SUPERTUNING", "TINYLORA"),
    "ADAPTION_PROMPT",
}
IN_FLOAT32 = {"PSOFT"}  # peft refuses it in float64


@pytest.fixture(scope="module")
def prepared(plm_of, batch_of):
    """The PLM of a case and a batch."""

    def make(family, name):
        plm = plm_of(family, dtype=torch.float32) if name in IN_FLOAT32 else plm_of(family)
        return plm, batch_of(plm)

    return make


@pytest.fixture(scope="module")
def built(prepared):
    """The delta of a case, and peft's own model with the values of some φ in it; each built once."""
    deltas, injections = {}, {}

    def build(family, name):
        if (family, name) not in deltas:
            method, (plm, _) = from_peft(configs(family)[name]), prepared(family, name)
            deltas[family, name] = method.body(plm, 0)
            injections[family, name] = inject(plm, method.config(), peft, seed=0)
        return deltas[family, name], injections[family, name]

    return build


def moved(delta, noise, size=0.1):
    return delta.phi0 + size * noise(delta.size).to(delta.phi0)


def theirs(delta, injection, phi):
    names = trained_names(injection, delta.plm, "peft")
    parts = delta.layout.unflatten(phi)
    with torch.no_grad():
        for parameter in injection.model.parameters():
            if names.get(id(parameter)) in parts:
                parameter.copy_(parts[names[id(parameter)]])
    return injection.model.eval()


@cases
def test_logits_are_pefts_at_any_phi(prepared, built, noise, family, name):
    plm, batch = prepared(family, name)
    delta, injection = built(family, name)
    for size in (0.0, 0.1):
        phi = moved(delta, noise, size)
        with torch.no_grad():
            expected = theirs(delta, injection, phi)(**batch).logits
        torch.testing.assert_close(delta.logits(phi, batch), expected, rtol=0, atol=1e-12)
    if name in IDENTITY:
        assert delta.at_identity
        assert torch.equal(delta.logits(delta.phi0, batch), plm.logits({}, batch))


@cases
def test_size_gradient_and_names(prepared, built, noise, family, name):
    plm, batch = prepared(family, name)
    delta, injection = built(family, name)
    head = {id(injection.native[n]) for n in plm.new_names}
    trained = [p for p in injection.model.parameters() if injection.trains(p) and id(p) not in head]
    assert delta.size == sum(p.numel() for p in trained)
    phi = moved(delta, noise).requires_grad_()
    (gradient,) = torch.autograd.grad(delta.logits(phi, batch).square().sum(), phi)
    assert bool(gradient.isfinite().all())
    assert bool(gradient.any())
    if name != "OSF":
        torch.testing.assert_close(gradient, their_gradient(delta, injection, phi, batch), rtol=0, atol=1e-12)
    native = set(plm.parameters)
    assert {n for n in delta.plm.parameters if n not in native} == delta.plm.grafted_names


def their_gradient(delta, injection, phi, batch):
    model, names = theirs(delta, injection, phi), trained_names(injection, delta.plm, "peft")
    model.zero_grad()
    model(**batch).logits.square().sum().backward()
    return delta.layout.flatten(
        {names[id(p)]: p.grad for p in model.parameters() if names.get(id(p)) in delta.layout.names}
    )


@cases
def test_several_phi_at_once_where_pefts_layers_allow_it(prepared, built, noise, family, name):
    _, batch = prepared(family, name)
    delta, _ = built(family, name)
    phis = torch.stack([delta.phi0, moved(delta, noise)])
    if name in OLD_STYLE | NO_VMAP:
        with pytest.raises(RuntimeError):
            torch.func.vmap(lambda phi: delta.logits(phi, batch))(phis)
        return
    together = torch.func.vmap(lambda phi: delta.logits(phi, batch))(phis)
    atol = 1e-6 if name in IN_FLOAT32 else 1e-12
    torch.testing.assert_close(together[1], delta.logits(phis[1], batch), rtol=0, atol=atol)


@cases
def test_the_plm_is_untouched(prepared, family, name):
    plm, batch = prepared(family, name)
    names, before = list(plm.parameters), {n: p.clone() for n, p in plm.parameters.items()}
    logits = plm.logits({}, batch)
    from_peft(configs(family)[name]).on(plm)
    assert [n for n, _ in plm.model.named_parameters()] == names
    assert all(torch.equal(plm.parameters[n], value) for n, value in before.items())
    assert not any(p.requires_grad for p in plm.model.parameters())
    assert torch.equal(plm.logits({}, batch), logits)


@cases
def test_a_stored_adapter_comes_back_bit_for_bit(prepared, built, noise, tmp_path, family, name):
    plm, batch = prepared(family, name)
    delta, injection = built(family, name)
    phi = moved(delta, noise)
    theirs(delta, injection, phi).save_pretrained(tmp_path, save_embedding_layers=False)
    again, psi = load_adapter(plm, tmp_path)
    torch.testing.assert_close(again.logits(psi, batch), delta.logits(phi, batch), rtol=0, atol=1e-12)
    if name not in ("LORA", "LORA_BIAS"):
        assert torch.equal(psi, phi)


@pytest.mark.parametrize(
    "config",
    [
        peft.TrainableTokensConfig(token_indices=[9, 10]),
        peft.LoraConfig(r=2, target_modules=["c_attn"], trainable_token_indices=[9, 10]),
    ],
    ids=["tokens alone", "beside LoRA"],
)
def test_trained_tokens_are_those_of_a_tied_head_too(plm_of, batch_of, noise, config):
    plm, batch = plm_of("gpt2", head="lm"), batch_of(plm_of("gpt2"), padding=False)
    method = from_peft(config)
    delta, injection = method.body(plm, 0), inject(plm, method.config(), peft, seed=0)
    phi = moved(delta, noise)
    with torch.no_grad():
        expected = theirs(delta, injection, phi)(**batch).logits
    torch.testing.assert_close(delta.logits(phi, batch), expected, rtol=0, atol=1e-12)
    tokens = {n: v for n, v in delta.layout.unflatten(phi).items() if "trainable_tokens_delta" in n}
    assert [tuple(v.shape) for v in tokens.values()] == [(2, 16)]


def test_from_peft_is_a_method_like_the_others(plm_of):
    method = from_peft(peft.LoHaConfig(r=2, target_modules=["value", "query"]))
    assert isinstance(method, PeftMethod)
    assert method_from_json(json.loads(json.dumps(method.to_json()))) == method
    assert method == from_peft(peft.LoHaConfig(r=2, target_modules=["query", "value"]))
    plm = plm_of()
    delta = method.on(plm)
    assert delta.size == method.body(plm, 0).size + 2 * 16 + 2
    assert delta.head_size == 2 * 16 + 2


def test_the_seed_decides_pefts_start_and_moves_no_global_generator(plm_of):
    method = from_peft(peft.LoraConfig(r=2, target_modules=["query"]))
    state = torch.random.get_rng_state()
    one, again, other = (method.body(plm_of(), seed).phi0 for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_pefts_lora_is_ours(plm_of, batch_of, noise):
    """The same factors through peft's layer and through W + s·B·A."""
    for family in ("bert", "llama", "t5", "gpt2"):
        plm, batch = plm_of(family), batch_of(plm_of(family))
        roles = ("qkv",) if family == "gpt2" else ("query", "value")
        roles += ("cross_query", "cross_value") if family == "t5" else ()
        ours = LoRA(rank=2, alpha=6, targets=roles, head="frozen").on(plm)
        bridged = from_peft(configs(family)["LORA"]).body(plm, 0)
        phi = 0.3 * noise(ours.size)
        parts = {
            f"{label.removesuffix('.weight')}.peft.lora_{x}.default.weight": factor
            for label, (B, A) in ours.factors(phi).items()
            for x, factor in (("B", B), ("A", A))
        }
        psi = bridged.layout.flatten(parts)
        torch.testing.assert_close(bridged.logits(psi, batch), ours.logits(phi, batch), rtol=0, atol=1e-6)


def test_pefts_ia3_is_ours(plm_of, batch_of, noise):
    for family in ("bert", "llama", "t5"):
        plm, batch = plm_of(family), batch_of(plm_of(family))
        keys = {"bert": ["key", "value"], "llama": ["k_proj", "v_proj"], "t5": ["k", "v"]}[family]
        # BERT's "output.dense" alone would also match the output of attention
        down = r"layer.\d+.output.dense|down_proj|wo"
        pattern = rf".*\.({'|'.join(keys)}|{down})"
        config = peft.IA3Config(target_modules=pattern, feedforward_modules=rf".*\.({down})")
        ours, bridged = IA3(head="frozen").on(plm), from_peft(config).body(plm, 0)
        assert ours.size == bridged.size
        phi = 1 + 0.3 * noise(ours.size)
        values = {name.rpartition(".weight.")[0]: v for name, v in ours.layout.unflatten(phi).items()}
        psi = bridged.layout.flatten(
            {p.name: values[p.name.partition(".peft.")[0]].reshape(p.shape) for p in bridged.layout}
        )
        torch.testing.assert_close(bridged.logits(psi, batch), ours.logits(phi, batch), rtol=0, atol=1e-6)


DORA = peft.LoraConfig(r=2, use_dora=True, target_modules=["query"])
PROMPTED = peft.AdaptionPromptConfig(adapter_len=2, adapter_layers=2)  # its layer has the whole attention module inside


@pytest.mark.parametrize(
    ("family", "config", "other"),
    [
        ("bert", DORA, Adapter(bottleneck=2, head="frozen")),
        ("bert", DORA, BitFit(head="frozen")),
        ("bert", DORA, AddedBias(head="frozen")),  # a hook on the very module that peft's layer stands in for
        ("bert", DORA, IA3(head="frozen")),
        ("gpt2", PROMPTED, Adapter(bottleneck=2, head="frozen")),
        ("gpt2", PROMPTED, Prefix(tokens=2, head="frozen")),
        ("gpt2", PROMPTED, PeftMethod('{"peft_type": "LORA", "r": 2, "target_modules": ["c_attn"]}', label="second")),
    ],
)
def test_pefts_layers_go_with_other_deltas(plm_of, batch_of, noise, family, config, other):
    """In either order, and each alone with the other at its start."""
    plm, batch = plm_of(family), batch_of(plm_of(family))
    bridged, second = from_peft(config).body(plm, 0), other.body(plm, 0)
    phi, psi = bridged.phi0 + 0.3 * noise(bridged.size), second.phi0 + 0.3 * noise(second.size, seed=5)
    one, two = bridged + second, second + bridged
    both = one.logits(torch.cat([phi, psi]), batch)
    torch.testing.assert_close(both, two.logits(torch.cat([psi, phi]), batch), rtol=0, atol=1e-13)
    alone = second.logits(psi, batch)
    torch.testing.assert_close(one.logits(torch.cat([bridged.phi0, psi]), batch), alone, rtol=0, atol=1e-13)
    assert float((both - alone).abs().max()) > 1e-4
    if second.at_identity:
        alone = bridged.logits(phi, batch)
        torch.testing.assert_close(one.logits(torch.cat([phi, second.phi0]), batch), alone, rtol=0, atol=1e-13)
        assert float((both - alone).abs().max()) > 1e-4


def test_what_peft_does_beside_the_map_in_training_is_not_taken_over(prepared, built, noise):
    """OSF projects its factors' gradients, PVeRA draws its bottleneck; the delta is the map with its own gradient."""
    (_, batch), (delta, injection) = prepared("bert", "OSF"), built("bert", "OSF")
    phi = moved(delta, noise).requires_grad_()
    (gradient,) = torch.autograd.grad(delta.logits(phi, batch).square().sum(), phi)
    ours = delta.layout.unflatten(gradient)
    projected = delta.layout.unflatten(their_gradient(delta, injection, phi, batch))
    for path, layer in injection.layers.items():
        U = layer._osf_U_low_init["default"]  # (outputs, low), orthonormal
        name = f"{path}.peft.osf_svd_params.default.U_low"
        torch.testing.assert_close(projected[name], U @ (U.mT @ ours[name]), rtol=0, atol=1e-12)
        assert float((projected[name] - ours[name]).abs().max()) > 1e-4

    (_, batch), (delta, _) = prepared("bert", "PVERA"), built("bert", "PVERA")
    parts = delta.layout.unflatten(moved(delta, noise))
    other = {name: value.clone() for name, value in parts.items()}
    for name, value in other.items():
        if "lambda_d" in name:
            value[3:] += 1  # log-variances
    assert torch.equal(
        delta.logits(delta.layout.flatten(parts), batch), delta.logits(delta.layout.flatten(other), batch)
    )


def test_every_type_of_the_installed_peft_is_a_delta_or_refused_with_a_reason():
    """A type that a new peft brings must be tried here before it counts as supported."""
    layers = {config.peft_type.value for family in LINEAR for config in configs(family).values()}
    groups = [layers, {*PROMPTS, *PREFIXES}, set(TYPES)]
    assert set().union(*groups) == {kind.value for kind in peft.PeftType}
    assert sum(map(len, groups)) == len(peft.PeftType)


def test_modules_to_save_are_coordinates_and_the_head_is_ours(plm_of, batch_of, noise, tmp_path):
    plm, batch = plm_of(), batch_of(plm_of())
    config = peft.LoraConfig(r=2, target_modules=["query"], modules_to_save=["pooler", "classifier"])
    delta = from_peft(config).body(plm, 0)
    assert {"bert.pooler.dense.weight", "bert.pooler.dense.bias"} <= set(delta.layout.names)
    assert set(delta.layout.names).isdisjoint(plm.new_names)
    assert from_peft(config).on(plm).head_size == 2 * 16 + 2
    model = peft.get_peft_model(copy.deepcopy(plm.model), config, autocast_adapter_dtype=False).eval()
    with torch.no_grad():
        for i, parameter in enumerate(p for p in model.parameters() if p.requires_grad):
            parameter.add_(0.1 * noise(*parameter.shape, seed=i))
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    loaded, phi = load_adapter(plm, tmp_path)
    assert loaded.head_size == 2 * 16 + 2
    torch.testing.assert_close(loaded.logits(phi, batch), model(**batch).logits, rtol=0, atol=1e-12)


def test_a_classification_task_type_stores_its_head(plm_of, batch_of, noise, tmp_path):
    plm, batch = plm_of(), batch_of(plm_of())
    config = peft.LoraConfig(task_type="SEQ_CLS", r=2, use_dora=True, target_modules=["query"])
    model = peft.get_peft_model(copy.deepcopy(plm.model), config, autocast_adapter_dtype=False).eval()
    with torch.no_grad():
        for i, parameter in enumerate(p for p in model.parameters() if p.requires_grad):
            parameter.add_(0.1 * noise(*parameter.shape, seed=i))
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    loaded, phi = load_adapter(plm, tmp_path)
    torch.testing.assert_close(loaded.logits(phi, batch), model(**batch).logits, rtol=0, atol=1e-12)


# damage


@pytest.fixture
def vera(built, tmp_path):
    delta, injection = built("bert", "VERA")
    theirs(delta, injection, delta.phi0).save_pretrained(tmp_path, save_embedding_layers=False)
    return tmp_path


def damaged(folder, change):
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


LAMBDA = "base_model.model.bert.encoder.layer.0.attention.self.query.vera_lambda_b"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(LAMBDA), r"1 tensors missing .*vera_lambda_b'\]\), 0 unexpected"),
        (lambda t: t.update(ghost=torch.zeros(1)), r"1 tensors are unexpected \(e\.g\. \['ghost'\]\)"),
        (lambda t: t.update({LAMBDA: torch.zeros(3)}), r"vera_lambda_b' has shape \(3,\); expected \(16,\)"),
        (lambda t: t[LAMBDA].fill_(float("inf")), r"vera_lambda_b' holds inf at index \(0,\)"),
        (lambda t: t["base_model.vera_A"].add_(1), r"'base_model\.vera_A' is not trained, and differs"),
    ],
    ids=["missing", "unexpected", "shape", "inf", "other projection"],
)
def test_damage_is_named_and_the_plm_is_untouched(plm_of, batch_of, vera, change, message):
    plm = plm_of()
    logits = plm.logits({}, batch_of(plm))
    damaged(vera, change)
    with pytest.raises(ValueError, match=rf"{WEIGHTS}.*{message}"):
        load_adapter(plm, vera)
    assert torch.equal(plm.logits({}, batch_of(plm)), logits)


def test_a_configuration_that_fits_nothing_is_named(plm_of, vera):
    config = json.loads((vera / CONFIG).read_text())
    for change in ({"target_modules": ["nowhere"]}, {"peft_type": "MAGIC"}):
        (vera / CONFIG).write_text(json.dumps({**config, **change}))
        with pytest.raises(ValueError, match=f"{CONFIG} does not fit 'tiny-bert'"):
            load_adapter(plm_of(), vera)
