"""`import lab`: a dozen names, imported when they are used; a wrong one is answered with the right one."""

from __future__ import annotations

import subprocess
import sys

import pytest

import lab
from lab.deltas import METHODS
from lab.geometry import weight_difference_spectra
from lab.models import load_plm
from lab.runs import Store


def test_every_name_and_room_is_there_and_listed():
    for name in dir(lab):
        assert getattr(lab, name) is not None, name
    assert set(lab.__all__) | set(lab.rooms()) == set(dir(lab))
    assert {"linalg", "deltas", "control", "runs"} <= set(lab.rooms())


def test_names_are_those_of_their_rooms():
    assert lab.load_plm is load_plm
    assert lab.spectra is weight_difference_spectra
    assert lab.Store is Store
    assert lab.geometry.weight_difference_spectra is weight_difference_spectra
    assert {method.__name__ for method in METHODS} <= set(lab.__all__)
    assert all(getattr(lab, method.__name__) is method for method in METHODS)


def test_importing_lab_imports_no_torch_and_a_star_imports_all():
    script = (
        "import sys, lab; assert 'torch' not in sys.modules and 'numpy' not in sys.modules; dir(lab); lab.runs; "
        "assert 'torch' not in sys.modules; from lab import *; LoRA, fit, costates; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "True"


@pytest.mark.parametrize(
    ("wrong", "answer"),
    [
        ("lora", r"lab has no name 'lora'\. Did you mean LoRA"),
        ("load_model", r"lab has no name 'load_model'\. Did you mean load_plm"),
        ("costate", "Did you mean costates"),
        ("fit_many", r"Did you mean lab\.training\.fit_many\?"),
        ("linear_algebra_of_everything", r"dir\(lab\) lists what there is"),
    ],
)
def test_a_wrong_name_is_answered(wrong, answer):
    with pytest.raises(AttributeError, match=answer):
        getattr(lab, wrong)


def test_deltalab_is_another_name_of_it():
    import deltalab as dl

    assert dl.LoRA is lab.LoRA
    assert dl.geometry is lab.geometry
    assert set(dl.__all__) <= set(dir(dl)) == set(dir(lab))
    script = "import sys, deltalab; print({'torch', 'numpy', 'plotly'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"
    with pytest.raises(AttributeError, match="Did you mean LoRA"):
        dl.lora  # noqa: B018


def test_machinery_gets_its_usual_answer():
    assert not hasattr(lab, "__wrapped__")
