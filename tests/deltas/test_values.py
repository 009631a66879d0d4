from __future__ import annotations

import torch

from lab.deltas.values import Values


def test_phi_is_the_values_bit_for_bit(plm_of, batch_of):
    plm = plm_of()
    names = ("bert.pooler.dense.weight", "classifier.bias")
    delta = Values(plm, names)
    assert (delta.size, delta.head_size) == (16 * 16 + 2, 2)
    assert torch.equal(delta.logits(delta.phi0, batch_of(plm)), plm.logits({}, batch_of(plm)))
    phi = torch.linspace(-1, 1, delta.size, dtype=torch.float64)
    overrides = delta.overrides(phi)
    assert torch.equal(torch.cat([overrides[n].reshape(-1) for n in names]), phi)
    difference = delta.weight_difference(phi)
    assert set(difference) == {"bert.pooler.dense.weight"}
    assert torch.equal(difference[names[0]], overrides[names[0]] - plm.parameters[names[0]])
    assert torch.equal(delta.overrides_of({names[1]: phi[-2:]})[names[1]], phi[-2:])
