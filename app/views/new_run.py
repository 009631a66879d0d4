"""New run: any experiment, its settings as a form; it runs as a process of its own."""

from __future__ import annotations

import shlex
from dataclasses import fields
from statistics import median

import streamlit as st

from app.launch import start
from app.markdown import literal
from app.naming import setting
from app.question import sentence, title
from app.running import running
from app.states import found_or_stop
from lab.runs import user_store
from lab.study.catalogue import SCALES, load_experiment, outlines
from lab.study.settings import flag, meaning, range_text, written

st.title("New run", anchor=False)
st.markdown("#### What shall be measured, with which settings, and how long will it take?")
asked = {outline.name: outline for outline in outlines() if outline.scaled}
place, form = st.columns([2, 3], gap="large")
with place:
    name = st.selectbox(
        "Experiment", list(asked), format_func=lambda name: title(asked[name]), key="experiment", bind="query-params"
    )
    st.markdown(literal(sentence(asked[name])))
    with st.spinner("Reading the experiment …"):
        experiment = load_experiment(name)
    scales = [scale for scale in SCALES if scale in experiment.scales]
    scale = (
        st.segmented_control("Scale", scales, default=scales[0], key="scale", required=True, bind="query-params")
        or scales[0]
    )
    st.caption(literal(experiment.cost))
shown = experiment.scale(scale).run[0]
given: dict[str, str] = {}
with form, st.expander("Settings", expanded=False, icon=":material/tune:"):
    known = experiment.options(scale).options()
    for entry in fields(shown):
        if entry.name not in known:
            continue
        now, said = written(getattr(shown, entry.name)), meaning(entry)
        unit = f" [{said.unit}]" if said.unit else ""
        about = ". ".join(part for part in (said.help, range_text(entry)) if part)
        label, key = entry.name.replace("_", " ") + unit, f"{name}-{scale}-{entry.name}"
        if said.choices and not entry.name.endswith("s"):
            options = [written(choice) for choice in said.choices]
            first = options.index(now) if now in options else 0
            value = st.selectbox(label, options, index=first, help=about, key=key)
        else:
            value = st.text_input(label, now, help=about, key=key)
        if value != now:
            given[entry.name] = value

words = ["run", name, "--scale", scale, *(f"{flag(key)}={value}" for key, value in given.items())]
with form:
    st.code(shlex.join(["deltalab", *words]), language="bash")
    try:
        jobs = experiment.jobs(scale, **experiment.options(scale).read(given))
    except (ValueError, OSError) as error:
        st.error(literal(error), icon=":material/error:")
        jobs = []
    found = found_or_stop()
    store = user_store()
    left = [job for job in jobs if not store.has(job)]
    alike = [m for m in found.of_experiment(name) if setting(m, "model") == getattr(shown, "model", None)]
    took = [float(m.provenance["seconds"]) for m in alike if m.provenance.get("seconds")]
    known_cost = f"; earlier ones took {median(took) / 60:.1f} min each (median of {len(took)})" if took else ""
    if jobs:
        st.caption(f"{len(jobs)} measurement(s), {len(left)} of them to be made{known_cost}.")
    if st.button("Start", type="primary", icon=":material/play_arrow:", disabled=not left):
        try:
            start(words, store.path)
            st.toast("Started; it goes on when this page is closed.")
        except OSError as error:
            st.error(f"It cannot be started: {literal(error)}", icon=":material/error:")
st.subheader("At work", anchor=False)
running()
