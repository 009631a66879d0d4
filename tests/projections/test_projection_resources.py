"""Memory a projection takes while it works, and where numba may write."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import lab.projections
from lab.projections import Fastfood, Gaussian, OneHot, Sparse

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
SMALL = 6 << 20  # buffers in cache, page tables, the interpreter


def _kilobytes(field: str) -> int:
    return next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith(field))


def extra_bytes(work: Callable[[], torch.Tensor]) -> int:
    """Peak memory while `work` runs, beyond what was there before and its result."""
    RESET.write_text("5")  # the peak starts again from now (proc(5))
    before = _kilobytes("VmRSS")
    result = work()
    return (_kilobytes("VmHWM") - before) * 1024 - result.numel() * result.element_size()


@pytest.mark.skipif(not (STATUS.exists() and os.access(RESET, os.W_OK)), reason="needs Linux's /proc")
@pytest.mark.parametrize("D", [1 << 22, (1 << 22) + 1])  # just above a power of two the padded length is almost 2 D
@pytest.mark.parametrize(
    ("make", "dimensions"),
    [
        (Fastfood, (10, 1000, 9000, 100_000, 1 << 21, (1 << 21) + 1, 1 << 22)),
        (lambda D, d: Fastfood(D, d, form="published"), (10, 1000, 1 << 21, 1 << 22)),
        (OneHot, (10, 1000, 1 << 22)),
        (Sparse, (10, 1000)),
        (Gaussian, (3,)),
    ],
    ids=["fastfood", "published", "one_hot", "sparse", "gaussian"],
)
def test_passing_memory_is_at_most_two_vectors(make, dimensions, D):
    y = torch.ones(D)
    small = make(40_000, 5)
    small.T @ (small @ torch.ones(5))  # compile before anything is measured
    make(40_000, 40_000).T @ (make(40_000, 40_000) @ torch.ones(40_000)) if 1 << 22 in dimensions else None
    for d in dimensions:
        P, x = make(D, d), torch.ones(d)
        assert extra_bytes(lambda P=P, x=x: P @ x) <= 2 * D * 4 + SMALL, f"P @ x at d = {d}"
        assert extra_bytes(lambda P=P: P.T @ y) <= 2 * D * 4 + SMALL, f"P.T @ y at d = {d}"


def test_works_where_nothing_can_be_written(tmp_path):
    # numba looks for a cache folder beside the source and in the user's home; here both are files, so neither can be
    source = Path(lab.projections.__file__).parents[1]
    package = tmp_path / "lab"
    for folder in ("linalg", "projections"):
        (package / folder).mkdir(parents=True)
        for file in (source / folder).glob("*.py"):
            (package / folder / file.name).write_text(file.read_text())
        (package / folder / "__pycache__").touch()
    (package / "__init__.py").touch()
    (tmp_path / "home").touch()
    environment = os.environ | {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "home" / "none")}
    environment |= {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    program = (
        "import torch, lab.projections as p; print(p.__file__);"
        "print((p.Gaussian(9, 4) @ torch.ones(4)).shape[0])"  # the kernel that compiles fastest
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(package / "projections" / "__init__.py"), "9"]


@pytest.mark.parametrize("module", sorted(m.name for m in pkgutil.iter_modules(lab.projections.__path__)))
def test_docstring_examples(module):
    if module == "fastfood_triton" and lab.projections.fastfood.fastfood_triton is None:
        pytest.skip("triton is not installed")
    names = {"torch": torch}
    found = importlib.import_module(f"lab.projections.{module}")
    assert doctest.testmod(found, extraglobs=names).failed == 0
