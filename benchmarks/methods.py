"""Training steps of delta methods side by side in one process: ours against the peft library's, method by method.

The same PLM, batch, optimiser and number of trained numbers for both (the classification head trained too): MiniLM
(LoRA, IA³, prompt) and SmolLM2 (LoRA, IA³, prompt, prefix), 16 sequences of 32 tokens, float32, sdpa attention, no
dropout. Variants run in turn, round after round, so that a slow moment of the machine meets them all; medians over the
rounds, and the median over rounds of ours / peft's with its 95 % interval.

Two rows more say what calling the model through `functional_call` costs: full fine-tuning's step with the parameters
as leaves of their own, through `functional_call` and as the module's own parameters.

    deltalab bench methods [--rounds 15] [--model minilm,smollm2] [--out benchmarks/results]
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import peft
import torch
from _report import alternately, ratio_of, write
from torch import Tensor
from training_step import delta_step, module_step, trainable_copy

from lab.deltas import IA3, Delta, FullFineTuning, LoRA, Prefix, Prompt
from lab.models import PLM, load_plm
from lab.models.graft import structural_copy
from lab.training import TrainingStep, example_batch

BATCH, TOKENS, LABELS = 16, 32, 3
Step = Callable[[], None]


def peft_model(plm: PLM, config: Any) -> torch.nn.Module:
    """peft's model around a copy of the PLM that shares θ, in eval mode, as dropout is off in ours too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peft.get_peft_model(structural_copy(plm.model), config).eval()


def pairs(plm: PLM) -> dict[str, tuple[Delta, torch.nn.Module]]:
    """Method -> ours and peft's, on the same PLM; both train the head and as many numbers."""
    llama = plm.architecture.family == "llama"
    query, key, value = ("q_proj", "k_proj", "v_proj") if llama else ("query", "key", "value")
    down = "down_proj" if llama else r"layer\.\d+\.output\.dense"
    common: dict[str, Any] = {"task_type": peft.TaskType.SEQ_CLS}
    lora = peft.LoraConfig(r=8, lora_alpha=8, lora_dropout=0.0, target_modules=[query, value], **common)
    ia3 = peft.IA3Config(target_modules=rf".*({key}|{value}|{down})", feedforward_modules=rf".*{down}", **common)
    prompt = peft.PromptTuningConfig(num_virtual_tokens=20, **common)
    found = {
        "LoRA r=8": (LoRA(rank=8).on(plm), peft_model(plm, lora)),
        "IA3": (IA3().on(plm), peft_model(plm, ia3)),
        "prompt, 20 tokens": (Prompt(tokens=20, placement="front").on(plm), peft_model(plm, prompt)),
    }
    if llama:  # peft's prefix needs a key-value cache, which encoders do not have
        prefix = peft.PrefixTuningConfig(num_virtual_tokens=20, **common)
        found["prefix, 20 tokens"] = (Prefix(tokens=20).on(plm), peft_model(plm, prefix))
    for method, (delta, model) in found.items():
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        if trained != delta.size:
            raise RuntimeError(f"{method}: ours trains {delta.size} numbers, peft's {trained}; they are not the same.")
    return found


def variants(plm: PLM, batch: dict[str, Tensor]) -> dict[tuple[str, str], Step]:
    """(method, whose) -> its step."""
    steps: dict[tuple[str, str], Step] = {}
    for method, (delta, model) in pairs(plm).items():
        steps[method, "ours"], steps[method, "peft"] = delta_step(delta, batch), module_step(model, batch, fused=True)
    through = TrainingStep(FullFineTuning().on(plm))
    optimizer = torch.optim.AdamW(through.leaves, lr=0.0, weight_decay=0.0, fused=True)

    def functional() -> None:
        through.loss(batch).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    steps["functional_call", "ours"] = functional
    steps["functional_call", "module"] = module_step(trainable_copy(plm), batch, fused=True)
    return steps


def run(model: str, rounds: int) -> list[dict[str, Any]]:
    """One row per method: medians of both in seconds, the median over rounds of their ratio, and its interval."""
    plm = load_plm(model, num_labels=LABELS, attention="sdpa")
    batch = example_batch(plm, BATCH, TOKENS)
    steps = variants(plm, batch)
    times = alternately(steps, rounds, warm_up=2)
    rows = []
    for method in dict.fromkeys(method for method, _ in steps):
        (mine,) = (times[name] for name in steps if name == (method, "ours"))
        (peer, other) = next((whose, times[m, whose]) for m, whose in steps if m == method and whose != "ours")
        rows.append(
            {"model": model, "method": method, "peer": peer, "ours_s": median(mine), "peer_s": median(other),
             **ratio_of(mine, other)}
        )  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--model", default="minilm,smollm2", help="PLMs, joined by commas")
    parser.add_argument("--out", type=Path, help="folder for the results as JSON")
    arguments = parser.parse_args()
    rows = [row for model in arguments.model.split(",") for row in run(model, arguments.rounds)]
    for row in rows:
        print(
            f"{row['model']:8s} {row['method']:18s} ours {1e3 * row['ours_s']:8.1f} ms   {row['peer']:6s} "
            f"{1e3 * row['peer_s']:8.1f} ms   {row['ratio']:.3f} x "
            f"[{row['low']:.3f}, {row['high']:.3f}]"
        )
    if arguments.out is not None:
        write(arguments.out, "methods", {"rounds": arguments.rounds}, rows)


if __name__ == "__main__":
    main()
