"""Every way to serve one batch of several users' rows: ours, and those of the peft library on the same weights."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lab.deltas.delta import Combined, Delta
from lab.deltas.peft_layers import peft_model
from lab.deltas.serving import serve
from lab.models import PLM

ONE_BY_ONE, MIXED, GROUPED = "one row at a time", "mixed batch (vmap)", "grouped by user"
SWAPPED, PEFT_SWAPPED, PEFT_MIXED = "users in turn", "users in turn, peft", "mixed batch, peft"
Forward = Callable[[], Tensor]


def our_servers(delta: Delta, phis: Tensor, batch: Mapping[str, Tensor], users: Tensor) -> dict[str, Forward]:
    """Strategy -> the call that gives the batch's logits. Arguments as of `lab.deltas.serve`."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}

    def rows_of(chosen: Tensor) -> dict[str, Tensor]:
        return {name: value[chosen] for name, value in inputs.items()}

    def one_by_one() -> Tensor:
        each = [delta.unmerged.logits(phis[user], rows_of(torch.tensor([i]))) for i, user in enumerate(users.tolist())]
        return torch.cat(each)

    def in_turn() -> Tensor:
        """The usual server: a user's change is added to the weights, their rows are run, the next user's turn comes."""
        logits = torch.empty(len(users), delta.plm.num_labels).to(phis)
        for user in range(len(phis)):
            own = (users == user).nonzero()[:, 0]
            logits[own] = delta.logits(phis[user], rows_of(own))
        return logits

    return {
        ONE_BY_ONE: one_by_one,
        SWAPPED: in_turn,
        GROUPED: lambda: serve(delta, phis, inputs, users, strategy="grouped"),
        MIXED: lambda: serve(delta, phis, inputs, users, strategy="vmap"),
    }


def peft_servers(
    plm: PLM, delta: Delta, phis: Tensor, batch: Mapping[str, Tensor], users: Tensor
) -> dict[str, Forward]:
    """The peft library on the same weights and adapters: `set_adapter` per user, and `adapter_names` per row.

    Empty where peft is not installed.
    """
    if importlib.util.find_spec("peft") is None:
        return {}
    model = peft_users(plm, delta, phis)
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    names = [f"user{user}" for user in users.tolist()]

    def in_turn() -> Tensor:
        logits = torch.empty(len(users), plm.num_labels).to(phis)
        for user in range(len(phis)):
            own = (users == user).nonzero()[:, 0]
            model.set_adapter(f"user{user}")
            logits[own] = model(**{name: value[own] for name, value in inputs.items()}).logits
        return logits

    return {PEFT_SWAPPED: in_turn, PEFT_MIXED: lambda: model(**inputs, adapter_names=names).logits}


def peft_users(plm: PLM, delta: Delta, phis: Tensor) -> Any:
    """A peft model of the PLM that holds every user's LoRA as an adapter of its own, "user0", "user1", …"""
    peft: Any = importlib.import_module("peft")
    body: Any = delta.first if isinstance(delta, Combined) else delta
    rank = next(iter(body.ranks.values()))
    modules = [matrix.name.removesuffix(".weight") for matrix in body.matrices]
    config = peft.LoraConfig(r=rank, lora_alpha=rank * next(iter(body.scales.values())), target_modules=modules)
    model = peft_model(plm, config, peft, seed=0)
    model.add_adapter("user0", config)
    for user in range(1, len(phis)):
        model.add_adapter(f"user{user}", config)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for user, phi in enumerate(phis):
            for label, (B, A) in body.factors(phi).items():
                path = f"base_model.model.{label.removesuffix('.weight')}"
                parameters[f"{path}.lora_A.user{user}.weight"].copy_(A)
                parameters[f"{path}.lora_B.user{user}.weight"].copy_(B)
    return model.eval()


@dataclass(frozen=True)
class Served:
    """Strategies that were seen to give the same logits.

    Attributes:
        servers: (number of users, strategy) -> the call.
        worst: largest difference of a logit from one row at a time.
        largest: largest logit.
    """

    servers: dict[tuple[int, str], Forward]
    worst: float
    largest: float


@torch.no_grad()
def served(delta: Delta, batch: Mapping[str, Tensor], n_users: Sequence[int]) -> Served:
    """Every strategy for every number of users, each run once; φ is random, and users come in turn.

    Args:
        delta: of every user.
        batch: (rows, seq); neighbouring rows belong to different users.
        n_users: numbers of users to share the rows.
    """
    generator = torch.Generator().manual_seed(0)
    rows, plm = len(batch["input_ids"]), delta.plm
    servers: dict[tuple[int, str], Forward] = {}
    worst, largest = 0.0, 0.0
    for n in n_users:
        phis = delta.phi0 + 0.05 * torch.randn(n, delta.size, generator=generator).to(delta.phi0)
        users = torch.arange(rows, device=plm.device) % n
        strategies = {**our_servers(delta, phis, batch, users), **peft_servers(plm, delta, phis, batch, users)}
        expected = strategies[ONE_BY_ONE]()
        worst = max(worst, *(float((forward() - expected).abs().max()) for forward in strategies.values()))
        largest = max(largest, float(expected.abs().max()))
        servers |= {(n, label): forward for label, forward in strategies.items()}
    return Served(servers, worst, largest)
