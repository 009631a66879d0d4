"""Discrete prompts: gradients against differences of soft prompts, substitutions, a search that finds what exists."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch.nn.functional import cross_entropy

from lab.control import ForcedToken, NextToken, controllable_share, force_token, substitutions
from lab.models.tiny import tiny_plm


@pytest.fixture(scope="module")
def question():
    plm = tiny_plm("llama", head="lm")
    return NextToken(plm, torch.tensor([9, 10, 11]), target=20)


def test_scores_are_the_language_models_own(question):
    plm = tiny_plm("llama", head="lm")
    prompts = torch.tensor([[12, 13], [14, 15]])
    ids = torch.cat([prompts, question.state.expand(2, -1)], dim=1)
    logits = plm.logits({}, {"input_ids": ids})[:, -1]
    losses, ranks = question.scored(prompts)
    torch.testing.assert_close(losses, -logits.log_softmax(-1)[:, 20], rtol=1e-12, atol=1e-12)
    assert ranks.tolist() == [int((row > row[20]).sum()) + 1 for row in logits]


def test_onehot_gradient_is_the_derivative_of_the_loss_in_a_mixture_of_embeddings(question):
    """Moving token i's one-hot vector by ε towards token v moves its embedding by ε·E_v."""
    prompt, E = torch.tensor([12, 13]), question.embedding
    gradient = question.onehot_gradient(prompt)
    assert gradient.shape == (2, len(E))
    model = question.plm.model

    def loss(embeddings):
        inputs = torch.cat([embeddings, E[question.state]])[None]
        return cross_entropy(model(inputs_embeds=inputs).logits[:, -1], torch.tensor([20]))

    with torch.no_grad():
        for i, v in ((0, 30), (1, 17)):
            step = torch.zeros_like(E[prompt])
            step[i] = 1e-6 * E[v]
            slope = (loss(E[prompt] + step) - loss(E[prompt] - step)) / 2e-6
            assert float(slope) == pytest.approx(float(gradient[i, v]), rel=1e-5)


def test_substitutions_change_one_token_each_and_visit_all_positions():
    gradient = torch.arange(10, dtype=torch.float64).expand(3, 10)  # most negative: tokens 0, 1, 2, …
    found = substitutions(torch.tensor([7, 8, 9]), gradient, 6, torch.Generator().manual_seed(0))
    differs = found != torch.tensor([7, 8, 9])
    assert differs.sum(1).tolist() == [1] * 6
    assert differs.any(0).all()
    assert bool((found[differs] < 6).all())


def test_the_search_reaches_what_one_token_can_reach(question):
    """Over all one-token prompts the model's argmax takes several values; each is forced with the whole vocabulary."""
    vocabulary = torch.arange(len(question.embedding))[:, None]
    reachable = question.logits(vocabulary).argmax(-1).unique().tolist()
    bare = int(question.logits(torch.zeros(1, 0, dtype=torch.long)).argmax())
    for target in reachable[:3]:
        found = force_token(NextToken(question.plm, question.state, target), 1, width=len(vocabulary), rounds=0)
        assert found.length == (0 if target == bare else 1)
        assert found.ranks[-1] == 1
        forced = question.logits(found.prompts[-1][None]).argmax(-1)
        assert int(forced) == target


def test_what_no_token_reaches_is_not_claimed(question):
    vocabulary = torch.arange(len(question.embedding))[:, None]
    reachable = set(question.logits(vocabulary).argmax(-1).tolist())
    impossible = next(t for t in range(len(vocabulary)) if t not in reachable)
    found = force_token(NextToken(question.plm, question.state, impossible), 1, width=8, rounds=2)
    assert found.length is None
    assert found.ranks[-1] > 1


def test_coordinate_steps_never_raise_the_loss_of_a_length(question):
    for seed in range(3):
        greedy = force_token(question, 2, width=8, rounds=0, seed=seed)
        refined = force_token(question, 2, width=8, rounds=3, seed=seed)
        if len(greedy.losses) > 1 and greedy.ranks[1] > 1:
            assert refined.losses[1] <= greedy.losses[1]


def test_share_counts_shortest_prompts():
    def answer(*ranks):
        return ForcedToken((torch.zeros(0),) * len(ranks), ranks, (0.0,) * len(ranks), 1)

    found = [answer(1), answer(5, 1), answer(5, 3, 1), answer(5, 4, 3)]
    assert [controllable_share(found, k) for k in (0, 1, 2, 9)] == [(1, 4), (2, 4), (3, 4), (3, 4)]


def test_refusals(question):
    for plm in (tiny_plm("bert", head="lm"), tiny_plm("llama")):
        with pytest.raises(ValueError, match="does not predict next tokens; load a decoder"):
            NextToken(plm, torch.tensor([9]), 3)
    for arguments in product([0, 1], [0, 1]):
        if arguments != (1, 1):
            with pytest.raises(ValueError, match="needs longest >= 1 and width >= 1"):
                force_token(question, arguments[0], width=arguments[1])
