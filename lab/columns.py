"""The columns of all tables: one name, one meaning and one unit, for records, analyses, figures and CSV files.

`COLUMNS` says what a name means everywhere; `NARROWER` what it means in one table that has something of its own to say.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

TEXT = "text"
"""Unit of a column that holds names, not numbers."""

FLAG = "yes or no"
"""Unit of a column that holds truth values."""

_WHOLE = ("count", "bytes", "steps")


class Column(NamedTuple):
    """What a column holds, and its unit: a physical unit, "1" for a pure number, "count", `TEXT` or `FLAG`."""

    description: str
    unit: str

    @property
    def type(self) -> str:
        """Text, truth value, whole number or number, as its unit says; whole numbers may be missing."""
        kinds = {TEXT: "text", FLAG: "truth value"} | dict.fromkeys(_WHOLE, "whole number")
        return kinds.get(self.unit, "number")


def column(name: str, table: str = "") -> Column:
    """What a column means, in a table that may have a narrower meaning of it.

    Raises:
        ValueError: the vocabulary does not have it.
    """
    found = NARROWER.get(table, {}).get(name) or COLUMNS.get(name)
    if found is None:
        raise ValueError(f"no column is called {name!r}; lab/columns.py lists them, and a new one is a line there")
    return found


def columns(table: str, *names: str) -> dict[str, Column]:
    """Name -> meaning, of the columns of a table; raises as `column`."""
    return {name: column(name, table) for name in names}


def named_now(names: str | Iterable[str]) -> list[str]:
    """Names of columns of weight differences as they are called now; those of earlier versions are understood.

    Example:
        >>> named_now(["run", "role"])
        ['label', 'role']
    """
    return [EARLIER.get(name, name) for name in ([names] if isinstance(names, str) else names)]


def known(names: Iterable[str], table: str = "") -> dict[str, Column]:
    """Those of the names that the vocabulary has."""
    return {name: column(name, table) for name in names if name in COLUMNS}


EARLIER = {"singular_value": "sigma", "run": "label"}
"""Name in earlier versions of the tables of weight differences -> name now."""

COLUMNS = {
    "BitFit": Column("1 where the combination has the BitFit, else 0", "count"),
    "adapter": Column("1 where the combination has the adapter, else 0", "count"),
    "accepted": Column("whether the step was taken", FLAG),
    "achieved": Column("mean rise when that control is applied", "logits"),
    "activation_flops": Column("of the backward pass to activations; null where timed", "FLOP"),
    "activations": Column("of it activations and intermediate results; null where measured", "bytes"),
    "adjoints": Column("full backward sweeps until then", "count"),
    "aligned": Column("forecast that knows ΔW's leading directions", "1"),
    "allowed": Column("what the bound allows", "nats"),
    "along": Column("what grows: training time, or step size", TEXT),
    "alpha": Column("coordinate along the first direction", "1"),
    "amount": Column("how much data: zero-shot, 16 per class, …; in the order of their first rows", TEXT),
    "angle": Column("principal angle, 0 to 90", "degrees"),
    "at": Column(
        "what is moved: the logits, read (the state that the head reads), or end (after the last block)", TEXT
    ),
    "bare": Column("norm of the output without a prompt", "1"),
    "base_frobenius_norm": Column("‖W₀‖_F", "1"),
    "base_layer": Column("layer of the pre-trained model; 0 is what enters the first block", "count"),
    "base_norm": Column("‖W₀‖_F", "1"),
    "base_spectral_norm": Column("‖W₀‖₂", "1"),
    "batch_size": Column("texts in a batch", "count"),
    "before": Column("the last place looked at without one; 0: none", "steps or η"),
    "beta": Column("coordinate along the second direction", "1"),
    "bits": Column("length of the description", "bit"),
    "block": Column("depth, from 0", "count"),
    "bound": Column("upper bound", "as the quantity"),
    "boundary": Column("distance to the nearest boundary of the linearised classifier over ‖h‖", "1"),
    "bytes": Column("size of the file", "bytes"),
    "cap": Column("largest dimension: the number of seen tasks less one", "count"),
    "catoni": Column("Catoni's bound", "fraction"),
    "chance": Column("score of the most frequent label", "unit of the metric"),
    "chosen": Column("whether the grid chose this step size", FLAG),
    "cka": Column("linear CKA, unbiased", "1"),
    "class": Column("class of the sentence", TEXT),
    "closed_form": Column("λ of reduced-rank regression; of a LoRA: were every rank needed; empty: none", "1"),
    "columns": Column("n, inputs of the matrix", "count"),
    "comparison": Column("what is compared with what: A against B", TEXT),
    "control": Column("the control applied at test time", TEXT),
    "controls": Column("d_t, coordinates of φ that act in the stage", "count"),
    "correct": Column("examples that are right", "count"),
    "cosine": Column("cosine of the two updates, all matrices in one vector", "1"),
    "costate": Column("norm of p_{t+1}, the costate of the state that leaves the stage", "nats per unit of state"),
    "costates": Column("costate evaluations until then: full backward sweeps, those of products included", "count"),
    "count": Column("intruders per matrix, mean", "count"),
    "curvature": Column("g_tᵀG_t g_t/‖g_t‖² of the stage, G_t = ∂²J/∂u_t²", "nats per squared unit of φ"),
    "d": Column("dimension of the subspace", "count"),
    "damping": Column("damping that the solver chose", "1"),
    "delta_norm": Column("‖ΔW‖_F", "1"),
    "density": Column("estimated density of eigenvalues, integrating to 1", "1 / (nats per unit of φ²)"),
    "device": Column("device that it ran on", TEXT),
    "dimension": Column("dimension of the subspace", "count"),
    "effective_rank": Column("exp of the entropy of σ/Σσ (Roy & Vetterli 2007)", "1"),
    "eigenvalue": Column("eigenvalue", "nats per unit of φ²"),
    "elapsed": Column("seconds until then", "s"),
    "energy": Column("Σ_t ‖u_t‖² per example; empty where the control is no steering", "squared units of state"),
    "energy_rank": Column("singular values of ∂logits/∂φ that hold 90 % of Σσ²", "count"),
    "energy_rank_90": Column("singular values that hold 90 % of Σσ²", "count"),
    "epsilon": Column("ε, the line of the overlap", "1"),
    "error": Column("standard error of that trace; 0: exact", "squared units of state per unit of control"),
    "estimate": Column("λ̂, mean over chains", "1"),
    "estimator": Column("of the dimension", TEXT),
    "evaluations": Column("evaluations until then", "count"),
    "even": Column("what λ would be if every key got the same mass", "fraction"),
    "example": Column("number of the sentence in the batch", "count"),
    "examples": Column("training examples", "count"),
    "excess": Column("test loss with the other change added, minus the loss without it", "nats"),
    "expected": Column("what the theory gives", "as the quantity"),
    "experiment": Column("name of the experiment that measured it", TEXT),
    "explained": Column("share of the variance on both axes", "1"),
    "extrapolated": Column("the same for the norm continued from the start of the run, or the least η", "steps or η"),
    "factor": Column("‖ΔW‖_F/‖UᵀW₀V‖_F for U, V of ΔW", "1"),
    "factor_rank": Column("r of the factors; missing for a dense difference", "count"),
    "first": Column("position of the first intruder, from 1; missing if there is none", "count"),
    "first_share": Column("share of the variance on the first direction", "1"),
    "forced": Column("1 where a prompt of at most k tokens made the target the argmax, else 0", "count"),
    "forecast": Column("forecast value", "as the quantity"),
    "forecast_high": Column("90 % do", "1"),
    "forecast_low": Column("10 % of random directions intrude before", "1"),
    "forward_flops": Column("matrix products of the forward pass; null where timed", "FLOP"),
    "fraction": Column("size as a fraction of the PLM's file", "1"),
    "frobenius_norm": Column("‖ΔW‖_F", "1"),
    "full": Column("score of the full method", "unit of the metric"),
    "gain": Column("accuracy with the control − without, on the same examples", "fraction"),
    "gap": Column("score on training examples minus score on validation examples", "unit of the metric"),
    "gaussian": Column("forecast for a Gaussian W₀ of the same size", "1"),
    "gradients": Column("of it gradients of trained numbers; null where measured", "bytes"),
    "gramian": Column(
        "tr W_t of the block: how far unit changes of its matrices move the end state",
        "squared units of state per unit of control",
    ),
    "gramian_share": Column("share of the trace of the end state's Gramian", "1"),
    "hamiltonian": Column("H_t(h_t, p_{t+1}, u_t)", "nats"),
    "hard_threshold": Column(
        "Gavish and Donoho's line for the median; missing for factors and below 10 rows or columns", "1"
    ),
    "head": Column("attention head, from 0", "count"),
    "held_out_error": Column("share of held-out examples that are wrong", "fraction"),
    "hidden": Column("width of the hidden states", "count"),
    "high": Column("upper end of the interval", "as the quantity"),
    "highest": Column("largest rise among the sentences", "logits"),
    "how": Column('"counted" storage by storage, or "measured" in a process of its own', TEXT),
    "i": Column("dimensions of A's subspace: its first i singular vectors", "count"),
    "identity": Column("which identity", TEXT),
    "identity_error": Column("largest |logits(φ₀) − PLM's logits|", "1"),
    "index": Column("number of the singular value, from 1, in decreasing order", "count"),
    "injected": Column("Σ_t of what the delta itself adds there, per example", "squared units of state"),
    "intruders": Column("intruders found in the mitigated weights", "count"),
    "isotropic": Column("k/(N − 1): what k directions explain where all N members are equally far apart", "1"),
    "iteration": Column("number of the point, 0 is the start", "count"),
    "j": Column("dimensions of B's subspace", "count"),
    "k": Column("number of directions or coordinates taken", "count"),
    "kept": Column("part of Σ|eigenvalues| that the plane holds", "1"),
    "kernel": Column(
        "‖g_t‖² of the block: the rate at which gradient flow through it lowers J", "squared nats per unit of φ"
    ),
    "key": Column("key of the record that it is from; of what comes from files, the sha256 of these", TEXT),
    "kind": Column("what the row is", TEXT),
    "kl": Column("bound of the kl form", "fraction"),
    "label": Column("which run, method or collection, as the legend says it", TEXT),
    "lambda": Column("λ: factor on the intruders' part; 1 keeps, 0 removes", "1"),
    "language_model": Column("the PLM", TEXT),
    "last_energy": Column("energy of the last stage's control", "squared units of state"),
    "layer": Column("layer of the other model", "count"),
    "layer_score": Column("fall of J that the block buys alone with its own best step", "nats"),
    "layers_reached": Column("share of the blocks the method acts in", "1"),
    "least": Column("max(0, 1 − bound/wanted): what every prompt misses", "fraction"),
    "left_out": Column("what the subspace has not seen: member, task, type; or seed: it has seen nothing else", TEXT),
    "levels": Column("values that a coordinate can have; 0: as trained", "count"),
    "line": Column("what the line joins, or which direction it follows", TEXT),
    "load_seconds": Column("time to read the file into memory", "s"),
    "loop": Column("feedback or open loop", TEXT),
    "loss": Column("mean loss", "nats"),
    "loss_difference": Column("loss beside LoRA with equal ranks and the same seed", "nats"),
    "low": Column("lower end of the interval", "as the quantity"),
    "lowest": Column("smallest rise among the sentences", "logits"),
    "lowest_overlap": Column("least of the overlaps", "1"),
    "lowest_loss": Column("lowest loss of the run", "nats"),
    "lr": Column("step size of the optimiser", "1"),
    "majority_error": Column("training error of the most frequent answer", "fraction"),
    "margin": Column("logit of the right class minus the largest other", "logits"),
    "mass": Column("λ: softmax mass on the trained tokens, mean over texts", "fraction"),
    "matrices": Column("number of matrices", "count"),
    "matrix": Column("name of the weight matrix", TEXT),
    "max_rank": Column("largest rank of a matrix", "count"),
    "mean_only": Column("what the mean alone explains", "1"),
    "mean_rank": Column("mean rank over matrices; missing for references without one", "count"),
    "measure": Column("what 90 % is taken of: training loss or score", TEXT),
    "measured": Column("measured value", "as the quantity"),
    "member": Column("the task, or other member, of a collection", TEXT),
    "merge": Column("how the changes of all tasks became one", TEXT),
    "metric": Column("name of the metric that the score is in", TEXT),
    "missed": Column("‖y_⊥ − P_⊥y*‖/‖P_⊥y*‖ of the nearest prompt found", "fraction"),
    "mitigated": Column("intruders that were scaled", "count"),
    "model": Column("the PLM", TEXT),
    "multiplicity": Column("m of the learning coefficient: the order of its pole", "count"),
    "n": Column("number of units", "count"),
    "n_above_null": Column("singular values above null_edge", "count"),
    "n_above_signs": Column("singular values above those of random signs", "count"),
    "n_above_threshold": Column("singular values above hard_threshold", "count"),
    "n_points": Column("sentences whose states are measured", "count"),
    "n_train": Column("training examples", "count"),
    "name": Column("name of a point; number of a point of the path", TEXT),
    "native": Column("parameters of the PLM itself", "count"),
    "nearest": Column("the member whose change has the largest cosine with it", TEXT),
    "noise_floor": Column("singular values below it may be rounding of the decomposition", "1"),
    "norm": Column("norm", "1"),
    "null": Column("what is drawn beside it: what its members still share", TEXT),
    "null_edge": Column("line of the sequential test against the null", "1"),
    "null_effective_rank": Column("effective_rank of the null", "1"),
    "null_energy_rank_90": Column("energy_rank_90 of the null", "1"),
    "null_high": Column("upper end of the null", "as the quantity"),
    "null_law": Column("law of the null", TEXT),
    "null_low": Column("lower end of the null", "as the quantity"),
    "null_mean": Column("mean of the null", "as the quantity"),
    "null_participation_ratio": Column("participation_ratio of the null", "1"),
    "null_share": Column("the share under the null", "1"),
    "null_stable_rank": Column("stable_rank of the null", "1"),
    "null_tail_distance": Column("tail_distance of the null", "1"),
    "null_tail_exponent": Column("tail_exponent of the null", "1"),
    "numbers": Column("numbers that are stored for it alone", "count"),
    "objective": Column("d90 of the objective in all weights, where measured", "count"),
    "occam": Column("Occam's bound", "fraction"),
    "of": Column("the tasks, or the null that was drawn", TEXT),
    "off_after": Column("the same with the control", "1"),
    "off_before": Column("squared deviation from the layers' subspaces without the control", "1"),
    "one": Column("the task that is scored, under its own change and head", TEXT),
    "onto_base": Column("the same for those of W₀: √(σ₁² + … + σ_r²)", "1"),
    "onto_delta": Column("‖UᵀW₀V‖_F for the first r singular vectors of ΔW", "1"),
    "onto_random": Column("its root mean square for random directions, ‖W₀‖_F·r/√(mn)", "1"),
    "optimizer": Column("of it the optimiser's moments; null where measured", "bytes"),
    "order": Column("the deltas in the order of their training; or another schedule, to compare with", TEXT),
    "other": Column("the task whose change is added", TEXT),
    "overlap": Column("max_i |⟨u_j, u_i of W₀⟩|, from 0 to 1", "1"),
    "own": Column("validation score of the same method trained on the target", "unit of the metric"),
    "p": Column("(1 + draws whose gain of the direction is as large)/(1 + draws)", "1"),
    "pair": Column("the two tasks", TEXT),
    "parameter": Column("parameter that is left out", TEXT),
    "parameters": Column("parameters of the PLM, head included", "count"),
    "participation": Column("participation ratio of B_t's singular values", "1"),
    "participation_ratio": Column("(Σσ²)²/Σσ⁴", "1"),
    "passes": Column("passes over the batch until then: every stage run once, forward and back", "count"),
    "peak": Column("peak memory of a training step", "bytes"),
    "place": Column("where", TEXT),
    "plane": Column("how the plane was chosen", TEXT),
    "plm": Column("PLM; its first k blocks are written name:k", TEXT),
    "position": Column("token of the text, from 0 (the first is what an encoder's head reads)", "count"),
    "predicted": Column("predicted value", "as the quantity"),
    "products": Column("products with J's curvature until then", "count"),
    "promised": Column("fall of the loss that a method's layers promise at the start; empty for rules", "nats"),
    "prompt": Column("kind of prompt", TEXT),
    "published": Column("bound from norms of the matrices alone", "1"),
    "quadratic": Column("N(γ)/2, λ of a quadratic valley with this curvature; empty: not measured", "1"),
    "radius": Column("margin/(√2 ‖∂logits/∂h‖₂) over ‖h‖, h the state entering the first block; 0 where wrong", "1"),
    "random": Column("the same for random directions", "1"),
    "rank": Column("number of directions", "count"),
    "rate": Column("√(d/n), up to which the bound grows", "1"),
    "ratio": Column("measured value over bound", "1"),
    "reached": Column("‖y_⊥‖: length of the output's part orthogonal to the bare output", "1"),
    "reading": Column("template or no template", TEXT),
    "reason": Column("why it is left out", TEXT),
    "relative": Column("(score − chance)/(score of the full method − chance)", "1"),
    "relative_error": Column("‖ΔW − BA‖/‖ΔW‖ over the block matrices", "1"),
    "relative_frobenius_norm": Column("‖ΔW‖_F/‖W₀‖_F", "1"),
    "relative_spectral_norm": Column("‖ΔW‖₂/‖W₀‖₂", "1"),
    "request": Column("wanted rise of every sentence's margin", "logits"),
    "residual": Column("‖∇_u H_t‖ = ‖∂J/∂u_t‖", "nats per unit of control"),
    "residual_relative": Column("‖∇_u H_t‖·‖u_t‖ / |J|, change of ln J if u_t grew by its length", "1"),
    "residual_to_cost": Column("‖∇_u H_t‖/|J|: relative change of J per unit change of u_t", "1 / units of φ"),
    "rho": Column("ρ that the solver chose, its weight on the residual of the dynamics", "1"),
    "role": Column("role of the matrix in its block: query, key, value, output, up, down, …", TEXT),
    "round": Column("number of the measurement", "count"),
    "round_trip": Column("part of it that writing the file costs", "1"),
    "row": Column("what is trained", TEXT),
    "rows": Column("rows of the batch", "count"),
    "rows_per_second": Column("throughput", "1/s"),
    "rule": Column("rule that chose the ranks", TEXT),
    "run": Column("what is held: the step size, or the number of steps", TEXT),
    "said": Column("what the estimator says of it at this number of points", "1"),
    "scale": Column("λ·N, chosen on validation data", "1"),
    "scope": Column("which coordinates of φ: all, one block, or outside the blocks", TEXT),
    "score": Column("score on held-out examples after training", "unit of the metric"),
    "score_difference": Column("score beside LoRA with equal ranks and the same seed", "unit of the metric"),
    "seconds": Column("training time until then, evaluations excluded", "s"),
    "seed": Column("seed of the run", "count"),
    "seen": Column("where it is first seen", "1"),
    "seen_random": Column("the same for ΔW with random directions", "1"),
    "seen_signs": Column("the same for ΔW with random signs of its entries; empty: factors", "1"),
    "share": Column("share of ‖ΔW‖² that is explained", "1"),
    "sharp": Column("bound that knows the query and the bare output", "1"),
    "shuffled": Column("largest CKA after shuffling the sentences of one of the two", "1"),
    "side": Column("inputs (right singular vectors, row spaces) or outputs (left ones, column spaces)", TEXT),
    "sigma": Column("singular value of ΔW", "1"),
    "sign_edge": Column("largest singular value with random signs of the entries; empty: factors", "1"),
    "similarity": Column("φ(i, j) = ‖U_Aᵀ U_B‖_F² / min(i, j), from 0 to 1", "1"),
    "size": Column("d of the whole delta", "count"),
    "source": Column("task trained on", TEXT),
    "source_type": Column("type of the task trained on", TEXT),
    "spectral_norm": Column("‖ΔW‖₂", "1"),
    "split": Column("train or validation", TEXT),
    "splits": Column("whether φ splits over the layers", FLAG),
    "spread": Column("how far values lie apart: standard deviation, or E‖h − μ‖² of activations", "as the quantity"),
    "stable_rank": Column("‖ΔW‖_F²/‖ΔW‖₂²", "1"),
    "stage": Column("stage of the chain", TEXT),
    "standard_error": Column("of the density, over random probes", "1 / (nats per unit of φ²)"),
    "start_rank": Column("rank of the target token without a prompt (1: argmax)", "count"),
    "state": Column("when: start or trained", TEXT),
    "status": Column("how a search ended", TEXT),
    "step": Column("training steps taken", "count"),
    "step_seconds": Column("time of a step; null where counted", "s"),
    "step_size": Column("η of the run", "1"),
    "steps": Column("η_t, the step that the stage takes", "1"),
    "storage": Column("dtype that the numbers were stored in", TEXT),
    "storage_noise": Column(
        "about the largest singular value that rounding to the stored dtype makes; 0 for factors", "1"
    ),
    "stored": Column("numbers in the factors", "count"),
    "strength": Column("t in W₀ + t·ΔW; 1 as trained", "1"),
    "subspace": Column("mean over matrices of the similarity of their leading input directions", "1"),
    "t": Column("its number", "count"),
    "tail_distance": Column("Kolmogorov–Smirnov distance of tail and fit", "1"),
    "tail_exponent": Column("α of the power law of σ² above the noise; missing with fewer than 50 values", "1"),
    "tail_exponent_error": Column("standard error of α", "1"),
    "tail_points": Column("singular values in the tail", "count"),
    "tail_start": Column("σ² from which the power law is fitted", "1"),
    "target": Column("what is aimed at", TEXT),
    "target_type": Column("type of the task evaluated on", TEXT),
    "task": Column("the task", TEXT),
    "tokens": Column("k, tokens of the prompt", "count"),
    "trace": Column("trace of the Gramian at the logits", "squared logits per unit of control"),
    "train_error": Column("share of training examples that are wrong", "fraction"),
    "train_loss": Column("loss on training examples after training", "nats"),
    "train_score": Column("score on training examples after training", "unit of the metric"),
    "train_seconds": Column("time of the training", "s"),
    "training_change": Column("mean rise of the margins by training", "logits"),
    "training_norm": Column("‖φ − φ₀‖ after training", "units of φ"),
    "transfer": Column("relative transfer, mean of both directions", "1"),
    "tried_up_to": Column("the largest place looked at", "as the quantity"),
    "true": Column("dimension of a Gaussian cloud", "count"),
    "tunable": Column("trained parameters d", "count"),
    "type": Column("type of the task", TEXT),
    "types": Column("inside (both of one type) or across", TEXT),
    "uncontrolled": Column("accuracy without the control", "fraction"),
    "unit_norm": Column("‖δφ‖ that raises every margin by one logit", "units of φ"),
    "unreachable": Column("‖z − J δφ‖/‖z‖: part of the requested change that no control reaches to first order", "1"),
    "users": Column("users whose rows are in the batch", "count"),
    "validation_score": Column("score on validation examples", "unit of the metric"),
    "value": Column("the ratio, or the Hankel value", "1"),
    "variant": Column("which prediction, or what was run", TEXT),
    "wanted": Column("‖P_⊥y*‖: length of the target's part orthogonal to the bare output", "1"),
    "weight_flops": Column("of the backward pass to weights; null where timed", "FLOP"),
    "with_intruder": Column("share of matrices with an intruder in W₀ + ΔW", "fraction"),
    "x": Column("first coordinate", "1"),
    "y": Column("second coordinate", "1"),
}
"""Name -> what it means."""

NARROWER = {
    "bounds": {
        "bound": Column("which bound", TEXT),
    },
    "summary": {
        "block": Column("index of its block; missing outside of the blocks", "count"),
        "rank": Column("singular values above noise_floor and storage_noise", "count"),
    },
    "members": {
        "cosine": Column("cosine of its change with the nearest member's", "1"),
        "explained": Column("share of ‖ΔW‖² that the others' mean and their counted directions explain", "1"),
        "mean_only": Column("share of ‖ΔW‖² that the others' mean alone explains", "1"),
        "member": Column("whose change it is", TEXT),
        "norm": Column("‖ΔW‖_F of all matrices together", "1"),
    },
    "shares": {
        "explained": Column("share of the variance among the members in their k leading directions", "1"),
        "k": Column("number of directions around the mean of the others", "count"),
        "null": Column("what the members are beside: which structure they keep, the rest random", TEXT),
        "p": Column("(1 + null draws in which direction k adds as much)/(1 + draws); k = 0: the mean", "1"),
        "share": Column("share of ‖ΔW‖² that the others explain, mean over members", "1"),
    },
    "compressed": {
        "adapter": Column("folder of the adapter that was rebuilt", TEXT),
        "member": Column("whose change it is", TEXT),
        "rank": Column("rank of the rebuilt adapter", "count"),
        "relative_error": Column("‖ΔW − rebuilt‖/‖ΔW‖, both as read from disk", "1"),
    },
    "amplification": {
        "rank": Column("r: how many leading directions are taken", "count"),
    },
    "cka": {
        "label": Column("whose layers are compared with the pre-trained ones", TEXT),
    },
    "combination": {
        "prompt": Column("1 where the combination has the prompt, else 0", "count"),
        "label": Column("PLM, task, data and reading of one design", TEXT),
    },
    "compression": {
        "label": Column("how the coordinates were written: number of levels, or float32", TEXT),
    },
    "control_at_test_time": {
        "kind": Column("perturbation, or clean", TEXT),
        "label": Column("the trained method under control", TEXT),
        "strength": Column("its strength", "1"),
    },
    "control_energy": {
        "norm": Column("‖δφ‖ of the least control for it, to first order", "units of φ"),
        "predicted": Column("mean rise to first order; below the request where it cannot be reached", "logits"),
    },
    "controllability_ranking": {
        "effective_rank": Column("effective rank of ∂logits/∂φ before training", "1"),
        "trace": Column("trace of the Gramian at the logits before training", "squared logits per unit of control"),
    },
    "convergence": {
        "kind": Column("full, delta, or null (nothing but the head is trained)", TEXT),
    },
    "costates": {
        "loss": Column("J on the batch", "nats"),
    },
    "curvature_spectrum": {
        "label": Column('method, with ", random weights" for the null of pre-training', TEXT),
        "eigenvalue": Column("eigenvalue of the Gauss-Newton matrix", "nats per unit of φ²"),
        "index": Column("number of the eigenvalue, from 1, in decreasing order", "count"),
    },
    "d90_curves": {
        "d": Column("dimension of the random subspace", "count"),
        "high": Column("upper end of the share's interval", "1"),
        "kind": Column("predicted, measured (training runs) or simulated", TEXT),
        "label": Column("the problem: a quadratic, or PLM, task and method", TEXT),
        "low": Column("lower end of the share's interval", "1"),
        "share": Column("share of the loss's fall that it recovers", "1"),
    },
    "delta_as_control": {
        "kind": Column("type of control, computed", TEXT),
        "norm": Column("‖B_t‖_F, B_t = ∂h_{t+1}/∂u_t on the batch", "1"),
        "rank": Column("rank of B_t; empty where it was not computed", "count"),
        "stage": Column('stage of the chain; "all" where φ does not split over layers', TEXT),
    },
    "delta_storage": {
        "label": Column("the method, or “the PLM” itself", TEXT),
    },
    "extraction": {
        "kind": Column("extracted, or the name of a reference", TEXT),
        "rule": Column("how the rank of each matrix was chosen; empty for references", TEXT),
        "score": Column("validation score", "fraction"),
    },
    "finite_reach": {
        "index": Column("number of the Hankel value, from 1; 0 for reach", "count"),
        "kind": Column("reach (tr W_ε over tr W) or Hankel (a singular value at a cut)", TEXT),
        "task": Column("the task the sentences are from", TEXT),
        "x": Column("size of the control in units of one logit to first order; or the cut", "1"),
    },
    "forced_tokens": {
        "target": Column("number of the target token in the vocabulary", "count"),
        "rank": Column("the target's rank under the best prompt of that length", "count"),
        "state": Column("number of the text that the next token follows", "count"),
        "tokens": Column("k, tokens of the prompt at most", "count"),
    },
    "generalization_gap": {
        "bound": Column(
            "√((d ln r + ln 1/δ)/(2n)), what the gap stays below with probability 1 − δ", "unit of the metric"
        ),
        "kind": Column("full, delta, combination, or null (nothing but the head is trained)", TEXT),
    },
    "gramian_spectra": {
        "kind": Column("at the start, after training, or random weights", TEXT),
        "label": Column('the method; "random subspace" is the null of all', TEXT),
        "seed": Column("seed of head, method and batch", "count"),
        "sigma": Column(
            "singular value of J = ∂y/∂φ; the Gramian's eigenvalue is its square", "units of y per unit of φ"
        ),
    },
    "interference": {
        "label": Column("the collection: method, PLM", TEXT),
        "overlap": Column("‖ΔW_jP_i‖², what the added change does on the inputs that the task's own reads", "1"),
        "predicted": Column("excess loss by the line through pairs that share no task with this one", "nats"),
        "size": Column("‖ΔW_j‖² of the added change", "1"),
    },
    "intrinsic_dimension": {
        "d": Column(
            "dimension of the subspace; of all weights (full) or the head (linear_probe); the d90 value", "count"
        ),
        "kind": Column("subspace, fit, full, linear_probe, random_weights, d90, d90_low or d90_high", TEXT),
        "label": Column("method and projection, as the legend shall say it", TEXT),
        "score": Column("score on held-out examples; the line to reach for d90 rows", "unit of the metric"),
        "seed": Column("seed of the run; empty for fit and d90 rows", "count"),
    },
    "intrinsic_prompt": {
        "k": Column("d_I, the dimension of z", "count"),
        "label": Column("the collection: method, PLM; joint where z is shared with another method", TEXT),
        "row": Column("the decoder of z", TEXT),
        "seen": Column("seen: among the tasks that made the decoder; or unseen", TEXT),
        "task": Column("on which z and a head are trained", TEXT),
    },
    "intruder_forecast": {
        "forecast": Column("t of the first intruder by the spiked model, from W₀'s spectrum and ‖ΔW‖₂ alone", "1"),
        "matrix": Column("unique label of the weight matrix", TEXT),
        "seen": Column("t at which the first intruder is seen; infinite if none is", "1"),
    },
    "intruder_mitigation": {
        "score": Column("validation score", "fraction"),
        "strength": Column("t at which they were found", "1"),
    },
    "intruder_onset": {
        "forecast": Column("where the known ‖ΔW‖₂ meets the threshold; infinite: nowhere in the run", "steps or η"),
        "matrix": Column("unique label of the weight matrix", TEXT),
        "seen": Column("the first place looked at that has an intruder; infinite: none", "steps or η"),
    },
    "intruder_strength": {
        "forecast": Column("share forecast by the spiked model", "fraction"),
        "high": Column("share whose forecast is passed for early ones", "fraction"),
        "low": Column("share whose forecast is passed even for late directions", "fraction"),
        "score": Column("validation score", "fraction"),
        "strength": Column("t in θ₀ + t·Δθ; 1 as trained", "1"),
    },
    "intruder_sweep": {
        "k": Column("leading directions looked at", "count"),
        "kind": Column("tuned, or a null: ΔW with random directions (random), or with random signs (signs)", TEXT),
    },
    "intruder_time": {
        "forecast": Column("share whose ‖ΔW‖₂ has met the spiked model's threshold", "fraction"),
        "high": Column("share whose norm makes one of ten directions intrude", "fraction"),
        "low": Column("share whose norm makes nine of ten directions intrude", "fraction"),
        "step": Column("training steps taken", "steps"),
    },
    "intruders": {
        "index": Column("j: number of the singular value of W₀ + t·ΔW, from 1", "count"),
        "kind": Column(
            "tuned, or a null: random directions, same singular values; or signs, of dense ΔW's entries", TEXT
        ),
        "matrix": Column("unique label of the weight matrix", TEXT),
    },
    "layer_scores": {
        "measured": Column("fall of J when the layer takes that step alone", "nats"),
        "place": Column("at which controls", TEXT),
        "predicted": Column("fall of J by the second-order formula", "nats"),
    },
    "learning_coefficient": {
        "dimension": Column("number of parameters d", "count"),
        "high": Column("upper end", "1"),
        "label": Column("the delta, or the rank of the truth", TEXT),
        "low": Column("lower end of its 95 % interval over chains", "1"),
        "place": Column("the model and task, or the sizes of the regression", TEXT),
    },
    "learning_curves": {
        "loss": Column("mean loss of the split", "nats"),
        "score": Column("metric of the split; empty where it was not evaluated", "unit of the metric"),
    },
    "left_out_tasks": {
        "label": Column("the collection: method, PLM", TEXT),
        "mean_only": Column("share that their mean alone explains", "1"),
        "member": Column("whose change is explained", TEXT),
        "share": Column("share of ‖ΔW‖² that the subspace of the others explains", "1"),
    },
    "loss_line": {
        "alpha": Column("place on the line: 0 and 1 are its two points", "1"),
        "loss": Column("loss of the batch there", "nats"),
    },
    "loss_plane": {
        "kind": Column("grid, path (the trajectory) or point", TEXT),
        "loss": Column("loss of the batch there", "nats"),
    },
    "memory_saved": {
        "label": Column("the method; 'full fine-tuning' is what the others are measured against", TEXT),
    },
    "merging": {
        "label": Column("the collection: method, PLM", TEXT),
        "relative": Column(
            "(score − chance)/(score of the task's own change − chance); none where that learned nothing", "1"
        ),
        "task": Column("whose test data are scored, under the head that came with its own change", TEXT),
    },
    "performance": {
        "kind": Column("full, delta, or null (nothing but the head is trained)", TEXT),
    },
    "phase_portrait": {
        "block": Column("block whose output it is", "count"),
        "kind": Column("base, controlled or target", TEXT),
        "x": Column("first principal axis of the layer's states", "1"),
        "y": Column("second principal axis", "1"),
    },
    "planner": {
        "kind": Column(
            "ranks (a way of sharing out LoRA's ranks), method (another at this budget) or recommended", TEXT
        ),
        "label": Column("the rule that shared out LoRA's ranks, or the method", TEXT),
        "loss": Column("validation loss after training", "nats"),
    },
    "planner_ranks": {
        "rank": Column("rank it got", "count"),
        "rule": Column("the rule that shared out LoRA's ranks", TEXT),
        "seed": Column("seed of the head and of the batch surveyed", "count"),
    },
    "pmp_residual": {
        "loss": Column("J on the batch", "nats"),
    },
    "predicted_dimension": {
        "high": Column("upper end of the measured dimension's interval; missing where open", "count"),
        "label": Column("PLM, task and method of the search", TEXT),
        "low": Column("lower end of the measured dimension's interval", "count"),
        "measured": Column("measured dimension; missing where the search did not find it", "count"),
        "predicted": Column("predicted dimension", "count"),
        "variant": Column("which curvature and displacement predict", TEXT),
    },
    "prefix_mass": {
        "label": Column("prefix or prompt", TEXT),
        "stage": Column("start or trained", TEXT),
    },
    "principal_angles": {
        "index": Column("number of the angle, from 1, in increasing order", "count"),
        "null_high": Column("upper end of it", "degrees"),
        "null_low": Column("lower end of the angle for random subspaces", "degrees"),
    },
    "reach_bound": {
        "head": Column("attention head of the first block", "count"),
        "prompt": Column("random, optimised (for this head) or trained (for the task)", TEXT),
    },
    "reach_targets": {
        "bound": Column("how far any such prompt reaches", "1"),
        "head": Column("attention head of the first block", "count"),
        "prompt": Column(
            "free at the entrance of the block, soft (behind the embedding's LayerNorm), or trained", TEXT
        ),
        "target": Column("which output is wanted", TEXT),
    },
    "representation_dimension": {
        "dimension": Column("estimated dimension of the sentences' representations", "count"),
        "gaussian": Column("dimension of the Gaussian cloud of which the estimator says the same at this n", "1"),
        "high": Column("upper end of its interval", "count"),
        "label": Column("under which weights: pre-trained, after a method, random weights", TEXT),
        "layer": Column("0 is what enters the first block, then what leaves each", "count"),
        "low": Column("lower end of its interval", "count"),
    },
    "robustness": {
        "kind": Column("perturbation, or clean", TEXT),
        "score": Column("accuracy", "fraction"),
        "strength": Column("share of words, or noise in units of the embedding's root mean square; 0 for clean", "1"),
    },
    "scale": {
        "step": Column("steps taken until this evaluation", "count"),
    },
    "sequential_combination": {
        "label": Column("PLM, task and data", TEXT),
        "score": Column("validation score after this stage", "unit of the metric"),
        "stage": Column("stages trained, from 1", "count"),
    },
    "serving_throughput": {
        "label": Column("how the batch is served", TEXT),
    },
    "shared_directions": {
        "k": Column("directions around the mean of the others; 0 is the mean alone", "count"),
        "label": Column("the collection: method, PLM", TEXT),
        "null_high": Column("97.5 % quantile", "1"),
        "null_low": Column("2.5 % quantile of the same over drawn collections", "1"),
        "share": Column("share of ‖ΔW‖² that the others explain, mean over members", "1"),
    },
    "solver_convergence": {
        "label": Column("the solver and its step size", TEXT),
        "loss": Column("J at the point: mean loss of the batch", "nats"),
        "seed": Column("seed of start and batch", "count"),
    },
    "spectral_density": {
        "label": Column('method, with ", random weights" for the null of pre-training', TEXT),
        "eigenvalue": Column("place on the axis of eigenvalues", "nats per unit of φ²"),
    },
    "subspace_scores": {
        "k": Column("trained coordinates beside the head; 0 for a fixed body", "count"),
        "label": Column("the collection: method, PLM, amount of data", TEXT),
        "row": Column("what is trained: k coordinates in a subspace, or the head on a fixed body", TEXT),
        "task": Column("unseen task", TEXT),
    },
    "subspace_similarity": {
        "random": Column("its mean for random subspaces, max(i, j)/d", "1"),
    },
    "task_map": {
        "label": Column("the collection: method, PLM", TEXT),
        "member": Column("whose change it is", TEXT),
        "x": Column("first coordinate of classical scaling of chordal distances", "1"),
    },
    "tasks_needed": {
        "high": Column("97.5 % quantile over subsets", "1"),
        "label": Column("the collection: method, PLM", TEXT),
        "low": Column("2.5 % quantile over subsets", "1"),
        "mean_only": Column("what the mean of the subset explains", "1"),
        "n": Column("tasks that make the subspace", "count"),
        "share": Column("share of an unseen task's ‖ΔW‖² that it explains, mean over subsets and unseen tasks", "1"),
    },
    "template": {
        "label": Column("PLM and task", TEXT),
    },
    "trace_shares": {
        "kind": Column("at the start or after training", TEXT),
        "share": Column("share of the Gramian's trace", "1"),
        "trace": Column("‖Φ_t B_t‖_F², the stage's part of the trace", "squared units of state per unit of control"),
    },
    "training_compute": {
        "label": Column("the method; 'full fine-tuning' is what the others are measured against", TEXT),
    },
    "training_memory": {
        "parameters": Column("of it the PLM's and the delta's parameters; null where measured", "bytes"),
    },
    "training_rounds": {
        "label": Column("the method; 'full fine-tuning' is what the others are measured against", TEXT),
        "round": Column("of a timing, in which all methods take their turn; null where counted", "count"),
    },
    "transfer": {
        "head": Column("which head the source's change meets on the target: transferred with it, or refitted", TEXT),
        "label": Column("method, and how its head is treated", TEXT),
        "relative": Column("(score − chance)/(own − chance); empty where the target was not learned", "1"),
        "score": Column("validation score on the target", "unit of the metric"),
        "target": Column("task evaluated on, without training", TEXT),
    },
    "transfer_similarity": {
        "label": Column("method, and how its head is treated", TEXT),
        "random": Column("that similarity for random directions", "1"),
    },
    "weight_difference_spectra": {
        "null": Column("expectation of this singular value if the directions were random", "1"),
        "matrix": Column("unique label of the weight matrix", TEXT),
        "null_high": Column("upper end of this singular value under the null", "1"),
        "null_low": Column("lower end of this singular value under the null", "1"),
    },
}
"""Table -> name -> what it means there."""
