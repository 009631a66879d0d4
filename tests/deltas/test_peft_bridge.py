from __future__ import annotations

import copy
import json
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from lab.deltas import IA3, Adapter, BitFit, LoRA, PeftMethod, from_peft, load_adapter, method_from_json
from lab.deltas.checkpoint_folder import CONFIG, WEIGHTS
from lab.deltas.peft_layers import inject, trained_names

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
    """One configuration of each peft type that wraps layers of this family."""
    q = {"target_modules": LINEAR[family]}
    both = {
        "LORA": peft.LoraConfig(r=2, lora_alpha=6, **q),
        "DORA": peft.LoraConfig(r=2, use_dora=True, **q),
        "LORA_BIAS": peft.LoraConfig(r=2, bias="all", **q),
        "ADALORA": peft.AdaLoraConfig(total_step=10, **q),
        "IA3": peft.IA3Config(target_modules=[*LINEAR[family], DOWN[family]], feedforward_modules=[DOWN[family]]),
        "VERA": peft.VeraConfig(r=3, **q),
        "FOURIERFT": peft.FourierFTConfig(n_frequency=10, **q),
        "VBLORA": peft.VBLoRAConfig(num_vectors=8, vector_length=4, topk=2, r=2, **q),
        "LN_TUNING": peft.LNTuningConfig(target_modules=[NORM[family]]),
        "TRAINABLE_TOKENS": peft.TrainableTokensConfig(token_indices=list(range(8, 60))),
        "RANDLORA": peft.RandLoraConfig(r=4, **q),
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
    }
    return both if family == "gpt2" else both | only_linear


FEW = ("LORA", "DORA", "IA3", "LN_TUNING", "LOHA")
CASES = [(f, name) for f in LINEAR for name in (configs(f) if f in ("bert", "gpt2") else FEW)]
cases = pytest.mark.parametrize(("family", "name"), CASES, ids=[f"{f}-{n}" for f, n in CASES])
# their layers have autograd functions in the old style, which torch.func refuses; plain backward works
OLD_STYLE = {"LOHA", "C3A", "RANDLORA"}
IDENTITY = {"LORA", "LORA_BIAS", "ADALORA", "IA3", "VERA", "LN_TUNING", "TRAINABLE_TOKENS", "LOHA", "LOKR"}


@pytest.fixture(scope="module")
def built(plm_of):
    """The delta of a case, and peft's own model with the values of some φ in it; each built once."""
    deltas, injections = {}, {}

    def build(family, name):
        if (family, name) not in deltas:
            method = from_peft(configs(family)[name])
            deltas[family, name] = method.body(plm_of(family), 0)
            injections[family, name] = inject(plm_of(family), method.config(), peft, seed=0)
        return deltas[family, name], injections[family, name]

    return build


def theirs(delta, injection, phi):
    names = trained_names(injection, delta.plm, "peft")
    parts = delta.layout.unflatten(phi)
    with torch.no_grad():
        for parameter in injection.model.parameters():
            if names.get(id(parameter)) in parts:
                parameter.copy_(parts[names[id(parameter)]])
    return injection.model.eval()


@cases
def test_logits_are_pefts_at_any_phi(plm_of, batch_of, built, noise, family, name):
    plm, batch = plm_of(family), batch_of(plm_of(family))
    delta, injection = built(family, name)
    for size in (0.0, 0.1):
        phi = delta.phi0 + size * noise(delta.size)
        with torch.no_grad():
            expected = theirs(delta, injection, phi)(**batch).logits
        torch.testing.assert_close(delta.logits(phi, batch), expected, rtol=0, atol=1e-12)
    if name in IDENTITY:
        assert delta.at_identity
        assert torch.equal(delta.logits(delta.phi0, batch), plm.logits({}, batch))


@cases
def test_size_gradient_and_names(plm_of, batch_of, built, noise, family, name):
    plm, batch = plm_of(family), batch_of(plm_of(family))
    delta, injection = built(family, name)
    head = {id(injection.native[n]) for n in plm.new_names}
    trained = [p for p in injection.model.parameters() if injection.trains(p) and id(p) not in head]
    assert delta.size == sum(p.numel() for p in trained)
    phi = (delta.phi0 + 0.1 * noise(delta.size)).requires_grad_()
    (gradient,) = torch.autograd.grad(delta.logits(phi, batch).square().sum(), phi)
    assert bool(gradient.isfinite().all())
    assert bool(gradient.any())
    if name not in OLD_STYLE:
        phis = torch.stack([delta.phi0, phi.detach()])
        together = torch.func.vmap(lambda p: delta.logits(p, batch))(phis) if name not in NO_VMAP else None
        if together is not None:
            torch.testing.assert_close(together[1], delta.logits(phis[1], batch), rtol=0, atol=1e-12)
    native = set(plm.parameters)
    assert {n for n in delta.plm.parameters if n not in native} == delta.plm.grafted_names


