"""Opening weights in the explorer: folders, uploads, and a sentence for everything that cannot be opened."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file
from streamlit.testing.v1 import AppTest

from app import opening
from app.opening import Refused, open_folders, open_upload
from lab.deltas import LoRA, save_adapter
from lab.models.tiny import tiny_plm

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    """A base and an adapter of it."""
    root, plm = tmp_path_factory.mktemp("weights"), tiny_plm("bert")
    (root / "base").mkdir()
    tensors = {name: p.detach().float().contiguous() for name, p in plm.parameters.items()}
    save_file(tensors, root / "base" / "model.safetensors")
    (root / "base" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    delta = LoRA(rank=2).on(plm, seed=0)
    phi = torch.randn(delta.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return root / "base", save_adapter(delta, phi, root / "adapter")


def silent(part: float, name: str) -> None:
    assert 0 <= part <= 1
    assert name


def test_a_folder(folders):
    base, adapter = folders
    found = open_folders(str(base), str(adapter), silent)
    assert len(found.summary) == 4
    assert set(found.medians["role"]) == {"query", "value"}
    assert found.command == f"deltalab spectra {base} {adapter}"
    assert found.summary["relative_frobenius_norm"].notna().all()
    assert open_folders("", str(adapter), silent).summary["relative_frobenius_norm"].isna().all()


def test_an_upload_is_the_same_as_its_folder(folders):
    base, adapter = folders
    content = [(adapter / name).read_bytes() for name in ("adapter_model.safetensors", "adapter_config.json")]
    found = open_upload(str(base), content[0], content[1], silent)
    assert found.summary.equals(open_folders(str(base), str(adapter), silent).summary)
    whole = open_upload(str(base), (base / "model.safetensors").read_bytes(), None, silent)
    assert not whole.values["sigma"].any()


def test_what_cannot_be_opened_is_said_without_the_place_it_lay_in(folders, monkeypatch):
    base, adapter = folders
    weights, config = (
        (adapter / "adapter_model.safetensors").read_bytes(),
        (adapter / "adapter_config.json").read_bytes(),
    )
    nan = save({"base_model.model.x.lora_A.weight": torch.full((2, 2), float("nan"))})
    cases = [
        (weights[:-7], config, "adapter_model.safetensors is damaged or no safetensors file"),
        (pickle.dumps({"a": 1}), config, "is damaged or no safetensors file"),
        (weights, b"{not json", "adapter_config.json is not readable JSON"),
        (weights, b'{"peft_type": "LORA", "r": 3}', "but its rank is 3"),
        (
            weights,
            b'{"peft_type": "LORA", "r": 2, "lora_alpha": "8"}',
            "lora_alpha is '8' .str.; expected a finite number",
        ),
        (nan, config, r"holds nan at index \(0, 0\)"),
        (weights, None, "a model with adapter layers in it"),
    ]
    for content, options, message in cases:
        with pytest.raises(Refused, match=message) as refused:
            open_upload(str(base), content, options, silent)
        assert "/tmp" not in str(refused.value).replace(str(base), "")
    monkeypatch.setattr(opening, "UPLOAD_LIMIT", 100)
    with pytest.raises(Refused, match="more than the 0 MB that are read here; give the folder instead"):
        open_upload(str(base), weights, config, silent)


def test_names_that_lead_nowhere(folders):
    _, adapter = folders
    with pytest.raises(Refused, match="Name the folder of an adapter"):
        open_folders("", " ", silent)
    with pytest.raises(Refused, match="There is no /no/where on this machine"):
        open_folders("", "/no/where", silent)
    with pytest.raises(Refused, match="the explorer downloads nothing"):
        open_folders("someone/model", str(adapter), silent)


@pytest.fixture
def page(monkeypatch, tmp_path) -> AppTest:
    monkeypatch.setenv("DELTALAB_STORE", str(tmp_path / "nothing"))
    shown = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=30).run()
    return shown.switch_page("views/open_weights.py").run()


def test_the_page_opens_a_folder_and_keeps_it(page, folders):
    base, adapter = folders
    assert not page.exception
    page.text_input(key="base").set_value(str(base))
    page.text_input(key="tuned").set_value(str(adapter))
    page.button[0].click().run()
    assert not page.exception
    assert not page.error
    assert len(page.get("plotly_chart")) == 1
    assert len(page.dataframe) == 4
    assert f"deltalab spectra {base} {adapter}" in [code.value for code in page.code]
    page.run()
    assert len(page.get("plotly_chart")) == 1


def test_the_page_says_what_is_wrong(page):
    page.text_input(key="tuned").set_value("/no/[where](https://x.example)")
    page.button[0].click().run()
    assert not page.exception
    assert "There is no" in page.error[0].value
    assert "](https://x" not in page.error[0].value.replace("\\]\\(", "")
    assert not page.get("plotly_chart")
