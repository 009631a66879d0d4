"""The reach of a prompt through one head: by hand, against sampled prompts, and on a PLM's first block."""

from __future__ import annotations

from math import e, exp, sqrt

import pytest
import torch

from lab.control import (
    AttentionHead,
    first_heads,
    furthest_reach,
    nearest_reach,
    orthogonal_part,
    prompt_entrance,
    reach_bound,
    unreachable_share,
    unreached_without_prompt,
)
from lab.control.skeleton import record_blocks
from lab.deltas import Prompt
from lab.models.tiny import tiny_plm


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_head(d: int = 6, d_k: int = 4, *, biased: bool = True, seed: int = 0) -> AttentionHead:
    weights = normal(3, d_k, d, seed=seed) / sqrt(d)
    biases = normal(3, d_k, seed=seed + 1) * (0.3 if biased else 0.0)
    return AttentionHead(*weights, *biases)


def identity_head() -> AttentionHead:
    return AttentionHead(*(torch.eye(2).double(),) * 3, *(torch.zeros(2).double(),) * 3)


def test_bound_by_hand():
    """W = I, x = e₁: D = e^{1/√2}, ŷ = e₁. Over ‖u‖ ≤ 1 the score is at most 1/√2, the orthogonal value at most 1."""
    x = torch.tensor([[1.0, 0.0]]).double()
    for kind in ("published", "sharp"):
        for k in (1, 3):
            found = reach_bound(identity_head(), x, k, 1.0, kind)
            assert float(found.mass) == pytest.approx(k / (1 + k), rel=1e-12)
            assert float(found.length) == pytest.approx(1.0)
    far = reach_bound(identity_head(), x, 1, 2.0, "sharp")
    assert float(far.radius) == pytest.approx(2 * exp(2 / sqrt(2)) / (exp(1 / sqrt(2)) + exp(2 / sqrt(2))), rel=1e-12)


def test_what_a_token_reaches_by_hand():
    """u = e₂ scores 0 on x = e₁: λ = 1/(1 + e^{1/√2}), and y_⊥ = λ e₂."""
    x, u = torch.eye(2).double()[:1], torch.eye(2).double()[1:]
    share = 1 / (1 + e ** (1 / sqrt(2)))
    torch.testing.assert_close(unreached_without_prompt(identity_head(), x, u), torch.tensor([[0.0, share]]).double())
    assert float(identity_head().mass(x, u)) == pytest.approx(share)


@pytest.mark.parametrize("biased", [False, True])
def test_no_sampled_prompt_violates_the_bounds(biased):
    for seed in range(5):
        head, x = random_head(biased=biased, seed=10 * seed), normal(5, 6, seed=seed)
        for k, norm in ((1, 0.5), (3, 2.0), (8, 6.0)):
            sharp, published = (reach_bound(head, x, k, norm, kind) for kind in ("sharp", "published"))
            assert bool(
                (sharp.mass <= published.mass + 1e-12).all() and (sharp.length <= published.length + 1e-12).all()
            )
            for sample in range(40):
                u = normal(k, 6, seed=1000 * seed + sample)
                u = norm * u / torch.linalg.vector_norm(u, dim=-1, keepdim=True)
                assert bool((head.mass(x, u) <= sharp.mass + 1e-12).all())
                reached = torch.linalg.vector_norm(unreached_without_prompt(head, x, u), dim=-1)
                assert bool((reached <= sharp.radius + 1e-12).all())


def test_sharp_mass_is_attained():
    """All control tokens at M_u W_kᵀq/‖W_kᵀq‖, the point of the ball with the largest score."""
    head, x = random_head(), normal(4, 6, seed=3)
    direction = (x[1] @ head.query.mT + head.query_bias) @ head.key
    u = (1.5 * direction / torch.linalg.vector_norm(direction)).expand(3, -1)
    assert float(head.mass(x, u)[1]) == pytest.approx(float(reach_bound(head, x, 3, 1.5).mass[1]), rel=1e-12)


def test_without_biases_published_is_the_formula_of_the_paper():
    head, x = random_head(biased=False), normal(4, 6, seed=3)
    sigma = [float(torch.linalg.matrix_norm(W, 2)) for W in (head.query, head.key, head.value)]
    M_x = float(torch.linalg.vector_norm(x, dim=-1).max())
    alpha = sigma[0] * sigma[1] * 2.0 * M_x / sqrt(4)
    D = (x @ head.query.mT @ head.key @ x.mT / sqrt(4)).exp().sum(-1)
    expected = 3 * exp(alpha) / (D + 3 * exp(alpha)) * sigma[2] * 2.0
    torch.testing.assert_close(reach_bound(head, x, 3, 2.0, "published").radius, expected, rtol=1e-12, atol=0)


def test_the_search_goes_far_and_not_too_far():
    head, x = random_head(seed=4), normal(5, 6, seed=3)
    for k in (1, 4):
        found = furthest_reach(head, x, 2, k, 3.0, steps=60)
        bound = float(reach_bound(head, x, k, 3.0).radius[2])
        sampled = []
        for s in range(100):
            u = normal(k, 6, seed=s)
            u = 3 * u / torch.linalg.vector_norm(u, dim=-1, keepdim=True)
            sampled.append(float(torch.linalg.vector_norm(unreached_without_prompt(head, x, u)[2])))
        assert max(sampled) < found.length <= bound
        assert bool((torch.linalg.vector_norm(found.prompt, dim=-1) <= 3 + 1e-9).all())


