"""Settings as typed fields: each says what it means, in which unit and range, so that one place reads, checks and shows
them, on a command line, in a form, and in the key of a record."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
SEVERAL = {int: "whole numbers", float: "numbers", bool: "true or false", str: "texts"}

Role = Literal["", "model", "task"]
T = TypeVar("T")


class Meaning(NamedTuple):
    """What the field of a setting says of itself.

    Attributes:
        help: what it is, for a person who has not read the code.
        unit: "step", "example", …; "" for pure numbers and names.
        low: smallest admissible value, of every entry where there are several.
        high: largest.
        choices: the admissible values; empty: any.
        role: "model" or "task" where the value names one, so that its content enters the key (`lab.study.content`).
        keyed: in the key of a record even at its default: fields that records of before have there.
        also: another name on the command line, under which experiments have the same thing.
        why: why the smallest value is what it is, where that does not go without saying.
    """

    help: str = ""
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()
    role: Role = ""
    keyed: bool = False
    also: str = ""
    why: str = ""


def setting(
    help: str,
    default: Any = MISSING,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[Any] = (),
    role: Role = "",
    keyed: bool = False,
    also: str = "",
    why: str = "",
) -> Any:
    """A field of `Settings`, with its `Meaning`; without a default it must be given, and is always in the key."""
    metadata = {"meaning": Meaning(help, unit, low, high, tuple(choices), role, keyed, also, why)}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def meaning(entry: Field[Any]) -> Meaning:
    """The meaning of a field; an empty one for fields that were not made by `setting`."""
    found: Meaning = entry.metadata.get("meaning", Meaning())
    return found


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of typed settings: frozen dataclasses whose fields are made by `setting`.

    Raises:
        ValueError: a value outside its field's range or choices.
    """

    fixed: ClassVar[tuple[str, ...]] = ()
    """Fields that the command line does not offer."""

    def __post_init__(self) -> None:
        for entry in fields(self):
            _check(entry.name, getattr(self, entry.name), meaning(entry))

    def configs(self) -> Sequence[Any]:
        """The measurements that these settings ask for (`lab.study.Config`); a config asks for itself."""
        raise NotImplementedError(f"{type(self).__name__} does not say which measurements it asks for")

    def shared(self, kind: type[Any]) -> dict[str, Any]:
        """The values of the fields that another kind of settings has too, by name."""
        names = {entry.name for entry in fields(kind)}
        return {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name in names}

    def to(self, kind: type[T], **own: Any) -> T:
        """Settings of another kind: the values of the fields that both have, and `own` instead or beside them."""
        return kind(**(self.shared(kind) | own))

    @classmethod
    def options(cls) -> dict[str, Any]:
        """The fields that can be written on a command line, with their types."""
        return {name: kind for name, kind in types_of(cls).items() if name not in cls.fixed and _writable(kind)}

    @classmethod
    def read(cls, texts: Mapping[str, str]) -> dict[str, Any]:
        """Values of what was written on a command line.

        Args:
            texts: text by name; ``-`` and ``_`` are the same, lists are joined by commas, and the name of one thing
                stands for a list of one (``task`` for ``tasks``); ``also`` of a field is another name of it.

        Raises:
            ValueError: an option that there is not (near names and all choices are shown), or text of another type.
        """
        known = cls.options()
        others = {other: entry.name for entry in fields(cls) if (other := meaning(entry).also)}
        found: dict[str, Any] = {}
        for given, text in texts.items():
            name = given.replace("-", "_")
            name = others.get(name, name)
            name = f"{name}s" if name not in known and f"{name}s" in known else name
            if name not in known:
                raise ValueError(f"no option {flag(name)}{_near(name, known)}")
            found[name] = converted(flag(name), text, known[name])
        return found


def types_of(cls: type[Any]) -> dict[str, Any]:
    """The type of every field of a dataclass."""
    hints = get_type_hints(cls)
    return {entry.name: hints[entry.name] for entry in fields(cls)}


def flag(name: str) -> str:
    """How a setting is written on a command line."""
    return f"--{name.replace('_', '-')}"