NO_VMAP = {"TRAINABLE_TOKENS", "ADALORA", "DELORA", "OFT", "BOFT", "HRA", "SHIRA", "FOURIERFT", "WAVEFT", "MISS"}


@cases
def test_the_plm_is_untouched(plm_of, batch_of, family, name):
    plm = plm_of(family)
    names, before = list(plm.parameters), {n: p.clone() for n, p in plm.parameters.items()}
    logits = plm.logits({}, batch_of(plm))
    from_peft(configs(family)[name]).on(plm)
    assert [n for n, _ in plm.model.named_parameters()] == names
    assert all(torch.equal(plm.parameters[n], value) for n, value in before.items())
    assert not any(p.requires_grad for p in plm.model.parameters())
    assert torch.equal(plm.logits({}, batch_of(plm)), logits)


@cases
def test_a_stored_adapter_comes_back_bit_for_bit(plm_of, batch_of, built, noise, tmp_path, family, name):
    plm, batch = plm_of(family), batch_of(plm_of(family))
    delta, injection = built(family, name)
    phi = delta.phi0 + 0.1 * noise(delta.size)
    theirs(delta, injection, phi).save_pretrained(tmp_path, save_embedding_layers=False)
    again, psi = load_adapter(plm, tmp_path)
    torch.testing.assert_close(again.logits(psi, batch), delta.logits(phi, batch), rtol=0, atol=1e-12)
    if name not in ("LORA", "LORA_BIAS"):
        assert torch.equal(psi, phi)


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


def test_pefts_layers_go_with_other_deltas(plm_of, batch_of, noise):
    plm, batch = plm_of(), batch_of(plm_of())
    dora = from_peft(configs("bert")["DORA"]).body(plm, 0)
    phi = dora.phi0 + 0.1 * noise(dora.size)
    others = Adapter(bottleneck=2, head="frozen").on(plm) + BitFit(head="frozen").on(plm)
    one, two = dora + others, others + dora
    torch.testing.assert_close(
        one.logits(torch.cat([phi, others.phi0]), batch), dora.logits(phi, batch), rtol=0, atol=1e-13
    )
    psi = others.phi0 + 0.1 * noise(others.size, seed=5)
    torch.testing.assert_close(
        one.logits(torch.cat([phi, psi]), batch), two.logits(torch.cat([psi, phi]), batch), rtol=0, atol=1e-13
    )


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


# what cannot become a delta


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_starts_that_change_the_plm_are_refused(plm_of, start):
    plm = plm_of("bert", dtype=torch.float32)
    before = {n: p.clone() for n, p in plm.parameters.items()}
    method = from_peft(peft.LoraConfig(r=2, target_modules=["query"], init_lora_weights=start))
    with pytest.raises(
        ValueError, match=r"LORA changes the PLM's own weights before training \(first: '.*query.weight'\)"
    ):
        method.on(plm)
    assert all(torch.equal(plm.parameters[n], value) for n, value in before.items())


def test_types_that_are_no_map_of_parameters_are_refused(plm_of):
    adaption = peft.AdaptionPromptConfig(adapter_len=2, adapter_layers=1, target_modules="self_attn")
    with pytest.raises(ValueError, match="ADAPTION_PROMPT is no map"):
        from_peft(adaption).on(plm_of("llama"))
    with pytest.raises(ValueError, match="cannot run on a batch alone"):
        from_peft(peft.PolyConfig(r=2, target_modules=["query"])).on(plm_of())


def test_from_peft_needs_a_configuration():
    with pytest.raises(TypeError, match=r"needs a peft configuration, e\.g\. .*; got dict"):
        from_peft({"peft_type": "LORA"})
    config = peft.LoraConfig(target_modules=["query"])
    config.r = torch.ones(1)
    with pytest.raises(TypeError, match="has no JSON form; from_peft needs plain values"):
        from_peft(config)


def test_without_peft_it_says_how_to_get_it(plm_of, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match=r"pip install .*peft"):
        PeftMethod('{"peft_type": "LOHA"}').on(plm_of())


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
        (lambda t: t.update(ghost=torch.zeros(1)), r"1 unexpected \(e\.g\. \['ghost'\]\)"),
        (lambda t: t.update({LAMBDA: torch.zeros(3)}), r"vera_lambda_b' has shape \(3,\); expected \(16,\)"),
        (lambda t: t[LAMBDA].fill_(float("inf")), r"vera_lambda_b' is not finite, first at index \(0,\): inf"),
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
