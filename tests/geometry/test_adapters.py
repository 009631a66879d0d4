"""peft LoRA folders read directly: equal to peft's own merged weights, for LoRA, rsLoRA, DoRA and rank patterns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lab.checkpoints import CheckpointError
from lab.deltas import LoRA, save_adapter
from lab.geometry import adapter_changes, change_spectra, weight_difference_spectra
from lab.linalg import LowRank
from lab.models.tiny import tiny_plm

peft = pytest.importorskip("peft")

KINDS = {
    "lora": {"r": 3, "lora_alpha": 6},
    "rslora": {"r": 4, "lora_alpha": 6, "use_rslora": True},
    "dora": {"r": 3, "lora_alpha": 5, "use_dora": True},
    "patterns": {"r": 3, "lora_alpha": 6, "rank_pattern": {"0.attention.self.query": 5}, "alpha_pattern": {"value": 1}},
}


def written(path: Path, plm, base: Path | None = None, **options) -> dict[str, torch.Tensor]:
    """A peft adapter with random factors in `path`, the base in `base`; returns peft's own ΔW."""
    import copy

    model = copy.deepcopy(plm.model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    if base is not None:
        base.mkdir()
        save_file({name: p.contiguous() for name, p in before.items()}, base / "model.safetensors")
    targets = options.pop("target_modules", ["query", "value"])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        wrapped = peft.get_peft_model(model, peft.LoraConfig(target_modules=targets, **options))
        for name, p in wrapped.named_parameters():
            if "lora_B" in name or "magnitude" in name:
                p.data += 0.3 * torch.randn_like(p)
    wrapped.save_pretrained(path)
    merged = wrapped.merge_and_unload()
    after = dict(merged.named_parameters())
    return {name: (after[name] - p).detach() for name, p in before.items() if not torch.equal(after[name], p)}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_equals_what_peft_merges(tmp_path, kind):
    plm = tiny_plm("bert")
    truth = written(tmp_path / "adapter", plm, tmp_path / "base", **KINDS[kind])
    changes = adapter_changes(tmp_path / "adapter", tmp_path / "base")
    assert set(changes.names) == set(truth)
    for change in changes:
        dense = change.difference.to_dense() if isinstance(change.difference, LowRank) else change.difference
        # peft keeps adapters in float32 beside a float64 base
        torch.testing.assert_close(dense.double(), truth[change.name].double(), rtol=1e-5, atol=1e-6)
        assert torch.equal(change.base, plm.parameters[change.name])
        assert change.role in ("query", "value")
        assert (change.factor_rank is None) == (kind == "dora")
    if kind == "patterns":
        assert sorted(change.factor_rank for change in changes) == [3, 3, 3, 5]


@pytest.mark.filterwarnings("ignore")
def test_gpt2_orientation(tmp_path):
    plm = tiny_plm("gpt2")
    truth = written(
        tmp_path / "adapter", plm, tmp_path / "base", r=2, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True
    )
    for change in adapter_changes(tmp_path / "adapter", tmp_path / "base"):
        assert change.difference.shape == tuple(change.base.shape)
        torch.testing.assert_close(change.difference.to_dense(), truth[change.name].double().T, rtol=1e-5, atol=1e-6)


def test_our_own_adapter_has_the_spectra_of_its_delta(tmp_path):
    plm = tiny_plm("llama")
    delta = LoRA(rank=2, alpha=7.0, head="frozen").on(plm, seed=0)
    phi = torch.randn(delta.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    save_adapter(delta, phi, tmp_path / "adapter")
    ours = weight_difference_spectra(delta, phi).values
    read = change_spectra(adapter_changes(tmp_path / "adapter")).values
    assert read["matrix"].tolist() == ours["matrix"].tolist()
    torch.testing.assert_close(torch.tensor(read["sigma"]), torch.tensor(ours["sigma"]), rtol=1e-6, atol=0)
    assert change_spectra(adapter_changes(tmp_path / "adapter")).summary["relative_frobenius_norm"].isna().all()


@pytest.fixture(name="adapter")
def _adapter(tmp_path) -> Path:
    plm = tiny_plm("bert")
    delta = LoRA(rank=2).on(plm, seed=0)
    phi = torch.randn(delta.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return save_adapter(delta, phi, tmp_path / "own")


def rewritten(adapter: Path, config: dict | None = None, tensors=None) -> Path:
    if config:
        entries = json.loads((adapter / "adapter_config.json").read_text())
        (adapter / "adapter_config.json").write_text(json.dumps(entries | config))
    if tensors:
        changed = tensors(load_file(adapter / "adapter_model.safetensors"))
        save_file(changed, adapter / "adapter_model.safetensors")
    return adapter


def saved_base(path: Path) -> Path:
    save_file({n: p.detach().float().contiguous() for n, p in tiny_plm("bert").parameters.items()}, path)
    return path


@pytest.mark.filterwarnings("ignore")
def test_an_untrained_dora_is_zero(tmp_path):
    import copy

    model = copy.deepcopy(tiny_plm("bert").model).float()
    save_file({name: p.detach().contiguous() for name, p in model.named_parameters()}, tmp_path / "base.safetensors")
    config = peft.LoraConfig(target_modules=["query", "value"], r=2, use_dora=True)
    peft.get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    spectra = change_spectra(adapter_changes(tmp_path / "adapter", tmp_path / "base.safetensors"))
    assert not spectra.values["sigma"].any()
    assert not spectra.summary[["rank", "n_above_null"]].to_numpy().any()
    halved = rewritten(tmp_path / "adapter", tensors=lambda tensors: {k: t.bfloat16() for k, t in tensors.items()})
    rounded = change_spectra(adapter_changes(halved, tmp_path / "base.safetensors")).summary
    assert set(rounded["storage"]) == {"bfloat16"}
    assert (rounded["storage_noise"] > 1e-4).all()


HOSTILE_OPTIONS = {
    "r": (0, -1, "4", None, 2.0, True, [2]),
    "lora_alpha": ("8", None, float("nan"), float("inf"), [1], {}, 10**400, True),
    "rank_pattern": ([1], "query", {"(": 4}, {"query": 0}, {"query": "2"}, {"(a+)+": 2}, {"(x|y)*z": 2},
                     {".*" * 9: 2}, {"a?" * 30: 2}, {"(a|a)" * 30: 2}),
    "alpha_pattern": ([1], {"[": 4}, {"query": None}, {"query": float("nan")}, {"(.*)*x": 1}),
    "use_rslora": ("false", 2, []),
    "fan_in_fan_out": ("no",),
    "target_modules": (3, [1], {"query": 1}, "(", [""]),
}  # fmt: skip


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in HOSTILE_OPTIONS.items() for v in values])
def test_options_that_mean_nothing_are_refused_by_name(adapter, field, value):
    with pytest.raises(ValueError, match=rf"own/adapter_config.json: {field} is .*; expected "):
        adapter_changes(rewritten(adapter, {field: value}))


def test_codes_are_refused(adapter):
    codes = rewritten(adapter, tensors=lambda tensors: {k: (50 * t).to(torch.int8) for k, t in tensors.items()})
    with pytest.raises(ValueError, match=r"tensor 'base_model.*' is stored as I8, not as floating point"):
        adapter_changes(codes)


def test_no_module_vanishes(adapter, tmp_path):
    base, whole = saved_base(tmp_path / "base.safetensors"), load_file(adapter / "adapter_model.safetensors")
    query = "layer.1.attention.self.query"

    def written_as(tensors: dict[str, torch.Tensor]) -> Path:
        save_file(tensors, adapter / "adapter_model.safetensors")
        return adapter

    truth = {change.name: change.difference for change in adapter_changes(adapter, base)}
    named = {k.replace("lora_A", "lora_A.default").replace("lora_B", "lora_B.default"): t for k, t in whole.items()}
    for change in adapter_changes(written_as(named), base):
        assert torch.equal(change.difference.left, truth[change.name].left)
    first = next(k for k in whole if k.endswith("lora_A.weight"))
    with pytest.raises(ValueError, match=r"has A twice"):
        adapter_changes(written_as(named | {first: whole[first].clone()}), base)
    with pytest.raises(ValueError, match=r"tensor '.*lora_A.weights' is no factor we know; expected .* lora_A.weight"):
        adapter_changes(written_as({k.replace("A.weight", "A.weights"): t for k, t in whole.items()}), base)
    with pytest.raises(ValueError, match=r"module '.*qqq' is not among target_modules .*it was renamed"):
        adapter_changes(written_as({k.replace("query", "qqq"): t for k, t in whole.items()}))
    fewer = written_as({k: t for k, t in whole.items() if query not in k})
    with pytest.raises(CheckpointError, match=rf"has no factors for 1 matrices of .*{query}.weight"):
        adapter_changes(fewer, base)
    for targets in (["query", "value"], r".*\.(query|value)"):
        with pytest.raises(CheckpointError, match=rf"has no factors for 1 matrices of .*{query}.weight"):
            adapter_changes(rewritten(fewer, {"target_modules": targets}), base)
    assert len(adapter_changes(rewritten(fewer, {"exclude_modules": query}), base)) == 3


def test_a_base_of_another_name_is_noted(adapter, tmp_path):
    base = saved_base(tmp_path / "base.safetensors")
    assert adapter_changes(adapter, base).note == ""
    assert adapter_changes(rewritten(adapter, {"base_model_name_or_path": "org/base.safetensors"}), base).note == ""
    noted = adapter_changes(rewritten(adapter, {"base_model_name_or_path": "org/bert"}), base).note
    assert noted == f"the adapter was made for 'org/bert'; W₀ is of {str(base)!r}"


def test_heads_are_excluded_with_a_reason(adapter):
    changes = adapter_changes(adapter)
    assert len(changes) == 4
    assert {reason for _, reason in changes.excluded} == {"no LoRA factor: a trained bias or a saved module"}
    assert any("classifier" in name for name, _ in changes.excluded)


def with_magnitudes(tensors):
    norms = {k.replace("B.weight", "magnitude_vector"): t[:, 0].clone() for k, t in tensors.items() if "lora_B" in k}
    return tensors | norms


def test_what_is_not_low_rank_addition_is_refused(adapter):
    with pytest.raises(ValueError, match=r"is not W \+ s·B·A .*'pissa'"):
        adapter_changes(rewritten(adapter, {"init_lora_weights": "pissa"}))
    with pytest.raises(ValueError, match="is a DoRA adapter: its ΔW depends on W₀"):
        adapter_changes(rewritten(adapter, {"init_lora_weights": True, "use_dora": True}, with_magnitudes))
    with pytest.raises(ValueError, match=r"'pissa_niter_4' changed W₀ before training, in a way that the files do not"):
        adapter_changes(rewritten(adapter, {"init_lora_weights": "pissa_niter_4", "use_dora": False}))
    with pytest.raises(ValueError, match="peft_type 'IA3'"):
        adapter_changes(rewritten(adapter, {"peft_type": "IA3"}))


def test_broken_adapters_are_refused(adapter, tmp_path):
    first = next(k for k in load_file(adapter / "adapter_model.safetensors") if k.endswith("query.lora_A.weight"))

    def without(tensors):
        return {k: v for k, v in tensors.items() if k != first}

    def wide(tensors):
        return tensors | {first: torch.ones(5, 16)}

    def nan(tensors):
        tensors[first][1, 3] = float("nan")
        return tensors

    whole = load_file(adapter / "adapter_model.safetensors")
    for change, message in (
        (without, r"has only \['B'\]; a factor is missing"),
        (wide, r"has A \(5, 16\) and B \(16, 2\), but its rank is 2"),
        (nan, r"query.lora_A.weight' holds nan at index \(1, 3\)"),
        (lambda tensors: {"x": torch.ones(1)}, r"holds no LoRA factors; its keys are e.g. \['x'\]"),
    ):
        save_file(whole, adapter / "adapter_model.safetensors")
        with pytest.raises(ValueError, match=message):
            adapter_changes(rewritten(adapter, tensors=change))
    with pytest.raises(FileNotFoundError, match=r"neither a folder nor an adapter|has no adapter_config.json"):
        adapter_changes(tmp_path)


def test_another_base_is_refused(adapter, tmp_path):
    plm = tiny_plm("bert")
    parameters = {name: p.detach().contiguous() for name, p in plm.parameters.items()}
    name = "bert.encoder.layer.0.attention.self.query.weight"
    save_file({n: p for n, p in parameters.items() if n != name}, tmp_path / "lacking.safetensors")
    with pytest.raises(CheckpointError, match=r"has no 'bert.encoder.layer.0.attention.self.query.weight'"):
        adapter_changes(adapter, tmp_path / "lacking.safetensors")
    save_file(parameters | {name: torch.ones(16, 9)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"has shape \(16, 9\) .* made for another base"):
        list(adapter_changes(adapter, tmp_path / "other.safetensors"))
