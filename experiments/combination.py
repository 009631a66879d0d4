"""Prompt, BitFit and adapter together: at once in every combination, and one after the other in every order.

Question: which of prompt, BitFit and adapter helps beside the others, and does the order matter when they come in turn?
Source: Ding et al. 2022 and 2023 (Table 2): simultaneous and sequential combinations on GLUE and SST-2.
Varied: which of the three are on (2³ cells), or their order (six orders of three stages); data (some hundred examples,
    16 per class); with and without a manual template; seeds (head, split, order of examples).
Tuned: nothing in the grid: each part keeps one step size in every cell, that of `performance` for it alone. Added
    biases have their own, the best of 1e-4, 3e-4, 1e-3 for them alone on one seed (SmolLM2, bbc-news, template).
Fixed: steps, batch size, sequence length, and the step size of the new head, which trains in every cell and stage.
Expected: the adapter helps, BitFit helps a little, the prompt hurts beside another delta; no order is always best.
Cost: demo: about 30 minutes on one quiet core (MiniLM; the templates on SmolLM2 take two thirds). smoke: seconds.

The head. Without a template a new classification head is trained in all eight cells, with one step size, so the empty
cell is the linear probe. With a template the pre-trained language-model head reads the label words and does not move,
so the empty cell is the untouched PLM. In a sequence the new head goes on training in every stage from where it stands,
and the deltas of earlier stages are part of the PLM by then (`lab.models.settled`): they cannot move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import permutations, product
from statistics import fmean
from typing import Any

import pandas as pd

from experiments.training_run import child_job, fitted, plm_of, task_of, without_biases
from experiments.training_run import measure as train
from lab.deltas import Adapter, AddedBias, BitFit, Combination, DeltaMethod, Prompt, method_from_json
from lab.execution import Local
from lab.models import PLM, settled
from lab.runs import Job, Record, Store
from lab.statistics import Verdict, mean_interval
from lab.statistics.combination import FACTORS, contrasts, named

NAME = "combination"
FIGURES = ("combination", "sequential_combination")

SOURCE = "Ding et al. 2022, section on combinations; Ding et al. 2023, Table 2"
STEP_SIZES = {"prompt": 1e-2, "BitFit": 3e-3, "adapter": 3e-3}  # of `performance`, for each alone (MiniLM)
ADDED_BIAS_STEP_SIZE = 1e-3
HEAD_STEP_SIZE = 1e-2
SEEDS = (13, 21, 42, 87, 100)
"""The few-shot splits of Gao et al. 2021; here every seed of a split is also the seed of its run."""


@dataclass(frozen=True)
class Setting:
    """Which PLM is read how, on how much data.

    Attributes:
        shots: examples per class; None: `n_train` examples of the task.
        template: read through the manual template and the language-model head.
        added_biases: `AddedBias` instead of BitFit, for families without biases.
        tokens, bottleneck: sizes of prompt and adapter (Ding et al. 2023, Table 2: 10 and 64).
    """

    model: str
    task: str
    steps: int
    batch_size: int
    max_length: int
    n_train: int | None
    n_validation: int | None
    seeds: tuple[int, ...]
    shots: int | None = None
    template: bool = False
    added_biases: bool = False
    tokens: int = 10
    bottleneck: int = 64
    precision: str = "float32"

    def parts(self) -> tuple[DeltaMethod, ...]:
        """Prompt, BitFit, adapter."""
        biases = AddedBias() if self.added_biases else BitFit()
        return (Prompt(tokens=self.tokens), biases, Adapter(bottleneck=self.bottleneck))

    def step_sizes(self) -> list[float]:
        """Of prompt, biases, adapter."""
        biases = {"BitFit": ADDED_BIAS_STEP_SIZE} if self.added_biases else {}
        return list((STEP_SIZES | biases).values())


_SMOKE = Setting(
    "tiny-bert", "rotten-tomatoes", steps=2, batch_size=4, max_length=12, n_train=16, n_validation=16, seeds=(13, 21),
    tokens=2, bottleneck=2,
)  # fmt: skip
_DEMO = Setting(
    "minilm", "bbc-news", steps=30, batch_size=8, max_length=32, n_train=240, n_validation=160, seeds=(0, 1, 2, 3, 4),
    precision="bfloat16",
)  # fmt: skip
_DECODER = replace(
    _DEMO, model="smollm2", template=True, added_biases=True, steps=16, max_length=24, n_validation=100, seeds=(0, 1, 2)
)
_SMOKE_DECODER = replace(_SMOKE, model="tiny-llama", template=True, added_biases=True, seeds=(13,), max_length=24)
_PAPER = replace(
    _DEMO, task="rotten-tomatoes", steps=1000, batch_size=32, max_length=128, n_train=None, n_validation=None,
    seeds=SEEDS, precision="float32",
)  # fmt: skip

SIMULTANEOUS: dict[str, dict[str, Setting]] = {
    "smoke": {
        "full": _SMOKE,
        "full-template": _SMOKE_DECODER,
        "few-shot-template": replace(_SMOKE_DECODER, shots=2, n_train=None),
    },
    "demo": {
        "full": _DEMO,
        "few-shot": replace(_DEMO, shots=16, n_train=None, seeds=SEEDS),
        "full-template": _DECODER,
        "few-shot-template": replace(_DECODER, shots=16, n_train=None, seeds=SEEDS),
    },
    "paper": {
        "full": _PAPER,
        "few-shot": replace(_PAPER, shots=16, steps=200),
        "full-template": replace(_PAPER, model="smollm2", template=True, added_biases=True),
        "few-shot-template": replace(_PAPER, model="smollm2", shots=16, steps=200, template=True, added_biases=True),
    },
}
SEQUENTIAL = {
    "smoke": replace(_SMOKE, seeds=(13,)),
    "demo": replace(_DEMO, steps=24),
    "paper": _PAPER,
}


def jobs(
    scale: str,
    *,
    settings: tuple[str, ...] | None = None,
    model: str | None = None,
    task: str | None = None,
    seeds: tuple[int, ...] | None = None,
    added_biases: bool | None = None,
) -> list[Job]:
    """One 2³ grid per setting, and one tree of orders per seed.

    Args:
        scale: "smoke", "demo" or "paper".
        settings: of those of the scale ("full", "few-shot", "few-shot-template", …) and "sequential"; default: all.
        model: name for `load_plm`; default: each setting's.
        task: name or path for `load_task`. With the few-shot settings a task folder brings its published splits.
        seeds: default: each setting's.
        added_biases: `AddedBias` in BitFit's place, for PLMs without biases; default: by the model's name, if it is
            given, or each setting's.
    """
    if scale not in SIMULTANEOUS:
        raise ValueError(f"unknown scale {scale!r}; choose one of {sorted(SIMULTANEOUS)}.")
    known = {**SIMULTANEOUS[scale], "sequential": SEQUENTIAL[scale]}
    chosen = settings or tuple(known)
    if unknown := sorted(set(chosen) - set(known)):
        raise ValueError(f"unknown settings {unknown}; the scale {scale!r} has {', '.join(known)}.")
    if model is not None and added_biases is None:
        added_biases = without_biases(model)
    given = {"model": model, "task": task, "seeds": seeds, "added_biases": added_biases}
    changes = {name: value for name, value in given.items() if value is not None}
    found = []
    for name in chosen:
        setting = replace(known[name], **changes)  # type: ignore[arg-type]
        config: dict[str, Any] = {"kind": "simultaneous", "setting": name, **asdict(setting)}
        config |= {"parts": [part.to_json() for part in setting.parts()], "step_sizes": setting.step_sizes()}
        config |= {"head_step_size": HEAD_STEP_SIZE}
        if name == "sequential":
            del config["seeds"]
            found += [Job(NAME, config | {"kind": "sequential", "seed": seed}) for seed in setting.seeds]
        else:
            found.append(Job(NAME, config))
    return found


def measure(job: Job, store: Store) -> Record:
    """The cells of a grid, or the stages of all orders."""
    return _simultaneous(job, store) if job.config["kind"] == "simultaneous" else _sequential(job)


def _simultaneous(job: Job, store: Store) -> Record:
    c = job.config
    cells = [(seed, on) for seed in c["seeds"] for on in product((False, True), repeat=len(FACTORS))]
    records = Local(store).run([_cell(c, seed, on) for seed, on in cells], train, label=f"{NAME} {c['setting']}")
    table = pd.DataFrame(
        [
            {"label": label(c), "seed": seed, **dict(zip(FACTORS, map(int, on), strict=True)),
             **{name: record.metrics[name] for name in ("score", "train_score", "metric", "tunable", "train_seconds")}}
            for (seed, on), record in zip(cells, records, strict=True)
        ]
    )  # fmt: skip
    empty, full = (table[table[list(FACTORS)].sum(axis=1) == n] for n in (0, len(FACTORS)))
    metrics = {
        "metric": table["metric"].iloc[0],
        "none": float(empty.score.mean()),
        "all": float(full.score.mean()),
        "runs": len(table),
        "train_seconds": float(table.train_seconds.sum()),
    }
    return Record(job, metrics, {NAME: table})


def _cell(c: dict[str, Any], seed: int, on: Sequence[bool]) -> Job:
    method = combined(c, [i for i, used in enumerate(on) if used])
    untouched = c["template"] and not any(on)  # nothing to train
    return child_job(
        c, method=method.to_json(), seed=seed, lr=min(c["step_sizes"]), head_lr=c["head_step_size"],
        steps=0 if untouched else c["steps"], precision=c["precision"], shots=c["shots"], template=c["template"],
        train_evaluations="last", keep_phi=False,
    )  # fmt: skip


def combined(c: dict[str, Any], chosen: Sequence[int]) -> Combination:
    """Those parts of a job, each with its own step size: the smallest is the run's, the others multiples of it."""
    sizes = c["step_sizes"]
    parts = tuple(method_from_json(c["parts"][i]) for i in chosen)
    return Combination(parts, tuple(sizes[i] / min(sizes) for i in chosen))


