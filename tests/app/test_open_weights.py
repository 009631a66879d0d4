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
from app.several import open_several, open_uploaded_folders
from lab.deltas import LoRA, save_adapter
from lab.models.tiny import tiny_plm


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
def page(opened, tmp_path) -> AppTest:
    return opened("open_weights", tmp_path / "nothing")


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


@pytest.fixture(scope="module")
def adapters(tmp_path_factory) -> Path:
    """A folder of four adapters, two of which share their update up to noise."""
    root, plm = tmp_path_factory.mktemp("several"), tiny_plm("bert")
    delta = LoRA(rank=2).on(plm, seed=0)
    noise = torch.Generator().manual_seed(0)
    shared = torch.randn(delta.size, generator=noise, dtype=torch.float64)
    for i in range(4):
        own = torch.randn(delta.size, generator=noise, dtype=torch.float64)
        save_adapter(delta, shared + 0.3 * own, root / f"task-{i}")
    return root


def test_several_adapters_are_a_collection(adapters):
    told: list[str] = []
    found = open_several("", str(adapters), lambda part, name: told.append(name))
    assert found.title == "4 adapters"
    assert {"shared_directions", "left_out_tasks"} <= set(found.tables)
    assert found.members["adapter"].tolist() == [f"task-{i}" for i in range(4)]
    assert found.command.startswith("deltalab collection ")
    assert all("shared beyond chance" in said for said in found.shared)
    lines = [f"{adapters / f'task-{i}'},topic {i % 3},topic,0" for i in range(4)]
    assert open_several("", "\n".join(lines), lambda part, name: None).members["task"].nunique() == 3
    assert told


def test_an_uploaded_folder_is_the_same_as_its_folder(adapters):
    files = {f"../../{path.relative_to(adapters.parent)}": path.read_bytes() for path in adapters.glob("*/adapter_*")}
    found = open_uploaded_folders("", files, lambda part, name: None)
    same = open_several("", str(adapters), lambda part, name: None)
    ours, theirs = (one.tables["shared_directions"]["share"] for one in (found, same))
    assert sorted(ours) == pytest.approx(sorted(theirs), rel=1e-6)
    del files[next(path for path in files if path.endswith("task-2/adapter_config.json"))]
    with pytest.raises(Refused, match=r"task-2 lacks adapter_config\.json"):
        open_uploaded_folders("", files, lambda part, name: None)


def test_what_is_no_collection_is_said(adapters):
    with pytest.raises(Refused, match="A collection of 1 says nothing about sharing; give three adapters or more"):
        open_several("", str(adapters / "task-0"), lambda part, name: None)
    with pytest.raises(Refused, match="There is no /no/where on this machine"):
        open_several("", f"{adapters}\n/no/where", lambda part, name: None)
    with pytest.raises(Refused, match="a line of a list is folder,task,type,seed"):
        open_several("", "\n".join(f"{adapters / f'task-{i}'},a,b,one" for i in range(3)), lambda part, name: None)


def test_the_page_opens_several_and_the_address_opens_them_again(page, adapters, visited):
    page.segmented_control(key="open").set_value("several adapters").run()
    page.text_area(key="several").set_value(str(adapters))
    page.button[0].click().run()
    assert not page.exception
    assert not page.error
    assert len(page.get("plotly_chart")) == 1
    other = visited("open_weights", open="several adapters", several=str(adapters))
    assert not other.exception
    assert len(other.get("plotly_chart")) == 1