def expected(kind: Any) -> str:
    """What text a type takes.

    Example:
        >>> expected(tuple[int, ...] | None)
        'whole numbers joined by commas, or none'
    """
    kinds, several, optional = _parts(kind)
    names = " or ".join((SEVERAL if several else KINDS)[k] for k in kinds)
    return names + (" joined by commas" if several else "") + (", or none" if optional else "")


def converted(name: str, text: str, kind: Any) -> Any:
    """The value that a text stands for.

    Raises:
        ValueError: it is of another type.
    """
    kinds, several, optional = _parts(kind)
    if optional and text.lower() == "none":
        return None
    try:
        if several:
            return tuple(_scalar(part.strip(), kinds) for part in text.split(",") if part.strip())
        return _scalar(text, kinds)
    except ValueError as error:
        raise ValueError(f"{name} is {text!r}; expected {expected(kind)}") from error


def written(value: Any) -> str:
    """A value as one would write it on a command line."""
    if isinstance(value, (tuple, list)):
        return ",".join(map(written, value)) or "(none)"
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def range_text(entry: Field[Any]) -> str:
    """Unit, range and choices of a field in words, "" where there are none."""
    m = meaning(entry)
    low, high = (None if end is None else f"{end:g}" for end in (m.low, m.high))
    ends = f"{low} to {high}" if low and high else f"at least {low}" if low else f"at most {high}" if high else ""
    parts = [f"[{m.unit}]" if m.unit else "", ends, "one of " + ", ".join(map(str, m.choices)) if m.choices else ""]
    return "; ".join(part for part in parts if part)


def _check(name: str, value: Any, m: Meaning) -> None:
    if isinstance(value, tuple):
        twice = [item for i, item in enumerate(value) if item in value[:i] and isinstance(item, (int, str))]
        if twice:  # one seed twice is no sample of two
            raise ValueError(f"{flag(name)} has {twice[0]!r} twice; expected each once")
    for item in value if isinstance(value, tuple) else (value,):
        if item is None or is_dataclass(item) or isinstance(item, (Mapping, tuple)):
            continue
        if m.choices and item not in m.choices:
            raise ValueError(f"{flag(name)} is {item!r}; expected one of {', '.join(map(str, m.choices))}")
        if m.low is not None and not item >= m.low:
            why = f": {m.why}" if m.why else ""
            raise ValueError(f"{flag(name)} is {item}; expected at least {m.low:g}{why}")
        if m.high is not None and not item <= m.high:
            raise ValueError(f"{flag(name)} is {item}; expected at most {m.high:g}")


def _near(name: str, known: Mapping[str, Any]) -> str:
    near = get_close_matches(name, known, 1)
    hint = f"did you mean {flag(near[0])}? " if near else ""
    return f"; {hint}choose from: {', '.join(map(flag, known)) or '(none)'}"


def _writable(kind: Any) -> bool:
    try:
        return bool(_parts(kind)[0])
    except TypeError:
        return False


def _parts(kind: Any) -> tuple[tuple[type, ...], bool, bool]:
    """(scalar types, whether several are joined, whether none is admissible).

    Raises:
        TypeError: no type that a text can stand for.
    """
    union = get_origin(kind) in (Union, types.UnionType)
    members = [member for member in (get_args(kind) if union else (kind,)) if member is not types.NoneType]
    several = any(get_origin(member) is tuple for member in members)
    scalars: list[type] = []
    for member in members:
        inner = get_args(member)[0] if get_origin(member) is tuple else member
        if get_origin(inner) is Literal:
            inner = type(get_args(inner)[0])
        if inner not in KINDS:
            raise TypeError(f"no text stands for {kind}")
        scalars.append(inner)
    return tuple(k for k in KINDS if k in scalars), several, union and types.NoneType in get_args(kind)


def _scalar(text: str, kinds: Sequence[type]) -> bool | int | float | str:
    if bool in kinds and text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        if kind in kinds:
            try:
                return kind(text)
            except ValueError:
                continue
    if str in kinds:
        return text
    raise ValueError(text)
