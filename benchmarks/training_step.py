"""Training steps side by side in one process: a subspace step against the full step, our LoRA against peft's.

All steps: MiniLM with a classification head, 32 sequences of 32 tokens, float32, sdpa attention, no dropout. Variants
run in turn, round after round, so that a slow moment of the machine meets them all; medians over the rounds. Peak
memory is measured step by step in processes of their own.

    deltalab bench training_step [--rounds 15] [--out benchmarks/results]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import torch
from _report import alternately, write
from peft import LoraConfig, TaskType, get_peft_model
from torch import Tensor

from lab.deltas import DID, BitFit, Delta, FullFineTuning, LoRA
from lab.models import PLM, load_plm
from lab.models.graft import structural_copy
from lab.projections import Fastfood, OneHot
from lab.training.resident import QUIET_ALLOCATOR, peak_gauges

BATCH, TOKENS, LABELS = 32, 32, 5


def batch_of(plm: PLM) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, 20000, (BATCH, TOKENS), generator=generator)
    labels = torch.randint(0, LABELS, (BATCH,), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


def delta_step(delta: Delta, batch: dict[str, Tensor], *, fused: bool = True) -> Callable[[], None]:
    """One step of `lab.training`: φ is the only leaf."""
    phi = delta.phi0.clone().requires_grad_(True)
    optimizer = torch.optim.AdamW([phi], lr=1e-9, weight_decay=0.0, fused=fused)

    def step() -> None:
        logits = delta.unmerged.logits(phi, batch)
        torch.nn.functional.cross_entropy(logits, batch["labels"]).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def subspace_step(delta: Delta, batch: dict[str, Tensor]) -> Callable[[], None]:
    """One step of `lab.training` in a random subspace: gradients are projected as they appear."""
    phi = delta.phi0.clone().requires_grad_(True)
    optimizer = torch.optim.AdamW([phi], lr=1e-9, weight_decay=0.0, fused=True)
    form = delta.unmerged.training()
    assert form.streamed is not None

    def step() -> None:
        overrides, gradient = form.streamed.begun(phi)
        torch.nn.functional.cross_entropy(form.streamed.plm.logits(overrides, batch), batch["labels"]).backward()
        phi.grad = gradient()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def module_step(model: torch.nn.Module, batch: dict[str, Tensor], *, fused: bool) -> Callable[[], None]:
    """The usual step: the module's own trainable parameters, AdamW, `loss.backward()`."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=1e-9, weight_decay=0.0, fused=fused)
    inputs = {name: value for name, value in batch.items() if name != "labels"}

    def step() -> None:
        loss = torch.nn.functional.cross_entropy(model(**inputs).logits, batch["labels"])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def trainable_copy(plm: PLM) -> torch.nn.Module:
    """A copy with parameters of its own, all trainable, in eval mode like ours."""
    model = structural_copy(plm.model)
    for module in list(model.modules()):
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                module._parameters[name] = torch.nn.Parameter(parameter.detach().clone())
    return model.eval()


def peft_lora(plm: PLM) -> torch.nn.Module:
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS, r=8, lora_alpha=8, lora_dropout=0.0, target_modules=["query", "value"]
    )
    return get_peft_model(trainable_copy(plm), config).eval()


