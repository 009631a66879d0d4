"""A LoRA extracted from any family holds what peft can carry, and its error is that of the merged result."""

from __future__ import annotations

from math import sqrt

import pytest
import torch
import transformers
from safetensors.torch import load_file

from lab.geometry import changes_between, extract_lora, folder_changes
from lab.geometry.extracted_lora import NO_LAYER, OUTSIDE
from lab.geometry.sources import adaptable
from lab.models import load_plm
from lab.models.tiny import tiny_plm

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


@pytest.fixture
def folders(tmp_path):
    """family -> (base, tuned): every matrix of the tuned model moved at full rank."""

    def made(family):
        model = tiny_plm(family, head="lm", dtype=torch.float32).model
        model.save_pretrained(tmp_path / "base")
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        model.save_pretrained(tmp_path / "tuned")
        return tmp_path / "base", tmp_path / "tuned", type(model).__name__

    return made


def matrices(folder):
    return {name: t.double() for name, t in load_file(folder / "model.safetensors").items() if t.ndim == 2}


@pytest.mark.parametrize(
    "family",
    ["bert", "gpt2", "opt", "phi3", "bart", "deberta", "distilbert", "gpt_neox", "falcon", "albert", "qwen3_moe"],
)
@pytest.mark.parametrize("rank", [None, 2])
def test_the_reported_error_is_that_of_pefts_merge(folders, tmp_path, family, rank):
    base, tuned, name = folders(family)
    chosen = {"energy": 1.0} if rank is None else {"rank": rank}
    made = extract_lora(changes_between(base, tuned), layers=adaptable(base, tuned), **chosen)
    made.write(tmp_path / "lora")
    model = getattr(transformers, name).from_pretrained(base)
    merged = peft.PeftModel.from_pretrained(model, tmp_path / "lora").merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    before, after, ours = matrices(base), matrices(tuned), matrices(tmp_path / "merged")
    lost = sqrt(sum(float((after[n] - ours[n]).square().sum()) for n in after))
    total = sqrt(sum(float((after[n] - before[n]).square().sum()) for n in after))
    assert made.merged_error == pytest.approx(lost / total, rel=1e-3, abs=1e-5)
    missing = {n for n in after if torch.equal(ours[n], before[n]) and not torch.equal(after[n], before[n])}
    assert missing == {n for n, reason in made.excluded if reason in (OUTSIDE, NO_LAYER)}
    experts = {n for n in missing if "experts" in n or "mlp.gate." in n}
    tied = {n for n in missing if "shared" in n or "embed" in n or "wte" in n}
    assert missing == experts | tied  # all else is in it
    assert bool(experts) == (family == "qwen3_moe")
    if rank is None and not missing:
        assert made.merged_error < 1e-5


@pytest.mark.parametrize(
    "family", ["bert", "distilbert", "electra", "albert", "deberta", "modernbert", "mpnet", "bart", "t5", "gpt_neox"]
)
def test_a_classifier_is_compared_with_the_language_model_it_was_made_from(tmp_path, family):
    """Only heads may be missing on one side; the embedding has its role whatever a family calls it."""
    tiny_plm(family, head="lm", dtype=torch.float32).model.save_pretrained(tmp_path / "base")
    tuned = load_plm(tmp_path / "base", num_labels=3)
    tuned.model.save_pretrained(tmp_path / "tuned")
    changes = folder_changes(tmp_path / "base", tmp_path / "tuned")
    blocks = {m.name for m in tuned.matrices(tuned.architecture.roles(tuned.model))}
    assert blocks <= set(changes.names)
    embedding = f"{tuned.architecture.embedding_name(tuned.model)}.weight"
    assert changes.read(embedding).role == "embedding"
    assert all(float(changes.read(name).difference.abs().max()) == 0 for name in changes.names)
