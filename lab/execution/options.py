"""The options of an experiment: read from a command line, and told on one."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

from lab.execution.experiment import Experiment

EXPECTED = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text"}
SEVERAL = {"int": "whole numbers", "float": "numbers", "bool": "true or false", "str": "texts"}


def options_for(experiment: Experiment, given: Mapping[str, str]) -> dict[str, Any]:
    """Options as written on a command line, in the types that ``jobs`` annotates.

    Args:
        experiment: whose options.
        given: text by name; ``-`` and ``_`` are the same.

    Raises:
        ValueError: an option that ``jobs`` does not have (the choices are listed), or text of another type.
    """
    parameters = _parameters(experiment)
    options = {}
    for name, text in given.items():
        parameter = parameters.get(name.replace("-", "_"))
        if parameter is None:
            choices = ", ".join(_flag(choice) for choice in parameters)
            raise ValueError(f"{experiment.NAME} has no option --{name}; choose from: {choices or '(none)'}")
        options[parameter.name] = _converted(name, text, str(parameter.annotation))
    return options


def help_text(experiment: Experiment) -> str:
    """What an experiment says of itself, then its options: what ``jobs`` says of each, what it takes, its default."""
    told = _argument_texts(inspect.getdoc(experiment.jobs) or "")
    lines = [inspect.getdoc(experiment) or "", "", f"Options of {experiment.NAME}:"]
    for name, parameter in _parameters(experiment).items():
        lines.append(f"  {_flag(name)}: {_expected(str(parameter.annotation))}")
        if name in told:
            lines.append(f"      {told[name]}")
        if parameter.default is not None:
            lines.append(f"      [default: {_written(parameter.default)}]")
    return "\n".join(lines).strip()


def _parameters(experiment: Experiment) -> dict[str, inspect.Parameter]:
    parameters = dict(inspect.signature(experiment.jobs).parameters)
    parameters.pop("scale", None)
    return parameters


def _argument_texts(docstring: str) -> dict[str, str]:
    """Text by name of the section ``Args:`` of a docstring, each on one line."""
    section = re.search(r"^Args:\n((?:[ ]+.*\n?|\n)*)", docstring, re.MULTILINE)
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section.group(1) if section else "", re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _written(default: Any) -> str:
    """A default as one would write it."""
    if isinstance(default, (tuple, list)):
        return ",".join(map(str, default)) or "(none)"
    return str(default).lower() if isinstance(default, bool) else str(default)


def _expected(annotation: str) -> str:
    """What text an annotation takes.

    Example:
        >>> _expected("tuple[int, ...] | None")
        'whole numbers joined by commas, or none'
    """
    kinds = _kinds(annotation)
    several = bool(kinds & {"tuple", "list", "Sequence"})
    told = " or ".join(text for kind, text in (SEVERAL if several else EXPECTED).items() if kind in kinds)
    return told + (" joined by commas" if several else "") + (", or none" if "None" in kinds else "")


def _kinds(annotation: str) -> set[str]:
    return set(re.findall(r"\w+", annotation))


def _converted(name: str, text: str, annotation: str) -> Any:
    kinds = _kinds(annotation)
    if "None" in kinds and text.lower() == "none":
        return None
    try:
        if kinds & {"tuple", "list", "Sequence"}:
            return tuple(_scalar(part.strip(), kinds) for part in text.split(",") if part.strip())
        return _scalar(text, kinds)
    except ValueError as error:
        raise ValueError(f"--{name} is {text!r}; expected {_expected(annotation)}") from error


def _scalar(text: str, kinds: set[str]) -> bool | int | float | str:
    if "bool" in kinds and text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind, parse in (("int", int), ("float", float)):
        if kind in kinds:
            try:
                return parse(text)
            except ValueError:
                continue
    if "str" in kinds:
        return text
    raise ValueError(text)
