"""docs/my_model_my_task.md: every command and the Python of the page, on small files of the kinds that it speaks of."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from lab.cli import app
from lab.models.tiny import tiny_plm

PAGE = (Path(__file__).parents[2] / "docs" / "my_model_my_task.md").read_text()
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The files of the page; what the hub would give lies beside them."""
    root = tmp_path_factory.mktemp("mine")
    texts = [f"{('a fine', 'a dull', 'an odd')[i % 3]} film about the {('sea', 'war')[i % 2]}, {i}" for i in range(80)]
    rows = [f'"{text}",{("good", "bad")[i % 2]}' for i, text in enumerate(texts)]
    (root / "reviews.csv").write_text("\n".join(["review,stars", *rows]))
    pairs = [{"premise": text, "hypothesis": text[:9], "follows": i % 2 == 0} for i, text in enumerate(texts)]
    (root / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    pd.DataFrame({"text": texts, "label": [(i % 7) / 2 for i in range(80)]}).to_parquet(root / "scores.parquet")
    plm = tiny_plm("bert", dtype=torch.float32)
    for name, shift in (("my-model", 0.0), ("my-tuned-model", 0.05), ("roberta-base", 0.0)):
        model = tiny_plm("bert", dtype=torch.float32).model
        with torch.no_grad():
            for i, p in enumerate(model.parameters()):
                p += shift * torch.randn(p.shape, generator=torch.Generator().manual_seed(i))
        model.base_model.save_pretrained(root / name)  # as published PLMs come: without a classifier
        plm.tokenizer.save_pretrained(root / name)
    return root


def small(command: str) -> list[str]:
    """The command at the scale smoke, on a tiny PLM where it names a packaged one or none."""
    words = shlex.split(command)[1:]
    if words[0] != "run":
        return words
    words = ["tiny-bert" if word == "minilm" else word for word in words]
    return [*words, "--scale", "smoke", "--quiet", *([] if "--model" in words else ["--model", "tiny-bert"])]


def test_the_page_has_commands_of_every_kind():
    assert {shlex.split(line)[1] for line in COMMANDS} == {"run", "spectra", "list", "export"}
    assert all(line.startswith("deltalab ") for line in COMMANDS)


@pytest.mark.filterwarnings("ignore")
def test_every_command_of_the_page_runs(folder, monkeypatch):
    """In the page's order: later ones show what earlier ones made."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("lab.runs.places.GALLERY", folder / "no gallery")
    for line in COMMANDS:
        done = CliRunner().invoke(app, small(line), env={"COLUMNS": "200"})
        assert done.exit_code == 0, f"{line}\n{done.output}\n{done.exception!r}"
        if "--label-column stars" in line:
            assert "classes 0 = bad, 1 = good; 64 training, 16 validation examples" in done.output, line
    assert (folder / "as-lora" / "adapter_config.json").is_file()
    assert (folder / "figures" / "learning_curves.html").is_file()


def test_the_python_of_the_page_runs(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        code = code.replace("steps=200", "steps=2").replace("plm, task)", "plm, task, steps=2, max_evaluations=2)")
        exec(code.replace('"cuda"', '"cpu"'), {})
    assert "('bad', 'good')" in capsys.readouterr().out
