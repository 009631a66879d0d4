"""The autoencoder of intrinsic prompt tuning: PCA where only reconstruction counts, elsewhere where the task pulls."""

from __future__ import annotations

import pytest
import torch

from lab.statistics.intrinsic_prompt import HIDDEN, LINEAR, PCA
from lab.study.autoencoder import Standardised, autoencoder, pca_decoder

N, D = 8, 20


def displacements(seed: int = 0, d: int = D) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    strong = torch.randn(N, 3, generator=generator) @ torch.randn(3, d, generator=generator)
    return 5.0 + 3.0 * strong + 0.2 * torch.randn(N, d, generator=generator)


def test_standard_units_go_there_and_back():
    one, two = displacements(0), displacements(1, 6)
    data = Standardised.of([one, two])
    assert data.values.shape == (N, D + 6)
    for part in torch.split(data.values, [D, 6], dim=1):
        assert float(part.square().sum(dim=1).mean()) == pytest.approx(1.0, rel=1e-5)
    torch.testing.assert_close(data.displacement(data.values[3], 0), one[3])
    torch.testing.assert_close(data.displacement(data.values[3], 1), two[3])
    with pytest.raises(ValueError, match="two tasks or more whose φ differ"):
        Standardised.of([one[:1]])


def test_pca_leaves_the_discarded_variance_and_spans_as_far_as_the_members():
    data = Standardised.of([displacements()])
    sigma = torch.linalg.svdvals(data.values)
    for k in (1, 3, N - 1):
        found = pca_decoder(data, k)
        assert found.name == PCA
        assert found.error == pytest.approx(float((sigma[k:].square().sum() / N).sqrt()), abs=1e-6)
        reach = torch.stack([found.decode(z) for z in torch.eye(k)])
        torch.testing.assert_close(reach.norm(dim=1), sigma[:k] / N**0.5, rtol=1e-4, atol=1e-6)
    assert not pca_decoder(data, 2).decode(torch.zeros(2)).any()


@pytest.mark.parametrize("k", [0, N])
def test_more_dimensions_than_the_tasks_span_are_refused(k):
    data = Standardised.of([displacements()])
    for made in (lambda: pca_decoder(data, k), lambda: autoencoder(data, k, None)):
        with pytest.raises(ValueError, match=f"8 tasks span 7 directions around their mean; got k = {k}"):
            made()


@pytest.mark.parametrize(("hidden", "name"), [(None, LINEAR), (16, HIDDEN)])
def test_reconstruction_alone_comes_near_pca(hidden, name):
    data = Standardised.of([displacements()])
    best = pca_decoder(data, 3).error
    found = autoencoder(data, 3, None, hidden=hidden, warm_up=1500)
    assert found.name == name
    assert found.error < best + 0.05
    if hidden is None:  # no linear pair is better
        assert found.error >= best - 1e-6
    assert float(found.decode(torch.zeros(3)).norm()) < 0.3


def test_the_task_pulls_the_decoder_out_of_what_the_members_span():
    data = Standardised.of([displacements()])
    wanted = torch.linalg.qr(torch.cat([data.values.T, torch.eye(D)], dim=1)).Q[:, N]  # orthogonal to every member

    def loss(i: int, row: torch.Tensor, step: int) -> torch.Tensor:
        return -(row @ wanted)

    still, pulled = (autoencoder(data, 2, loss, steps=steps, alpha=0.0, warm_up=200) for steps in (0, 200))
    z = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    outside = [
        torch.stack([d.decode(z[:, n]) @ wanted for n in range(50)]).abs().mean().item() for d in (still, pulled)
    ]
    assert outside[1] > 10 * outside[0]


def test_a_seed_gives_the_same_decoder():
    data = Standardised.of([displacements()])
    one, two, other = (autoencoder(data, 2, None, warm_up=20, seed=seed).decode(torch.ones(2)) for seed in (0, 0, 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
