"""``deltalab collection`` on folders: shares beside nulls, the verdict, compression, one sentence for misuse."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from lab.cli import app
from lab.deltas import LoRA, load_adapter, save_adapter
from lab.geometry.collections import mode_subspaces, read_collection, read_compressed
from lab.models.tiny import tiny_plm

PLM = tiny_plm("bert")


def collection(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["collection", *map(str, arguments)])


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, list[Path]]:
    """A base, and eight adapters: a common change, two shared directions, and each its own noise."""
    root = tmp_path_factory.mktemp("collection")
    base = root / "base"
    base.mkdir()
    save_file({n: p.detach().float().contiguous() for n, p in PLM.parameters.items()}, base / "model.safetensors")
    (base / "config.json").write_text(json.dumps({"model_type": "bert"}))
    delta = LoRA(rank=4, head="frozen").on(PLM, seed=0)
    parts = delta.layout.unflatten(delta.phi0.clone())
    generator = torch.Generator().manual_seed(0)

    def noise(like):
        return torch.randn(like.shape, generator=generator, dtype=like.dtype)

    A = {name: noise(part) for name, part in parts.items()}
    paths = []
    for i in range(8):
        own = {}
        for name, part in A.items():
            if name.endswith("lora_A"):
                own[name] = part.clone()
                own[name][3] = noise(part)[3]
            else:
                # column 0 is shared by all, 1 and 2 in a strength of each member's own, 3 is noise
                weights = torch.tensor([2.0, *(4 * noise(torch.zeros(2))).tolist(), 0.3])
                own[name] = part * weights
                own[name][:, 3] = 0.3 * noise(part)[:, 3]
        paths.append(save_adapter(delta, delta.layout.flatten(own), root / f"task{i}"))
    return base, paths


def test_shares_stand_beside_nulls_and_the_verdict_counts(folders, tmp_path):
    base, paths = folders
    done = collection(*paths, "--base", base, "--out", tmp_path / "out", "--formats", "html,csv")
    assert done.exit_code == 0, done.output
    verdicts = [line for line in done.stdout.splitlines() if line.startswith("shared beyond chance")]
    assert len(verdicts) == 3
    assert "of 7 directions, the mean too (null: same spectra, 19 draws, level 0.05)" in verdicts[0]
    assert int(verdicts[0].split(":")[1].split(" of ")[0]) >= 2
    shares = pd.read_csv(tmp_path / "out" / "shares.csv")
    assert set(shares["null"]) == {"same spectra", "same spaces, random cores", "directions of W₀"}
    own = shares[shares["null"] == "same spectra"].set_index("k")
    assert own.loc[3, "isotropic"] == pytest.approx(3 / 7)
    assert own.loc[7 - 1, "explained"] > own.loc[3, "explained"] > 0.5
    for name in ("shared_directions", "left_out_tasks", "task_map"):
        assert (tmp_path / "out" / f"{name}.html").is_file()
    members = pd.read_csv(tmp_path / "out" / "members.csv")
    assert list(members["member"]) == [path.name for path in paths]
    assert (members["explained"] > members["mean_only"]).all()
    assert members["key"].nunique() == 8
    assert set(members["model"]) == {str(base)}
    for table in ("members", "shares"):
        meanings = pd.read_csv(tmp_path / "out" / f"{table}.columns.csv", keep_default_na=False)
        assert list(meanings["column"]) == list(pd.read_csv(tmp_path / "out" / f"{table}.csv"))
        assert (meanings[["type", "unit", "meaning"]] != "").all().all()


def test_a_list_names_tasks_types_and_seeds(folders, tmp_path):
    _, paths = folders
    rows = [f"{path},task {i // 2},{'even' if i < 4 else 'odd'},{i % 2}" for i, path in enumerate(paths)]
    listing = tmp_path / "adapters.csv"
    listing.write_text("# folder,task,type,seed\n" + "\n".join(rows) + "\n")
    for unit in ("task", "type", "seed"):
        done = collection(listing, "--unit", unit)
        assert done.exit_code == 0, done.output
    assert "even" in done.stdout
    listing.write_text("\ufeffFolder,Task,Type,Seed\n" + "\n".join(rows) + "\n")
    assert "even" in collection(listing, "--unit", "type").stdout
    bad = tmp_path / "bad.csv"
    bad.write_text(f"{paths[0]},a,b,first\n")
    refused = collection(bad, *paths[1:])
    assert refused.exit_code == 2
    assert "folder,task,type,seed with a whole seed" in refused.stderr


@pytest.mark.parametrize("line", ["{},a,b,1,more", ",a,b,1", '"{},a,b,1', "{},a,b,--1", "{},a,b,\u00b2", "{},a,b,1.0"])
def test_a_line_that_means_nothing_is_named(folders, tmp_path, line):
    _, paths = folders
    file = tmp_path / "adapters.csv"
    file.write_text(f"# mine\n\n{line.format(paths[0])}\n{paths[1]},a,b,1\n")
    done = collection(file, *paths[2:])
    assert done.exit_code == 2
    assert f"{file}, line 3: a line of a list is folder,task,type,seed with a whole seed; got" in done.stderr


def test_a_file_that_is_no_list_is_named(folders, tmp_path):
    _, paths = folders
    file = tmp_path / "adapters.csv"
    file.write_bytes(b"\xff\xfe")
    done = collection(file, *paths)
    assert done.exit_code == 2
    assert f"{file} is not UTF-8 text, so it is no list of adapters" in done.stderr


def test_compress_writes_a_subspace_and_adapters_that_come_back(folders, tmp_path):
    _, paths = folders
    out = tmp_path / "out"
    done = collection(*paths, "--compress", 4, "--out", out, "--formats", "csv")
    assert done.exit_code == 0, done.output
    table = pd.read_csv(out / "compressed.csv")
    assert list(pd.read_csv(out / "compressed.columns.csv")["column"]) == list(table)
    truth = read_collection({path.name: path for path in paths})
    modes = mode_subspaces(truth, 4)
    norms = (modes.energies.sum(axis=0)) ** 0.5
    assert table["relative_error"].to_numpy() == pytest.approx(modes.errors / norms, rel=1e-4)
    assert (table["round_trip"] < 1e-6).all()
    stored = read_compressed(out)
    described = json.loads((out / "subspace.json").read_text())
    assert described["error_bound"] >= float((modes.errors**2).sum()) ** 0.5 * (1 - 1e-9)
    batch = {"input_ids": torch.arange(12).reshape(2, 6), "attention_mask": torch.ones(2, 6, dtype=torch.int64)}
    for i, row in enumerate(table.itertuples()):
        delta, phi = load_adapter(PLM, row.adapter)
        changes = delta.weight_difference(phi)
        assert delta.logits(phi, batch).isfinite().all()
        for name in stored.names:
            torch.testing.assert_close(
                changes[name].to_dense().double(), stored.change(i, name).to_dense(), rtol=1e-5, atol=1e-5
            )
    again = collection(*paths, "--compress", 4, "--out", out)
    assert again.exit_code == 2
    assert "exists already" in again.stderr
    (out / "subspace.json").write_text("{}")
    with pytest.raises(ValueError, match="does not say 'deltalab subspace 1'"):
        read_compressed(out)
    (out / "subspace.json").write_text("{")
    with pytest.raises(ValueError, match="is no valid JSON"):
        read_compressed(out)
    (out / "subspace.json").write_text(json.dumps({**described, "members": [3]}))
    with pytest.raises(ValueError, match="lacks members or shapes"):
        read_compressed(out)
    (out / "subspace.json").write_text(json.dumps(described))
    (out / "subspace.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="cannot be read"):
        read_compressed(out).change(0, stored.names[0])
    (out / "subspace.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no subspace\.safetensors"):
        read_compressed(out)


def test_misuse_is_one_sentence(folders, tmp_path):
    base, paths = folders
    for arguments, words in (
        ([*paths, "--compress", "2"], "say where: --out FOLDER"),
        ([*paths, "--inputs", "bbc-news"], "say which: --base MODEL"),
        (paths[:2], "a collection of 2 says nothing about sharing"),
        ([*paths, paths[0]], "the same folder is named twice"),
        ([*paths, "--unit", "type"], "leaving types out needs the type of every member"),
        ([*paths, "--unit", "block"], "unit must be one of"),
        ([*paths, tmp_path / "nowhere"], "nowhere"),
    ):
        done = collection(*arguments)
        assert done.exit_code == 2, done.output
        assert words in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
    assert base.is_dir()
