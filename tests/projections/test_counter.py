"""The counter: known words, the same bits in torch and numba, and permutations as random as uniform ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from lab.projections import counter, kernels

KEY = 0x9A3C_55D1_0F27_E84B  # above 2^63: its int64 is negative


def test_words_are_those_of_splitmix64():
    # The published first outputs of splitmix64 seeded with 1234567.
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    drawn = counter.words(1234567, torch.arange(1, 6)).tolist()
    assert [w % 2**64 for w in drawn] == known


@pytest.mark.parametrize("key", [0, 7, KEY, 2**64 - 1])
def test_numba_draws_the_same_bits(key):
    index = torch.arange(1000, 1256)
    buffer = np.empty(256, np.uint64)
    kernels.draw_words(buffer, np.uint64(key), 1000)
    assert np.array_equal(counter.words(key, index).numpy().view(np.uint64), buffer)

    g = np.empty(256, np.float32)
    kernels.draw_gaussians(g, np.empty(64, np.uint64), np.uint64(key), 1000, counter.gaussian_table())
    assert np.array_equal(counter.gaussians(key, index, torch.float32).numpy(), g)

    pi, constants = np.empty(256, np.uint32), np.empty(2 * kernels.ROUNDS, np.uint32)
    kernels.draw_constants(constants, np.uint64(key), 5)
    kernels.draw_permutation(pi, 512, constants, 10)
    assert np.array_equal(counter.permute(key, 5, torch.arange(512, 768), 10).numpy(), pi)


def test_any_part_can_be_drawn_alone():
    whole = counter.gaussians(KEY, torch.arange(1000), torch.float64)
    pieces = [counter.gaussians(KEY, torch.arange(a, b), torch.float64) for a, b in ((0, 3), (3, 501), (501, 1000))]
    assert torch.equal(whole, torch.cat(pieces))


def test_streams_and_seeds_are_unrelated():
    index = torch.arange(1 << 16)
    draws = [
        counter.gaussians(counter.stream_key(seed, stream), index, torch.float64)
        for seed in (0, 1, -1, 2**40)
        for stream in (counter.Stream.SIGNS, counter.Stream.GAUSSIANS)
    ]
    correlation = torch.corrcoef(torch.stack(draws)) - torch.eye(len(draws))
    assert correlation.abs().max() < 5 / 256  # 5 standard errors of 1/√65536


def test_gaussian_table_has_exact_moments():
    table = counter.gaussian_table().astype(np.float64)
    assert table.mean() == 0
    assert abs(table.var() - 1) < 1e-7  # rounding of the entries to float32
    assert abs((table**4).mean() - 3) < 2e-3  # tails are cut at 4.17
    assert np.array_equal(table, -table[::-1])


def test_gaussians_pass_a_distribution_test():
    g = counter.gaussians(KEY, torch.arange(100_000), torch.float64).numpy()
    assert stats.kstest(g, "norm").pvalue > 1e-3


def test_signs_are_balanced_and_uncorrelated():
    s = counter.signs(KEY, torch.arange(1 << 16), torch.float64)
    assert set(s.tolist()) == {-1.0, 1.0}
    assert abs(s.mean()) < 5 / 256
    assert max(abs((s[:-lag] * s[lag:]).mean()) for lag in (1, 2, 63, 64, 65)) < 5 / 256


@pytest.mark.parametrize("log2_size", [0, 1, 2, 5, 11, 16])
def test_permute_is_a_permutation(log2_size):
    images = counter.permute(KEY, torch.arange(8)[:, None], torch.arange(1 << log2_size), log2_size)
    assert torch.equal(images.sort(dim=1).values, torch.arange(1 << log2_size).expand(8, -1))


def _ascents(permutations: torch.Tensor) -> torch.Tensor:
    return (permutations.diff(dim=1) > 0).double().sum(1)


def test_permutations_are_as_random_as_uniform_ones_where_affine_ones_fail():
    # Of a uniform permutation of n numbers: the number of ascents has variance (n + 1)/12 (Eulerian numbers), that of
    # fixed points has mean 1 and variance 1, and the difference of two images is uniform on 1 … n - 1 modulo n.
    n, draws = 1024, 4000
    keyed = counter.permute(KEY, torch.arange(draws)[:, None], torch.arange(n), 10)
    generator = torch.Generator().manual_seed(0)
    a, c = torch.randint(0, n, (2, draws, 1), generator=generator)
    affine = ((2 * a + 1) * torch.arange(n) + c) % n

    assert abs(_ascents(keyed).var() / ((n + 1) / 12) - 1) < 0.15  # standard error √(2/4000) = 0.022
    assert _ascents(affine).var() / ((n + 1) / 12) > 100

    fixed = (keyed == torch.arange(n)).double().sum(1)
    assert abs(fixed.mean() - 1) < 0.1
    assert abs(fixed.var() - 1) < 0.2

    for i, j in ((0, 1), (0, n // 2), (17, 18), (n // 4, n // 2)):
        difference = ((keyed[:, j] - keyed[:, i]) % n).numpy()
        counts = np.histogram(difference, bins=np.linspace(1, n, 34))[0]  # 33 bins of 31 differences
        assert stats.chisquare(counts).pvalue > 1e-4
