from __future__ import annotations

from math import isnan

import pytest
import torch

from lab.deltas import BitFit, FullFineTuning, LoRA
from lab.models.tiny import tiny_plm
from lab.projections import PROJECTIONS
from lab.tasks import load_task
from lab.training import evaluate, fit, fit_many
from lab.training.identity import differences, what_it_does


@pytest.fixture(scope="module")
def plm():
    return tiny_plm("bert", num_labels=2, dtype=torch.float64)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """A task a bag of words solves: the label is whether the sentence says "good"."""
    words = ["the", "film", "was", "a", "very", "long", "story", "of", "people"]
    generator = torch.Generator().manual_seed(0)
    rows = ["text,label"]
    for i in range(120):
        order = torch.randperm(len(words), generator=generator)[: 3 + i % 5].tolist()
        rows.append(" ".join(["it was", "good" if i % 2 else "bad", *(words[j] for j in order)]) + f",{i % 2}")
    path = tmp_path_factory.mktemp("task") / "words.csv"
    path.write_text("\n".join(rows))
    return load_task(str(path))


@pytest.fixture(scope="module")
def encoded(plm, task):
    return task.encode(plm, max_length=16)


def test_training_learns_and_leaves_the_plm_alone(plm, encoded):
    before = {name: p.clone() for name, p in plm.parameters.items()}
    delta = FullFineTuning().on(plm)
    start_loss, _ = evaluate(delta, encoded, delta.phi0, "train")
    result = fit(delta, encoded, steps=60, lr=1e-2, batch_size=16, evaluate_every=20)
    assert result.status == "finished"
    assert result.history[-2]["split"] == "train"
    assert result.history[-2]["loss"] < 0.5 * start_loss
    assert [row["step"] for row in result.history if row["split"] == "validation"] == [20, 40, 60]
    assert all(torch.equal(p, before[name]) for name, p in plm.parameters.items())


def test_one_step_is_one_adamw_step_of_torch(plm, encoded):
    delta = BitFit().on(plm)
    result = fit(delta, encoded, steps=1, lr=1e-3, batch_size=8, seed=3, warmup=0.0, clip=None)
    phi = torch.nn.Parameter(delta.phi0.clone())
    batch = encoded.train.training_batch(0, 8, 3)
    encoded.task.loss(delta.logits(phi, batch), batch["labels"]).backward()
    torch.optim.AdamW([phi], lr=1e-3, weight_decay=0.0).step()
    torch.testing.assert_close(result.phi, phi.detach(), rtol=1e-12, atol=1e-15)


def test_same_arguments_same_result(plm, encoded):
    delta = LoRA(rank=2).on(plm, seed=1)
    first, second = (fit(delta, encoded, steps=5, lr=1e-2, batch_size=8, seed=4) for _ in range(2))
    assert torch.equal(first.phi, second.phi)
    assert not torch.equal(first.phi, fit(delta, encoded, steps=5, lr=1e-2, batch_size=8, seed=5).phi)


def test_training_examples_may_be_scored_at_the_end_only(plm, encoded):
    delta, arguments = BitFit().on(plm), {"steps": 4, "lr": 1e-2, "batch_size": 8, "evaluate_every": 2}
    whole = fit(delta, encoded, **arguments)
    short = fit(delta, encoded, **arguments, train_evaluations="last")
    assert [(row["step"], row["split"]) for row in short.history] == [
        (2, "validation"),
        (4, "train"),
        (4, "validation"),
    ]
    assert torch.equal(short.phi, whole.phi)
    assert [row["score"] for row in short.history] == [row["score"] for row in whole.history[1:]]


class _Stop(Exception):
    pass


