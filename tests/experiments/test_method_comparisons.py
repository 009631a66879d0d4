"""The comparisons of methods: the rule of tuning, what is compared, and verdicts on planted results."""

from __future__ import annotations

from math import inf
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from experiments import convergence, generalization_gap, performance
from lab.deltas import METHODS, SAID, AddedBias, Prompt
from lab.deltas.presets import delta_tuning_study
from lab.execution import Local
from lab.geometry import compression_bound
from lab.models.tiny import tiny_plm
from lab.runs import Job, Record, Store, key
from lab.statistics import mean_interval
from lab.statistics.comparison import over_tasks
from lab.study import TRAINING_RUN, Finding, Lab, TrainingRun
from lab.study.comparison import compared_runs


class FakeLab:
    """Answers training by a function of the step size; keeps the step sizes asked for."""

    def __init__(self, score):
        self.score, self.asked = score, []

    def run(self, experiment, configs, label=""):
        self.asked += [c.lr for c in configs]
        return [Finding(c, Record(Job("x", {}), {}, {"history": self.history(self.score(c.lr))})) for c in configs]

    def history(self, score):
        return pd.DataFrame({"split": ["validation"], "score": [score], "loss": [1.0]})


def lab(path) -> Lab:
    return Lab(Local(Store(path), progress=False))


def test_every_method_is_compared_and_the_named_ones_have_the_sources_settings():
    compared = performance.compared(performance.SCALES["paper"])
    assert {type(method) for method, _ in compared.values()} == set(METHODS) - {
        SAID,
        AddedBias,
    }  # kin of DID and BitFit
    for name, method in delta_tuning_study(tiny_plm("bert", seed=0)).items():
        assert compared[{"fine-tuning": "full fine-tuning"}.get(name, name)][0] == method
    demo = performance.compared(performance.SCALES["demo"])["prompt"][0]
    assert demo == Prompt(tokens=20)  # docs/methods_compared.md says why


def test_a_family_without_biases_gets_added_ones(tmp_path):
    options = {"model": "tiny-llama", "tasks": ("rotten-tomatoes",)}
    (c,) = performance.EXPERIMENT.configs("smoke", methods=("added biases", "linear probe"), **options)
    table = performance.measure(c, lab(tmp_path)).tables["performance"].set_index("label")
    assert table.tunable["added biases"] > table.tunable["linear probe"]
    with pytest.raises(ValueError, match=r"unknown methods \['BitFit'\]; choose from .*added biases"):
        performance.EXPERIMENT.jobs("smoke", methods=("BitFit",), **options)


def test_sizes_of_a_comparison_are_caps():
    (c,) = performance.EXPERIMENT.configs("demo", tasks=("drug-reviews",), n_train=9999, n_validation=50, splits=2)
    assert (len(c.data.train), len(c.data.validation)) == (600, 50)
    assert c.amount == "all examples"
    assert "at most 9999 training examples" in performance.told([Finding(c, None)])


def test_the_head_is_treated_alike_and_children_are_shared_by_the_three_experiments():
    jobs = [module.EXPERIMENT.jobs("demo") for module in (performance, convergence, generalization_gap)]
    with_pairs = {"combinations": [["LoRA", "prefix"], ["adapter", "BitFit"]]}
    assert [job.config for job in jobs[0]] == [job.config for job in jobs[1]]
    assert [job.config | with_pairs for job in jobs[0]] == [job.config for job in jobs[2]]
    two = {"tasks": ("bbc-news",), "methods": ("LoRA", "adapter")}
    (job,) = generalization_gap.EXPERIMENT.jobs("demo", **two)
    assert job.config == performance.EXPERIMENT.jobs("demo", **two)[0].config
    c = performance.EXPERIMENT.configs("demo")[0]
    children = [c.run(entry, 0, 1e-3) for entry in c.methods]
    assert {child.method["head"] for child in children} == {"free"}
    assert {child.head_lr for child in children} == {c.head_lr, None}
    assert len({key(TRAINING_RUN.job(child)) for child in children}) == len(children)


def test_unknown_methods_are_refused():
    with pytest.raises(ValueError, match=r"unknown methods \['magic'\]; choose from"):
        performance.EXPERIMENT.jobs("demo", methods=("magic",))


def comparison(module, table: pd.DataFrame) -> list[Finding]:
    """One finding per task, as the experiment would make them."""
    made = module.EXPERIMENT
    jobs = made.jobs("demo", tasks=tuple(dict.fromkeys(table.task)), splits=2)
    return [made.finding(Record(job, {}, {made.name: table[table.task == job.config["task"]]})) for job in jobs]


