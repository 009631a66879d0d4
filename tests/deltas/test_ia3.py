from __future__ import annotations

import pytest
import torch

from lab.deltas import IA3


@pytest.mark.parametrize("family", ["bert", "llama", "gpt2", "t5"])
def test_scaling_weights_is_scaling_activations(plm_of, batch_of, noise, family):
    """diag(l)·(Wx + b) = l ⊙ (Wx + b) for keys and values; W(l ⊙ x) before the down projection."""
    plm, batch = plm_of(family), batch_of(plm_of(family))
    delta = IA3(head="frozen").on(plm)
    phi = 1 + 0.3 * noise(delta.size)
    scales = delta.layout.unflatten(phi)
    model = delta.plm.model
    handles = []
    for matrix, side in delta.scaled:
        module, scale = model.get_submodule(matrix.name.removesuffix(".weight")), scales[f"{matrix.label}.{side}"]
        if side == "columns":
            handles.append(module.register_forward_pre_hook(lambda m, args, s=scale: (args[0] * s,)))
        elif matrix.rows is None:
            handles.append(module.register_forward_hook(lambda m, args, out, s=scale: out * s))
        else:  # GPT-2's fused output: query, key, value side by side
            start, stop, total = matrix.rows.start, matrix.rows.stop, matrix.rows.total
            padded = torch.ones(total, dtype=torch.float64)
            padded[start:stop] = scale
            handles.append(module.register_forward_hook(lambda m, args, out, s=padded: out * s))
    try:
        expected = plm.logits({}, batch)
    finally:
        for handle in handles:
            handle.remove()
    torch.testing.assert_close(delta.logits(phi, batch), expected, rtol=0, atol=1e-12)


def test_phi_holds_the_vectors_and_starts_at_one(plm_of):
    delta = IA3(head="frozen").on(plm_of())
    assert torch.equal(delta.phi0, torch.ones(2 * (16 + 16 + 24), dtype=torch.float64))
    assert delta.layout.blocks == (0, 1)


def test_roles_can_be_chosen(plm_of):
    assert IA3(outputs=("query",), inputs=(), head="frozen").on(plm_of()).size == 2 * 16
    assert IA3(outputs=(), inputs=("down", "output"), head="frozen").on(plm_of()).size == 2 * (24 + 16)


def test_nothing_to_scale_is_refused(plm_of):
    with pytest.raises(ValueError, match="at least one role in outputs or inputs"):
        IA3(outputs=(), inputs=())
    with pytest.raises(ValueError, match=r"IA3 needs outputs as a tuple of roles, e\.g\. \(\"key\",\); got 'key'"):
        IA3(outputs="key")
    with pytest.raises(ValueError, match=r"'tiny-bert' has none of the roles \('gate',\)"):
        IA3(outputs=("gate",)).on(plm_of())
