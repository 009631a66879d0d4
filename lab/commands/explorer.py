"""``deltalab app``: the explorer, in this process, with settings of its own."""

from __future__ import annotations

import importlib
import os
import socket
import sys
import threading
import tomllib
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from lab.commands.terminal import refusals
from lab.runs import user_store

SETTINGS = "settings.toml"
"""Beside the explorer's main page."""


def explorer(
    store: Annotated[
        Path | None, typer.Option(help="Folder of the runs.  [default: $DELTALAB_STORE, else ./runs]")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 8501,
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = True,
) -> None:
    """Open the explorer on the store and the gallery; it listens on this machine only."""
    with refusals():
        main_page = find_spec("app.main")
        if find_spec("streamlit") is None or main_page is None or main_page.origin is None:
            raise ValueError("the explorer is not installed; pip install 'deltalab[app]'")
        page = Path(main_page.origin)
        os.environ["DELTALAB_STORE"] = str(user_store(store).path)
        _require_free(port)
    settings = tomllib.loads((page.parent / SETTINGS).read_text(encoding="utf-8"))
    settings["server"] |= {"port": port, "headless": not browser}
    streamlit = importlib.import_module("streamlit.web.cli")
    threading.Thread(target=importlib.import_module("app.ready").begin, daemon=True).start()
    # in this process, so that whoever ends it ends the server
    sys.exit(streamlit.main(["run", str(page), *flags(settings)], prog_name="streamlit"))


def flags(settings: Mapping[str, Any], section: str = "") -> Iterator[str]:
    """Settings as flags of ``streamlit run``; a flag goes before variables and files, wherever they are.

    Example:
        >>> list(flags({"server": {"port": 8501, "allowedHosts": ["a", "b"]}, "client": {"showErrorLinks": False}}))
        ['--server.port=8501', '--server.allowedHosts=a', '--server.allowedHosts=b', '--client.showErrorLinks=false']
    """
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flags(value, f"{section}{name}.")
            continue
        for item in value if isinstance(value, list) else [value]:
            yield f"--{section}{name}={str(item).lower() if isinstance(item, bool) else item}"


def _require_free(port: int) -> None:
    """Raises:
    ValueError: this machine does not give us the port.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: a port just left is free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ValueError(f"port {port} cannot be used ({error.strerror}); choose another with --port") from error
