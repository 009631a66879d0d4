"""The null that keeps the size of every entry."""

from __future__ import annotations

import pytest
import torch

from lab.geometry.sign_flip_null import above_sign_flips, sign_flip_spectra, sign_flip_table
from lab.geometry.weight_changes import WeightChange, WeightChanges
from lab.linalg import LowRank, largest_gaussian_singular_value


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(m: int = 40, n: int = 30) -> torch.Tensor:
    return torch.randn(m, n, generator=generator(), dtype=torch.float64)


def test_every_draw_has_the_norm_of_the_matrix():
    W = noise()
    spectra = sign_flip_spectra(W, n_samples=3, generator=generator())
    assert spectra.shape == (3, 30)
    assert torch.allclose(torch.linalg.vector_norm(spectra, dim=1), torch.linalg.vector_norm(W).expand(3))
    assert not torch.allclose(spectra[0], spectra[1])


def test_a_sign_changes_nothing_in_a_matrix_of_one_entry_a_row():
    """Diagonal: the signs are a rotation, the spectrum is the matrix's own."""
    W = torch.diag(torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64))
    assert torch.allclose(sign_flip_spectra(W, n_samples=2), torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64))


def test_rows_of_unequal_size_beat_one_variance_but_not_this_null():
    W = noise()
    W[0] *= 6
    norm = float(torch.linalg.vector_norm(W))
    one_variance = norm * largest_gaussian_singular_value(40, 30, 1 / (40 * 30) ** 0.5, probability=0.95)
    assert float(torch.linalg.svdvals(W)[0]) > one_variance
    assert above_sign_flips(W, generator=generator())[0] == 0


def test_a_common_direction_beats_this_null():
    W = noise() + 0.8 * torch.ones(40, 30, dtype=torch.float64)
    n_above, edge = above_sign_flips(W, generator=generator())
    assert n_above == 1
    assert edge < float(torch.linalg.svdvals(W)[0])


def test_the_null_itself_is_above_it_as_rarely_as_said():
    rng = generator(1)
    drawn = [torch.randn(12, 8, generator=rng, dtype=torch.float64) for _ in range(200)]
    alarms = sum(above_sign_flips(W, generator=rng)[0] > 0 for W in drawn)
    assert alarms <= 20  # of 200/21, binomial: above with probability 0.001


@pytest.mark.parametrize(("shape", "n"), [((3,), 2), ((3, 2), 0)])
def test_what_is_no_matrix_is_refused(shape, n):
    with pytest.raises(ValueError, match="expected a matrix and one draw or more"):
        sign_flip_spectra(torch.ones(shape), n_samples=n)


def test_the_table_has_the_dense_matrices_that_are_asked_for():
    """A direction common to all entries beats the null, rows of unequal size do not; factors are left out."""
    uneven = noise()
    uneven[0] *= 6
    differences = {
        "common": noise() + 0.8 * torch.ones(40, 30, dtype=torch.float64),
        "uneven": uneven,
        "factors": LowRank(noise(40, 3), noise(3, 30)),
        "unasked": noise(),
    }
    changes = WeightChanges(
        tuple(differences), lambda name: WeightChange(name, "query", 0, differences[name], None, "float64")
    )
    found = sign_flip_table(changes, {"common", "uneven", "factors"}).set_index("matrix")
    assert found.n_above_signs.to_dict() == {"common": 1, "uneven": 0}
    assert (found.sign_edge > 0).all()
