"""Null collections keep what they say they keep, and draw the rest."""

from __future__ import annotations

import pytest
import torch

from lab.geometry.collections import (
    from_base,
    from_inputs,
    from_updates,
    input_columns,
    input_moments,
    redrawn,
    same_spaces,
    same_spectra,
)
from lab.linalg import LowRank, Spectrum, principal_angles
from lab.models.tiny import tiny_plm

M, D, RANK = 10, 8, 2


def collection():
    generator = torch.Generator().manual_seed(0)
    return from_updates(
        {
            f"{i}": {
                "w": LowRank(
                    torch.randn(M, RANK, generator=generator, dtype=torch.float64),
                    torch.randn(RANK, D, generator=generator, dtype=torch.float64),
                )
            }
            for i in range(3)
        }
    )


def spectrum(change):
    return Spectrum.of(change, vectors=True)


def test_every_null_keeps_the_spectra():
    own, rows = collection(), lambda name: torch.eye(D, dtype=torch.float64)
    W0 = torch.randn(M, D, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    for null in (same_spectra(own), same_spaces(own), from_inputs(own, rows), from_base(own, lambda name: W0)):
        for i in range(3):
            torch.testing.assert_close(
                spectrum(null.change(i, "w")).values[:RANK], spectrum(own.change(i, "w")).values[:RANK]
            )


def test_same_spaces_keeps_both_spaces_and_the_null_is_a_function_of_its_seed():
    own, null = collection(), same_spaces(collection(), seed=4)
    for i in range(3):
        a, b = spectrum(own.change(i, "w")), spectrum(null.change(i, "w"))
        assert float(principal_angles(a.left[:, :RANK], b.left[:, :RANK]).max()) < 1e-7
        assert float(principal_angles(a.right[:, :RANK], b.right[:, :RANK]).max()) < 1e-7
    again, other = same_spaces(collection(), seed=4), same_spaces(collection(), seed=5)
    assert torch.equal(null.change(1, "w").to_dense(), again.change(1, "w").to_dense())
    assert not torch.equal(null.change(1, "w").to_dense(), other.change(1, "w").to_dense())


def test_uniform_frames_have_no_preferred_direction():
    """E q qᵀ = I r/d for the projection on a Haar frame; also where one axis of the given ΔW holds all."""
    total = torch.zeros(D, D, dtype=torch.float64)
    for seed in range(400):
        V = spectrum(same_spectra(collection(), seed=seed).change(0, "w")).right[:, :RANK]
        total += V @ V.T / 400
    assert float((total - torch.eye(D) * RANK / D).abs().max()) < 0.06  # standard error about 0.02


def test_inputs_drawn_from_a_second_moment_have_it():
    """Rank one: v ∝ F z with F Fᵀ = C; with C = diag(1, …, 0) the last axes never occur, the first do, alike."""
    F = torch.diag(torch.tensor([1.0, 1.0, 1.0, 1.0, 0, 0, 0, 0], dtype=torch.float64))
    null = from_inputs(collection(), lambda name: F)
    for i in range(3):
        V = spectrum(null.change(i, "w")).right[:, :RANK]
        assert float(V[4:].abs().max()) < 1e-12
        a, b = spectrum(collection().change(i, "w")), spectrum(null.change(i, "w"))
        assert float(principal_angles(a.left[:, :RANK], b.left[:, :RANK]).max()) < 1e-7  # outputs are their own


def test_input_columns_are_roots_of_the_second_moment_of_what_the_layer_sees():
    plm = tiny_plm("bert", num_labels=2, seed=0, dtype=torch.float64)
    label = next(m.label for m in plm.matrices(("query",)))
    ids = torch.arange(12).reshape(2, 6)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
    batch = {"input_ids": ids, "attention_mask": mask}
    embedded = plm.model.base_model.embeddings(input_ids=ids).detach()[mask.bool()]
    columns = input_columns(plm, [batch], [label])[label]
    torch.testing.assert_close(columns @ columns.T, embedded.T @ embedded / 10, rtol=0, atol=1e-10)
    sums, counts = input_moments(plm, [batch, batch], [label])
    torch.testing.assert_close(sums[label], 2 * embedded.T @ embedded, rtol=0, atol=1e-10)
    assert counts[label] == 20
    assert not any(module._forward_pre_hooks for module in plm.model.modules())


def test_a_gradient_at_the_start_lies_in_the_span_of_its_inputs():
    """What the null rests on: the rows of ∂ℓ/∂W are combinations of the inputs of W's layer."""
    plm = tiny_plm("bert", num_labels=2, seed=0, dtype=torch.float64)
    label = next(m.label for m in plm.matrices(("query",)))
    batch = {"input_ids": torch.arange(3).reshape(1, 3), "attention_mask": torch.ones(1, 3, dtype=torch.int64)}
    columns = input_columns(plm, [batch], [label])[label]
    W = plm.parameters[label].detach().clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(plm.logits({label: W}, batch), torch.tensor([1]))
    (gradient,) = torch.autograd.grad(loss, W)
    Q = spectrum(columns).left[:, :3]  # three tokens span three directions of sixteen
    assert float((gradient - gradient @ Q @ Q.T).norm()) < 1e-10 * float(gradient.norm())


def test_misuse_is_answered():
    with pytest.raises(ValueError, match=r"drawn from columns in R\^8, 2 of them at least; got .*\(8, 1\)"):
        redrawn(collection(), left="own", right=lambda name: torch.ones(8, 1)).change(0, "w")
    plm = tiny_plm("bert", num_labels=2, seed=0)
    label = next(m.label for m in plm.matrices(("query",)))
    with pytest.raises(ValueError, match="has no block matrix"):
        input_columns(plm, [], ["w"])
    with pytest.raises(ValueError, match="no inputs reached"):
        input_columns(plm, [], [label])
