"""Collections from adapter folders and tuned checkpoints: lazy, checked at the door, written back as adapters."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from lab.deltas import LoRA, load_adapter, save_adapter
from lab.geometry import adapter_changes
from lab.geometry.collections import (
    Member,
    base_matrices,
    from_phis,
    gram,
    mode_subspaces,
    read_collection,
    task_subspace,
    write_adapter,
)
from lab.linalg import LowRank
from lab.models.tiny import tiny_plm

BATCH = {"input_ids": torch.arange(12).reshape(2, 6), "attention_mask": torch.ones(2, 6, dtype=torch.int64)}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Four adapters of different ranks and scalings on disk, with their deltas; and the base."""
    folder, plm = tmp_path_factory.mktemp("adapters"), tiny_plm("bert", seed=0)
    (folder / "base").mkdir()
    save_file({n: p.detach().clone() for n, p in plm.parameters.items()}, folder / "base" / "model.safetensors")
    paths, solutions = {}, {}
    for i in range(4):
        delta = LoRA(rank=2 + i % 2, alpha=3, rslora=i == 3, head="frozen").on(plm, seed=i)
        phi = torch.randn(delta.size, generator=torch.Generator().manual_seed(i), dtype=plm.dtype)
        paths[f"t{i}"] = save_adapter(delta, phi, folder / f"t{i}")
        solutions[f"t{i}"] = (delta, phi)
    return folder, plm, paths, solutions


def copied(source, target, *, config=None, tensors=None):
    target.mkdir()
    old = json.loads((source / "adapter_config.json").read_text())
    (target / "adapter_config.json").write_text(json.dumps({**old, **(config or {})}))
    save_file(tensors or load_file(source / "adapter_model.safetensors"), target / "adapter_model.safetensors")
    return target


def test_folders_hold_what_the_deltas_changed(made):
    folder, _, paths, solutions = made
    for base in (None, folder / "base"):
        collection = read_collection(paths, base)
        truth = from_phis(solutions)
        assert gram(collection).total == pytest.approx(gram(truth).total, rel=1e-6)
    for i, path in enumerate(paths.values()):
        for change in adapter_changes(path):
            assert torch.equal(change.difference.to_dense(), read_collection(paths).change(i, change.name).to_dense())


def test_nothing_but_headers_is_read_at_the_door(made, tmp_path):
    _, _, paths, _ = made
    tensors = load_file(paths["t0"] / "adapter_model.safetensors")
    name = next(iter(tensors))
    tensors[name][0, 0] = float("inf")
    damaged = copied(paths["t0"], tmp_path / "damaged", tensors=tensors)
    collection = read_collection({"good": paths["t0"], "bad": damaged})
    with pytest.raises(ValueError, match=r"tensor .*lora_A.weight' holds inf at index"):
        gram(collection)


def test_all_coordinates_give_adapters_with_the_members_logits(made, tmp_path):
    _, plm, paths, solutions = made
    rebuilt = task_subspace(read_collection(paths)).reconstruction()
    for i, name in enumerate(paths):
        written = write_adapter(rebuilt, i, tmp_path / name)
        delta, phi = load_adapter(plm, written.folder)
        expected = solutions[name][0].logits(solutions[name][1], BATCH)
        torch.testing.assert_close(delta.logits(phi, BATCH), expected, rtol=1e-5, atol=1e-5)
        assert written.rank <= 10  # the sum of the members' ranks
    again = read_collection({name: tmp_path / name for name in paths})
    assert gram(again).total == pytest.approx(gram(read_collection(paths)).total, rel=1e-5, abs=1e-5)


