"""One batch for many users equals each user alone, for every method that serves and on every kind of PLM."""

from __future__ import annotations

import pytest
import torch

from lab.deltas import IA3, Adapter, BitFit, FullFineTuning, LoRA, Prefix, Prompt, serve
from lab.deltas.serving import STRATEGIES
from lab.models.tiny import tiny_plm

METHODS = {
    "lora": LoRA(rank=2, alpha=3),
    "ia3": IA3(),
    "adapter": Adapter(bottleneck=3),
    "prefix": Prefix(tokens=3),
    "prompt": Prompt(tokens=4),
    "bitfit": BitFit(),
    "full": FullFineTuning(),
}
FAMILIES = ("bert", "llama", "gpt2", "t5")
PAIRS = [(m, f) for m in METHODS for f in FAMILIES if not (m == "bitfit" and f in ("llama", "t5"))]
USERS = torch.tensor([2, 0, 2, 1, 2])


def served(plm, method, batch_of, noise):
    delta = method.on(plm, seed=1)
    phis = delta.phi0 + 0.1 * noise(3, delta.size)
    return delta, phis, batch_of(plm, texts=5)


@pytest.mark.parametrize(("method", "family"), PAIRS)
def test_every_row_has_its_own_users_logits(plm_of, batch_of, noise, method, family):
    delta, phis, batch = served(plm_of(family), METHODS[method], batch_of, noise)
    alone = [
        delta.logits(phis[user], {name: value[row : row + 1] for name, value in batch.items()})
        for row, user in enumerate(USERS.tolist())
    ]
    for strategy in STRATEGIES:
        torch.testing.assert_close(
            serve(delta, phis, batch, USERS, strategy=strategy), torch.cat(alone), rtol=0, atol=1e-10
        )
    assert not torch.allclose(alone[0], delta.logits(phis[1], batch)[0])  # users differ


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_language_models_with_a_verbaliser_serve_too(batch_of, noise, strategy):
    plm = tiny_plm("llama", head="lm", verbalizer=("bad", "good"))
    delta, phis, batch = served(plm, LoRA(rank=2), batch_of, noise)
    expected = torch.stack([delta.logits(phis[user], batch)[row] for row, user in enumerate(USERS.tolist())])
    torch.testing.assert_close(serve(delta, phis, batch, USERS, strategy=strategy), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    ("method", "family"), [("lora", "bert"), ("lora", "llama"), ("prefix", "bert"), ("lora", "t5")]
)
def test_fast_attention_serves_too(plm_of, batch_of, noise, method, family, strategy):
    plm = plm_of(family, attention="sdpa")
    delta, phis, batch = served(plm, METHODS[method], batch_of, noise)
    expected = torch.stack([delta.logits(phis[user], batch)[row] for row, user in enumerate(USERS.tolist())])
    torch.testing.assert_close(serve(delta, phis, batch, USERS, strategy=strategy), expected, rtol=0, atol=1e-10)


def test_the_plm_is_read_only(plm_of, batch_of, noise):
    plm = plm_of("bert")
    before = {name: value.clone() for name, value in plm.parameters.items()}
    delta, phis, batch = served(plm, LoRA(rank=2), batch_of, noise)
    serve(delta, phis, batch, USERS)
    assert all(torch.equal(plm.parameters[name], value) for name, value in before.items())


def test_what_does_not_fit_is_refused(plm_of, batch_of, noise):
    delta, phis, batch = served(plm_of("bert"), LoRA(rank=2), batch_of, noise)
    with pytest.raises(ValueError, match=rf"shape \(users, {delta.size}\) for this delta; got \({delta.size},\)"):
        serve(delta, phis[0], batch, USERS)
    with pytest.raises(ValueError, match=r"each of the batch's 5 rows, int64; got torch.int64, shape \(4,\)"):
        serve(delta, phis, batch, USERS[:4])
    with pytest.raises(ValueError, match=r"each of the batch's 5 rows, int64; got torch\.float32"):
        serve(delta, phis, batch, USERS.float())
    with pytest.raises(ValueError, match=r"users must be in 0\.\.2, the rows of phis; got 0\.\.3"):
        serve(delta, phis, batch, torch.tensor([0, 1, 2, 3, 0]))
    with pytest.raises(ValueError, match=r"strategy must be one of \('vmap', 'grouped'\); got 'loop'"):
        serve(delta, phis, batch, USERS, strategy="loop")
    with pytest.raises(ValueError, match='needs "input_ids"'):
        serve(delta, phis, {"labels": USERS}, USERS)
