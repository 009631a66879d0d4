"""The bar of a training run in Jupyter: there in a kernel, silent elsewhere."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from lab.training import notebook


@pytest.fixture
def kernel(monkeypatch):
    """What is displayed, in a process that is a kernel."""
    shown: list[str] = []
    handle = SimpleNamespace(update=shown.append)
    display = SimpleNamespace(HTML=str, display=lambda html, display_id: handle)
    monkeypatch.delenv("DELTALAB_PROGRESS", raising=False)
    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=1)))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return shown


def test_a_kernel_shows_steps_loss_and_time_and_is_tidy_at_the_end(kernel):
    bar = notebook.bar()
    assert bar is not None
    bar(1, 2, 0.5)
    bar(2, 2, 0.25)
    bar.close()
    assert kernel[0].startswith('<progress value="1" max="2"></progress> 1 of 2 steps, loss 0.5')
    assert kernel[-2].endswith("2 of 2 steps, loss 0.25, 0 s to go")
    assert kernel[-1] == ""


def test_nothing_is_shown_where_nobody_wants_it(kernel, monkeypatch):
    monkeypatch.setenv("DELTALAB_PROGRESS", "0")
    assert notebook.bar() is None
    monkeypatch.delenv("DELTALAB_PROGRESS")
    monkeypatch.delitem(sys.modules, "ipykernel")
    assert notebook.bar() is None
