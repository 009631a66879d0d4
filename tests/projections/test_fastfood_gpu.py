"""The Triton kernel: in Triton's interpreter where triton is installed, on the device where there is one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

from lab.projections import PROJECTIONS, Fastfood, fastfood_cpu

INTERPRETED = """
import torch
from lab.projections import fastfood_reference, fastfood_triton
from lab.projections.fastfood_plan import Plan

for D, d in ((1000, 10), (3000, 1), (20_000, 1000), (40_000, 9000)):
    plan = Plan.stacked(D, d, seed=5)
    X, Y = torch.randn(d, 2, dtype=torch.float64), torch.randn(D, 2, dtype=torch.float64)
    torch.testing.assert_close(fastfood_triton.product(plan, X), fastfood_reference.product(plan, X))
    torch.testing.assert_close(fastfood_triton.adjoint(plan, Y), fastfood_reference.adjoint(plan, Y))
print("equal")
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_triton_kernel_in_its_interpreter():
    environment = os.environ | {"TRITON_INTERPRET": "1"}  # read when triton is imported, hence a process of its own
    done = subprocess.run([sys.executable, "-c", INTERPRETED], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "equal"


@pytest.mark.gpu
@pytest.mark.parametrize("d", [1, 100, 1000, 3000, 9000, 20_000])
def test_fastfood_on_the_device_is_the_one_on_the_cpu(d):
    P = Fastfood(100_000, d, seed=2)
    generator = torch.Generator().manual_seed(0)
    X, Y = torch.randn(d, 2, generator=generator), torch.randn(100_000, 2, generator=generator)
    torch.testing.assert_close((P @ X.cuda()).cpu(), fastfood_cpu.product(P.plan, X), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close((P.T @ Y.cuda()).cpu(), fastfood_cpu.adjoint(P.plan, Y), rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("projection", PROJECTIONS, ids=[P.name for P in PROJECTIONS])
def test_one_seed_one_map_on_cpu_and_device(projection):
    P = projection(30_000, 100, seed=2)
    x, y = torch.ones(100, dtype=torch.float64), torch.ones(30_000, dtype=torch.float64)
    torch.testing.assert_close((P @ x.cuda()).cpu(), P @ x)
    torch.testing.assert_close((P.T @ y.cuda()).cpu(), P.T @ y)
