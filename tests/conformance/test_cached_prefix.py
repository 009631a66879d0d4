"""A prefix where the attention is the model's own code: what peft gives, and what the same tokens as a text would.

The matrix is every such family × head × side of the padding × token it is made of. peft's own model runs each text by
itself, without padding, on transformers' own class.
"""

from __future__ import annotations

from itertools import product

import pytest
import torch
import transformers

from lab.deltas import Prefix, from_peft, load_adapter, prefix_mass
from lab.deltas.cached_prefix import cached_heads
from lab.deltas.prefix import attention_widths
from lab.models import load_plm

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning", "ignore:.*taken by its structure", "ignore:Position ids"
)

SHORT = {"vocab_size": 60, "initializer_range": 0.2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
NAMED = {**SHORT, "n_embd": 16, "n_layer": 2, "n_head": 4}
FALCON = {**SHORT, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_hidden_size": 24}
FAMILIES = {
    "falcon, multi-query": ("falcon", {**FALCON, "multi_query": True}),
    "falcon, a head each": ("falcon", {**FALCON, "multi_query": False}),
    "falcon, slopes": ("falcon", {**FALCON, "multi_query": False, "alibi": True}),
    "falcon, grouped": ("falcon", {**FALCON, "new_decoder_architecture": True, "num_kv_heads": 2}),
    "bloom": ("bloom", {**SHORT, "hidden_size": 16, "n_layer": 2, "n_head": 4}),
    "gptj": ("gptj", {**NAMED, "rotary_dim": 4, "n_positions": 40}),
    "gpt_neo": (
        "gpt_neo",
        {**SHORT, "hidden_size": 16, "num_layers": 2, "num_heads": 4, "intermediate_size": 24, "window_size": 4,
         "attention_types": [[["global", "local"], 1]], "max_position_embeddings": 40},
    ),
    "mpt": ("mpt", {**SHORT, "d_model": 16, "n_heads": 4, "n_layers": 2, "max_seq_len": 40, "expansion_ratio": 2}),
    "codegen": ("codegen", {**NAMED, "rotary_dim": 4, "n_positions": 40}),
}  # fmt: skip
HEADS = {"falcon, multi-query": 1}
"""Heads of the keys in a cache, where they are not the queries' four."""
SINGLE = ("bloom", "gpt_neo", "gptj", "codegen", "mpt")
"""Their scores or the softmax of them are in float32 (transformers 5.23)."""
CLASSIFIED = [family for family in FAMILIES if family != "codegen"]  # of which transformers has no classifier
TEXTS = ([5, 9, 11, 7, 30], [8], [12, 3, 4, 44, 17, 21, 6])


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """(family, head) -> a folder that transformers wrote, and its own model in float64."""
    made = {}

    def make(family: str, head: str):
        if (family, head) not in made:
            model_type, settings = FAMILIES[family]
            config = transformers.AutoConfig.for_model(model_type, **settings)
            named = "AutoModelForCausalLM" if head == "lm" else "AutoModelForSequenceClassification"
            with torch.random.fork_rng():
                torch.manual_seed(0)
                model = getattr(transformers, named).from_config(config).double().eval()
            folder = tmp_path_factory.mktemp("model")
            model.save_pretrained(folder)
            made[family, head] = folder, model
        return made[family, head]

    return make


def tolerance(family: str) -> dict[str, float]:
    return {"rtol": 0, "atol": 1e-6 if family in SINGLE else 1e-12}


def written(model, family: str, head: str, folder):
    """peft's model of a random prefix, and its folder."""
    config = peft.PrefixTuningConfig(
        num_virtual_tokens=3, task_type="CAUSAL_LM" if head == "lm" else "SEQ_CLS",
        num_attention_heads=HEADS.get(family, 4), token_dim=4 * HEADS.get(family, 4), num_layers=2,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(1)
        theirs = peft.get_peft_model(model, config).double().eval()
    theirs.save_pretrained(folder, save_embedding_layers=False)
    return theirs


def padded(side: str, filler: int) -> dict[str, torch.Tensor]:
    width = max(map(len, TEXTS)) + 1
    ids, mask = torch.full((len(TEXTS), width), filler), torch.zeros(len(TEXTS), width, dtype=torch.int64)
    for i, text in enumerate(TEXTS):
        start = 0 if side == "right" else width - len(text)
        ids[i, start : start + len(text)], mask[i, start : start + len(text)] = torch.tensor(text), 1
    return {"input_ids": ids, "attention_mask": mask}


CASES = [*((family, "lm") for family in FAMILIES), *((family, "classification") for family in CLASSIFIED)]


@pytest.mark.parametrize(("family", "head"), CASES)
def test_a_stored_prefix_gives_pefts_logits_whatever_the_padding(folder_of, tmp_path, family, head):
    folder, model = folder_of(family, head)
    theirs = written(model, family, head, tmp_path)
    texts = [torch.tensor([text]) for text in TEXTS]
    with torch.no_grad():
        alone = [theirs(input_ids=text, attention_mask=torch.ones_like(text)).logits[0] for text in texts]
    plm = load_plm(folder, head=head, dtype=torch.float64)
    delta, phi = load_adapter(plm, tmp_path)
    assert not delta.at_identity
    for side, filler in product(("right", "left"), (0, 9, 59)):
        batch = padded(side, filler)
        logits = delta.logits(phi, batch)
        for one, row, mask in zip(alone, logits, batch["attention_mask"], strict=True):
            other = row[mask.bool()] if head == "lm" else row
            torch.testing.assert_close(other, one, **tolerance(family), msg=lambda m, s=side: f"{s}: {m}")
    batch = padded("right", 0)
    torch.testing.assert_close(delta.unmerged.logits(phi, batch), delta.logits(phi, batch), rtol=0, atol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prefix_of_a_texts_own_keys_and_values_is_that_text_in_front(folder_of, family):
    folder, _ = folder_of(family, "lm")
    plm = load_plm(folder, head="lm", dtype=torch.float64)
    delta = Prefix(tokens=3, head="frozen").on(plm)
    cache, first = transformers.DynamicCache(), [14, 22, 9]
    with torch.no_grad():
        plm.model.base_model(torch.tensor([first]), past_key_values=cache)
    kept = zip(cached_heads(plm), cache.layers, strict=True)
    values = {f"{path}.prefix.{name}": getattr(layer, f"{name}s")[0].transpose(0, 1).flatten(1)
              for path, layer in kept for name in ("key", "value")}  # fmt: skip
    for text in TEXTS:
        behind = delta.plm.logits(values, {"input_ids": torch.tensor([text])})
        whole = plm.logits({}, {"input_ids": torch.tensor([first + text])})
        torch.testing.assert_close(behind, whole[:, 3:], **tolerance(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_two_prefixes_are_one_of_both_and_their_mass_is_a_share(folder_of, family):
    folder, _ = folder_of(family, "lm")
    plm = load_plm(folder, head="lm", dtype=torch.float64)
    batch = padded("right", 0)
    whole = Prefix(tokens=5, head="frozen").on(plm)
    generator = torch.Generator().manual_seed(3)
    phi = whole.phi0 + torch.randn(whole.size, generator=generator, dtype=torch.float64)
    parts = whole.layout.unflatten(phi)
    one, two = Prefix(tokens=2, label="one", head="frozen"), Prefix(tokens=3, label="two", head="frozen")
    host = two.on(one.on(plm).plm).plm
    values = {name.replace(".prefix.", ".one."): whole.overrides_of(parts)[name][:2] for name in parts}
    values |= {name.replace(".prefix.", ".two."): whole.overrides_of(parts)[name][2:] for name in parts}
    torch.testing.assert_close(host.logits(values, batch), whole.logits(phi, batch), rtol=0, atol=1e-12)
    mass = prefix_mass(whole, phi, batch)
    assert list(mass) == list(attention_widths(plm))
    for share in mass.values():
        assert share.shape == (3, 4, 8)
        assert bool(((share >= 0) & (share <= 1)).all())
    assert bool((next(iter(mass.values())) > 0).all())


@pytest.mark.parametrize("family", ["falcon, multi-query", "mpt", "bloom"])
def test_from_peft_takes_the_heads_that_the_model_caches(folder_of, family):
    """Left to itself peft takes the queries' heads, which fails at the first text of Falcon, and finds none in MPT."""
    folder, _ = folder_of(family, "lm")
    plm = load_plm(folder, head="lm", dtype=torch.float64)
    delta = from_peft(peft.PrefixTuningConfig(num_virtual_tokens=3)).body(plm, 0)
    heads = HEADS.get(family, 4)
    assert delta.counts.stored == 3 * 2 * 2 * 4 * heads


def test_a_prefix_as_wide_as_the_queries_says_what_to_train_with(folder_of, tmp_path):
    folder, model = folder_of("falcon, multi-query", "lm")
    theirs = peft.get_peft_model(model, peft.PrefixTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"))
    theirs.save_pretrained(tmp_path, save_embedding_layers=False)
    plm = load_plm(folder, head="lm", dtype=torch.float64)
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):  # peft's own, at its first text
        theirs.double()(torch.tensor([[5, 9]]))
    said = r"64 numbers per token; .* needs 16, 1 heads of 4 in every block.*num_attention_heads=1, token_dim=4"
    with pytest.raises(ValueError, match=said):
        load_adapter(plm, tmp_path)


def test_a_text_too_long_behind_a_prefix_is_refused(folder_of):
    folder, _ = folder_of("gpt_neo", "lm")
    delta = Prefix(tokens=3, head="frozen").on(load_plm(folder, head="lm", dtype=torch.float64))
    with pytest.raises(ValueError, match="3 soft tokens and 38 tokens of text exceed this model's 40 positions"):
        delta.logits(delta.phi0, {"input_ids": torch.ones(1, 38, dtype=torch.int64)})


def test_a_model_that_takes_no_cache_is_refused(tmp_path):
    config = transformers.OpenAIGPTConfig(**NAMED, n_positions=40)
    transformers.OpenAIGPTLMHeadModel(config).save_pretrained(tmp_path)
    plm = load_plm(tmp_path, head="lm", dtype=torch.float64)
    assert cached_heads(plm) == {}
    with pytest.raises(ValueError, match=r"attends by its own code and takes no cache, .* by peft neither"):
        Prefix(tokens=2).on(plm)