def planted(levels: dict[str, float], tunable: dict[str, int], column: str = "score") -> pd.DataFrame:
    kinds = {"full fine-tuning": "full", "linear probe": "null"}
    return pd.DataFrame(
        {"label": label, "kind": kinds.get(label, "delta"), "task": task, "seed": seed, "metric": "accuracy",
         column: level + 0.01 * np.cos(7 * seed + len(label) * ord(task)), "tunable": tunable.get(label, 1000)}
        for label, level in levels.items() for task in "abcde" for seed in range(3)
    )  # fmt: skip


def answers(verdicts) -> dict[str, str]:
    return {v.claim: v.answer for v in verdicts}


def test_verdicts_on_performance_are_those_planted():
    levels = {"full fine-tuning": 0.9, "LoRA": 0.8, "adapter": 0.8, "prefix": 0.9, "prompt": 0.6, "BitFit": 0.88}
    tunable = {"LoRA": 400, "adapter": 300, "prefix": 200, "prompt": 500, "BitFit": 100}
    found = answers(performance.claims(comparison(performance, planted(levels, tunable))))
    assert found["Full fine-tuning scores higher than LoRA on average."] == "holds here"
    assert found["LoRA scores higher than adapter on average."] == "cannot tell"
    assert found["Adapter scores higher than prefix on average."] == "does not hold here"
    assert found["BitFit keeps more than 95 % of full fine-tuning's score."] == "holds here"
    assert found["Among delta methods, the number of tunable parameters does not decide the score."] == "holds here"


def test_with_three_splits_gaps_are_judged_from_the_same_runs():
    """The gap is the training minus the test score: 0.3 of full fine-tuning, 0.2 of LoRA, 0.1 of prompt, all noisy."""
    table = planted({"full fine-tuning": 0.6, "LoRA": 0.7, "prompt": 0.8}, {})
    jobs = performance.EXPERIMENT.jobs("demo", tasks=tuple("abcde"), splits=3)
    found = [
        performance.EXPERIMENT.finding(
            Record(job, {}, {"performance": table[table.task == job.config["task"]].assign(train_score=0.9)})
        )
        for job in jobs
    ]
    told = {v.claim: v for v in performance.claims(found) if v.number == 8}
    every, smallest = told.values()
    assert (every.answer, smallest.answer) == ("holds here", "holds here")
    assert every.measured.estimate == pytest.approx(0.1, abs=0.01)  # of LoRA, the nearest
    assert every.measured.n == 5


def test_one_seed_cannot_tell():
    table = planted({"full fine-tuning": 0.9, "LoRA": 0.5}, {}).query("seed == 0 and task == 'a'")
    (verdict,) = performance.claims(comparison(performance, table))
    assert verdict.answer == "cannot tell"
    assert verdict.measured.high == inf


def test_tasks_are_the_replicates_and_seeds_only_where_there_is_one_task():
    assert over_tasks({"a": [0.1, 0.3], "b": [0.4]}) == mean_interval([0.2, 0.4])
    assert over_tasks({"a": [0.1, 0.3]}) == mean_interval([0.1, 0.3])


def test_verdicts_on_convergence_are_those_planted():
    rates = {"full fine-tuning": 0.3, "LoRA": 0.1, "adapter": 0.1, "prefix": 0.03, "prompt": 0.02}
    rows = [
        {"label": label, "kind": "full" if label == "full fine-tuning" else "delta", "task": task, "seed": seed,
         "step": step, "seconds": step / 5, "metric": "accuracy", "tunable": 100,
         "score": 0.9 * (1 - np.exp(-(rate + 0.001 * seed) * step))}
        for label, rate in rates.items() for task in "abcde" for seed in range(3) for step in range(8, 49, 8)
    ]  # fmt: skip
    records = comparison(convergence, pd.DataFrame(rows))
    found = answers(convergence.claims(records))
    assert found["Full fine-tuning converges faster than adapter."] == "holds here"
    assert found["LoRA converges faster than prefix."] == "holds here"
    assert found["LoRA converges faster than prompt."] == "holds here"
    assert found["Full fine-tuning converges faster than prompt."] == "holds here"
    equal = "LoRA and adapter converge equally fast, to within the distance of two evaluations."
    assert found[equal] == "holds here"


