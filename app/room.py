"""The control room's computations, cached for all sessions, one at a time; and its pictures."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from app.ready import settle
from lab.figures import Theme
from lab.figures.grammar import Grid, cut
from lab.runs import Manifest, Record, everything

if TYPE_CHECKING:
    from lab.control.flip import Flip
    from lab.control.token_view import TokenView
    from lab.study.trained import Trained

_LOADING = threading.Lock()
"""A PLM is loaded once, whoever asks for it."""

_TURN = threading.Lock()
"""A PLM runs one text at a time: `functional_call` puts parameters into the one module that all sessions share."""

_ARRAYS = "arrays.safetensors"
_SHOWS = {"prefix": 0, "did": 2, "said": 2, "linear-probe": 2}


@dataclass(frozen=True, eq=False)
class Scene:
    """What one choice of delta, sentence and strength shows.

    Attributes:
        tokens: of the sentence.
        labels: of the task.
        read: index of the token that the head reads.
        base: at φ₀.
        whole: at φ*.
        now: at the chosen φ, the least control included where it is applied.
        flip: the least control at the chosen strength; None where it was not asked for.
        shares: block (-1 outside the blocks) -> its share of the least control's energy.
        mass: λ, (blocks, tokens), mean over heads; None without prefix and prompt.
        even: λ if every key got the same attention; nan where `mass` is None.
        length: ‖φ* − φ₀‖.
    """

    tokens: tuple[str, ...]
    labels: tuple[str, ...]
    read: int
    base: TokenView
    whole: TokenView
    now: TokenView
    flip: Flip | None
    shares: dict[int, float]
    mass: np.ndarray | None
    even: float
    length: float

    def quantities(self) -> dict[str, tuple[np.ndarray, int]]:
        """What it is -> (layers, tokens), and the number of the first layer."""
        moved = (self.now.states - self.base.states).norm(dim=-1) / self.base.states.norm(dim=-1)
        found = {
            COSTATE: (self.now.costate_norms.numpy(), 0), ENERGY: (self.now.hamiltonian.numpy(), 1),
            MOVED: (moved.numpy(), 0),
        }  # fmt: skip
        return found if self.mass is None else found | {MASS: (self.mass, 1)}


COSTATE, ENERGY, MOVED, MASS = "costates", "Hamiltonian", "how far it is moved", "attention on the prefix"
UNITS = {COSTATE: "‖p‖ [nats / state]", ENERGY: "H [nats]", MOVED: "‖h − h₀‖/‖h₀‖ [1]", MASS: "λ [1]"}
"""Quantity -> its symbol and unit."""


def keeping_deltas(manifests: Sequence[Manifest]) -> list[Manifest]:
    """The records that keep a trained delta: training runs with φ, of all blocks of a pre-trained PLM.

    Those that show most come first: prefixes, then other methods, then subspaces and probes; within, the smaller PLM,
    then the order given.
    """
    odd = ("template", "subspace", "n_layers")
    kept = [
        m for m in manifests
        if m.job.experiment == "training_run" and _ARRAYS in m.files and not any(m.job.config.get(n) for n in odd)
        and m.job.config.get("weights", "pretrained") == "pretrained"
    ]  # fmt: skip
    return sorted(kept, key=lambda m: (_SHOWS.get(_method(m), 1), m.job.config.get("model") == "smollm2"))


def _method(manifest: Manifest) -> str:
    method = manifest.job.config.get("method")
    return str(method.get("method")) if isinstance(method, Mapping) else ""


@st.cache_resource(max_entries=4, show_spinner="Loading the PLM and the delta (once; some seconds) …")
def opened(key: str) -> Trained:
    """The trained delta of a record.

    Raises:
        ValueError, ModuleNotFoundError, OSError: what is missing, and what to do.
    """
    with _LOADING:
        _bring_torch()
        from lab.study.trained import trained

        record: Record = everything().get(key)
        found = trained(record)
    _keys().add(key)
    return found


def loaded(key: str) -> bool:
    """Whether the trained delta of a record has been opened since the server's start: then it answers soon."""
    return key in _keys()


@st.cache_resource(show_spinner=False)
def _keys() -> set[str]:
    """Keys of what was opened, by whatever session."""
    return set()


@cache
def _bring_torch() -> None:
    """Imports all that makes a trained delta, which stays; the delta itself may go again."""
    import lab.study.trained  # noqa: F401

    settle()


@st.cache_resource(max_entries=12, show_spinner=False)
def scene(key: str, text: str, strength: float, head: bool, answer: int | None, flipped: bool) -> Scene:
    """What is shown for these choices.

    Args:
        key: of the delta's record.
        text: the sentence.
        strength: t of φ₀ + t(φ* − φ₀).
        head: whether the head moves too, with t and for the flip.
        answer: the class whose loss has these costates; None: the one predicted at φ*.
        flipped: whether the least control that flips the prediction is applied.

    Raises:
        ValueError: the sentence is empty or too long, or the PLM has two chains of blocks.
    """
    from lab.control.flip import least_flip
    from lab.control.token_view import token_view

    found = opened(key)
    sentence = found.read(text)
    ends = _ends(key, text, head)
    label = ends[1].label if answer is None else answer
    with _TURN:
        phi = found.at(strength, head=head)
        flip = least_flip(found.delta, phi, sentence.batch, free=None if head else found.body) if flipped else None
        phi = phi if flip is None else phi + flip.control
        now = token_view(found.delta, phi, sentence.batch, label)
        mass, even = _mass(found, phi, sentence.batch)
    shares = {} if flip is None else {-1 if b is None else b: s for b, s in flip.shares(found.delta).items()}
    read = 0 if found.delta.plm.architecture.kind == "encoder" else len(sentence.tokens) - 1
    length = float((found.phi - found.delta.phi0).norm())
    return Scene(sentence.tokens, found.labels, read, *ends, now, flip, shares, mass, even, length)


