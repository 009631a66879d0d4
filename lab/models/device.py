"""A device by name, tried before anything long begins."""

from __future__ import annotations

import torch


def device_of(name: str | torch.device) -> torch.device:
    """The device of a name: "cpu", "cuda", "cuda:1", "mps", …; "meta" for shapes without numbers.

    Raises:
        ValueError: there is no device of this name here; those that are here are listed.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ImportError) as error:  # unknown, not compiled in, not plugged in
        here = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise ValueError(f"device is {str(name)!r}, which is not here; choose one of: {', '.join(here)}") from error
    return device
