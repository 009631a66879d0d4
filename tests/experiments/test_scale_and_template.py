"""The experiments on size and on templates: what they train, and their arithmetic on made-up scores."""

from __future__ import annotations

import pandas as pd
import pytest

from experiments import scale, template
from lab.execution import Local
from lab.figures.scale import SCALE
from lab.runs import Record, Store
from lab.statistics.scale import finals, series_of, steps_to_level
from lab.statistics.template import gains
from lab.study import Lab, measured

SIZES, TEMPLATE = scale.EXPERIMENT, template.EXPERIMENT


def test_a_size_is_a_name_or_its_first_blocks():
    assert scale.model_and_depth("google/t5-v1_1-small") == ("google/t5-v1_1-small", None)
    with pytest.raises(ValueError, match=r"name:k for its first k blocks; got 'minilm:x'"):
        SIZES.jobs("demo", sizes=("minilm:x",))


def test_the_packaged_series_are_every_depth_of_minilm_and_smollm2():
    minilm, smollm2 = SIZES.configs("demo")
    assert [scale.model_and_depth(size)[1] for size in minilm.sizes] == [1, 2, 3, 4, 5, None]
    assert smollm2.sizes[-1] == "smollm2"
    assert [entry["lr"] for entry in minilm.methods] != [entry["lr"] for entry in smollm2.methods]
    (series,) = SIZES.configs("demo", sizes=("minilm:2", "minilm"))
    assert series.sizes == ("minilm:2", "minilm")


def test_methods_that_a_plm_does_not_take_are_left_out():
    (series,) = SIZES.configs("demo", sizes=("minilm", "mpnet"), only=("adapter", "LoRA", "prompt"))
    assert [entry["label"] for entry in series.methods] == ["adapter", "LoRA", "prompt", scale.LAST]
    (every,) = SIZES.configs("demo", sizes=("minilm", "mpnet"))
    assert {entry["label"]: entry for entry in series.methods}.items() <= {e["label"]: e for e in every.methods}.items()
    for wrong in ((), ("adaptor",), ("last layer",)):
        with pytest.raises(ValueError, match="only must name some of adapter, LoRA, prefix, prompt; got"):
            SIZES.configs("demo", only=wrong)


def test_a_cut_plm_is_known_by_its_own_name():
    """So that the content of a local folder enters the key whatever is kept of it."""
    (series,) = SIZES.configs("demo", sizes=("folder:2", "folder"))
    assert list(series.named("model")) == ["folder", "folder"]
    assert list(series.named("task")) == ["bbc-news"]


@pytest.mark.parametrize("experiment", [SIZES, TEMPLATE])
def test_an_unknown_scale_is_refused(experiment):
    with pytest.raises(ValueError, match="unknown scale 'huge'"):
        experiment.jobs("huge")


