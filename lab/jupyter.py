"""What a notebook gets beside the nouns' faces: ``%load_ext deltalab``, and `live`: sliders that draw again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from lab.deferred import pandas as pd
from lab.figures.style import CONFIG

NO_WIDGETS = "sliders need ipywidgets; pip install 'deltalab[notebooks]', then restart the kernel."
FEW = 4
"""So many words stand beside each other as buttons; more become a list."""


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext deltalab``: figures as plotly's own JSON without an upload button, tables of 20 columns, 3 digits."""
    import plotly.io as pio

    pio.renderers["plotly_mimetype"].config = dict(CONFIG)
    pio.renderers.default = "plotly_mimetype"
    pd.set_option("display.precision", 3)
    pd.set_option("display.max_columns", 20)  # pandas' own choice, unless it was imported before Jupyter


def live(draw: Callable[..., object], **choices: Sequence[Any]) -> None:
    """Shows what `draw` returns, and draws again whenever a slider is moved.

    A drawing is an output of the cell, not a part of the widget: it stays where no kernel runs, and a line says what
    the sliders were set to.

    Args:
        draw: a value of each choice, by name → a figure, a table or a sentence, or a tuple of these, always as many.
            What it raises is shown in place of the first.
        choices: name → the values to choose from, numbers or words; the first is the one to begin with. Numbers are put
            in order.

    Raises:
        ValueError: a choice without values.
        ModuleNotFoundError: ipywidgets is not installed.

    Example:
        >>> live(lambda theta: f"θ = {theta}", theta=(1, 0, 2))  # doctest: +SKIP
    """
    try:
        import ipywidgets
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(NO_WIDGETS, name="ipywidgets") from error
    from IPython.display import display

    empty = [name for name, values in choices.items() if not len(values)]
    if empty:
        raise ValueError(f"live needs values to choose from; got none for {', '.join(empty)}.")
    knobs = {name: _knob(ipywidgets, name, tuple(values)) for name, values in choices.items()}
    _show_knobs(ipywidgets.HBox(list(knobs.values()), layout={"flex_flow": "row wrap"}), knobs, choices)

    def drawn() -> list[dict[str, Any]]:
        found = draw(**{name: knob.value for name, knob in knobs.items()})
        return [_bundle(one) for one in (found if isinstance(found, tuple) else (found,))]

    handles = [display(one, raw=True, display_id=True) for one in drawn()]

    def moved(_change: object) -> None:
        try:
            bundles = drawn()
        except Exception as error:  # in a callback nobody would see it
            bundles = [_bundle(f"{type(error).__name__}: {error}")]
        for handle, bundle in zip(handles, bundles, strict=False):
            handle.update(bundle, raw=True)

    for knob in knobs.values():
        knob.observe(moved, names="value")


def _knob(ipywidgets: Any, name: str, values: tuple[Any, ...]) -> Any:
    told = {"description": name, "value": values[0], "style": {"description_width": "initial"}}
    if any(isinstance(value, str) for value in values):
        return (ipywidgets.ToggleButtons if len(values) <= FEW else ipywidgets.Dropdown)(options=values, **told)
    return ipywidgets.SelectionSlider(options=sorted(set(values)), continuous_update=False, **told)


def _show_knobs(box: Any, knobs: dict[str, Any], choices: dict[str, Sequence[Any]]) -> None:
    """The sliders, and in words what they are set to, for whoever shows the notebook without a kernel."""
    from IPython.display import display

    said = "; ".join(f"{name} = {knob.value} (of {len(set(choices[name]))})" for name, knob in knobs.items())
    told = f"Sliders, in a running notebook: {said}"
    words = {"text/plain": told, "text/html": f'<div style="opacity:.7">{escape(told)}</div>'}
    display(box._repr_mimebundle_() | words, raw=True)


def _bundle(one: object) -> dict[str, Any]:
    """What Jupyter is sent to show a value."""
    if isinstance(one, str):
        return {"text/plain": one, "text/html": f"<p>{escape(one)}</p>"}
    if hasattr(one, "_repr_mimebundle_"):  # a plotly figure, in the form of its renderer
        return dict(one._repr_mimebundle_(include=(), exclude=()))
    bundle = {"text/plain": repr(one)}
    if hasattr(one, "_repr_html_") and (html := one._repr_html_()):
        bundle["text/html"] = html
    return bundle
