"""What an import brings with it, and what it must not: `deltalab list` reads JSON, an experiment needs no compiler."""

from __future__ import annotations

import subprocess
import sys

import pytest

TABLES = ("pandas", "pyarrow", "duckdb", "numpy")
PLOTS = ("plotly", "kaleido", "matplotlib", "streamlit")
STATISTICS = ("scipy", "sklearn")
MODELS = ("torch", "transformers", "peft", "accelerate", "huggingface_hub")
COMPILERS = ("torch._dynamo.convert_frame", "torch._inductor", "sympy")


def imported_with(module: str, *names: str) -> set[str]:
    """Which modules of these names are loaded by a fresh Python that imports `module`."""
    script = f"import sys, {module}; print(*(name for name in {names!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_the_question_is_asked_rightly():
    assert imported_with("json", "json", "torch") == {"json"}


@pytest.mark.parametrize("module", ["lab.runs", "lab.execution"])
def test_manifests_are_read_by_the_standard_library_alone(module):
    assert imported_with(module, *TABLES, *PLOTS, *STATISTICS, *MODELS) == set()


@pytest.mark.parametrize("module", ["lab.statistics", "lab.figures", "lab.cli"])
def test_help_and_lists_need_no_table_no_plot_and_no_model(module):
    assert imported_with(module, *TABLES, *PLOTS, *STATISTICS, *MODELS) == set()


@pytest.mark.parametrize("module", ["lab.study.training_run", "experiments.intrinsic_dimension"])
def test_an_experiment_brings_torch_but_no_compiler_and_no_peer(module):
    unwanted = (*MODELS[1:], "sklearn", "scipy.stats", "scipy.optimize", *PLOTS, *COMPILERS)
    assert imported_with(module, "torch", *unwanted) == {"torch"}