def test_the_mean_is_written_and_a_rank_is_cut_at_its_price(made, tmp_path):
    _, _, paths, _ = made
    collection = read_collection(paths)
    mean = task_subspace(collection, 0).reconstruction()
    cut = write_adapter(mean, 0, tmp_path / "cut", rank=1)
    whole = write_adapter(mean, 0, tmp_path / "whole")
    assert cut.rank == 1
    assert cut.size < whole.size
    assert whole.relative_error == 0
    own, less = adapter_changes(tmp_path / "whole"), adapter_changes(tmp_path / "cut")
    left = sum(
        float((own.read(n).difference.to_dense() - less.read(n).difference.to_dense()).square().sum())
        for n in own.names
    )
    total = sum(float(own.read(n).difference.to_dense().square().sum()) for n in own.names)
    assert cut.relative_error == pytest.approx((left / total) ** 0.5, rel=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_peft_reads_what_was_rebuilt(made, tmp_path):
    peft = pytest.importorskip("peft")
    import copy

    _, plm, paths, _ = made
    rebuilt = mode_subspaces(read_collection(paths), 4).reconstruction()
    write_adapter(rebuilt, 1, tmp_path / "t1")
    model = peft.PeftModel.from_pretrained(copy.deepcopy(plm.model), tmp_path / "t1")
    for name in rebuilt.names:
        theirs = model.base_model.model.get_submodule(name.removesuffix(".weight")).get_delta_weight("default")
        torch.testing.assert_close(theirs.detach().double(), rebuilt.change(1, name).to_dense(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_tuned_checkpoints_beside_their_base(family, tmp_path):
    plm = tiny_plm(family, seed=0)
    own = {n: p.detach().clone().contiguous() for n, p in plm.parameters.items()}
    label = next(m for m in plm.matrices(("output",)))
    paths = {}
    for i in range(3):
        generator = torch.Generator().manual_seed(i)
        moved = {
            n: p + (0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype) if n == label.name else 0)
            for n, p in own.items()
        }
        for name, tensors in (("base", own), (f"t{i}", moved)):
            (tmp_path / name).mkdir(exist_ok=True)
            save_file(tensors, tmp_path / name / "model.safetensors")
        paths[f"t{i}"] = tmp_path / f"t{i}"
    collection = read_collection(paths, tmp_path / "base")
    changes = [
        load_file(path / "model.safetensors")[label.name].double() - own[label.name].double() for path in paths.values()
    ]
    X = torch.stack([c.reshape(-1) for c in changes])
    assert gram(collection).total == pytest.approx((X @ X.T).numpy(), rel=1e-10)
    W0 = base_matrices(collection, tmp_path / "base")(label.name)
    assert torch.equal(W0, label.of(own[label.name]).double())
    assert collection.shapes[label.name] == label.shape


@pytest.mark.filterwarnings("ignore")
def test_a_dora_adapter_is_merged_into_the_base(made, tmp_path):
    import copy

    peft = pytest.importorskip("peft")
    folder, plm, paths, _ = made
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = peft.get_peft_model(
            copy.deepcopy(plm.model), peft.LoraConfig(r=2, target_modules=["query", "value"], use_dora=True)
        )
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.data += 0.3 * torch.randn_like(p)
    model.save_pretrained(tmp_path / "dora")
    collection = read_collection({"lora": paths["t0"], "dora": tmp_path / "dora"}, folder / "base")
    for name in collection.names:
        truth = adapter_changes(tmp_path / "dora", folder / "base").read(name).difference
        assert torch.equal(collection.change(1, name), truth)
    assert isinstance(collection.change(0, collection.names[0]), LowRank)


def test_who_does_not_fit_is_named(made, tmp_path):
    folder, _, paths, _ = made
    source = paths["t0"]
    two = {
        "one": copied(source, tmp_path / "one", config={"base_model_name_or_path": "org/first"}),
        "two": copied(source, tmp_path / "two", config={"base_model_name_or_path": "org/second"}),
    }
    with pytest.raises(ValueError, match="'one' was made for 'org/first', 'two' for 'org/second'"):
        read_collection(two)
    tensors = load_file(source / "adapter_model.safetensors")
    fewer = {key: t for key, t in tensors.items() if "layer.0" in key}
    part = copied(source, tmp_path / "part", tensors=fewer)
    with pytest.raises(ValueError, match="member 'part' changes 2 matrices, 't0' 4"):
        read_collection({"t0": source, "part": part})
    wide = {key: torch.cat([t, t], dim=1) if "lora_A" in key else t for key, t in tensors.items()}
    other = copied(source, tmp_path / "wide", tensors=wide)
    with pytest.raises(ValueError, match=r"member 'wide': matrix .* has shape \(16, 32\), and \(16, 16\) in 't0'"):
        read_collection({"t0": source, "wide": other})
    with pytest.raises(ValueError, match=r"member 'wide': matrix .* has shape \(16, 32\), and \(16, 16\) in .*base"):
        read_collection({"wide": other}, folder / "base")
    strange = {key.replace("query", "cue"): t for key, t in tensors.items()}
    named = copied(source, tmp_path / "named", tensors=strange, config={"target_modules": ["cue", "value"]})
    with pytest.raises(ValueError, match=r"member 'named' changes .*cue.*it was trained on another PLM"):
        read_collection({"named": named}, folder / "base")
    (tmp_path / "one" / "adapter_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"one/adapter_model\.safetensors"):
        read_collection(two)
    codes = {key: t.to(torch.int8) for key, t in tensors.items()}
    with pytest.raises(ValueError, match="is stored as I8, not as floating point"):
        read_collection({"codes": copied(source, tmp_path / "codes", tensors=codes)})
    with pytest.raises(ValueError, match="it is not the PLM of this collection"):
        base_matrices(from_phis({"gpt2": _gpt2()}), folder / "base")


def _gpt2():
    plm = tiny_plm("gpt2", seed=0)
    delta = LoRA(rank=2, targets=("query",), head="frozen").on(plm, seed=0)
    return delta, torch.ones(delta.size, dtype=plm.dtype)


def test_what_has_no_adapter_is_not_written(made, tmp_path):
    _, _, paths, _ = made
    with pytest.raises(ValueError, match="peft updates whole weights"):
        write_adapter(from_phis({"gpt2": _gpt2()}), 0, tmp_path / "gpt2")
    collection = read_collection(paths)
    zero = task_subspace(collection, 0, centre=False).reconstruction()
    with pytest.raises(ValueError, match="member 't0' is zero"):
        write_adapter(zero, 0, tmp_path / "zero")
    with pytest.raises(FileExistsError):
        write_adapter(collection, 0, paths["t0"])
    assert Member("x").task == ""
