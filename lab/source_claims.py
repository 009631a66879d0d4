"""The claims of the source text (Ding et al. 2022) in its order, in plain words, and what no record here can decide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class SourceClaim:
    """One claim, or what one other source says, for a reader who has not read it.

    Attributes:
        title: heading.
        says: what is claimed.
        here: what was measured in this lab, and on what.
        missing: what no experiment here tests, and why; "" where nothing is.
    """

    title: str
    says: str
    here: str
    missing: str = ""


SOURCE_CLAIMS: Mapping[int, SourceClaim] = MappingProxyType(
    {
        1: SourceClaim(
            "Three families of methods",
            "Delta methods add modules, specify which weights may move, or reparameterise the change of the weights. "
            "Of the second family it is said that BitFit, which trains the biases alone, keeps more than 95 % of full "
            "fine-tuning's score.",
            "BitFit's mean score over full fine-tuning's, of the same tasks and seeds, each with the step size that a "
            "grid chose by the same rule on the validation data of one of the tasks.",
            "That there are three families is a definition: docs/methods.md says what each method trains.",
        ),
        2: SourceClaim(
            "The settings",
            "Prefix of 5 tokens, prompt of 100, LoRA of rank 8 on query and value, adapter of width 64 with SiLU.",
            "Nothing: this is no statement about data. The settings are `lab.deltas.presets.delta_tuning_study`, and "
            "docs/methods.md counts their parameters.",
        ),
        3: SourceClaim(
            "Which method is best, and is it the number of parameters?",
            "Averaged over tasks, full fine-tuning scores highest, then LoRA, adapter, prefix and prompt; full "
            "fine-tuning converges fastest, adapter and LoRA alike, prefix later. Neither order is decided by how many "
            "parameters are trained.",
            "All methods on the same tasks, steps and batches. Two neighbours in the order are compared task by task, "
            "seeds averaged, and tasks are the units, though sst-2, sst-5 and rotten-tomatoes draw on the same "
            "reviews. The number of parameters is ranked against score and speed over the methods, which are the "
            "units there.",
            "The average over more than a hundred tasks on T5-base: few classification tasks on small PLMs are run.",
        ),
        4: SourceClaim(
            "Prompt tuning is slow",
            "Prompt tuning takes more steps than other methods to get where it ends.",
            "Steps until 95 % of the lower of the two last scores, prompt against full fine-tuning and LoRA, task by "
            "task.",
            "That it is worst on small models: one small model is run, a series needs models of several sizes.",
        ),
        5: SourceClaim(
            "Memory of training",
            "On a GPU, delta tuning saves up to three quarters of the memory at batch sizes of 1 or 8, and at least a "
            "third at 64.",
            "Memory counted for models from MiniLM to Llama-2 7B. A count has no sampling error: the model where the "
            "claim does worst decides.",
            "Memory of a GPU at these model sizes: MiniLM's is measured beside its count, larger models have no "
            "weights here.",
        ),
        6: SourceClaim(
            "Combinations",
            "Prompt, BitFit and adapter can be combined, at once or one after the other; adapters help in a "
            "combination, prompts tend to hurt, and no order in time is always the best.",
            "All eight combinations of the three, and all orders of them, seed by seed, on one task per setting: with "
            "few examples and more, with a manual template and without.",
            "That they combine so on all of GLUE: a setting here is one task.",
        ),
        7: SourceClaim(
            "Manual templates",
            "A manual template lifts zero-shot scores, helps with few examples, and hardly matters with all data.",
            "SmolLM2 with an adapter on one task, with template and label words or with a new head, seed by seed.",
        ),
        8: SourceClaim(
            "The generalisation gap",
            "Training score minus held-out score is smaller for every single delta method than for full fine-tuning, "
            "smallest for prompt tuning, larger for combinations, and not changed by templates.",
            "The gap of every run. A claim about *every* method is judged by the method where it does worst, with an "
            "interval that pays for the choice (docs/statistics.md).",
        ),
        9: SourceClaim(
            "Transfer between tasks",
            "A delta trained on one task works on another of the same type without training, and poorly across types.",
            "Deltas and heads of one task scored on another, relative to training there. The tasks are the units, and "
            "the test deals the types out to the tasks anew. Inside a type, sst-2 and rotten-tomatoes draw "
            "on the same reviews.",
            "Generation tasks, and transfer from generation to sentiment: every task here is a classification, of two "
            "classes, since the head goes along. The source's twelve tasks of five types: there are fewer here.",
        ),
        10: SourceClaim(
            "Power of scale",
            "On larger models all methods improve and converge sooner; training only the last layer is a bad choice, "
            "modules at random places a good one.",
            "Last layer and random modules beside the other methods on whole PLMs, on one task. Series of first blocks "
            "of one PLM are not counted here: they are about depth, and stand further below.",
            "T5 small, base and XXL, and scale of pre-training: the packaged series is one PLM cut after some blocks.",
        ),
        11: SourceClaim(
            "A low intrinsic dimension",
            "A PLM can be fine-tuned in a random subspace of few dimensions: good solutions lie in a low-dimensional "
            "space, of parameters or of functions.",
            "d90, the dimension of a random subspace that reaches 90 % of full fine-tuning, of all weights and within "
            "deltas; and the bounds on what a subspace costs, on random problems.",
        ),
        12: SourceClaim(
            "One subspace for many tasks",
            "Stronger: the adaptations to many tasks lie in one and the same low-dimensional subspace, and its "
            "coordinates alone reach a satisfying score on each (Qin et al. 2021).",
            "What the changes of many tasks share, beside collections that chance, W₀ and the activations at θ₀ draw, "
            "and what coordinates there, or of an autoencoder, are worth on unseen tasks. What is said of *every* null "
            "is judged by the one where it does worst. Tasks are the units, though sst-2, sst-5 and rotten-tomatoes "
            "draw on the same reviews.",
            "More than a hundred tasks, generation among them: there are nineteen, all classifications.",
        ),
        13: SourceClaim(
            "Tuning as optimal control",
            "Tuning a delta is an optimal-control problem of the PLM, and back-propagation is the search for its "
            "controller.",
            "The identities of control in float64 on real PLMs, every layer and method. What this laboratory asks "
            "beyond them, of controllability and of feedback, the source text does not claim; it stands further below.",
        ),
        14: SourceClaim(
            "Applications",
            "Delta tuning trains faster, stores little, lets one model serve many users, and mixes users in a batch.",
            "Seconds of a training step, bytes of files, and rows a second of a mixed batch against one user after "
            "another.",
            "Training time of large models until they have converged: steps are timed on MiniLM, runs are short.",
        ),
    }
)
"""Number -> the claim; `Verdict.number` refers to it."""

OTHER_SOURCES: Mapping[str, SourceClaim] = MappingProxyType(
    {
        "Hu et al. 2021": SourceClaim(
            "LoRA's subspaces (Hu et al. 2021)",
            "Updates have a low intrinsic rank; different seeds and ranks find the same leading directions; an update "
            "amplifies directions that the pre-trained matrix does not emphasise.",
            "LoRA of one task with several seeds and ranks, and the difference of a full fine-tuning, matrix by matrix "
            "on MiniLM and SmolLM2, beside the level of random directions.",
        ),
        "Benaych-Georges & Nadakuditi 2012": SourceClaim(
            "Forecasts of intruders (spiked matrices)",
            "Random matrix theory says from which size on an update adds a singular direction that the matrix did not "
            "have. Applied to training (ours), it should say where and when intruder dimensions appear.",
            "The forecast beside what was seen. Matrices of one training are not independent, so that a training is "
            "the unit; and the forecast is compared with one that knows the size of W₀ alone.",
        ),
        "Shuttleworth et al. 2024": SourceClaim(
            "Intruder dimensions (Shuttleworth et al. 2024)",
            "LoRA's updates bring singular directions that the pre-trained matrix does not know, sooner than full "
            "fine-tuning's of the same size.",
            "The relative size of the update at which the first one appears, both methods on the same PLM and task.",
        ),
        "quadratic model": SourceClaim(
            "Curvature and intrinsic dimension",
            "If the loss is nearly quadratic, its curvature spectrum says how many dimensions a subspace needs.",
            "Predicted against measured dimension of the training loss, over pairs of PLM and task.",
        ),
        "Aghajanyan et al. 2020": SourceClaim(
            "Dimension and generalisation (Aghajanyan et al. 2020)",
            "The generalisation gap grows with the number of trained dimensions.",
            "Number of trained parameters against the mean gap, over the methods.",
        ),
        "Lotfi et al. 2022": SourceClaim(
            "Compression and generalisation (Lotfi et al. 2022)",
            "What a short description can write, having been found by training, holds on new examples: a bound from "
            "the number of bits is not empty.",
            "Trained subspaces written with few levels, their bound beside that of a majority vote and the error that "
            "was measured (docs/compression.md).",
        ),
        "Aoyagi & Watanabe 2005": SourceClaim(
            "The learning coefficient",
            "Models whose parameters are not determined by their function are simpler than their number of parameters "
            "says; for a matrix in two factors the learning coefficient has a closed form.",
            "The estimate by Langevin dynamics beside the closed form, rank by rank (docs/learning_coefficient.md).",
        ),
        "merging": SourceClaim(
            "Merging deltas of many tasks",
            "Task arithmetic, TIES, DARE, a common subspace and least squares on activations each claim to keep more "
            "of every task than the plain mean; principal angles between changes should tell what they cost each "
            "other.",
            "What a merge keeps of what all tasks gained over chance, the tasks being the units, and a forecast that "
            "is judged on pairs of tasks that it has not seen (docs/shared_subspaces.md).",
        ),
        "autoencoder": SourceClaim(
            "An autoencoder beside plain PCA",
            "Intrinsic prompt tuning trains an autoencoder of trained prompts. A question of this laboratory: are its "
            "coordinates worth more than as many of the plain PCA of the same prompts?",
            "Both trained on unseen tasks, task by task, with as many coordinates (docs/shared_subspaces.md).",
        ),
        "likeness": SourceClaim(
            "Likeness of updates and transfer",
            "A question of this laboratory: do deltas whose updates are alike transfer better between their tasks?",
            "Cosine and subspace similarity of two updates against their transfer, over pairs of tasks; the tasks are "
            "the units.",
        ),
        "controllability": SourceClaim(
            "What controllability explains",
            "A question of this laboratory, not of the source text: if a delta is a control, do the Gramian and the "
            "price of a logit say which method does better, and how many dimensions it needs?",
            "Ranks of methods by measures of the Gramian against ranks by score and by dimension "
            "(docs/controllability.md).",
        ),
        "feedback": SourceClaim(
            "Feedback against open loop",
            "Adapter and LoRA act on the state, prefix and BitFit do not, and control theory suggests that feedback "
            "loses less where inputs are perturbed. (The source text calls adapters more robust than full fine-tuning, "
            "which is another comparison.)",
            "Accuracy on perturbed inputs and certified radii, seed by seed (docs/robustness.md).",
        ),
        "depth": SourceClaim(
            "Depth, read as size",
            "What 'power of scale' says, of a PLM cut after its first blocks. These are parts of one network that was "
            "trained as a whole, and no smaller pre-trained models: they say what the later blocks carry.",
            "The cut PLM beside the whole one, method by method and seed by seed.",
        ),
        "planner": SourceClaim(
            "The planner of this lab",
            "Ranks shared out by a measure of control or curvature beat equal ranks at the same budget.",
            "Held-out loss against equal ranks, seed by seed (docs/planner.md).",
        ),
        "Bhargava et al. 2023": SourceClaim(
            "What prompts can reach (Bhargava et al. 2023)",
            "A prompt moves an attention head's output no further than a bound, and short prompts force most likely "
            "next tokens.",
            "The bound on every head, length and prompt tried (one violation would break it), and the share of target "
            "tokens forced on SmolLM2.",
        ),
        "Yang & Liu 2022": SourceClaim(
            "Control at test time (Yang & Liu 2022)",
            "A prefix tuned at test time wins back what perturbed inputs cost.",
            "Accuracy with that control minus without, on perturbed inputs, seed by seed.",
        ),
    }
)
"""`Verdict.paper` -> what other sources say."""
