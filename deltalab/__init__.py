"""``import deltalab as dl``: the laboratory under the name it is installed by; all names are those of `lab`.

Example:
    >>> import deltalab as dl
    >>> dl.LoRA(rank=2)
    LoRA(rank=2, alpha=None, targets=('query', 'value'), rslora=False, head='free')
"""

from __future__ import annotations

from typing import Any

import lab

__all__ = lab.__all__


def __getattr__(name: str) -> Any:
    return getattr(lab, name)


def __dir__() -> list[str]:
    return dir(lab)


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext deltalab`` in a notebook: see `lab.jupyter`."""
    from lab import jupyter

    jupyter.load_ipython_extension(shell)
