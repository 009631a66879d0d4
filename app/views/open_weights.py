"""Open weights: what lies on this machine, or is uploaded: one update's spectra, or what several adapters share."""

from __future__ import annotations

import streamlit as st

from app.markdown import literal
from app.opening import UPLOAD_LIMIT, Opened, Refused, open_folders, open_upload
from app.panel import panel
from app.several import FILES, Several, open_several, open_uploaded_folders
from lab.figures import WEIGHT_DIFFERENCE_SPECTRA, figure

FOLDER, UPLOAD, SEVERAL, UPLOADS = "a folder on this machine", "an upload", "several adapters", "an upload of several"
DRAWN = ("shared_directions", "left_out_tasks", "task_map", "tasks_needed")
"""Figures of a collection, the answer first."""


def open_asked(base: str) -> Opened | Several:
    """What the form names; raises `Refused`."""
    bar = st.progress(0.0, "Reading the headers …")

    def tell(part: float, name: str) -> None:
        bar.progress(part, literal(name))

    try:
        if where == UPLOAD:
            if weights is None:
                raise Refused("Choose a .safetensors file.")
            return open_upload(base, weights.getvalue(), None if config is None else config.getvalue(), tell)
        if where == SEVERAL:
            return open_several(base, listing or "", tell)
        if where == UPLOADS:
            return open_uploaded_folders(base, {one.name: one.getvalue() for one in folders}, tell)
        return open_folders(base, tuned or "", tell)
    finally:
        bar.empty()


st.title("Open weights", anchor=False)
st.markdown("#### What did an update do to a model, and what do the adapters of several tasks share?")
st.markdown(
    "A peft adapter, a tuned model against its base, or three adapters and more. Files are read as safetensors only, "
    "tensor by tensor; nothing in them is run, and nothing leaves this machine."
)
where = st.segmented_control(
    "Open", [FOLDER, UPLOAD, SEVERAL, UPLOADS], default=FOLDER, required=True, key="open", bind="query-params"
)
with st.form("weights"):
    base = st.text_input(
        "Base", placeholder="minilm, smollm2, or a folder", key="base", bind="query-params",
        help="W₀, for norms relative to it. LoRA and rsLoRA can do without; DoRA and whole models cannot.",
    )  # fmt: skip
    if where == UPLOAD:
        weights = st.file_uploader(
            f"Weights (.safetensors, at most {UPLOAD_LIMIT // 1_000_000} MB)", type=["safetensors"], key="weights_file"
        )
        config = st.file_uploader("adapter_config.json, if it is an adapter", type=["json"], key="config_file")
    elif where == SEVERAL:
        listing = st.text_area(
            "Adapters, a line each", key="several", bind="query-params", placeholder="/path/to/a/folder/of/adapters",
            help="An adapter's folder, or folder,task,type,seed; or a folder that holds the folders of adapters.",
        )  # fmt: skip
    elif where == UPLOADS:
        folders = st.file_uploader(
            f"A folder whose folders hold {FILES[0]} and {FILES[1]}", accept_multiple_files="directory",
            type=["json", "safetensors"], key="folders",
        )  # fmt: skip
    else:
        tuned = st.text_input(
            "Adapter or tuned model", placeholder="/path/to/adapter", key="tuned", bind="query-params"
        )
    pressed = st.form_submit_button("Open", icon=":material/folder_open:")

named = {FOLDER: "tuned", SEVERAL: "several"}.get(where or "", "")
asked = (where, base, st.session_state.get(named))
again = bool(named and asked[2]) and st.session_state.get("asked") != asked  # after a reload the address names it
if pressed or again:
    st.session_state.pop("opened", None)
    st.session_state["asked"] = asked
    try:
        st.session_state["opened"] = open_asked(base or "")
    except Refused as error:
        st.error(literal(error), icon=":material/error:")

opened: Opened | Several | None = st.session_state.get("opened")
if opened is None:
    st.caption("From the shell: `deltalab spectra BASE TUNED_OR_ADAPTER`, `deltalab collection ADAPTER…`.")
    st.stop()
st.subheader(literal(opened.title), anchor=False)
if isinstance(opened, Several):
    st.markdown(literal("; ".join(opened.shared) + "."))
    titles = {figure(name).title: name for name in DRAWN if name in opened.tables}
    title = st.radio("Figure", list(titles), key="figure", horizontal=True, bind="query-params")
    drawn = figure(titles.get(title or "", DRAWN[0]))
    panel(drawn, opened.tables[drawn.name], (), command=opened.command or "deltalab collection ADAPTER…")
    st.markdown("**The adapters**")
    st.dataframe(opened.members, hide_index=True, alt="The adapters with task, type and seed")
    st.stop()
if opened.note:
    st.info(literal(opened.note), icon=":material/info:")
panel(WEIGHT_DIFFERENCE_SPECTRA, opened.values, (), command=opened.command or "deltalab spectra BASE FOLDER")
st.markdown("**Medians per role**")
st.dataframe(opened.medians, hide_index=True, alt="Medians of the scalars per role")
st.markdown("**Every matrix**")
st.dataframe(opened.summary, hide_index=True, alt="Scalars of every matrix")
if len(opened.excluded):
    with st.expander(f"{len(opened.excluded)} parameters are left out", icon=":material/filter_alt:"):
        st.dataframe(opened.excluded, hide_index=True, alt="Parameters left out, with reasons")
