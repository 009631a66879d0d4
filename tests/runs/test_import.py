from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["lab.runs", "lab.statistics", "lab.execution", "lab.cli"])
def test_the_records_are_read_without_torch(module):
    script = f"import sys, {module}; print([name for name in ('torch', 'transformers') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["lab.runs", "lab.statistics", "lab.execution"])
def test_records_and_statistics_are_imported_without_scipy(module):
    script = f"import sys, {module}; print([name for name in sys.modules if name.split('.')[0] == 'scipy'])"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
