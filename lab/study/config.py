"""`Config`: everything a measurement depends on, and the JSON that names its record."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from typing import Any, Self, Union, get_args, get_origin

from lab.study.again import CONTENT
from lab.study.settings import Settings, meaning, types_of


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """The settings of one measurement.

    Its JSON is part of the record's key for ever. A field at its default is left out, so that a field can be added and
    no earlier key changes; fields without a default, and those marked ``keyed``, are always there.
    """

    def configs(self) -> tuple[Any, ...]:
        return (self,)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values by name, PLMs and tasks first: what `from_json` reads back."""
        return {
            entry.name: _plain(getattr(self, entry.name))
            for entry in sorted(fields(self), key=lambda entry: not meaning(entry).role)
            if meaning(entry).keyed or entry.default is MISSING or getattr(self, entry.name) != entry.default
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The config of a job.

        Raises:
            ValueError: an entry that is no field, or one that is missing.
        """
        kinds = types_of(cls)
        given = {name: value for name, value in values.items() if name != CONTENT}
        for name in given:
            if name not in kinds:
                near = get_close_matches(name, kinds, 1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise ValueError(f"a config of this experiment has no {name!r}; {hint}it has: {', '.join(kinds)}")
        required = [e.name for e in fields(cls) if e.default is MISSING and e.default_factory is MISSING]
        missing = [name for name in required if name not in given]
        if missing:
            raise ValueError(f"the config lacks {', '.join(missing)}")
        return cls(**{name: _read(value, kinds[name]) for name, value in given.items()})

    def named(self, role: str) -> Iterator[str]:
        """The models, or tasks, that the config names, its parts included."""
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, Config):
                yield from value.named(role)
            elif meaning(entry).role == role and value is not None:
                yield from (value,) if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Config):
        return value.to_json()
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return value


def _read(value: Any, kind: Any) -> Any:
    """A JSON value as the type of a field: lists become tuples, mappings configs where the field holds one."""
    options = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    if isinstance(value, Mapping):
        nested = next((option for option in options if isinstance(option, type) and issubclass(option, Config)), None)
        return dict(value) if nested is None else nested.from_json(value)
    if isinstance(value, (list, tuple)):
        holder = next((option for option in options if get_origin(option) is tuple), None)
        inner = get_args(holder) if holder is not None else ()
        if inner and inner[-1] is not ...:  # a tuple of fixed length
            return tuple(_read(item, each) for item, each in zip(value, inner, strict=True))
        return tuple(_read(item, inner[0] if inner else Any) for item in value)
    return value
