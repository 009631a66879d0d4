from __future__ import annotations

import pytest
import torch

from lab.models import load_plm, untrained_plm
from lab.models.device import device_of


def test_devices_that_are_here():
    assert device_of("cpu") == torch.device("cpu")
    assert device_of(torch.device("meta")) == torch.device("meta")


@pytest.mark.parametrize("name", ["foo", "", "cpu:x", "cuda:99", "hpu"])
def test_a_device_that_is_not_here_is_refused_with_those_that_are(name):
    with pytest.raises(ValueError, match=rf"device is '{name}', which is not here; choose one of: cpu"):
        device_of(name)


def test_it_is_refused_before_weights_are_read():
    for load in (lambda: load_plm("no such model", device="foo"), lambda: load_plm("tiny-bert", device="foo")):
        with pytest.raises(ValueError, match="device is 'foo'"):
            load()
    with pytest.raises(ValueError, match="device is 'foo'"):
        untrained_plm("bert-base-uncased", device="foo")