def _sequential(job: Job) -> Record:
    c = job.config
    task = task_of(c)
    start = plm_of(c["model"], task.num_labels, c["seed"], "pretrained")
    rows = _stages(c, start, ())
    rows += [_together(c, start)]
    table = pd.DataFrame(rows).assign(label=label(c), seed=c["seed"])
    last = table[table.stage == len(FACTORS)].set_index("order").score.astype(float)
    metrics = {"metric": table["metric"].iloc[0], "best_order": str(last.idxmax()), "best": float(last.max())}
    return Record(job, metrics | {"worst": float(last.min())}, {"sequential_combination": table})


def _stages(c: dict[str, Any], plm: PLM, done: tuple[int, ...]) -> list[dict[str, Any]]:
    """Train each part that is left on what the others have made of the PLM; the rows of every order that begins so."""
    rows = []
    for new in sorted(set(range(len(FACTORS))) - set(done)):
        order = (*done, new)
        row, after = _stage(c, plm, [new], c["steps"])
        rows += [
            {"order": _told(whole), "stage": len(order), **row}
            for whole in permutations(range(len(FACTORS)))
            if whole[: len(order)] == order
        ]
        rows += _stages(c, after, order)
    return rows


def _together(c: dict[str, Any], plm: PLM) -> dict[str, Any]:
    """The reference: all three at once, with as many steps as the three stages have."""
    everything = range(len(FACTORS))
    row, _ = _stage(c, plm, everything, len(FACTORS) * c["steps"])
    return {"order": "all at once", "stage": len(FACTORS), **row}


