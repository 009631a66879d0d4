"""The fraction of memory saved."""

from __future__ import annotations

import pandas as pd
import pytest

from lab.statistics.memory import FULL, memory_saved


def test_saved_is_against_full_fine_tuning_of_the_same_model_and_batch():
    rows = [("a", FULL, 8, 100.0), ("a", FULL, 64, 200.0), ("a", "LoRA", 64, 120.0), ("b", "prompt", 8, 330.0)]
    rows += [("b", FULL, 8, 300.0), ("b", "prompt", 64, 60.0)]
    saved = memory_saved(pd.DataFrame(rows, columns=["model", "label", "batch_size", "peak"]))
    found = saved.set_index(["model", "label", "batch_size"]).saved.to_dict()
    assert found == {("a", "LoRA", 64): pytest.approx(0.4), ("b", "prompt", 8): pytest.approx(-0.1)}
