"""Two folders compared: names, orientation, and a clear refusal of everything that would give a wrong number."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from lab.checkpoints import CheckpointError
from lab.checkpoints.names import aligned
from lab.geometry import change_spectra, folder_changes, open_weights
from lab.models.positions import positions


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


QUERY = "encoder.layer.0.attention.self.query.weight"
DOWN = "encoder.layer.1.output.dense.weight"
BASE = {
    QUERY: gaussian(6, 6),
    DOWN: gaussian(6, 8, seed=1),
    "encoder.layer.1.output.dense.bias": gaussian(6, seed=2),
    "embeddings.word_embeddings.weight": gaussian(20, 6, seed=3),
    "pooler.dense.weight": gaussian(6, 6, seed=4),
}


def folder(path: Path, tensors: dict[str, torch.Tensor], config: dict | None = None) -> Path:
    path.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps(config or {"model_type": "bert"}))
    return path


def tuned(prefix: str = "bert.", **changes: torch.Tensor) -> dict[str, torch.Tensor]:
    tensors = {prefix + name: t + 0.01 * gaussian(*t.shape, seed=9) for name, t in BASE.items() if "pooler" not in name}
    tensors["classifier.weight"] = gaussian(2, 6)
    return tensors | {prefix + name.replace("__", "."): value for name, value in changes.items()}


def test_differences_are_exact_and_named(tmp_path):
    changes = folder_changes(folder(tmp_path / "base", BASE), folder(tmp_path / "tuned", tuned()))
    assert changes.names == ("bert.embeddings.word_embeddings.weight", "bert." + QUERY, "bert." + DOWN)
    for change in changes:
        W0 = BASE[change.name.removeprefix("bert.")].double()
        assert torch.equal(change.base, W0)
        assert torch.equal(change.difference, tuned()[change.name].double() - W0)
        assert change.storage == "float32"
    assert [(c.role, c.block) for c in changes] == [("embedding", None), ("query", 0), ("down", 1)]
    reasons = dict(changes.excluded)
    assert reasons["pooler.dense.weight"] == "only in the base"
    assert reasons["classifier.weight"] == "only in the tuned model"
    assert reasons["bert.encoder.layer.1.output.dense.bias"] == "no matrix: shape (6,)"
    summary = change_spectra(changes).summary
    assert summary["relative_frobenius_norm"].between(0.005, 0.02).all()
    assert (summary["storage_noise"] < 0.01 * summary["spectral_norm"]).all()


def test_the_same_weights_differ_by_nothing(tmp_path):
    base = folder(tmp_path / "base", BASE)
    assert not change_spectra(folder_changes(base, base)).values["sigma"].any()
    assert not change_spectra(folder_changes(base / "model.safetensors", base)).summary["rank"].any()


def test_prefixes_either_way(tmp_path):
    with_prefix = {f"bert.{name}": tensor for name, tensor in BASE.items()}
    base = folder(tmp_path / "base", with_prefix)
    changes = folder_changes(base, folder(tmp_path / "tuned", BASE))
    assert QUERY in changes.names
    assert not change_spectra(changes).values["sigma"].any()


def test_gpt2_is_turned_to_outputs_by_inputs(tmp_path):
    name = "transformer.h.0.attn.c_attn.weight"
    base = folder(tmp_path / "base", {name: gaussian(4, 12)}, {"model_type": "gpt2"})
    after = folder(tmp_path / "tuned", {name: gaussian(4, 12) + 1}, {"model_type": "gpt2"})
    (change,) = folder_changes(base, after)
    assert tuple(change.difference.shape) == (12, 4)
    assert change.role == "qkv"


def test_positions_of_every_family():
    t5 = ["encoder.block.0.layer.0.SelfAttention.q.weight", "encoder.block.1.layer.1.DenseReluDense.wi_0.weight"]
    t5 += [
        "decoder.block.1.layer.1.EncDecAttention.v.weight",
        "shared.weight",
        "decoder.block.0.layer.2.DenseReluDense.wi.weight",
    ]
    at = positions(t5)
    assert [(at[n].role, at[n].block) for n in t5] == [
        ("query", 0),
        ("gate", 1),
        ("cross_value", 3),
        ("embedding", None),
        ("up", 2),
    ]
    llama = positions(["model.layers.11.mlp.gate_proj.weight", "model.norm.weight"])
    assert [(p.role, p.block) for p in llama.values()] == [("gate", 11), ("other", None)]


def test_alignment_prefers_the_prefix_with_most_matches():
    pairs, only_base, only_tuned = aligned(["a.w", "b.w", "c"], ["m.a.w", "m.b.w", "c", "m.new"])
    assert pairs == {"m.a.w": "a.w", "m.b.w": "b.w"}
    assert only_base == ["c"]
    assert only_tuned == ["c", "m.new"]


def test_sharded_folders(tmp_path):
    base, shards = folder(tmp_path / "base", BASE), tmp_path / "shards"
    shards.mkdir()
    names = list(BASE)
    weight_map = {}
    for i, part in enumerate((names[:2], names[2:])):
        save_file({name: BASE[name] for name in part}, shards / f"{i}.safetensors")
        weight_map |= dict.fromkeys(part, f"{i}.safetensors")
    (shards / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert set(open_weights(shards).files) == set(BASE)
    assert not change_spectra(folder_changes(base, shards)).values["sigma"].any()
    save_file({QUERY: BASE[QUERY]}, shards / "1.safetensors")
    with pytest.raises(
        CheckpointError, match=r"tensor '.*query.weight' is in both .*0.safetensors and .*1.safetensors"
    ):
        open_weights(shards)


def test_renamed_missing_and_reshaped_matrices_are_refused(tmp_path):
    base = folder(tmp_path / "base", BASE)
    renamed = {name.replace(".query.", ".q."): t for name, t in tuned().items()}
    with pytest.raises(
        CheckpointError, match=r"1 matrices are only in the base .*query.weight.*missing from .*renamed"
    ):
        folder_changes(base, folder(tmp_path / "renamed", renamed))
    with pytest.raises(CheckpointError, match=r"allow_missing is '\(\(', no regular expression: missing \)"):
        folder_changes(base, tmp_path / "renamed", allow_missing="((")
    allowed = folder_changes(base, tmp_path / "renamed", allow_missing=r"\.(query|q)\.")
    assert f"bert.{DOWN}" in allowed.names
    reshaped = tuned(encoder__layer__1__output__dense__weight=gaussian(6, 9))
    with pytest.raises(CheckpointError, match=r"dense.weight' has shape \(6, 9\), but \(6, 8\) in .*another base"):
        folder_changes(base, folder(tmp_path / "reshaped", reshaped))
    with pytest.raises(CheckpointError, match="share no tensor name"):
        folder_changes(base, folder(tmp_path / "other", {"x.y": gaussian(2, 2)}))
    with pytest.raises(CheckpointError, match=r"there is no .*nowhere"):
        folder_changes(base, tmp_path / "nowhere")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_names_file_tensor_and_index(tmp_path, value):
    base = folder(tmp_path / "base", BASE)
    bad = tuned()
    bad[f"bert.{DOWN}"][3, 5] = value
    changes = folder_changes(base, folder(tmp_path / "tuned", bad))
    with pytest.raises(
        CheckpointError, match=rf"model.safetensors: tensor 'bert.{DOWN}' holds {value} at index \(3, 5\)"
    ):
        change_spectra(changes)


def test_a_vector_that_is_not_finite_is_refused(tmp_path):
    base, bad = folder(tmp_path / "base", BASE), tuned()
    bad["bert.encoder.layer.1.output.dense.bias"][4] = float("nan")
    with pytest.raises(
        CheckpointError, match=r"model.safetensors: tensor 'bert.*dense.bias' holds nan at index \(4,\)"
    ):
        folder_changes(base, folder(tmp_path / "tuned", bad))


def test_two_models_are_not_one(tmp_path):
    base = folder(tmp_path / "base", BASE)
    with pytest.raises(CheckpointError, match=r"base/config.json is of model type 'bert', .*of 'roberta'"):
        folder_changes(base, folder(tmp_path / "other", tuned(), {"model_type": "roberta"}))
    one, another = (folder(tmp_path / f"seed {s}", {QUERY: gaussian(64, 64, seed=s)}) for s in (0, 1))
    assert "near √2: these look like two unrelated models" in change_spectra(folder_changes(one, another)).note
    assert change_spectra(folder_changes(base, folder(tmp_path / "tuned", tuned()))).note == ""
    assert change_spectra(folder_changes(base, base)).note.startswith("every ΔW is 0: the tuned weights are the base's")


def test_quantised_weights_are_refused(tmp_path):
    base = folder(tmp_path / "base", BASE)
    config = {"model_type": "bert", "quantization_config": {"quant_method": "gptq"}}
    with pytest.raises(CheckpointError, match="quantised by 'gptq'"):
        folder_changes(base, folder(tmp_path / "gptq", tuned(), config))
    integers = tuned(encoder__layer__1__output__dense__weight=torch.ones(6, 8, dtype=torch.uint8))
    with pytest.raises(CheckpointError, match="is stored as U8, not as floating point"):
        folder_changes(base, folder(tmp_path / "u8", integers))
    (tmp_path / "u8" / "config.json").write_text("{not json")
    with pytest.raises(CheckpointError, match=r"config\.json is not readable JSON"):
        open_weights(tmp_path / "u8")


def test_half_precision_is_compared_exactly(tmp_path):
    half = {name: tensor.bfloat16() for name, tensor in BASE.items()}
    changes = folder_changes(folder(tmp_path / "base", BASE), folder(tmp_path / "half", half))
    change = changes.read(QUERY)
    assert change.storage == "bfloat16"
    assert torch.equal(change.difference, half[QUERY].double() - BASE[QUERY].double())
    row = change_spectra([change]).summary.iloc[0]
    assert row["spectral_norm"] < 1.5 * row["storage_noise"]


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_files_are_refused_or_read_right(tmp_path, data):
    """Bytes flipped or cut anywhere: an error of ours, or the very numbers that the bytes say; never a crash."""
    good = tmp_path / "good.safetensors"
    if not good.exists():
        save_file(BASE, good)
    content = bytearray(good.read_bytes())
    cut = data.draw(st.integers(0, len(content)))
    if data.draw(st.booleans()):
        content = content[:cut]
    else:
        header = 8 + int.from_bytes(content[:8], "little")
        content[data.draw(st.integers(0, header - 1))] ^= data.draw(st.integers(1, 255))
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(bytes(content))
    try:
        change_spectra(folder_changes(good, bad))
        message = ""
    except CheckpointError as error:
        message = str(error)
    if message:
        assert "bad.safetensors" in message
    else:
        values = np.concatenate(
            [open_weights(bad).tensor(n).flatten().double() for n in sorted(open_weights(bad).files)]
        )
        assert np.isfinite(values).all()


def test_buffers_on_one_side_or_both_are_left_out_with_a_word(tmp_path):
    ids = {"embeddings.position_ids": torch.arange(8)[None], "bert.embeddings.position_ids": torch.arange(8)[None]}
    plain, old = (
        folder(tmp_path / "base", BASE),
        folder(tmp_path / "old", BASE | {"embeddings.position_ids": ids["embeddings.position_ids"]}),
    )
    changed = folder(tmp_path / "tuned", tuned())
    changed_old = folder(
        tmp_path / "tuned old", tuned() | {"bert.embeddings.position_ids": ids["bert.embeddings.position_ids"]}
    )
    wanted = folder_changes(plain, changed)
    for base, other in ((old, changed), (plain, changed_old), (old, changed_old)):
        found = folder_changes(base, other)
        assert found.names == wanted.names
        assert {reason for name, reason in found.excluded if "position_ids" in name} == {"buffer: no weight"}


def test_codes_among_the_vectors_are_refused(tmp_path):
    base = folder(tmp_path / "base", BASE)
    coded = tuned(encoder__layer__1__output__dense__bias=torch.ones(6, dtype=torch.int8))
    with pytest.raises(CheckpointError, match=r"dense.bias' is stored as I8, not as floating point"):
        folder_changes(base, folder(tmp_path / "coded", coded))


def test_matrices_of_unlisted_families_have_their_block():
    opt = [f"model.decoder.layers.{i}.{part}.weight" for i in (0, 1) for part in ("self_attn.out_proj", "fc1")]
    at = positions([*opt, "model.decoder.embed_positions.weight", "lm_head.weight", "classifier.0.weight"])
    assert [(at[name].role, at[name].block) for name in opt] == [("output", 0), ("up", 0), ("output", 1), ("up", 1)]
    assert not any(place.known for place in at.values())
    assert {at[name].block for name in at if name not in opt} == {None}
    bart = [f"model.{side}.layers.{i}.fc1.weight" for side in ("encoder", "decoder") for i in (0, 1)]
    assert [place.block for place in positions(bart).values()] == [0, 1, 2, 3]
    assert (
        positions(["decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]).popitem()[1].block is None
    )


def test_the_common_rows_of_a_resized_vocabulary_are_compared(tmp_path):
    name = "embeddings.word_embeddings.weight"
    longer = torch.cat([BASE[name] + 1, gaussian(4, 6, seed=7)])
    base = folder(tmp_path / "base", BASE)
    for path, tensor, reason in (
        ("longer", longer, "rows 20 to 23: only in the tuned model, a vocabulary of another size"),
        ("shorter", BASE[name][:15] + 1, "rows 15 to 19: only in the base, a vocabulary of another size"),
    ):
        changes = folder_changes(base, folder(tmp_path / path, BASE | {name: tensor}))
        rows = min(len(tensor), len(BASE[name]))
        difference = changes.read(name).difference
        assert tuple(difference.shape) == (rows, 6)
        torch.testing.assert_close(difference, torch.ones(rows, 6, dtype=torch.float64), rtol=0, atol=1e-6)
        assert dict(changes.excluded)[name] == reason
    with pytest.raises(CheckpointError, match=r"has shape \(20, 7\), but \(20, 6\) in .*another base"):
        folder_changes(base, folder(tmp_path / "wider", BASE | {name: gaussian(20, 7)}))


def test_very_many_tensors_are_refused_at_once(tmp_path):
    path = tmp_path / "many.safetensors"
    save_file({f"t{i}.weight": torch.ones(1, 1) for i in range(20_000)}, path)
    start = time.perf_counter()
    with pytest.raises(CheckpointError, match=r"many.safetensors holds 20,000 tensors; at most 10,000 in a file"):
        open_weights(path)
    aligned([f"t{i}.weight" for i in range(20_000)], [f"u{i}.weight" for i in range(20_000)])
    assert time.perf_counter() - start < 10


def test_a_home_that_nobody_has_is_no_crash():
    with pytest.raises(CheckpointError, match=r"there is no ~nosuchuser/x"):
        open_weights("~nosuchuser/x")


def test_adapter_layers_that_are_not_merged_are_named(tmp_path):
    base = folder(tmp_path / "base", BASE)
    layers = {name.replace(".weight", ".base_layer.weight"): t for name, t in BASE.items() if name == QUERY}
    layers |= {QUERY.replace(".weight", ".lora_A.default.weight"): gaussian(2, 6)}
    unmerged = folder(tmp_path / "tuned", {n: t for n, t in BASE.items() if n != QUERY} | layers)
    with pytest.raises(CheckpointError, match=r"a model with adapter layers in it .*base_layer.*merge_and_unload"):
        folder_changes(base, unmerged)