def test_the_unreachable_part_of_a_target_by_hand():
    """W = I, x = e₁, ‖u‖ ≤ 1, k = 1: y_⊥ is at most ½ long. Of y* = 7e₁ + 2e₂ the part 2e₂ counts, ¾ of it is out of
    reach, and of 0.4e₂ nothing."""
    x, y = torch.eye(2).double()[:1], torch.tensor([7.0, 2.0]).double()
    head = identity_head()
    bound = reach_bound(head, x, 1, 1.0)
    torch.testing.assert_close(orthogonal_part(head, x, y), torch.tensor([[0.0, 2.0]]).double())
    assert unreachable_share(torch.tensor([2.0]).double(), bound).tolist() == pytest.approx([0.75])
    assert unreachable_share(torch.tensor([0.4]).double(), bound).tolist() == [0.0]
    far = nearest_reach(head, x, 0, y, 1, 1.0, steps=200)
    near = nearest_reach(head, x, 0, torch.tensor([7.0, 0.3]).double(), 1, 1.0, steps=200)
    assert 0.75 <= far.missed < 0.85
    assert near.missed < 0.02


def test_no_prompt_comes_nearer_than_the_bound_allows_and_the_search_comes_near():
    head, x = random_head(seed=4), normal(5, 6, seed=3)
    y = normal(4, seed=8)
    for k, norm in ((1, 0.5), (3, 2.0)):
        length = torch.linalg.vector_norm(orthogonal_part(head, x, y), dim=-1)
        least = float(unreachable_share(length, reach_bound(head, x, k, norm))[2])
        found = nearest_reach(head, x, 2, y, k, norm, steps=60)
        assert least <= found.missed < 1
        for sample in range(40):
            u = normal(k, 6, seed=sample)
            u = norm * u / torch.linalg.vector_norm(u, dim=-1, keepdim=True)
            apart = unreached_without_prompt(head, x, u)[2] - orthogonal_part(head, x, y)[2]
            assert found.missed < float(torch.linalg.vector_norm(apart) / length[2])


def test_the_entrance_is_what_the_plm_does_to_soft_tokens():
    plm = tiny_plm("bert")
    batch = dict(plm.tokenizer(["a good film indeed"], return_tensors="pt"))
    delta = Prompt(tokens=3, head="frozen").on(plm)
    phi = delta.phi0 + normal(delta.size)
    with torch.no_grad():
        entered = record_blocks(delta.plm, delta.overrides(phi), batch)[0][0].arguments[0][0, 1:4]
    soft = next(iter(delta.overrides(phi).values()))
    embeddings = plm.model.bert.embeddings
    added = soft + embeddings.position_embeddings.weight[1:4] + embeddings.token_type_embeddings.weight[0]
    enter, largest = prompt_entrance(plm)
    torch.testing.assert_close(enter(added), entered, rtol=0, atol=1e-12)
    assert float(torch.linalg.vector_norm(enter(100 * normal(50, added.shape[1])), dim=-1).max()) <= largest
    head, x = first_heads(plm)[0], normal(4, added.shape[1], seed=2)
    found = nearest_reach(head, x, 0, normal(4, seed=3), 2, 4.0, entrance=enter, steps=10)
    norm = embeddings.LayerNorm
    standard = ((found.prompt - norm.bias) / norm.weight).detach()  # what enters the head has passed the LayerNorm
    torch.testing.assert_close(standard.mean(-1), torch.zeros(2).double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(standard.square().mean(-1), torch.ones(2).double(), rtol=1e-6, atol=0)


def test_heads_of_a_plm_give_its_attention():
    """softmax(QKᵀ)V of all heads, put together, is what block 0 hands to its output projection."""
    plm = tiny_plm("bert")
    batch = dict(plm.tokenizer(["a good film indeed"], return_tensors="pt"))
    seen = []
    projection = plm.model.bert.encoder.layer[0].attention.output.dense
    handle = projection.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    with torch.no_grad():
        calls, _ = record_blocks(plm, {}, batch)
    handle.remove()
    x = calls[0].arguments[0][0].detach()
    together = torch.cat([head.outputs(x) for head in first_heads(plm)], dim=-1)
    torch.testing.assert_close(together, seen[0][0], rtol=0, atol=1e-12)


def test_refusals():
    with pytest.raises(ValueError, match="is no encoder; the bound is for attention over all tokens"):
        first_heads(tiny_plm("llama"))
    with pytest.raises(ValueError, match="is no encoder; only encoders send soft tokens through a LayerNorm"):
        prompt_entrance(tiny_plm("llama"))
    head, x = random_head(), normal(2, 6)
    with pytest.raises(ValueError, match="one control token or more, of positive norm; got k = 0"):
        reach_bound(head, x, 0, 1.0)
    with pytest.raises(ValueError, match='kind must be "published" or "sharp"'):
        reach_bound(head, x, 1, 1.0, "loose")