def _stage(c: dict[str, Any], plm: PLM, chosen: Sequence[int], steps: int) -> tuple[dict[str, Any], PLM]:
    delta = combined(c, chosen).on(plm, seed=c["seed"])
    options = {"lr": min(c["step_sizes"]), "head_lr": c["head_step_size"], "steps": steps}
    delta, result = fitted(delta, task_of(c).encode(plm, max_length=c["max_length"]), c | options)
    row = {"score": result.score, "metric": result.metric, "train_score": result.history[-2]["score"]}
    return row | {"tunable": delta.size}, settled(delta.plm, delta.overrides(result.phi))


def _told(order: Sequence[int]) -> str:
    return " → ".join(FACTORS[i] for i in order)


def label(c: dict[str, Any]) -> str:
    """What a setting is called in a figure."""
    data = f"{c['shots']} examples a class" if c["shots"] else f"{c['n_train'] or 'all'} examples"
    reading = "template" if c["template"] else "no template"
    return f"{c['model']} · {c['task']} · {data} · {reading}"


REPLICATES = ("seed",)
"""What differs between records that are judged together: the orders have one record per seed."""


def verdicts(records: Sequence[Record]) -> list[Verdict]:
    """What each factor does beside another, the gap of combinations, and whether an order is best."""
    grids = [record for record in records if record.job.config["kind"] == "simultaneous"]
    found = [verdict for record in grids for verdict in _of_grid(record)]
    sequences: dict[str, list[Record]] = {}
    for record in records:
        if record.job.config["kind"] == "sequential":
            sequences.setdefault(label(record.job.config), []).append(record)
    for same in sequences.values():  # one record per seed
        table = pd.concat([record.tables["sequential_combination"] for record in same], ignore_index=True)
        found += _of_orders(table, same[0].job.config)
    return found


CLAIMS = (
    ("adapter", "An adapter in a combination helps.", "above"),
    ("prompt", "A prompt in a combination hurts.", "below"),
    ("BitFit", "BitFit in a combination helps.", "above"),
)


