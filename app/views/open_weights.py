"""Open weights: the spectra of an update that lies on this machine, or is uploaded, beside chance."""

from __future__ import annotations

import streamlit as st

from app.markdown import literal
from app.opening import UPLOAD_LIMIT, Opened, Refused, open_folders, open_upload
from app.panel import panel
from lab.figures import WEIGHT_DIFFERENCE_SPECTRA

st.title("Open weights")
st.markdown(
    "The spectrum of any update: a peft adapter, or a tuned model against its base. Files are read as safetensors "
    "only, tensor by tensor; nothing in them is run, and nothing leaves this machine."
)
FOLDER, UPLOAD = "a folder on this machine", "an upload"
where = st.segmented_control("Open", [FOLDER, UPLOAD], default=FOLDER, required=True, key="open")
with st.form("weights"):
    base = st.text_input(
        "Base", placeholder="minilm, smollm2, or a folder", key="base",
        help="W₀, for norms relative to it. LoRA and rsLoRA can do without; DoRA and whole models cannot.",
    )  # fmt: skip
    if where == UPLOAD:
        weights = st.file_uploader(
            f"Weights (.safetensors, at most {UPLOAD_LIMIT // 1_000_000} MB)", type=["safetensors"], key="weights_file"
        )
        config = st.file_uploader("adapter_config.json, if it is an adapter", type=["json"], key="config_file")
    else:
        tuned = st.text_input("Adapter or tuned model", placeholder="/path/to/adapter", key="tuned")
    pressed = st.form_submit_button("Open", icon=":material/folder_open:")

if pressed:
    st.session_state.pop("opened", None)
    bar = st.progress(0.0, "Reading the headers …")

    def tell(part: float, name: str) -> None:
        bar.progress(part, literal(name))

    try:
        if where == UPLOAD:
            if weights is None:
                raise Refused("Choose a .safetensors file.")
            content = None if config is None else config.getvalue()
            st.session_state["opened"] = open_upload(base, weights.getvalue(), content, tell)
        else:
            st.session_state["opened"] = open_folders(base, tuned, tell)
    except Refused as error:
        st.error(literal(error), icon=":material/error:")
    bar.empty()

opened: Opened | None = st.session_state.get("opened")
if opened is None:
    st.caption("From the shell: `deltalab spectra BASE TUNED_OR_ADAPTER`; `--out` writes files, `--extract` a LoRA.")
    st.stop()
st.subheader(literal(opened.title))
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