def test_verdicts_on_the_gap_are_those_planted():
    levels = {"full fine-tuning": 0.2, "LoRA": 0.1, "adapter": 0.12, "prefix": 0.05, "prompt": 0.01}
    tunable = {"full fine-tuning": 10**7, "LoRA": 10**5, "adapter": 10**6, "prefix": 10**4, "prompt": 1000}
    table = planted(levels, tunable, "gap").assign(train_score=0.9, validation_score=0.8, bound=1.0)
    records = comparison(generalization_gap, table)
    found = generalization_gap.claims(records)
    assert [v.answer for v in found] == ["holds here"] * 3
    assert [v.measured.estimate for v in found[:2]] == pytest.approx([0.2 - 0.12, 0.05 - 0.01], abs=0.01)
    assert [v.unit for v in found] == ["tasks", "tasks", "methods"]


def test_one_method_with_a_larger_gap_is_enough_against_every_method():
    """Nineteen methods lie clear below full fine-tuning, one clear above; the worst decides, at its corrected level."""
    levels = {"full fine-tuning": 0.2, **{f"method {i}": 0.1 for i in range(19)}, "prompt": 0.3}
    table = planted(levels, {}, "gap").assign(train_score=0.9, validation_score=0.8, bound=1.0)
    every = generalization_gap.claims(comparison(generalization_gap, table))[0]
    assert every.answer == "does not hold here"
    assert every.measured.estimate == pytest.approx(-0.1, abs=0.01)
    assert "the smallest of 20 such differences" in every.quantity


def test_the_gap_of_two_deltas_stands_beside_that_of_each():
    """Pairs exceed the mean of their parts by 0.06 and 0.02, whatever the task and the seed."""
    levels = {"full fine-tuning": 0.2, "LoRA": 0.1, "prefix": 0.06, "LoRA + prefix": 0.14, "adapter": 0.1,
              "BitFit": 0.04, "adapter + BitFit": 0.09}  # fmt: skip
    table = pd.DataFrame(
        {"label": label, "kind": "combination" if "+" in label else "full" if "full" in label else "delta",
         "task": task, "seed": seed, "metric": "accuracy", "gap": level + seed / 50 + ord(task) / 1000,
         "tunable": 1000, "train_score": 0.9, "validation_score": 0.8, "bound": 1.0}
        for label, level in levels.items() for task in "abcde" for seed in (0, 1)
    )  # fmt: skip
    found = {v.claim: v for v in generalization_gap.claims(comparison(generalization_gap, table))}
    pairs = found["Combinations have a larger generalisation gap than single deltas."]
    assert pairs.measured.estimate == pytest.approx(0.04)
    assert pairs.answer == "holds here"
    singles = found["The generalisation gap of every single delta method is smaller than that of full fine-tuning."]
    assert "smallest of 4 such" in singles.quantity  # no combination among them


def test_pairs_are_trained_with_the_step_sizes_of_their_parts(tmp_path):
    (c,) = generalization_gap.EXPERIMENT.configs("smoke", tasks=("rotten-tomatoes",), methods=("LoRA", "prefix"))
    runs = lab(tmp_path)
    table = generalization_gap.measure(c, runs).tables["generalization_gap"]
    assert table.label.tolist() == ["LoRA", "prefix", "LoRA + prefix"]
    assert table.kind.tolist() == ["delta", "delta", "combination"]
    sizes = compared_runs(c, runs).step_sizes
    (pair,) = [m.job.config for m in runs.store.manifests("training_run") if "parts" in m.job.config["method"]]
    assert pair["lr"] * np.array(pair["method"]["step_scales"]) == pytest.approx([sizes["LoRA"], sizes["prefix"]])


def test_a_gap_is_training_minus_held_out_beside_its_bound():
    def gap(**metrics: float) -> float:
        run = Finding(SimpleNamespace(), Record(Job("training_run", {}), metrics))
        (row,) = generalization_gap.gaps([{"label": "x", "run": run, "tunable": 500, "n_train": 64}]).to_dict("records")
        assert row["bound"] == compression_bound(500, 64)
        assert "run" not in row
        return row["gap"]

    assert gap(train_score=0.9, score=0.7) == pytest.approx(0.2)
    assert gap(train_score=0.9, score=0.7, test_score=0.6) == pytest.approx(0.3)


def test_phi_is_kept_unless_the_job_says_otherwise(tmp_path):
    shared = {"model": "tiny-bert", "task": "bbc-news", "method": {"method": "bitfit"}, "seed": 0, "steps": 1,
              "n_train": 32, "n_validation": 16, "max_length": 8, "batch_size": 4}  # fmt: skip
    children = [TrainingRun(**shared), TrainingRun(**shared, keep_phi=False)]
    with_phi, without = lab(tmp_path).run(TRAINING_RUN, children)
    assert with_phi.arrays["phi"].shape == (with_phi.metrics["tunable"],)
    assert without.arrays == {}
    assert without.metrics["score"] == with_phi.metrics["score"]
