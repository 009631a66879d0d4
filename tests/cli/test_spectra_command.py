"""``deltalab spectra`` on folders: tables, files, a LoRA that peft reads, and one sentence for everything wrong."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner, Result

from lab.cli import app
from lab.deltas import LoRA, load_adapter, save_adapter
from lab.models.tiny import tiny_plm

PLM = tiny_plm("bert")
QUERY = "bert.encoder.layer.1.attention.self.query.weight"


def spectra(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["spectra", *map(str, arguments)])


def model(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    path.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    return path


@pytest.fixture
def folders(tmp_path):
    """A base, a tuned model whose query of block 1 moved along two directions, an adapter."""
    weights = {name: p.detach().float() for name, p in PLM.parameters.items()}
    generator = torch.Generator().manual_seed(0)
    U, V = (torch.linalg.qr(torch.randn(16, 2, generator=generator))[0] for _ in range(2))
    moved = weights | {QUERY: weights[QUERY] + U @ torch.diag(torch.tensor([0.5, 0.25])) @ V.T}
    delta = LoRA(rank=2).on(PLM, seed=0)
    phi = torch.randn(delta.size, generator=generator, dtype=torch.float64)
    base, tuned = model(tmp_path / "base", weights), model(tmp_path / "tuned", moved)
    return base, tuned, save_adapter(delta, phi, tmp_path / "adapter")


def test_tables_of_a_tuned_model(folders):
    base, tuned, _ = folders
    done = spectra(base, tuned)
    assert done.exit_code == 0, done.output
    row = next(line for line in done.stdout.splitlines() if "block 1 query" in line)
    assert "0.559" in row  # √(½² + ¼²)
    assert "medians per role" in done.stdout
    assert "left out, no matrix" in done.stdout
    assert "medians per block" in spectra(base, tuned, "--by", "block").stdout


def test_an_adapter_with_and_without_its_base(folders):
    base, _, adapter = folders
    with_base, without = spectra(base, adapter), spectra("-", adapter)
    assert with_base.exit_code == without.exit_code == 0, with_base.output + without.output
    assert "‖ΔW‖F/‖W0‖F" in with_base.stdout
    assert "‖ΔW‖F/‖W0‖F" not in without.stdout
    assert "left out, no LoRA factor" in without.stdout


def test_several_updates_stand_side_by_side(folders):
    base, tuned, adapter = folders
    done = spectra(base, tuned, adapter)
    assert done.exit_code == 0, done.output
    assert {"tuned", "adapter"} <= {line.split("│")[1].strip() for line in done.stdout.splitlines() if "│" in line}


def test_files(folders, tmp_path):
    base, tuned, _ = folders
    done = spectra(base, tuned, "--out", tmp_path / "out", "--formats", "html,csv,tex")
    assert done.exit_code == 0, done.output
    written = {path.name for path in (tmp_path / "out").iterdir()}
    figure = {f"weight_difference_spectra.{suffix}" for suffix in ("html", "csv", "tex", "bib", "caption.tex")}
    assert figure | {"summary.csv", "medians.csv", "medians.tex", "left_out.csv"} <= written
    summary = pd.read_csv(tmp_path / "out" / "summary.csv").set_index("matrix")
    assert summary.loc[QUERY, "spectral_norm"] == pytest.approx(0.5, rel=1e-5)
    assert summary.loc[QUERY, "stable_rank"] == pytest.approx(1.25, rel=1e-5)
    assert r"\toprule" in (tmp_path / "out" / "medians.tex").read_text()


def test_extraction(folders, tmp_path):
    base, tuned, _ = folders
    done = spectra(base, tuned, "--extract", tmp_path / "lora", "--energy", 0.99)
    assert done.exit_code == 0, done.output
    assert re.search(r"1 of \d+ matrices, ranks 0 to 2", done.stdout)
    delta, phi = load_adapter(PLM, tmp_path / "lora")
    (product,) = delta.weight_difference(phi).values()
    truth = load_file(tuned / "model.safetensors")[QUERY] - load_file(base / "model.safetensors")[QUERY]
    torch.testing.assert_close(product.to_dense().float(), truth, atol=1e-6, rtol=1e-5)
    capped = spectra(base, tuned, "--extract", tmp_path / "capped", "--energy", 0.99, "--max-rank", 1)
    assert "ranks 0 to 1" in capped.stdout, capped.output
    again = spectra(base, tuned, "--extract", tmp_path / "lora", "--rank", 1)
    assert (again.exit_code, "exists already" in again.stderr) == (2, True)


def test_a_cast_is_said_to_be_one(folders, tmp_path):
    base, _, _ = folders
    (tmp_path / "cast").mkdir()
    tensors = load_file(base / "model.safetensors")
    tensors = {n: t.to(torch.bfloat16) if t.is_floating_point() else t for n, t in tensors.items()}
    save_file(tensors, tmp_path / "cast" / "model.safetensors")
    done = spectra(base, tmp_path / "cast")
    assert done.exit_code == 0, done.output
    assert re.search(r"note: \d+ of \d+ differences are no larger than what rounding to bfloat16 makes", done.stdout)


def broken(folders, what: str) -> tuple[Path, Path]:
    base, tuned, _ = folders
    file = tuned / "model.safetensors"
    tensors = load_file(file)
    if what == "renamed":
        tensors[QUERY.replace("query", "q")] = tensors.pop(QUERY)
    elif what == "missing":
        del tensors[QUERY]
    elif what == "other shape":
        tensors[QUERY] = torch.ones(16, 17)
    elif what == "nan":
        tensors[QUERY][2, 3] = float("nan")
    if what == "truncated":
        file.write_bytes(file.read_bytes()[:-100])
    elif what == "pickle":
        file.rename(tuned / "pytorch_model.bin")
    else:
        save_file(tensors, file)
    return base, tuned


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("renamed", "1 matrices are only in the base"),
        ("missing", "missing from"),
        ("other shape", "has shape (16, 17), but (16, 16)"),
        ("nan", f"tensor '{QUERY}' holds nan at index (2, 3)"),
        ("truncated", "model.safetensors is damaged or no safetensors file"),
        ("pickle", "deltalab reads safetensors only"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(folders, what, message):
    done = spectra(*broken(folders, what))
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"lora_alpha": "8"}, "lora_alpha is '8' (str); expected a finite number"),
        ({"r": 0}, "r is '0' (int); expected a whole number from 1 on"),
        ({"rank_pattern": {"(": 4}}, "rank_pattern is '('"),
    ],
)
def test_an_option_that_means_nothing_is_said_in_a_sentence(folders, option, message):
    _, _, adapter = folders
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | option))
    done = spectra("-", adapter)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.output


@pytest.mark.filterwarnings("ignore")
def test_an_update_of_norms_alone_has_no_spectrum(tmp_path):
    peft = pytest.importorskip("peft")
    PLM.model.save_pretrained(tmp_path / "base")
    model = peft.get_peft_model(copy.deepcopy(PLM.model), peft.LNTuningConfig(target_modules=["LayerNorm"]))
    for parameter in model.parameters():
        parameter.data += 0.1 if parameter.requires_grad else 0.0
    model.save_pretrained(tmp_path / "norms")
    done = spectra(tmp_path / "base", tmp_path / "norms", "--out", tmp_path / "out")
    assert done.exit_code == 2
    said = " ".join(done.stderr.split())
    assert "norms changes no matrix, so it has no spectrum; left out of it: bert.embeddings.LayerNorm.weight, " in said
    assert said.endswith("more (vector)")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("device", "message"), [("meta", "there are no numbers"), ("", "device is ''"), ("gpu", "cpu")]
)
def test_a_device_that_cannot_count_is_named(folders, device, message):
    base, tuned, _ = folders
    done = spectra(base, tuned, "--device", device)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.output


def test_misuse_is_named(folders, tmp_path, monkeypatch):
    base, tuned, adapter = folders
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for arguments, message in (
        ((base, tuned, "--by", "colour"), "--by is 'colour'; choose role or block"),
        ((base, tuned, tuned), "the same update is named twice"),
        ((base, tuned, adapter, "--extract", tmp_path / "x", "--rank", 1), "--extract writes one LoRA; got 2 updates"),
        ((base, tuned, "--rank", 1), "say where to write it: --extract FOLDER"),
        ((base, tuned, "--extract", tmp_path / "x"), "one choice of its rank: --rank, --energy or --rule; got none"),
        ((base, tuned, "--extract", tmp_path / "x", "--rank", 1, "--rule", "null"), "got --rank 1 and --rule null"),
        ((base, tuned, "--extract", tmp_path / "x", "--rank", -1), "--rank is -1; a LoRA has a rank of at least 1"),
        ((base, tuned, "--extract", tmp_path / "x", "--rank", 0), "--rank is 0; a LoRA has a rank of at least 1"),
        ((base, tuned, "--extract", tmp_path / "x", "--energy", 2), "in (0, 1]; got 2.0"),
        ((base, tuned, "--extract", tmp_path / "x", "--rule", "nul"), "rule must be "),
        ((base, tuned, "--extract", adapter, "--rank", 1), "exists already; remove it or choose another folder"),
        ((base, tuned, "--out", tmp_path / "x", "--formats", "pfd"), "formats are ['pfd']; choose from html"),
        (("-", tuned), "is no adapter: a tuned model needs the base"),
        ((tmp_path / "nowhere", tuned), "there is no"),
        (("minilm", tuned), "matrices are only in the base"),
    ):
        done = spectra(*arguments)
        assert (done.exit_code, message in done.stderr) == (2, True), done.output
        assert not done.stdout  # nothing was computed before


def test_names_are_shown_as_they_are(tmp_path):
    """Markup and escape sequences in the names of tensors are no commands to the terminal."""
    names = ("[/bold]x.weight", "a[abc].weight", "[link=http://a.b]c.weight", "c\x1b[31md\x07.weight", "e.bias\x1b[2J")
    generator = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(4, 4, generator=generator) for name in names[:4]} | {names[4]: torch.ones(4)}
    base = model(tmp_path / "base", tensors)
    tuned = model(tmp_path / "tuned", {name: tensor + 1 for name, tensor in tensors.items()})
    done = spectra(base, tuned)
    assert done.exit_code == 0, done.output
    for shown in ("[/bold]x.weight", "a[abc].weight", "[link=http://a.b]c.weight", r"c\x1b[31md\x07.weight"):
        assert shown in done.stdout
    assert r"e.bias\x1b[2J" in done.stdout
    assert "\x1b" not in done.output
    assert "\x07" not in done.output
    (tmp_path / "tuned" / "model.safetensors").write_bytes(b"\x1b[31m")
    refused = spectra(base, tuned)
    assert refused.exit_code == 2
    assert "\x1b" not in refused.output
