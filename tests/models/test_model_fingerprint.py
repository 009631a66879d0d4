import pytest

from lab.models.fingerprint import fingerprint


@pytest.fixture
def folder(tmp_path):
    home = tmp_path / "model"
    home.mkdir()
    (home / "config.json").write_text("{}")
    (home / "model.safetensors").write_bytes(b"weights")
    (home / "tokenizer.json").write_text("{}")
    return home


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_it_changes_with_configuration_weights_and_tokenizer(folder, file):
    before = fingerprint(folder)
    (folder / file).write_bytes(b"others")
    assert before != fingerprint(folder)


def test_it_depends_on_neither_place_nor_bystanders(folder, tmp_path):
    before = fingerprint(str(folder))
    (folder / "README.md").write_text("about")
    assert fingerprint(folder.rename(tmp_path / "other")) == before


def test_packaged_models_and_hub_ids_have_none():
    assert fingerprint("minilm") is None
    assert fingerprint("owner/model") is None