@st.cache_resource(max_entries=6, show_spinner=False)
def _ends(key: str, text: str, head: bool) -> tuple[TokenView, TokenView]:
    """The views at φ₀ and φ*, which all strengths share."""
    from lab.control.token_view import token_view

    found = opened(key)
    batch = found.read(text).batch
    with _TURN:
        return token_view(found.delta, found.at(0.0, head=head), batch), token_view(found.delta, found.phi, batch)


def _mass(found: Trained, phi: Any, batch: Any) -> tuple[np.ndarray | None, float]:
    from lab.deltas.prefix_mass import prefix_mass

    tokens = getattr(found.run.how, "tokens", None)
    if found.run.method.get("method") not in ("prefix", "prompt") or tokens is None:
        return None, float("nan")
    layers = [mass[0].mean(0).numpy() for mass in prefix_mass(found.delta, phi, batch).values()]
    return np.stack(layers), tokens / (tokens + batch["input_ids"].shape[1])


def answers(shown: Scene, strength: float, theme: Theme) -> Grid:
    """The probability of every class at φ₀, at φ*, and where the page stands."""
    grid = Grid(theme, height=60 + 34 * len(shown.labels))
    panel = grid.panel()
    here = f"t = {strength:g}" + (" and the least control" if shown.flip else "")
    for name, view in (("without, t = 0", shown.base), ("as trained, t = 1", shown.whole), (here, shown.now)):
        panel.bars(
            view.probabilities.tolist(), list(shown.labels), name, horizontal=True, hover="%{y}: %{x:.1%}",
            colour=theme.muted if view is shown.base else "",
        )  # fmt: skip
    return grid.x("probability", range=(0, 1), percent=True).y(categories=list(shown.labels))


def heat(shown: Scene, quantity: str, token: int, layer: int, theme: Theme) -> Grid:
    """A quantity by layer and token, each cell with an invisible mark on it that a click finds."""
    values, first = shown.quantities()[quantity]
    layers, n = list(range(first, first + len(values))), len(shown.tokens)
    cells = pd.DataFrame(values, index=layers, columns=range(n))
    grid = Grid(theme, height=330)
    panel = grid.panel()
    edge = float(np.abs(values).max()) if quantity == ENERGY else None
    panel.heat(cells, UNITS[quantity], low=None if edge is None else -edge, high=edge, gap=1 if n <= 32 else 0)
    x, y = np.meshgrid(range(n), layers)
    words = np.array(shown.tokens, dtype=object)[x.ravel()]
    hover = "layer %{y}, %{customdata[0]}: %{customdata[1]:.3g}<extra></extra>"
    panel.points(
        x.ravel(), y.ravel(), quantity, alpha=0.0, symbol="square", size=14, listed=False, hover=hover,
        data=[words, values.ravel()],
    )  # fmt: skip
    panel.points(
        [token], [max(layer, first)], "chosen", symbol="square-open", size=15, colour=theme.palette[1], listed=False
    )
    texts = {float(i): cut(word, 12) for i, word in enumerate(shown.tokens)}
    step = 1 if len(layers) <= 16 else 5
    grid.x("token", ticks=texts, range=(-0.5, n - 0.5))
    ends = (layers[0] - 0.5, layers[-1] + 0.5)
    return grid.y("layer [index]", ticks=[float(i) for i in layers[::step]], range=ends)


def paths(shown: Scene, token: int, layer: int, theme: Theme) -> tuple[Grid, Sequence[float]]:
    """h_0 … h_T of one token without the delta, as trained, and now; and the shares of variance of the two axes."""
    from lab.control.token_view import plane_of

    plane = plane_of(shown.whole.states[:, token], shown.base.states[:, token])  # t moves a path, never the plane
    grid = Grid(theme, height=330)
    panel = grid.panel()
    drawn = (("without", shown.base, "dash"), ("as trained", shown.whole, "dot"), ("now", shown.now, "solid"))
    for name, view, dash in drawn:
        points = plane.of(view.states[:, token])
        x, y = points[:, 0].tolist(), points[:, 1].tolist()
        colour = {"without": theme.muted, "as trained": theme.palette[0], "now": theme.palette[1]}[name]
        panel.line(
            x, y, name, colour=colour, dash=dash, symbol="circle", size=5, data=[list(range(len(x)))],
            hover="layer %{customdata[0]}",
        )  # fmt: skip
        if name == "now":
            panel.points([x[layer]], [y[layer]], "layer", symbol="circle-open", size=13, colour=colour, listed=False)
    first, second = plane.shares.tolist()
    return grid.x(f"1st principal component, {first:.0%} of the variance").y(f"2nd, {second:.0%}"), (first, second)


def energy(shown: Scene, theme: Theme) -> Grid:
    """Where the least control acts: its energy by block."""
    grid = Grid(theme, height=150)
    blocks = sorted(shown.shares, key=lambda b: (b < 0, b))  # what lies outside of them last
    names, values = [f"block {b}" if b >= 0 else "outside" for b in blocks], [shown.shares[b] for b in blocks]
    grid.panel().bars(names, values, "share", colour=theme.palette[1], hover="%{x}: %{y:.1%}")
    return grid.x("where").y("share of the energy", percent=True)
