"""A delta on a PLM as a control problem: the blocks are the dynamics, φ's slice in block t is the control u_t.

    h_{t+1} = f_t(h_t, u_t) = block_t(h_t; θ_t overridden by u_t),   J = loss(readout(h_T; u_T), labels) + Σ_t R_t(u_t)

What of φ lies in no block acts before the first one (embeddings, soft prompts: an initial-condition control, stage
"embed"), after the last one (final norm, head: a terminal control, stage "readout"), or between the two chains of an
encoder-decoder (stage "link"). All stages are of one kind, so every solver treats them alike.

The state is the hidden tensor (batch, seq, hidden) wherever that is all that later stages need. Where they need more (a
T5 decoder also reads the encoder's end; trained relative position biases; a trained matrix that embeds and reads out)
the state is one flat vector of named parts, see `ControlProblem.state_layouts`. That is the usual augmentation: what is
used at two times is a state that stays constant in between.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from lab.control.anatomy import HIDDEN, Anatomy, Live, Stage
from lab.control.problem import ControlProblem, RunningCost, rollout
from lab.deltas import Delta
from lab.linalg import Layout, Part
from lab.models.plm import Batch

Loss = Callable[[Tensor, Tensor], Tensor]
_ROUNDOFFS = 1e3  # units of eps by which the replay may differ; it differs by none unless kernels are nondeterministic


def layerwise(
    delta: Delta, batch: Batch, loss: Loss, *, running_cost: float | Callable[[Tensor], Tensor] | None = None
) -> ControlProblem:
    """The control problem of a delta on one batch; `controls = problem.split(phi)`, `phi = problem.join(controls)`.

    Args:
        delta: a delta whose φ splits over blocks (every method but DID, SAID and other restrictions to a subspace).
        batch: a fixed batch with "labels".
        loss: (logits, labels) -> scalar batch mean; `task.loss` fits.
        running_cost: R_t: a number λ for ½λ‖u_t‖² at every stage, or a function u_t -> scalar; None for none.

    Returns:
        ControlProblem. Stages: "embed" if something of φ acts there, "block 0" … , "readout"; `end` is the index of the
        state that leaves the last block; the last state is the logits. The replay is the PLM's own forward pass, bit
        for bit.

    Raises:
        ValueError: φ does not split over blocks; the batch has no labels; or the replay is not exact, e.g. a delta
            whose parts are filed under the wrong block.
    """
    if "labels" not in batch:
        raise ValueError(f'the terminal cost needs batch["labels"]; this batch has {sorted(batch)}.')
    anatomy = Anatomy(delta, batch)
    stages = anatomy.stages()
    layouts = _state_layouts(anatomy, stages)
    labels = batch["labels"]
    problem = ControlProblem(
        h0=_pack(layouts[0], {HIDDEN: anatomy.first_hidden}),
        dynamics=tuple(partial(_step, *triple) for triple in zip(stages, layouts[:-1], layouts[1:], strict=True)),
        terminal_cost=lambda logits: loss(logits, labels),
        sizes=tuple(stage.controls.size for stage in stages),
        running_costs=() if running_cost is None else (_of_control(running_cost),) * len(stages),
        names=tuple(stage.name for stage in stages),
        end=len(stages) - 1,
        positions=_positions(delta.layout, stages),
        state_layouts=layouts,
    )
    _require_exact(problem, anatomy)
    return problem


def hidden_state(problem: ControlProblem, t: int, state: Tensor) -> Tensor:
    """The hidden tensor (batch, seq, hidden) within state h_t, be the state that tensor or a coupled one.

    Raises:
        ValueError: the problem's states are plain, or there is no hidden tensor yet (before the embedding).
    """
    layout = problem.state_layouts[t] if problem.state_layouts else Layout(())
    if HIDDEN not in layout.names:
        raise ValueError(f"state {t} of this problem has no hidden tensor; its parts are {list(layout.names)}.")
    return layout.unflatten(state.reshape(-1))[HIDDEN]


def _state_layouts(anatomy: Anatomy, stages: tuple[Stage, ...]) -> tuple[Layout, ...]:
    """The named parts of h_0, …, h_T: the hidden tensor, and whatever was made before and is needed later."""
    first = () if stages[0].name == "embed" else (Part(HIDDEN, tuple(anatomy.first_hidden.shape)),)
    layouts = [Layout(first)]
    for s, stage in enumerate(stages, start=1):
        made = [name for earlier in stages[:s] for name in earlier.produces]
        needed = {name for later in stages[s:] for name in later.needs}
        carried = (Part(name, anatomy.shapes[name]) for name in made if name in needed)
        layouts.append(Layout((Part(HIDDEN, stage.hidden_shape), *carried)))
    return tuple(layouts)


def _step(stage: Stage, before: Layout, after: Layout, h: Tensor, u: Tensor) -> Tensor:
    live = before.unflatten(h.reshape(-1))
    return _pack(after, live | stage.run(live, u))


def _pack(layout: Layout, live: Live) -> Tensor:
    """A lone tensor as it is, several as one flat vector, none as the empty state."""
    if len(layout) == 1:
        return live[layout.names[0]]
    parts = [live[name].reshape(-1) for name in layout.names]
    return torch.cat(parts) if parts else live[HIDDEN].new_zeros(0)


def _of_control(cost: float | Callable[[Tensor], Tensor]) -> RunningCost:
    if callable(cost):
        return lambda h, u: cost(u)
    return lambda h, u: cost * u.square().sum() / 2


def _positions(layout: Layout, stages: tuple[Stage, ...]) -> Tensor:
    """Where the stages' controls, one after the other, lie in φ."""
    slices = [layout.slices[part.name] for stage in stages for part in stage.controls]
    return torch.cat([torch.arange(s.start, s.stop) for s in slices])


def _require_exact(problem: ControlProblem, anatomy: Anatomy) -> None:
    """The replay must give the PLM's logits at a φ where every coordinate is off its start."""
    with torch.no_grad():
        replayed = rollout(problem, problem.split(anatomy.probe)).end
    error = (replayed - anatomy.logits).abs().max()
    if not bool(error <= _ROUNDOFFS * torch.finfo(replayed.dtype).eps * anatomy.logits.abs().max()):
        raise ValueError(
            f"the blocks replayed one by one do not give the PLM's logits (off by {float(error):.3g}): either some "
            "part of this delta acts in another block than its layout says, or the model is not in eval mode."
        )