def test_resume_is_bit_exact(plm, encoded, tmp_path):
    delta = LoRA(rank=2).on(plm)
    arguments = {"steps": 12, "lr": 1e-2, "batch_size": 8, "evaluate_every": 4}
    whole = fit(delta, encoded, **arguments)

    def crash(step, steps, loss):
        if step == 7:
            raise _Stop

    path = tmp_path / "run.safetensors"
    with pytest.raises(_Stop):
        fit(delta, encoded, **arguments, checkpoint=path, checkpoint_every=3, progress=crash)
    resumed = fit(delta, encoded, **arguments, checkpoint=path, checkpoint_every=3)
    assert torch.equal(resumed.phi, whole.phi)
    assert torch.equal(resumed.best_phi, whole.best_phi)
    strip = [{k: v for k, v in row.items() if k != "seconds"} for row in whole.history]
    assert [{k: v for k, v in row.items() if k != "seconds"} for row in resumed.history] == strip


def test_ctrl_c_keeps_what_was_done(plm, encoded, tmp_path):
    def press(step, steps, loss):
        if step == 3:
            raise KeyboardInterrupt

    delta = BitFit().on(plm)
    path = tmp_path / "run.safetensors"
    result = fit(delta, encoded, steps=6, lr=1e-2, batch_size=8, checkpoint=path, progress=press)
    assert result.status == "interrupted"
    assert str(path) in result.message
    assert result.steps == 3
    resumed = fit(delta, encoded, steps=6, lr=1e-2, batch_size=8, checkpoint=path)
    assert torch.equal(resumed.phi, fit(delta, encoded, steps=6, lr=1e-2, batch_size=8).phi)


OTHER_RUNS = {
    "alpha": (lambda plm: LoRA(rank=2, alpha=64.0).on(plm), {}, "delta"),
    "targets": (lambda plm: LoRA(rank=2, targets=("value",)).on(plm), {}, "start, delta"),
    "start of the method": (lambda plm: LoRA(rank=2).on(plm, seed=1), {}, "start"),
    "method": (lambda plm: BitFit().on(plm), {}, "start, delta"),
    "step size": (lambda plm: LoRA(rank=2).on(plm), {"lr": 1e-3}, "settings"),
    "clip": (lambda plm: LoRA(rank=2).on(plm), {"clip": 0.5}, "settings"),
    "seed": (lambda plm: LoRA(rank=2).on(plm), {"seed": 1}, "seed"),
    "PLM of the same name": (lambda plm: LoRA(rank=2).on(tiny_plm("bert", num_labels=2, seed=5)), {}, "PLM"),
}


@pytest.mark.parametrize("name", OTHER_RUNS)
def test_checkpoint_of_another_run_is_refused(plm, encoded, tmp_path, name):
    path = tmp_path / "run.safetensors"
    settings = {"steps": 2, "lr": 1e-2, "batch_size": 8, "checkpoint": path, "checkpoint_every": 1}
    fit(LoRA(rank=2).on(plm), encoded, **settings)
    make, changed, differs = OTHER_RUNS[name]
    with pytest.raises(ValueError, match=rf"belongs to another run: its .*{differs}.* not this one's"):
        fit(make(plm), encoded, **settings | changed)


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda P: P.name)
def test_checkpoint_of_another_subspace_is_refused(plm, encoded, tmp_path, projection):
    """φ₀ = 0 in every subspace: what tells them apart is where they lie."""
    path, full = tmp_path / "run.safetensors", FullFineTuning().on(plm)
    settings = {"steps": 2, "lr": 1e-2, "batch_size": 8, "checkpoint": path, "checkpoint_every": 1}
    first = fit(full.restrict(projection(full.size, 10, seed=0)), encoded, **settings)
    with pytest.raises(ValueError, match="belongs to another run: its delta is not this one's"):
        fit(full.restrict(projection(full.size, 10, seed=1)), encoded, **settings)
    again = fit(full.restrict(projection(full.size, 10, seed=0)), encoded, **settings)
    assert torch.equal(again.phi, first.phi)


