"""A correlation is told with its interval and with how many searches it is of."""

from __future__ import annotations

import re

from lab.figures import figure

PREDICTED = figure("predicted_dimension")


def test_the_answer_has_interval_and_count_and_is_what_the_panels_say():
    table = PREDICTED.example()
    said = PREDICTED.alt(table)
    assert said.startswith("Rank correlation of predicted with measured dimension (training loss, 6 searches): ")
    told = re.findall(r"−?\d\.\d\d \[−?\d\.\d\d, −?\d\.\d\d\]", said)
    assert len(told) == 2
    titles = " ".join(panel.title for panel in PREDICTED.grid(table).panels)
    assert all(f"ρ = {part}" in titles for part in told)
