"""Done, left, time to go: a bar on a terminal and in Jupyter, a line per job elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from lab.execution.protocol import tally

Advance = Callable[[int, int], None]  # (done, failed) -> None

_SECONDS_BETWEEN_LINES = 2.0  # a log of thousands of quick jobs stays readable

# The display of the enclosing run in this thread: a terminal has room for one, nested runs add a line to it.
_ENCLOSING: ContextVar[Progress | None] = ContextVar("_ENCLOSING", default=None)


@contextmanager
def shown(
    label: str, *, done: int, total: int, visible: bool = True, console: Console | None = None
) -> Iterator[Advance]:
    """Shows a run while it lasts.

    Args:
        label: its name.
        done: how many of its jobs were finished before.
        total: how many there are.
        visible: False shows nothing.
        console: where; stderr by default, so that results on stdout can be piped.

    Yields:
        A function to call after each job with the numbers of done and failed jobs.
    """
    console = console or Console(stderr=True)
    if not visible:
        yield lambda done, failed: None
    elif console.is_terminal or console.is_jupyter:
        yield from _bar(label, done, total, console)
    else:
        yield from _lines(label, done, total, console)


def remaining(seconds: float, finished: int, left: int) -> str:
    """The time to go if the jobs left take as long as the finished ones did on average.

    Example:
        >>> remaining(60.0, finished=3, left=9)
        'about 3 min to go'
        >>> remaining(60.0, finished=0, left=9)
        ''
    """
    return "" if finished == 0 or left == 0 else to_go(seconds / finished * left)


def to_go(estimate: float) -> str:
    """Seconds in words.

    Example:
        >>> to_go(45.2)
        'about 45 s to go'
    """
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if estimate >= 2 * size:
            return f"about {estimate / size:.0f} {unit} to go"
    return f"about {max(1, round(estimate))} s to go"


def _status(label: str, done: int, failed: int, total: int, finished: int, seconds: float) -> str:
    parts = [tally(label, done, total, failed)]
    estimate = remaining(seconds, finished, total - done - failed)
    return ", ".join([*parts, estimate] if estimate else parts)


def _bar(label: str, before: int, total: int, console: Console) -> Iterator[Advance]:
    enclosing = _ENCLOSING.get()
    progress = enclosing or Progress(
        SpinnerColumn(),
        BarColumn(bar_width=24),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        console=console,
    )
    task = progress.add_task(_status(label, before, 0, total, 0, 0.0), total=total, completed=before)
    start = time.perf_counter()

    def advance(done: int, failed: int) -> None:
        seconds = time.perf_counter() - start
        status = _status(label, done, failed, total, done + failed - before, seconds)
        progress.update(task, completed=done + failed, description=status)

    if enclosing is not None:
        try:
            yield advance
        finally:
            progress.remove_task(task)
        return
    token = _ENCLOSING.set(progress)
    try:
        with progress:
            yield advance
    finally:
        _ENCLOSING.reset(token)


def _lines(label: str, before: int, total: int, console: Console) -> Iterator[Advance]:
    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    start = said = time.perf_counter()
    say(_status(label, before, 0, total, 0, 0.0))

    def advance(done: int, failed: int) -> None:
        nonlocal said
        now = time.perf_counter()
        if now - said >= _SECONDS_BETWEEN_LINES or done + failed == total:
            said = now
            say(_status(label, done, failed, total, done + failed - before, now - start))

    yield advance
