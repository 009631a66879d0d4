"""The claims of the source text (Ding et al. 2022) in its order, and which parts of them no experiment here tests."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

SOURCE_CLAIMS: Mapping[int, str] = MappingProxyType(
    {
        1: "three families: addition, specification (BitFit keeps more than 95 %), reparameterisation",
        2: "settings: prefix of 5, prompt of 100, LoRA r = 8 on query and value, adapter of 64 with SiLU",
        3: "performance FT > LoRA > adapter > prefix > prompt, convergence FT > adapter ≈ LoRA > prefix, neither "
        "decided by the number of tunable parameters",
        4: "prompt tuning converges slowly",
        5: "GPU memory: up to 3/4 saved at batch 1 or 8, at least 1/3 at batch 64",
        6: "combinations of prompt, BitFit and adapter, at once and in turn",
        7: "a manual template lifts zero-shot, helps few-shot, hardly matters with full data",
        8: "generalisation gap: every single delta below full fine-tuning, prompt smallest, combinations larger, "
        "templates without effect",
        9: "transfer: good inside a type of task, poor across",
        10: "power of scale: all methods improve and converge faster; the last layer is a bad choice, random modules a "
        "good one",
        11: "theory: solution and function space of low dimension; back-propagation is the search for the optimal "
        "controller",
        12: "applications: fast training, small storage, one model for many users, mixed batches",
    }
)
"""Number -> the claim; `Verdict.number` refers to it."""

NOT_TESTED: tuple[tuple[int, str, str], ...] = (
    (1, "that the methods fall into three families", "a definition: docs/methods.md says what each method trains"),
    (2, "the settings", "no statement about data: `lab.deltas.presets.delta_tuning_study`, counted in docs/methods.md"),
    (3, "the average over more than a hundred tasks on T5-base", "three classification tasks on MiniLM are run"),
    (
        4,
        "that prompt tuning is worst on small models",
        "one small model is run; a series needs models of several sizes",
    ),
    (5, "memory of a GPU at these model sizes", "counted, and measured on MiniLM; larger models have no weights here"),
    (6, "that prompt, BitFit and adapter combine so on all of GLUE", "one task per setting is run"),
    (9, "generation tasks, and transfer from generation to sentiment", "every task here is a classification"),
    (9, "transfer among twelve tasks of five types", "packaged tasks of two classes make four, of two types"),
    (10, "T5 small, base and XXL, and scale of pre-training", "the packaged series is one PLM cut after some blocks"),
    (12, "training time of large models until they have converged", "steps are timed on MiniLM, runs are short"),
)
"""Number of the claim, the part of it, and why no experiment here tests it."""
