"""Changes of a layer beside its weight: W·x + s·B·(A·x), or l ⊙ (W·x + b) and W·(l ⊙ x)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lab.deltas.delta import Delta, WeightDifference
from lab.models import PLM, Graft, WeightMatrix, graft


class Unmerged(Delta):
    """Another delta's map φ ↦ logits on a host that keeps the change beside its layers.

    Args:
        merged: the delta that changes the weights; layout, start, counts and weight differences are its own.
        host: its PLM with the side paths.
    """

    def __init__(self, merged: Delta, host: PLM):
        self.merged, self.plm = merged, host
        self.layout, self.phi0, self.n_added = merged.layout, merged.phi0, merged.n_added
        self.at_identity = merged.at_identity

    def weight_difference(self, phi: Tensor) -> WeightDifference:
        return self.merged.weight_difference(phi)


class Beside(Unmerged):
    """φ ↦ {grafted parameter: part of φ}: every part of φ is a parameter of a side path.

    Args:
        merged, host: as for `Unmerged`.
        names: part of `merged.layout` -> the parameter of the host that it is.
    """

    def __init__(self, merged: Delta, host: PLM, names: Mapping[str, str]):
        super().__init__(merged, host)
        self.names = dict(names)

    def overrides(self, phi: Tensor) -> dict[str, Tensor]:
        return self.overrides_of(self.layout.unflatten(phi))

    def overrides_of(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {self.names[part]: value for part, value in parts.items()}


class LowRankPath(nn.Module):
    """Σ_i s_i·B_i·A_i·x over the matrices of one layer; GPT-2's fused layer holds several, each with its rows."""

    def __init__(self, matrices: Sequence[WeightMatrix], ranks: Sequence[int], scales: Sequence[float], like: Tensor):
        super().__init__()
        self.rows = [matrix.rows for matrix in matrices]
        self.scales = list(scales)
        shapes = [(rank, matrix.shape) for rank, matrix in zip(ranks, matrices, strict=True)]
        self.A = nn.ParameterList(like.new_zeros(rank, n) for rank, (_, n) in shapes)
        self.B = nn.ParameterList(like.new_zeros(m, rank) for rank, (m, _) in shapes)

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for A, B, scale, rows in zip(self.A, self.B, self.scales, self.rows, strict=True):
            y = nn.functional.linear(nn.functional.linear(x, A), B if scale == 1 else scale * B)
            outputs.append(rows.placed(y) if rows else y)
        return torch.stack(outputs).sum(0) if len(outputs) > 1 else outputs[0]


def with_side_paths(
    plm: PLM, label: str, matrices: Sequence[WeightMatrix], ranks: Mapping[str, int], scales: Mapping[str, float]
) -> tuple[PLM, dict[str, tuple[str, str]]]:
    """A host whose layers add the low-rank updates of their matrices.

    Returns:
        The host, and label of the matrix -> names of its A and B on the host.
    """
    layers = _by_layer(matrices)

    def attach(model: nn.Module) -> None:
        for path, own in layers.items():
            layer, like = model.get_submodule(path), plm.parameters[own[0].name]
            side = LowRankPath(own, [ranks[m.label] for m in own], [scales[m.label] for m in own], like)
            layer.add_module(label, side)
            layer.register_forward_hook(added_to_output(label))

    names = {
        matrix.label: (f"{path}.{label}.A.{i}", f"{path}.{label}.B.{i}")
        for path, own in layers.items()
        for i, matrix in enumerate(own)
    }
    return graft(plm, Graft(label, attach)), names


class Scales(nn.Module):
    """Vectors that scale what goes into a layer and what comes out of it; of a fused output each its rows."""

    def __init__(self, inputs: Sequence[WeightMatrix], outputs: Sequence[WeightMatrix], like: Tensor):
        super().__init__()
        self.rows = [matrix.rows for matrix in outputs]
        self.inputs = nn.ParameterList(like.new_ones(matrix.shape[1]) for matrix in inputs)
        self.outputs = nn.ParameterList(like.new_ones(matrix.shape[0]) for matrix in outputs)

    def before(self, x: Tensor) -> Tensor:
        for scale in self.inputs:
            x = x * scale
        return x

    def after(self, y: Tensor) -> Tensor:
        for scale, rows in zip(self.outputs, self.rows, strict=True):
            y = y * (rows.placed(scale, 1.0) if rows else scale)
        return y


def with_scales(
    plm: PLM, label: str, inputs: Sequence[WeightMatrix], outputs: Sequence[WeightMatrix]
) -> tuple[PLM, dict[tuple[str, str], str]]:
    """A host whose layers scale their inputs and outputs, as the matrices say.

    Returns:
        The host, and (label of the matrix, "columns" or "rows") -> name of its vector on the host.
    """
    into, out_of = _by_layer(inputs), _by_layer(outputs)
    paths = tuple(dict.fromkeys([*into, *out_of]))

    def attach(model: nn.Module) -> None:
        for path in paths:
            layer = model.get_submodule(path)
            own_in, own_out = into.get(path, []), out_of.get(path, [])
            layer.add_module(label, Scales(own_in, own_out, plm.parameters[(own_in + own_out)[0].name]))
            if own_in:
                layer.register_forward_pre_hook(_scaled_inputs(label))
            if own_out:
                layer.register_forward_hook(_scaled_outputs(label))

    names = {(m.label, "columns"): f"{p}.{label}.inputs.{i}" for p, own in into.items() for i, m in enumerate(own)}
    names |= {(m.label, "rows"): f"{p}.{label}.outputs.{i}" for p, own in out_of.items() for i, m in enumerate(own)}
    return graft(plm, Graft(label, attach)), names


def _by_layer(matrices: Sequence[WeightMatrix]) -> dict[str, list[WeightMatrix]]:
    layers: dict[str, list[WeightMatrix]] = {}
    for matrix in matrices:
        layers.setdefault(matrix.name.removesuffix(".weight"), []).append(matrix)
    return layers


def added_to_output(label: str) -> Any:
    """A forward hook that adds what the layer's child of this name makes of the layer's input."""

    def hook(layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        return output + layer.get_submodule(label)(args[0])

    return hook


def _scaled_inputs(label: str) -> Any:
    def hook(layer: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        scales: Any = layer.get_submodule(label)
        return (scales.before(args[0]), *args[1:])

    return hook


def _scaled_outputs(label: str) -> Any:
    def hook(layer: nn.Module, _args: tuple[Any, ...], output: Tensor) -> Tensor:
        scales: Any = layer.get_submodule(label)
        return scales.after(output)

    return hook
