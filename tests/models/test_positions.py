"""Roles of the matrices in a checkpoint, by its config.json and by names alone, against the model that is built."""

from __future__ import annotations

import pytest
import transformers

from lab.checkpoints.folder import open_folder
from lab.models.families import ARCHITECTURES
from lab.models.positions import architecture_in, positions
from lab.models.structure import TRIED
from lab.models.tiny import CONFIGURATIONS, tiny_plm

FAMILIES = [family for family in CONFIGURATIONS if family in TRIED or family in ("bert", "llama", "gpt2", "t5")]


@pytest.mark.parametrize("family", FAMILIES)
def test_roles_in_files_are_those_of_the_model(family):
    plm = tiny_plm(family, head="lm")
    whole = {m.name: m for m in plm.matrices(plm.architecture.roles(plm.model)) if m.rows is None}
    names = [name for name, parameter in plm.parameters.items() if parameter.ndim == 2]
    at, by_name = positions(names, plm.architecture), positions(names)
    assert {(m.role, m.block, m.transposed) for m in whole.values()} <= {
        (at[name].role, at[name].block, at[name].transposed) for name in whole
    }
    for name, m in whole.items():
        assert (at[name].role, at[name].block, at[name].transposed, at[name].known) == (
            m.role,
            m.block,
            m.transposed,
            True,
        )
        if family != "albert":  # whose list of one block its name alone does not give away
            assert (by_name[name].role, by_name[name].block) == (m.role, m.block)
    unnamed = {name for name in names if at[name].role == "other" and at[name].block is not None}
    assert not {name for name in unnamed if "gate" not in name and "router" not in name}, unnamed


def test_the_architecture_of_a_folder_is_its_row_or_found(tmp_path):
    tiny_plm("bert").model.save_pretrained(tmp_path / "bert")
    config = transformers.GPTNeoConfig(
        vocab_size=32, hidden_size=8, num_layers=2, num_heads=2, attention_types=[[["global"], 2]]
    )
    transformers.GPTNeoModel(config).save_pretrained(tmp_path / "gpt_neo")
    assert architecture_in(open_folder(tmp_path / "bert")) is next(a for a in ARCHITECTURES if a.family == "bert")
    found = architecture_in(open_folder(tmp_path / "gpt_neo"))
    assert found is not None
    name = "h.1.mlp.c_fc.weight"
    assert not positions([name], found)[name].transposed
    assert positions([name])[name].transposed  # by its name alone it is GPT-2's
    (tmp_path / "gpt_neo" / "config.json").write_text('{"model_type": "gpt_neo", "num_layers": 1000000}')
    assert architecture_in(open_folder(tmp_path / "gpt_neo")) is None
    (tmp_path / "gpt_neo" / "config.json").write_text('{"model_type": "unheard of"}')
    assert architecture_in(open_folder(tmp_path / "gpt_neo")) is None
