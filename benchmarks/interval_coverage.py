"""How often the intervals of d90 cover a d90 that was planted: the table of docs/intrinsic_dimension.md.

    python benchmarks/interval_coverage.py [trials]

Five hundred trials a cell take four minutes on one core.
"""

from __future__ import annotations

import sys
from statistics import fmean

from lab.geometry.planted_dimension import CURVES, START, planted_coverage

TRUTHS = (0.3, 0.5, 0.8, 1.0, 2.0, 3.0)
SEEDS = (2, 3, 5)


def table(trials: int) -> str:
    """Markdown: a row per curve and number of seeds, a column per truth; share covered, and median of high / low."""
    lines = [
        "| curve | seeds | " + " | ".join(f"{truth:g} × start" for truth in TRUTHS) + " | open | dimensions |",
        "|---" * (len(TRUTHS) + 4) + "|",
    ]
    for shape in CURVES:
        for n_seeds in SEEDS:
            found = [planted_coverage(shape, truth * START, n_seeds, trials) for truth in TRUTHS]
            cells = [f"{cell['covered']:.3f}, ×{cell['width']:.1f}" for cell in found]
            rest = [f"{fmean(cell[name] for cell in found):.2f}" for name in ("open", "dimensions")]
            lines.append(f"| {shape} | {n_seeds} | " + " | ".join([*cells, *rest]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(int(sys.argv[1]) if len(sys.argv) > 1 else 500))