DEFAULT, FUSED = "full, AdamW (torch default)", "full, AdamW fused"
VARIANTS: dict[str, Callable[[PLM, dict[str, Tensor]], Callable[[], None]]] = {
    DEFAULT: lambda plm, batch: module_step(trainable_copy(plm), batch, fused=False),
    FUSED: lambda plm, batch: module_step(trainable_copy(plm), batch, fused=True),
    "full as a delta, AdamW fused": lambda plm, batch: delta_step(FullFineTuning().on(plm), batch),
    "Fastfood d=1000": lambda plm, batch: subspace_step(DID(dimension=1000).on(plm), batch),
    "Fastfood d=1000, one gradient": lambda plm, batch: delta_step(DID(dimension=1000).on(plm), batch),
    "Fastfood d=10000": lambda plm, batch: subspace_step(DID(dimension=10_000).on(plm), batch),
    "one-hot d=1000": lambda plm, batch: subspace_step(DID(dimension=1000, projection="one_hot").on(plm), batch),
    "one-hot d=10000": lambda plm, batch: subspace_step(DID(dimension=10_000, projection="one_hot").on(plm), batch),
    "Kronecker d=1000": lambda plm, batch: subspace_step(DID(dimension=1000, projection="kronecker").on(plm), batch),
    "Kronecker d=10000": lambda plm, batch: subspace_step(DID(dimension=10_000, projection="kronecker").on(plm), batch),
    "LoRA r=8, peft": lambda plm, batch: module_step(peft_lora(plm), batch, fused=True),
    "LoRA r=8, ours": lambda plm, batch: delta_step(LoRA(rank=8).on(plm), batch),
    "BitFit, ours": lambda plm, batch: delta_step(BitFit().on(plm), batch),
}


def peak_of(name: str) -> int:
    """Resident bytes that a step takes beyond the PLM itself, in this process."""
    plm = load_plm("minilm", num_labels=LABELS, attention="sdpa")
    batch = batch_of(plm)
    plm.logits({}, {entry: value[:1, :8] for entry, value in batch.items() if entry != "labels"})
    for P in (Fastfood(1 << 17, 1000), OneHot(1 << 17, 1000)):  # what their kernels bring stays, whatever the step
        for part in (P, P.rows(slice(0, 1 << 16)), P.rows(torch.arange(0, 1 << 17, 3))):
            _ = part.T @ (part @ torch.ones(1000))
    gauge, reset = peak_gauges("cpu")
    reset()
    before = gauge()
    step = VARIANTS[name](plm, batch)
    step()  # AdamW's moments exist from the first step on
    reset()
    step()
    return gauge() - before


def peaks(names: Sequence[str]) -> dict[str, int]:
    """`peak_of` in fresh processes whose allocator gives back what is freed."""
    environment = os.environ | QUIET_ALLOCATOR
    command = [sys.executable, __file__, "--peak"]
    return {
        name: int(subprocess.run([*command, name], env=environment, capture_output=True, check=True).stdout.split()[-1])
        for name in names
    }


def run(rounds: int) -> list[dict]:
    """One row per variant: median, minimum and maximum seconds, ratios of medians to full steps, peak memory."""
    plm = load_plm("minilm", num_labels=LABELS, attention="sdpa")
    batch = batch_of(plm)
    times = alternately({name: make(plm, batch) for name, make in VARIANTS.items()}, rounds, warm_up=2)
    reference, fused, memory = median(times[DEFAULT]), median(times[FUSED]), peaks(list(VARIANTS))
    return [
        {
            "step": name,
            "median_s": median(values),
            "min_s": min(values),
            "max_s": max(values),
            "ratio_to_full_adamw": median(values) / reference,
            "ratio_to_full_fused": median(values) / fused,
            "peak_bytes": memory[name],
            "peak_ratio_to_full_fused": memory[name] / memory[FUSED],
        }
        for name, values in times.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, help="folder for the results as JSON")
    parser.add_argument("--peak", choices=VARIANTS, help="print the peak memory of one step in bytes, and end")
    arguments = parser.parse_args()
    if arguments.peak is not None:
        print(peak_of(arguments.peak))
        return
    rows = run(arguments.rounds)
    for row in rows:
        print(
            f"{row['step']:32s} {1e3 * row['median_s']:8.1f} ms  [{1e3 * row['min_s']:.1f}, {1e3 * row['max_s']:.1f}]"
            f"  {row['ratio_to_full_fused']:.2f} x full fused, {row['ratio_to_full_adamw']:.2f} x full unfused"
            f"  {row['peak_bytes'] / 1e6:6.0f} MB, {row['peak_ratio_to_full_fused']:.2f} x"
        )
    if arguments.out is not None:
        write(arguments.out, "training_step", {"rounds": arguments.rounds}, rows)


if __name__ == "__main__":
    main()