def test_checkpoint_of_another_text_is_refused(plm, task, tmp_path):
    path = tmp_path / "run.safetensors"
    settings = {"steps": 2, "lr": 1e-2, "batch_size": 8, "checkpoint": path, "checkpoint_every": 1}
    fit(BitFit().on(plm), task.encode(plm, max_length=16), **settings)
    with pytest.raises(ValueError, match="its task is not this one's"):
        fit(BitFit().on(plm), task.subset(60, 20, seed=1).encode(plm, max_length=16), **settings)


def test_another_order_of_sums_is_the_same_delta(plm):
    """What a delta does is compared to a tolerance: other threads sum in another order."""
    expected = {"seed": 0, "delta": what_it_does(LoRA(rank=2).on(plm))}
    moved = {name: [n * (1 + 1e-7) for n in numbers] for name, numbers in expected["delta"].items()}
    assert differences({"seed": 0, "delta": moved}, expected) == []
    assert differences({"seed": 0, "delta": {}}, expected) == ["delta"]
    assert differences("a digest of an older version", expected) == ["seed", "delta"]


def test_a_score_that_is_no_number_is_never_the_best(plm, encoded):
    delta = BitFit().on(plm)
    result = fit(delta, encoded, steps=2, lr=1e-2, batch_size=8, phi0=delta.phi0 + float("nan"))
    assert result.status == "diverged"
    assert isnan(result.best_score)
    assert isnan(result.score)


def test_damaged_checkpoint_is_refused(plm, encoded, tmp_path):
    path = tmp_path / "run.safetensors"
    path.write_bytes(b"half a file")
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        fit(BitFit().on(plm), encoded, steps=2, lr=1e-2, checkpoint=path)


def test_loss_that_is_not_finite_stops_with_a_sentence(plm, encoded):
    delta = FullFineTuning().on(plm)
    broken = delta.phi0.clone()
    broken[0:] = float("nan")
    result = fit(delta, encoded, steps=5, lr=1e-3, batch_size=8, phi0=broken)
    assert result.status == "diverged"
    assert result.message.startswith(
        "the loss or its gradient is not finite before the first step, so that no lr helps"
    )
    assert isnan(result.score)


def test_a_run_that_diverges_later_says_to_lower_its_lr(plm, encoded):
    result = fit(FullFineTuning().on(plm), encoded, steps=5, lr=1e200, batch_size=8, warmup=0.0)
    assert result.status == "diverged"
    assert result.message == "the loss stopped being finite at step 2 of 5; lower lr (now 1e+200)."


def test_head_has_its_own_step_size(plm, encoded):
    delta = LoRA(rank=2).on(plm)
    both = fit(delta, encoded, steps=1, lr=1e-3, head_lr=1e-1, batch_size=8, warmup=0.0, clip=None)
    moved = (both.phi - delta.phi0).abs()
    head = slice(delta.size - delta.head_size, delta.size)
    assert float(moved[head].max()) == pytest.approx(1e-1, rel=1e-4)  # |first Adam step| = step size
    assert float(moved[: head.start].max()) == pytest.approx(1e-3, rel=1e-4)


def test_many_equal_one_by_one(plm, encoded):
    delta = LoRA(rank=2).on(plm)
    other_start = LoRA(rank=2).on(plm, seed=9).phi0
    settings = {"steps": 4, "batch_size": 8}
    many = fit_many(
        delta, encoded, lrs=[1e-2, 3e-3, 1e-2], seeds=[0, 0, 1], phi0s=[delta.phi0, delta.phi0, other_start], **settings
    )
    alone = [
        fit(delta, encoded, lr=1e-2, seed=0, **settings),
        fit(delta, encoded, lr=3e-3, seed=0, **settings),
        fit(delta, encoded, lr=1e-2, seed=1, phi0=other_start, **settings),
    ]
    for together, single in zip(many, alone, strict=True):
        torch.testing.assert_close(together.phi, single.phi, rtol=1e-9, atol=1e-11)
        assert together.score == single.score


