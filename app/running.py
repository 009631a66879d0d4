"""The commands at work on the user's store, those of terminals included, on a page that keeps up with them."""

from __future__ import annotations

import time

import streamlit as st

from app.launch import again, log_end, stop
from app.markdown import literal
from lab.execution.progress import to_go
from lab.execution.protocol import tally
from lab.runs import user_store
from lab.runs.journal import Entry, Level, entries

SHOWN = 8
"""Entries of commands that have ended which are shown."""

_ICONS = {
    "running": ":material/progress_activity:", "finished": ":material/check:", "failed": ":material/error:",
    "interrupted": ":material/pause:", "killed": ":material/close:",
}  # fmt: skip


@st.fragment(run_every=2.0)
def running() -> None:
    """Every command at work and the last that ended, with progress, log, and what can be done about it."""
    found = entries(user_store().path)
    if not found:
        st.caption("No command has run on this store yet. Start one on the page New run, or in a terminal.")
        return
    at_work = [entry for entry in found if entry.state == "running"]
    ended = [entry for entry in found if entry.state != "running"]
    for entry in (*at_work, *ended[:SHOWN]):
        _show(entry)


def _show(entry: Entry) -> None:
    words, action = st.columns([5, 1], vertical_alignment="center")
    with words:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.started))
        st.markdown(f"{_ICONS[entry.state]} **{entry.state}** · {when} · {literal(entry.command)}")
        for level in entry.levels if entry.state == "running" else entry.levels[:1]:
            part = (level.done + level.failed) / level.total if level.total else 1.0
            st.progress(min(part, 1.0), literal(progress(level)))
        if output := log_end(entry):
            with st.expander("Output", icon=":material/terminal:"):
                st.code(output, language=None)
    with action:
        if entry.state == "running":
            if st.button("Cancel", key=f"cancel-{entry.name}", help="As Ctrl-C: what is finished is kept."):
                stop(entry)
        elif entry.state != "finished" and st.button("Resume", key=f"resume-{entry.name}"):
            try:
                again(entry, user_store().path)
            except (OSError, ValueError) as error:
                st.error(literal(error))


def progress(level: Level) -> str:
    """Label, done, left, failed, and the time to go."""
    said = tally(level.label, level.done, level.total, level.failed)
    return f"{said}, {to_go(level.remaining)}" if level.remaining else said
