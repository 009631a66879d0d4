"""What the answer says of a whole spectrum, and of its largest values alone."""

from __future__ import annotations

import pandas as pd

from lab.figures import figure

CURVATURE = figure("curvature_spectrum")


def test_start_and_end_of_a_method_stand_together_and_its_null_follows():
    said = CURVATURE.alt(CURVATURE.example().iloc[::-1])
    assert said.startswith("Stiff directions (participation ratio of the curvature): BitFit: ")
    assert said.count("at the start") == said.count("trained") == 3
    assert said.index("LoRA r = 8:") < said.index("LoRA r = 8, random weights:")


def test_of_the_largest_eigenvalues_alone_no_ratio_is_told():
    few = pd.DataFrame(
        {"label": "next token", "state": "start", "scope": "all", "index": [1, 2], "eigenvalue": [4.0, 3]}
    )
    table = pd.concat([few, CURVATURE.example()], ignore_index=True)
    assert CURVATURE.alt(table).endswith("; next token: only the 2 largest known.")
    row = CURVATURE.summarize(table).set_index("label").loc["next token"]
    assert row["largest"] == 4
    assert row[["trace", "participation ratio", "for 90 % of the trace [count]"]].isna().all()
    drawn = [trace for trace in CURVATURE.draw(table).data if trace.name == "next token"]
    assert [trace.mode for trace in drawn] == ["markers"]
