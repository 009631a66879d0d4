"""A model whose architecture was found by its structure, tried once on two short texts before anyone relies on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lab.models.heads import VerbalizerHead
from lab.models.plm import PLM

WIDTH, SHORT = 6, 4


class Unfit(Exception):
    """What was found does not hold for this model; the message says what."""


def texts_of(plm: PLM) -> dict[str, Tensor]:
    """Two texts of six and four tokens, (2, 6), the mask token of a verbaliser in each."""
    vocabulary = plm.parameters[plm.word_table].shape[0]
    ids = (7 * torch.arange(2 * WIDTH, device=plm.device).reshape(2, WIDTH) + 11) % vocabulary
    if isinstance(plm.head, VerbalizerHead) and plm.head.mask_id is not None:
        ids[:, 1] = plm.head.mask_id
    mask = torch.ones_like(ids)
    mask[1, SHORT:] = 0
    return {"input_ids": ids, "attention_mask": mask}


@torch.no_grad()
def try_once(plm: PLM) -> None:
    """Raise unless the model has its blocks where they were found, runs, and gives a text its own logits in any batch.

    The last is asked in single and double precision only.

    Some types cannot: their attention is over segments or landmarks of the padded length, or no mask reaches it. What a
    delta would be trained on there is the padding too.

    Raises:
        Unfit: it fails, with the model's own words; or padding changes a text's logits.
    """
    if plm.device.type == "meta":
        return
    try:
        plm.architecture.roles(plm.model)
        batch = texts_of(plm)
        with _run_blocks(plm) as ran:
            padded = plm.logits({}, batch)[1]
        alone = plm.logits({}, {name: value[1:, :SHORT] for name, value in batch.items()})[0]
    except Exception as error:  # a model's own code raises what it likes
        told = f"two texts of a few tokens do not run through it in {plm.dtype} ({_said(error)})"
        if plm.dtype == torch.float64 and _runs_in_single(plm):
            told += ", which is transformers' own code; they do in torch.float32: load it with dtype=torch.float32"
        else:
            told += "; its code wants more than a text, or what was assumed of it is wrong: take another model, or say "
            told += "where its parts are, load_plm(…, architecture=…)"
        raise Unfit(told) from error
    idle = [stack.path for stack in plm.architecture.stacks if not any(_is_of(stack.path, name) for name in ran)]
    if idle:
        raise Unfit(f"no text runs through the blocks in {idle[0]!r}; say where they are, load_plm(…, architecture=…)")
    if plm.dtype not in (torch.float32, torch.float64):
        return  # in half precision the rounding of another shape may choose other experts of a mixture
    off = (padded[: len(alone)] - alone).abs().max() if alone.ndim > 1 else (padded - alone).abs().max()
    if not bool(off <= torch.finfo(torch.float32).eps ** 0.5 * alone.abs().max()):  # parts of some run in float32
        raise Unfit(
            f"padding changes the logits of a text by {off:.2g} (of {alone.abs().max():.2g}): it does not go by the "
            "attention mask; take another model"
        )


def _runs_in_single(plm: PLM) -> bool:
    single = replace(plm, model=deepcopy(plm.model).float())
    try:
        single.logits({}, texts_of(single))
    except Exception:  # as above
        return False
    return True


@contextmanager
def _run_blocks(plm: PLM) -> Iterator[set[str]]:
    """Collects the paths of the blocks that run inside."""
    ran: set[str] = set()
    names = plm.architecture.block_names(plm.model)
    hooks = [
        plm.model.get_submodule(name).register_forward_pre_hook(lambda *_, name=name: ran.add(name)) for name in names
    ]
    try:
        yield ran
    finally:
        for hook in hooks:
            hook.remove()


def _is_of(stack: str, block: str) -> bool:
    return f".{block}".rpartition(".")[0].endswith(f".{stack}")


def _said(error: Any) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
