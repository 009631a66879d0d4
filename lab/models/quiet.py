"""transformers without its progress bars and loading reports: this lab says itself what went wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lab.deferred import transformers


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, transformers draws no progress bar and logs errors only; outside, all is as before."""
    logging = transformers.utils.logging
    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