def curves():
    """Two sizes whose scores are lines: the large one gains twice as much per step, and ends higher."""
    rows = [
        {"label": label, "plm": plm, "parameters": 10 * slope, "seed": seed, "step": step,
         "score": 0.5 + 0.01 * slope * step + shift}
        for label, shift in (("a", 0.0), ("b", 0.1))
        for plm, slope in (("small", 1), ("large", 2))
        for seed in (0, 1)
        for step in (5, 10)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_last_evaluation_counts():
    last = finals(curves())
    assert set(last.step) == {10}
    assert list(last[(last.label == "a") & (last.plm == "large")].score) == pytest.approx([0.7, 0.7])


def test_steps_to_the_level_of_the_smaller_plm():
    """ "a": level 0.95 · 0.6 = 0.57, on the small PLM at 7 steps, on the large one at its first evaluation, 5."""
    found = steps_to_level(curves()).set_index(["label", "plm", "seed"]).steps
    assert found["a", "small", 0] == pytest.approx(7)
    assert found["a", "large", 0] == 5
    faster = scale.faster(curves(), "small", "large")
    assert faster.estimate == pytest.approx(((5 - 7) + (5 - 6.5)) / 2)  # "b": 0.95 · 0.7 = 0.665


def test_a_level_is_that_of_a_series_and_cuts_of_another_plm_are_none_of_it():
    other = curves().assign(plm=lambda t: t.plm.map({"small": "deep:1", "large": "deep"}), score=lambda t: t.score / 9)
    both = steps_to_level(pd.concat([curves(), other], ignore_index=True))
    alone = steps_to_level(curves())
    assert both[both.plm.isin(["small", "large"])].steps.tolist() == alone.steps.tolist()
    assert list(series_of(pd.Series(["small", "deep:1", "deep"]))) == ["", "deep", "deep"]
    told = SCALE.alt(pd.concat([curves(), other], ignore_index=True))
    assert "a: 0.600 (small) to 0.700 (large)" in told
    assert "a: 0.067 (deep:1) to 0.078 (deep)" in told


def test_being_early_at_chance_is_no_convergence():
    flat = curves()
    flat.loc[flat.plm == "small", "score"] = 0.5 + 0.01 * flat.seed
    assert scale.faster(flat, "small", "large").low == float("-inf")


def series(flat: bool, cut: bool = False):
    """One record of the series small, large, in which all methods have the curves of "a"."""
    of_one_seed = curves().query("label == 'a' and seed == 0")
    table = pd.concat([of_one_seed.assign(seed=seed) for seed in range(5)], ignore_index=True)
    if flat:
        table.loc[table.plm == "small", "score"] = 0.5
    labels = (*scale.FOUR, scale.LAST, scale.RANDOM)
    table = pd.concat([table.assign(label=label, task="t") for label in labels], ignore_index=True)
    if cut:
        table = table.assign(plm=table.plm.map({"small": "large:1", "large": "large"}))
    (job,) = SIZES.jobs("demo", sizes=tuple(table.plm.unique()), seeds=tuple(sorted(table.seed.unique().tolist())))
    return SIZES.finding(Record(job, {"metric": "accuracy"}, {"scale": table}))


@pytest.mark.parametrize(("flat", "answer"), [(False, "holds here"), (True, "cannot tell")])
def test_what_is_reached_beyond_a_plm_that_learned_nothing_is_no_effect_of_size(flat, answer):
    found = [v for v in scale.claims([series(flat)]) if v.claim.startswith("The larger PLM reaches more")]
    assert {v.answer for v in found} == {answer}
    assert all(("learned nothing" in v.setting) == flat for v in found)
    assert {(v.number, v.unit, v.measured.n) for v in found} == {(10, "seeds", 5)}


def test_first_blocks_of_a_plm_are_depth_and_not_size():
    found = scale.claims([series(flat=False, cut=True)])
    deeper = [v for v in found if v.source == scale.DEPTH]
    assert len(deeper) == 7  # six methods, and the speed
    assert {v.number for v in deeper} == {None}
    assert deeper[0].claim == "large reaches more than large:1 with adapter."
    assert {v.number for v in found if v not in deeper} == {10}


def test_one_plm_alone_says_nothing_of_size():
    whole = series(flat=False)
    table = whole.tables["scale"].query("plm == 'large'")
    (job,) = SIZES.jobs("demo", sizes=("large",), seeds=(0, 1, 2, 3, 4))
    found = scale.claims([SIZES.finding(Record(job, {"metric": "accuracy"}, {"scale": table}))])
    assert [v.claim for v in found] == [v.claim for v in scale.claims([whole])[-3:]]


def test_seeds_that_agree_by_rounding_do_not_agree_for_sure():
    """Five equal gains of accuracies over 200 examples: the half width is t·(1/200)/5, not 0."""
    c = series(flat=False).config
    found = [v.measured for v in scale.claims([series(flat=False)]) if v.claim.startswith("The larger PLM reaches")]
    assert c.resolution == pytest.approx(1 / c.n_test)
    half = 2.7764 * c.resolution / 5
    assert [x.high - x.estimate for x in found] == pytest.approx([half] * len(found), rel=1e-3)


def test_the_gap_with_a_template_is_judged_where_something_is_trained():
    rows = [
        {"label": "x", "amount": amount, "reading": reading, "seed": seed, "score": 0.7,
         "train_score": 0.8 + 0.001 * seed + (extra if reading == "template" else 0)}
        for amount, extra in (("zero-shot", 0.2), ("16 per class", 0.1), ("all", 0.002))
        for reading in ("template", "no template")
        for seed in range(5)
    ]  # fmt: skip
    (job,) = TEMPLATE.jobs("demo")
    record = Record(job, {"metric": "accuracy"}, {"template": pd.DataFrame(rows)})
    found = template.claims([TEMPLATE.finding(record)])
    gaps = [v for v in found if v.number == 8]
    assert [v.answer for v in gaps] == ["does not hold here", "holds here"]
    assert [v.number for v in found] == [7, 7, 7, 8, 8]


def test_step_sizes_are_chosen_on_the_largest_plm_with_a_seed_of_their_own(tmp_path):
    lab = Lab(Local(Store(tmp_path / "runs"), progress=False))
    (c,) = SIZES.configs("smoke", tuning_seed=7, smallest_grid=2, largest_grid=2)
    chosen = c.with_step_sizes(c.methods[:1], lab)
    tried = [m.job.config for m in lab.store.manifests("training_run")]
    assert {(one["seed"], one.get("n_layers")) for one in tried} == {(7, 2)}
    assert sorted(one["lr"] for one in tried) == [3e-3, 1e-2]
    assert chosen[0]["lr"] in (3e-3, 1e-2)
    (given,) = SIZES.configs("smoke", tuning_seed=None)
    assert given.with_step_sizes(given.methods, lab) == list(given.methods)


def test_random_modules_are_as_many_as_the_last_layer_has(tmp_path):
    (record,) = Local(Store(tmp_path), progress=False).run(SIZES.jobs("smoke", seeds=(0,)), measured)
    assert list(dict.fromkeys(record.tables["scale"].plm)) == ["tiny-bert:1", "tiny-bert:2"]
    counts = record.tables["scale"].groupby(["plm", "label"]).tunable.max()
    one, two = "tiny-bert:1", "tiny-bert:2"
    assert counts[one, "random modules"] == counts[one, "last layer"] == counts[two, "last layer"]
    assert 0 < counts[two, "random modules"] <= counts[two, "last layer"]


def test_gains_are_paired_by_seed():
    table = pd.DataFrame(
        [
            {"label": "x", "amount": "few", "reading": reading, "seed": seed, "score": seed / 10 + bonus}
            for seed in range(3)
            for reading, bonus in (("template", 0.05), ("no template", 0.0))
        ]
    )
    assert gains(table) == {("x", "few"): pytest.approx([0.05] * 3)}
    assert gains(table.drop(index=0)) == {("x", "few"): pytest.approx([0.05] * 2)}
    assert gains(table[table.reading == "template"]) == {}


def test_nothing_is_trained_zero_shot():
    (c,) = TEMPLATE.configs("demo", seeds=(13,))
    none, few, _ = c.amounts.values()
    child = c.run(none, True, 13)
    assert (child.steps, child.method["parts"], child.template) == (0, [], True)
    (two,) = TEMPLATE.configs("demo", seeds=(13, 21))
    assert two.run(none, True, 21) == two.run(none, True, 13)
    assert two.run(none, False, 21) != two.run(none, False, 13)
    child = c.run(few, False, 13)
    assert (child.shots, child.n_train, child.steps, len(child.method["parts"])) == (16, None, 10, 1)
    assert "template" not in child.to_json()
