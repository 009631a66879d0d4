"""Control room: a sentence, a trained delta, and what would change the prediction; live on a PLM in this process."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app.loading import table_of
from app.markdown import literal
from app.naming import describe, setting
from app.panel import drawn, theme
from app.room import (
    COSTATE,
    ENERGY,
    MASS,
    MOVED,
    UNITS,
    Scene,
    answers,
    energy,
    heat,
    keeping_deltas,
    loaded,
    opened,
    paths,
    scene,
)
from app.slices import rows
from app.states import found_or_stop, nothing_yet, warn
from app.width import page_size, settings, watch
from lab.figures import LEARNING_CURVES
from lab.figures.grammar import Grid
from lab.figures.style import counted
from lab.runs import Manifest

EXAMPLE = "The film has a fine cast, but its story never comes to life."
LONGEST = 400
"""Characters that the field takes."""

READING = {
    COSTATE: "A costate p = −∂J/∂h says how much the loss of the answer would fall per unit of push at that state.",
    ENERGY: "The tokens' parts of H = ⟨p, f(h, u)⟩; a layer's add up to its Hamiltonian.",
    MOVED: "How far the state lies from the one without the delta, relative to its length.",
    MASS: "λ, the share of attention that the trained tokens take (mean over heads), gates what they can do.",
}


def plot(grid: Grid, said: str, key: str, **options: Any) -> None:
    watch(key)
    drawing = grid.figure(page_size(key))
    st.plotly_chart(drawing, theme=None, config=settings(), alt=literal(said), key=key, **options)


def signed(value: float) -> str:
    """Two decimals, with a true minus."""
    return f"{value:.2f}".replace("-", "−")


def clicked() -> None:
    """Takes token and layer from a click on the map."""
    points = st.session_state["map"].selection.points
    if points and "customdata" in points[0]:
        st.session_state["token"] = st.session_state["tokens"][int(points[0]["x"])]
        st.session_state["layer"] = int(points[0]["y"])


st.title("Control room", anchor=False)
st.markdown("#### What does a trained delta do to this sentence, and what would change the answer?")
found = found_or_stop()
manifests = keeping_deltas(found.manifests)
if not manifests:
    nothing_yet("training run that keeps its delta", "training_run", found)
warn(found.damage)
names = {f"{describe(m)} ({m.key[:8]})": m.key for m in manifests}


def meanwhile(manifest: Manifest) -> None:
    """What the record itself says of its delta, shown while the PLM is loaded: score, size, how it was trained."""
    metrics, _ = table_of([manifest], "metrics")
    row = metrics.iloc[0].dropna()
    told = [f"{int(row['tunable']):,} trained numbers"] if "tunable" in row else []
    if "score" in row:
        told.append(f"right on {row['score']:.0%} of held-out examples of {literal(setting(manifest, 'task'))}")
    st.markdown(
        f"**{literal(describe(manifest))}**: {'; '.join(told)}. Its PLM is being loaded to read your sentence, which "
        "takes some seconds, once."
    )
    history, _ = rows([manifest], LEARNING_CURVES)
    if not history.empty:
        drawing, answer = drawn(LEARNING_CURVES, history)
        st.plotly_chart(drawing, theme=None, config=settings(), alt=answer.sentence, key="meanwhile")


text = st.text_input("Sentence", EXAMPLE, key="sentence", max_chars=LONGEST, bind="query-params")
said = st.container()
picture, choices = st.columns([4, 1], gap="medium")
with choices:
    named = st.selectbox("Trained delta", list(names), key="delta", bind="query-params") or next(iter(names))
    key = names[named]
    strength = st.slider("Strength t", 0.0, 1.5, 1.0, 0.05, key="t", bind="query-params", help="φ = φ₀ + t(φ* − φ₀)")
    head = st.toggle("The head too", True, key="head", bind="query-params", help="Off: the head stays as trained.")
    least = "Apply the least change of φ that flips the answer."
    flipped = st.toggle("Flip the answer", False, key="flip", bind="query-params", help=least)
early = picture.empty()
if not loaded(key):
    with early.container():
        meanwhile(next(manifest for manifest in manifests if manifest.key == key))
try:
    trained = opened(key)
    with choices:
        chosen = st.selectbox(
            "Loss of the answer", ["the predicted one", *trained.labels], key="answer", bind="query-params"
        )
    answer = trained.labels.index(chosen) if chosen in trained.labels else None
    shown: Scene = scene(key, text or "", round(float(strength), 2), head, answer, flipped)
except (ValueError, OSError, ImportError) as error:
    st.error(literal(error), icon=":material/error:")
    st.stop()

early.empty()
options = [f"{i} {word}" for i, word in enumerate(shown.tokens)]
st.session_state["tokens"] = options
with choices:
    quantity = st.radio("Map", list(shown.quantities()), key="quantity", bind="query-params") or COSTATE
    named_token = st.selectbox("Token", options, index=shown.read, key="token", bind="query-params")
    token = options.index(named_token) if named_token in options else shown.read
    depth = len(shown.base.states) - 1
    layer = min(st.slider("Layer", 0, depth, depth, key="layer", bind="query-params"), depth)

now, before = shown.now.probabilities, shown.base.probabilities
told, was = shown.labels[int(now.argmax())], shown.labels[int(before.argmax())]
said.markdown(
    f"**{literal(told)}** with {float(now.max()):.0%}; without the delta (t = 0) **{literal(was)}** with "
    f"{float(before.max()):.0%}. As trained it is right on {trained.score:.0%} of held-out examples of "
    f"{literal(trained.run.task)}."
)
if not trained.delta.at_identity:
    said.caption("This method does not start at the PLM: at t = 0 its new tokens are there, as they were drawn.")
if shown.flip is not None:
    flip = shown.flip
    start, to = (literal(shown.labels[k]) for k in (flip.start, flip.target))
    last = flip.attempts[-1] if flip.attempts else None
    if last is None:
        said.warning("No free coordinate moves this margin here: nothing flips it to first order.")
    else:
        said.info(
            f"A change of φ of length {last.length:.3g}, {last.length / shown.length:.1%} of ‖φ* − φ₀‖, "
            + (f"turns **{start}** into **{to}**" if flip.flipped else f"does not yet turn **{start}** into **{to}**")
            + f": the margin was {flip.margin:.2f} logits, {signed(last.promised)} was promised and "
            f"{signed(last.achieved)} achieved in {counted(len(flip.attempts), 'step')}. A random change of that "
            f"length would move it by {flip.by_chance:.2g} on average.",
            icon=":material/swap_horiz:",
        )
with picture:
    tab_map, tab_path, tab_answer = st.tabs(["Layers × tokens", "Path of the state", "Answers"])
    with tab_map:
        where = f"{quantity}: {UNITS[quantity]} by layer and token of the sentence"
        plot(heat(shown, quantity, token, layer, theme()), where, "map", on_select=clicked, selection_mode="points")
        st.caption(f"{READING[quantity]} A click, or the choices beside it, picks a cell.")
    with tab_path:
        drawing, shares = paths(shown, token, layer, theme())
        plot(drawing, f"Path of the state of token {token} in two principal components", "path")
        st.caption(
            f"h₀ … h_T of “{literal(shown.tokens[token])}” in the first two principal components of the paths without "
            f"and with the delta, {sum(shares):.0%} of their variance; t moves the path, not the plane."
        )
    with tab_answer:
        plot(answers(shown, strength, theme()), "Probability of every class", "answers")
    cell = {
        name: values[layer - first, token] for name, (values, first) in shown.quantities().items() if layer >= first
    }
    st.markdown(
        f"Layer {layer}, “{literal(shown.tokens[token])}”: "
        + "; ".join(f"{literal(UNITS[name])} {value:.3g}".replace(" -", " −") for name, value in cell.items())
    )
    if shown.flip is not None and shown.flip.attempts:
        plot(energy(shown, theme()), "Share of the least control's energy by block", "energy")
        with st.expander("The numbers", icon=":material/table:"):
            st.dataframe(
                [{"step": i + 1, "length ‖δ‖": a.length, "promised margin [logit]": a.promised,
                  "achieved margin [logit]": a.achieved, "predicted": shown.labels[a.predicted]}
                 for i, a in enumerate(shown.flip.attempts)],
                hide_index=True, alt="Steps of the least control, promised against achieved",
            )  # fmt: skip