def test_one_diverging_run_does_not_stop_the_others(plm, encoded):
    delta = BitFit().on(plm)
    broken = delta.phi0.clone() + float("nan")
    results = fit_many(
        delta, encoded, steps=3, lrs=[1e-2, 1e-2], seeds=[0, 0], phi0s=[broken, delta.phi0], batch_size=8
    )
    assert [r.status for r in results] == ["diverged", "finished"]
    torch.testing.assert_close(results[1].phi, fit(delta, encoded, steps=3, lr=1e-2, batch_size=8).phi)


def test_bfloat16_stays_close_and_keeps_phi_in_full_precision(encoded):
    plm = tiny_plm("bert", num_labels=2, dtype=torch.float32)
    delta = BitFit().on(plm)
    exact = fit(delta, encoded, steps=3, lr=1e-3, batch_size=8)
    rounded = fit(delta, encoded, steps=3, lr=1e-3, batch_size=8, precision="bfloat16")
    assert rounded.phi.dtype == torch.float32
    assert rounded.history[-1]["loss"] == pytest.approx(exact.history[-1]["loss"], rel=2e-2)  # bf16 has 8 bits


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "must be positive"),
        ({"batch_size": 0}, "must be positive"),
        ({"warmup": 1.0}, "fraction of the steps"),
        ({"precision": "float16"}, "precision must be"),
        ({"lr": -1.0}, "step sizes must be positive"),
        ({"lr": float("inf")}, "step sizes must be positive and finite"),
        ({"lr": float("nan")}, "step sizes must be positive"),
        ({"clip": -1.0}, r"clip is the largest norm of the gradient, > 0, or None; got -1\.0"),
        ({"clip": 0.0}, "clip is the largest norm"),
        ({"clip": float("nan")}, "clip is the largest norm"),
        ({"weight_decay": -0.1}, "weight_decay must be finite and >= 0"),
        ({"weight_decay": float("nan")}, "weight_decay must be finite"),
        ({"evaluation_size": 0}, "evaluation_size must be positive"),
        ({"checkpoint_every": 0}, "checkpoint_every must be a number of steps >= 1; got 0"),
        ({"evaluate_every": 0}, "evaluate_every must be positive"),
        ({"train_evaluations": "first"}, "train_evaluations must be"),
        ({"phi0": torch.zeros(3)}, "phi0 must have shape"),
    ],
)
def test_misuse_is_refused(plm, encoded, arguments, message):
    with pytest.raises(ValueError, match=message):
        fit(BitFit().on(plm), encoded, **({"steps": 2} | arguments))


def test_many_needs_as_many_step_sizes_as_seeds(plm, encoded):
    with pytest.raises(ValueError, match="as many lrs as seeds"):
        fit_many(BitFit().on(plm), encoded, steps=2, lrs=[1e-2], seeds=[0, 1])


def test_the_trajectory_is_kept_and_changes_nothing(plm, encoded):
    delta = LoRA(rank=1).on(plm, seed=0)
    plain = fit(delta, encoded, steps=5, batch_size=4)
    kept = fit(delta, encoded, steps=5, batch_size=4, keep_every=2)
    assert plain.trajectory is None
    assert kept.trajectory.shape == (4, delta.size)  # steps 0, 2, 4 and 5
    assert torch.equal(kept.trajectory[0], delta.phi0)
    assert torch.equal(kept.trajectory[-1], kept.phi)
    assert torch.equal(kept.phi, plain.phi)
    shorter = fit(delta, encoded, steps=5, batch_size=4, keep_every=9)
    assert shorter.trajectory.shape == (2, delta.size)


def test_a_trajectory_and_a_checkpoint_exclude_each_other(plm, encoded, tmp_path):
    delta = LoRA(rank=1).on(plm, seed=0)
    for wrong in ({"keep_every": 0}, {"keep_every": 2, "checkpoint": tmp_path / "state"}):
        with pytest.raises(ValueError, match="a checkpoint does not hold the trajectory"):
            fit(delta, encoded, steps=2, **wrong)