def _of_grid(record: Record) -> list[Verdict]:
    c, table = record.job.config, record.tables[NAME]
    shared: dict[str, Any] = {"setting": _setting(c, c["seeds"]), "figure": NAME}
    metric = record.metrics["metric"]
    by_term = contrasts(table).set_index("term")
    found = []
    for factor, claim, side in CLAIMS:
        values = by_term.loc[f"{factor} beside another", "values"]
        quantity = f"score with {factor} minus without, mean of the three cells with another delta [{metric}]"
        found.append(Verdict(claim, SOURCE, quantity, mean_interval(values), 0.0, side, number=6, **shared))  # type: ignore[arg-type]
    gaps = _gap_differences(table)
    quantity = f"training minus validation score: combinations of two or three minus single deltas [{metric}]"
    claim = "Combinations have a larger generalisation gap than single deltas."
    source = "Ding et al. 2022, generalisation gap"
    return [*found, Verdict(claim, source, quantity, mean_interval(gaps), 0.0, "above", number=8, **shared)]


def _gap_differences(table: pd.DataFrame) -> list[float]:
    """Per seed: mean gap of the cells with two or three parts minus that of the cells with one."""
    gap = (table.train_score - table.score).groupby([table.seed, table[list(FACTORS)].sum(axis=1)]).mean().unstack()
    several = (3 * gap[2] + gap[3]) / 4  # three cells with two parts, one with three
    return [float(value) for value in several - gap[1]]


BEYOND_NOISE = 0.01
"""A gain of one point of accuracy: what the choice of an order should bring, to be worth making."""


def _of_orders(table: pd.DataFrame, c: dict[str, Any]) -> list[Verdict]:
    seeds = sorted(int(seed) for seed in table.seed.unique())
    shared: dict[str, Any] = {"setting": _setting(c, seeds), "figure": "sequential_combination", "number": 6}
    metric = table["metric"].iloc[0]
    wide = _finals(table)
    stage = table[table.order.isin(wide.columns)].pivot_table(index="seed", columns="stage", values="score")
    found = [
        Verdict(
            "Going on with another delta improves what the deltas before it reached.", SOURCE,
            f"score after stage 3 minus after stage 1, mean over orders [{metric}]",
            mean_interval(list(stage[3] - stage[1])), 0.0, "above", **shared,
        )
    ]  # fmt: skip
    if len(wide) > 1:
        found.append(
            Verdict(
                "No order of the three is always the best.", SOURCE,
                "gain over the average order, on a seed left out, of the order that was best on the other seeds "
                f"[{metric}]",
                mean_interval(_gains_of_the_best(wide)), BEYOND_NOISE, "below", **shared,
            )
        )  # fmt: skip
    return found


def _finals(table: pd.DataFrame) -> pd.DataFrame:
    """Seeds × orders: the score after the last stage."""
    orders = table[(table.stage == len(FACTORS)) & (table.order != "all at once")]
    return orders.pivot_table(index="seed", columns="order", values="score", sort=False)


def _gains_of_the_best(wide: pd.DataFrame) -> list[float]:
    """Leave one seed out, choose the best order on the others, and see what it gains over the average order there."""
    gains = []
    for seed in wide.index:
        best = wide.drop(index=seed).mean().idxmax()
        gains.append(float(wide.loc[seed, best] - wide.loc[seed].mean()))
    return gains


def _setting(c: dict[str, Any], seeds: Sequence[int]) -> str:
    return (
        f"{label(c)}; seeds {', '.join(map(str, seeds))}; {c['steps']} steps of {c['batch_size']}; interval over seeds"
    )


def summary(store: Store, records: list[Record]) -> str:
    """Scores of the cells and effects of the factors; the orders."""
    lines: list[str] = []
    for record in records:
        if record.job.config["kind"] != "simultaneous":
            continue
        table = record.tables[NAME]
        lines += [label(record.job.config)]
        for cell, part in table.groupby(named(table), sort=False):
            lines.append(f"  {cell!s:28s} {part.score.mean():.3f}   training {part.train_score.mean():.3f}")
        lines += [
            f"  {row['term']:28s} {row['estimate']:+.4f}   [{row['low']:+.4f}, {row['high']:+.4f}]"
            for row in contrasts(table).to_dict("records")
        ]
    orders = [r.tables["sequential_combination"] for r in records if r.job.config["kind"] == "sequential"]
    if orders:
        table = pd.concat(orders, ignore_index=True)
        lines += [f"{table.label.iloc[0]}, in turn ({table.seed.nunique()} seeds), after each stage:"]
        for order, part in table.groupby("order", sort=False):
            scores = [f"{fmean(part[part.stage == stage].score):.3f}" for stage in sorted(part.stage.unique())]
            lines.append(f"  {order!s:28s} {'  '.join(scores)}")
    lines += ["", *(f"{v.answer:20s} {v.claim} ({v.measured.estimate:+.4f}) {v.setting}" for v in verdicts(records))]
    return "\n".join(lines)
